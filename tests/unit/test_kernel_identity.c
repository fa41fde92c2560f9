/* Who a process is (bpf/identity.bpf.c). */
#include "test_kernel_world.h"

#include "kernel/pins.h"

TestSuite(kernel_identity, .init = world_up, .fini = world_down, .timeout = 240);

/* B13, B14 */
Test(kernel_identity, lineage_follows_fork_and_exec)
{
	expect_lineage(start(w.ok, "fork", w.no, "probe", "tcp", "198.18.0.50", "443"), "net-no net-ok");
	expect_lineage(start(w.no, "exec", w.ok, "probe", "tcp", "198.18.0.50", "443"), "net-ok net-no");
	expect_lineage(start(w.ok, "daemon", w.no, "probe", "tcp", "198.18.0.50", "443"),
		       "net-no net-ok");
	expect_lineage(start(w.ok, "thread", w.no, "probe", "tcp", "198.18.0.50", "443"),
		       "net-no net-ok");
	expect_lineage(start(w.ok, "vfork", "198.18.0.50", "443"), "net-ok");
	expect_lineage(start(w.ok, "fork", w.no, "probe", "daemon", w.ok, "probe", "tcp",
			     "198.18.0.50", "443"), "net-ok net-no net-ok");
}

/* A worker of io_uring is a thread of no fork that anybody saw. */
Test(kernel_identity, io_uring_is_judged_as_its_process)
{
	struct probe probe = start(w.no, "uring", "198.18.0.50", "443");

	expect_flow(w.tcp4, w.no, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
	expect_probe("connect=EPERM", w.no, "uring", "198.18.0.50", "22");
	cr_expect_str_eq(identity_of(wait_event(OSH_KERNEL_NOT_REACHABLE)->identity).path, w.no);
}

/* B19: the path is what the program itself sees: through mounts, up to its own root. */
Test(kernel_identity, path_ends_at_the_tasks_root)
{
	char root[128], through[300];
	struct probe probe;

	format(root, sizeof(root), "%s/root", w.dir);
	cr_assert_eq(mkdir(root, 0755), 0);
	cr_assert_eq(mount("/", root, NULL, MS_BIND | MS_REC, NULL), 0);
	format(through, sizeof(through), "%s%s", root, w.ok);
	probe = start(through, "tcp", "198.18.0.50", "443");
	expect_flow(w.tcp4, through, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");

	w.root = root;
	probe = start(w.ok, "tcp", "198.18.0.50", "443");
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
	w.root = NULL;
	cr_assert_eq(umount2(root, MNT_DETACH), 0);
	cr_assert_eq(rmdir(root), 0);
}

/* The same program started the same way has one identity, however often. */
Test(kernel_identity, identities_are_shared)
{
	uint32_t first = 0;

	for (int i = 0; i < 3; i++) {
		struct probe probe = start(w.ok, "fork", w.no, "probe", "tcp", "198.18.0.50", "443");
		uint32_t identity = accept_flow(w.tcp4).identity;

		expect_output(probe, "ok peer=198.18.0.50:443");
		cr_expect(first == 0 || identity == first);
		first = identity;
	}
	cr_expect_neq(first, 0);
	cr_expect_eq(osh_kernel_counter(w.kernel, OSH_COUNT_EXEC), 6);
}

Test(kernel_identity, a_replaced_binary_is_another_identity)
{
	struct probe probe = start(w.ok, "tcp", "198.18.0.50", "443");
	uint32_t before = accept_flow(w.tcp4).identity, after;

	expect_output(probe, "ok peer=198.18.0.50:443");
	cr_assert_eq(unlink(w.ok), 0);
	make_binary(w.ok);
	probe = start(w.ok, "tcp", "198.18.0.50", "443");
	after = accept_flow(w.tcp4).identity;
	expect_output(probe, "ok peer=198.18.0.50:443");
	cr_expect_neq(before, after);
	cr_expect_str_eq(identity_of(after).path, w.ok);
}

Test(kernel_identity, what_has_no_name_has_no_identity)
{
	struct osh_identity identity;

	expect_probe("connect=EPERM", w.ok, "memfd", "198.18.0.50", "443");
	identity = identity_of(wait_event(OSH_KERNEL_NO_IDENTITY)->identity);
	cr_expect_str_eq(identity.path, "memfd:net-ok");
	cr_expect(identity.flags & OSH_EXE_UNLINKED);
	cr_expect_str_eq(identity_of(identity.parent).path, w.ok);
}

/* B15 */
Test(kernel_identity, lineage_has_a_bound)
{
	struct osh_identity identity;
	struct probe probe;

	/* OSH_LINEAGE_MAX ancestors are fine, one more is not, and the tree stops growing. */
	probe = start(w.ok, "chain", "64", "198.18.0.50", "443");
	cr_expect_eq(identity_of(accept_flow(w.tcp4).identity).depth, OSH_LINEAGE_MAX);
	expect_output(probe, "ok peer=198.18.0.50:443");
	expect_probe("connect=EPERM", w.ok, "chain", "65", "198.18.0.50", "443");
	identity = identity_of(wait_event(OSH_KERNEL_NO_IDENTITY)->identity);
	cr_expect_eq(identity.flags & OSH_EXE_NAMELESS, OSH_EXE_TOO_DEEP);
	cr_expect_eq(identity.depth, OSH_LINEAGE_MAX + 1);
	w.event_count = 0;
	expect_probe("connect=EPERM", w.ok, "chain", "70", "198.18.0.50", "443");
	identity = identity_of(wait_event(OSH_KERNEL_NO_IDENTITY)->identity);
	cr_expect_eq(identity.depth, OSH_LINEAGE_MAX + 1);
}

/* A path of 255 bytes is an identity, one of 256 is not. */
/* B21 */
Test(kernel_identity, path_has_a_bound)
{
	size_t base = strlen(w.dir) + 1, limit = OSH_PATH_MAX - 1;
	char path[OSH_PATH_MAX + 16];
	struct osh_identity identity;
	struct probe probe;

	snprintf(path, sizeof(path), "%s/", w.dir);
	memset(path + base, 'x', limit - base);
	path[limit] = '\0';
	cr_assert_eq(link(w.ok, path), 0);
	probe = start(path, "tcp", "198.18.0.50", "443");
	cr_expect_str_eq(identity_of(accept_flow(w.tcp4).identity).path, path);
	expect_output(probe, "ok peer=198.18.0.50:443");
	cr_assert_eq(unlink(path), 0);

	path[limit] = 'y';
	path[limit + 1] = '\0';
	cr_assert_eq(link(w.ok, path), 0);
	expect_probe("connect=EPERM", path, "tcp", "198.18.0.50", "443");
	identity = identity_of(wait_event(OSH_KERNEL_NO_IDENTITY)->identity);
	cr_expect(identity.flags & OSH_EXE_NO_PATH);
	cr_expect_neq(identity.path[0], '/', "a cut path must not look like a whole one");
	cr_assert_eq(unlink(path), 0);
}

/* The kernel lets go of a link whose pin is removed in its own time. */
static void detach_exec_hook(void)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	char path[512];
	int fd;

	format(path, sizeof(path), "%s/" LAYOUT "/links/osh_on_exec", w.pins);
	fd = bpf_obj_get(path);
	cr_assert_eq(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
	close(fd);
	cr_assert_eq(unlink(path), 0);
	while ((fd = bpf_prog_get_fd_by_id(info.prog_id)) >= 0) {
		close(fd);
		(void)poll(NULL, 0, 1);
	}
}

/* An exec that no hook saw must not pass for the program before it, nor may what follows. */
Test(kernel_identity, an_unseen_exec_has_no_identity)
{
	struct probe probe = start(w.ok, "stop", w.no, "probe", "tcp", "198.18.0.50", "443");
	struct probe twin = start(w.ok, "stop", w.no, "probe", "exec", w.no, "probe", "tcp",
				  "198.18.0.50", "443");

	cr_assert_eq(waitpid(probe.pid, NULL, WUNTRACED), probe.pid);
	cr_assert_eq(waitpid(twin.pid, NULL, WUNTRACED), twin.pid);
	osh_kernel_close(osh_take(w.kernel));
	detach_exec_hook();
	cr_assert_eq(kill(probe.pid, SIGCONT), 0);
	expect_output(probe, "connect=EPERM");
	open_kernel();
	cr_expect_eq(wait_event(OSH_KERNEL_NO_IDENTITY)->identity, 0);
	cr_assert_eq(kill(twin.pid, SIGCONT), 0); /* seen again, and its lineage is whole */
	expect_lineage(twin, "net-no net-no net-ok");
}

static void set_identities_used(uint32_t used)
{
	struct osh_usage usage = { .identities = used };
	char path[512];
	_cleanup_fd_ int fd = -1;

	format(path, sizeof(path), "%s/" LAYOUT "/maps/usage", w.pins);
	fd = bpf_obj_get(path);
	cr_assert_eq(bpf_map_update_elem(fd, &w.sandbox, &usage, BPF_EXIST), 0);
}

/* A sandbox that has used up its share knows its old programs and no new ones. */
Test(kernel_identity, identities_are_rationed)
{
	struct probe probe = start(w.ok, "tcp", "198.18.0.50", "443");

	expect_flow(w.tcp4, w.ok, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
	set_identities_used(OSH_IDENTITIES_PER_SANDBOX_MAX);
	probe = start(w.ok, "tcp", "198.18.0.50", "443");
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
	expect_probe("connect=EPERM", w.no, "tcp", "198.18.0.50", "443");
	cr_expect_eq(wait_event(OSH_KERNEL_NO_IDENTITY)->identity, 0);
	cr_expect_eq(osh_kernel_counter(w.kernel, OSH_COUNT_EXEC_NO_IDENTITY), 1);
	set_identities_used(OSH_IDENTITIES_PER_SANDBOX_MAX - 1);
	probe = start(w.no, "tcp", "198.18.0.50", "443");
	expect_flow(w.tcp4, w.no, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
}

/* A full ring loses records, never refusals, and says how many. */
Test(kernel_identity, lost_records_are_counted)
{
	uint64_t lost;

	expect_probe("refused=70000", w.ok, "flood", "198.18.0.50", "22", "70000");
	lost = osh_kernel_counter(w.kernel, OSH_COUNT_EVENT_LOST);
	cr_expect_gt(lost, 0);
	for (int tries = 0; w.event_total + lost < 70000 && tries < 1000; tries++)
		osh_loop_run_once(w.loop, 100);
	cr_expect_eq(w.event_total + lost, 70000);
	cr_expect_eq(osh_kernel_counter(w.kernel, OSH_COUNT_CONNECT_DENIED), 70000);
	w.event_total = 0;
	expect_probe("refused=10", w.ok, "flood", "198.18.0.50", "22", "10");
	for (int tries = 0; w.event_total < 10 && tries < 100; tries++)
		osh_loop_run_once(w.loop, 100);
	cr_expect_eq(w.event_total, 10);
	cr_expect_eq(osh_kernel_counter(w.kernel, OSH_COUNT_EVENT_LOST), lost, "room again, none lost");
}

/* ---- How it was started ------------------------------------------------------------ */

#define NOBODY 65534

/* The taint of a probe that is started now. */
static uint32_t taint_of(const char *binary)
{
	struct probe probe = start(binary, "tcp", "198.18.0.50", "443");
	uint32_t identity = accept_flow(w.tcp4).identity;

	expect_output(probe, "ok peer=198.18.0.50:443");
	return identity_of(identity).flags;
}

static uint32_t taint_with(char *first, char *second)
{
	char *env[] = { (char *)"PATH=/usr/bin", first, second, NULL };
	uint32_t flags;

	w.env = env;
	flags = taint_of(w.ok);
	w.env = NULL;
	return flags;
}

Test(kernel_identity, what_loads_code_taints_the_start)
{
	char long_value[1200] = "LS_COLORS=";

	w.uid = NOBODY;
	cr_expect_eq(taint_of(w.ok), 0);
	cr_expect_eq(taint_with((char *)"LD_PRELOAD=/tmp/x.so", NULL), OSH_EXE_INJECTED);
	cr_expect_eq(taint_with((char *)"LD_PRELOAD=", NULL), 0);
	cr_expect_eq(taint_with((char *)"LD_LIBRARY_PATH=/usr/lib/x:/lib/y", NULL), 0);
	cr_expect_eq(taint_with((char *)"LD_LIBRARY_PATH=/usr/lib/x:/tmp", NULL), OSH_EXE_INJECTED);
	cr_expect_eq(taint_with((char *)"LD_LIBRARY_PATH=/usr/lib/x:", NULL), OSH_EXE_INJECTED);
	cr_expect_eq(taint_with((char *)"NODE_OPTIONS=--max-old-space-size=512", NULL), 0);
	cr_expect_eq(taint_with((char *)"HOME=/x", (char *)"NODE_OPTIONS=--require /x"),
		     OSH_EXE_INJECTED);
	/* Behind a variable of many pieces, each length of which ends a piece elsewhere. */
	memset(long_value + 10, 'x', sizeof(long_value) - 11);
	for (size_t len = 1020; len < 1030; len++) {
		long_value[len] = '\0';
		cr_expect_eq(taint_with(long_value, NULL), 0, "%zu", len);
		cr_expect_eq(taint_with(long_value, (char *)"BASH_ENV=/tmp/x"), OSH_EXE_INJECTED,
			     "%zu", len);
		long_value[len] = 'x';
	}
}

/* What is in the middle of a value is no variable. */
Test(kernel_identity, a_value_is_no_variable)
{
	char value[600] = "X=";

	w.uid = NOBODY;
	memset(value + 2, 'y', sizeof(value) - 3);
	memcpy(value + 255, "LD_PRELOAD=/tmp/x", 17); /* where the second piece begins */
	cr_expect_eq(taint_with(value, NULL), 0);
}

/* A value that does not fit is not read, so it is not known to be harmless. */
Test(kernel_identity, what_cannot_be_read_taints_the_start)
{
	static char *many[3000];
	char path[400] = "LD_LIBRARY_PATH=";

	w.uid = NOBODY;
	for (int i = 0; i < 60; i++)
		strcat(path, "/usr/");
	cr_expect_eq(taint_with(path, NULL), OSH_EXE_INJECTED);
	path[200] = '\0';
	cr_expect_eq(taint_with(path, NULL), 0);
	for (int i = 0; i < 2999; i++)
		many[i] = (char *)"A=";
	w.env = many;
	cr_expect_eq(taint_of(w.ok), OSH_EXE_INJECTED);
	many[900] = NULL;
	cr_expect_eq(taint_of(w.ok), 0);
	w.env = NULL;
}

/* With a policy that opens the system's directories their paths are like others. */
Test(kernel_identity, a_writable_system_is_not_trusted)
{
	w.uid = NOBODY;
	cr_expect_eq(taint_with((char *)"LD_LIBRARY_PATH=/usr/lib/x", NULL), 0);
	cr_assert_eq(osh_kernel_sandbox_remove(w.kernel, w.sandbox), 0);
	cr_assert_eq(osh_kernel_sandbox_add(w.kernel, w.sandbox, true), 0);
	cr_expect_eq(taint_with((char *)"LD_LIBRARY_PATH=/usr/lib/x", NULL), OSH_EXE_INJECTED);
	cr_expect_eq(taint_of(w.ok), 0);
}

Test(kernel_identity, an_executable_that_its_user_may_write_is_tainted)
{
	w.uid = NOBODY;
	cr_expect_eq(taint_of(w.ok), 0);
	cr_assert_eq(chmod(w.ok, 0775), 0);
	cr_expect_eq(taint_of(w.ok), OSH_EXE_WRITABLE);
	cr_assert_eq(chmod(w.ok, 0755), 0);
	cr_assert_eq(chown(w.ok, NOBODY, 0), 0);
	cr_expect_eq(taint_of(w.ok), OSH_EXE_WRITABLE);
	cr_assert_eq(mount(w.ok, w.ok, NULL, MS_BIND, NULL), 0);
	cr_assert_eq(mount(NULL, w.ok, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
	cr_expect_eq(taint_of(w.ok), 0, "not on a read-only mount");
	cr_assert_eq(umount2(w.ok, MNT_DETACH), 0);
}

Test(kernel_identity, the_loader_is_told_by_its_name)
{
	static const char *const names[] = { "ld-linux-x86-64.so.2", "ld-musl-x.so.1", "ld.so" };
	char path[128];

	w.uid = NOBODY;
	for (size_t i = 0; i < OSH_COUNT_OF(names); i++) {
		format(path, sizeof(path), "%s/%s", w.dir, names[i]);
		cr_assert_eq(link(w.ok, path), 0);
		cr_expect_eq(taint_of(path), OSH_EXE_LOADER, "%s", names[i]);
		cr_assert_eq(unlink(path), 0);
	}
}

/* A tainted start is another identity, and its clean twin stays what it was. */
Test(kernel_identity, taint_is_part_of_the_identity)
{
	char *env[] = { (char *)"PERL5LIB=/tmp", NULL };
	struct probe probe;
	uint32_t ids[3];

	w.uid = NOBODY;
	for (int i = 0; i < 3; i++) {
		w.env = i == 1 ? env : NULL;
		probe = start(w.ok, "tcp", "198.18.0.50", "443");
		ids[i] = accept_flow(w.tcp4).identity;
		expect_output(probe, "ok peer=198.18.0.50:443");
	}
	cr_expect_eq(ids[0], ids[2]);
	cr_expect_neq(ids[0], ids[1]);
}

/* The agent sees a file with the exec hook's eyes. */
Test(kernel_identity, a_file_is_known_again)
{
	struct probe probe = start(w.ok, "tcp", "198.18.0.50", "443");
	struct osh_identity identity = identity_of(accept_flow(w.tcp4).identity);
	_cleanup_fd_ int same = open(w.ok, O_RDONLY | O_CLOEXEC), other = open(w.no, O_RDONLY | O_CLOEXEC);
	struct osh_file_question file;

	expect_output(probe, "ok peer=198.18.0.50:443");
	cr_assert_eq(osh_kernel_file(w.kernel, same, &file), 0);
	cr_expect(file.dev == identity.dev && file.ino == identity.ino &&
		  file.ctime_ns == identity.ctime_ns);
	cr_assert_eq(osh_kernel_file(w.kernel, other, &file), 0);
	cr_expect_neq(file.ino, identity.ino);
	cr_assert_eq(chmod(w.ok, 0711), 0);
	cr_assert_eq(osh_kernel_file(w.kernel, same, &file), 0);
	cr_expect_neq(file.ctime_ns, identity.ctime_ns);
	osh_kernel_close(osh_take(w.kernel));
	open_kernel();
	cr_assert_eq(osh_kernel_file(w.kernel, same, &file), 0, "also by the next agent");
	cr_expect_eq(file.ino, identity.ino);
}
