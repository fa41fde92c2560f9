/* Loading, adopting, giving up (agent/kernel). */
#include "test_kernel_world.h"

#include "kernel/install.h"
#include "kernel/pins.h"

TestSuite(kernel_install, .init = world_up, .fini = world_down, .timeout = 240);

static uint32_t link_id(const char *name)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	char path[512];
	_cleanup_fd_ int fd = -1;

	format(path, sizeof(path), "%s/" LAYOUT "/links/%s", w.pins, name);
	fd = bpf_obj_get(path);
	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
	return info.id;
}

static void find_sandbox(void *context, uint64_t sandbox)
{
	if (sandbox == w.sandbox)
		++*(int *)context;
}

Test(kernel_install, closing_and_opening_again_changes_nothing)
{
	static const char *const names[] = { "osh_connect4", "osh_sendmsg6", "osh_on_exec", "osh_sockops" };
	uint32_t ids[OSH_COUNT_OF(names)];
	struct probe probe;
	int found = 0;

	for (size_t i = 0; i < OSH_COUNT_OF(names); i++)
		ids[i] = link_id(names[i]);
	osh_kernel_close(osh_take(w.kernel));
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "22"); /* with no agent at all */
	/* Redirected, and never accepted: its record must not outlive the agent's return. */
	expect_probe("ok peer=198.18.0.50:443", w.ok, "tcp", "198.18.0.50", "443");
	open_kernel();
	for (size_t i = 0; i < OSH_COUNT_OF(names); i++)
		cr_expect_eq(link_id(names[i]), ids[i], "%s", names[i]);
	osh_kernel_sandbox_each(w.kernel, find_sandbox, &found);
	cr_expect_eq(found, 1);
	cr_expect_eq(wait_event(OSH_KERNEL_NOT_REACHABLE)->dst_port_host, 22, "kept in the ring meanwhile");
	osh_close(accept(w.tcp4, NULL, NULL)); /* the one that nobody waits for */
	probe = start(w.ok, "tcp", "198.18.0.50", "443");
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
}

/* Pins lost while a sandbox runs: the next start attaches new programs to the old maps. */
Test(kernel_install, lost_pins_are_made_again)
{
	struct probe probe;
	char path[512];
	int found = 0;

	osh_kernel_close(osh_take(w.kernel));
	format(path, sizeof(path), "%s/" LAYOUT "/links/osh_connect4", w.pins);
	cr_assert_eq(unlink(path), 0);
	open_kernel();
	osh_kernel_sandbox_each(w.kernel, find_sandbox, &found);
	cr_expect_eq(found, 1);
	probe = start(w.ok, "fork", w.no, "probe", "tcp", "198.18.0.50", "443");
	expect_lineage(probe, "net-no net-ok");
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "22");
}

static void remove_pins(const char *what)
{
	_cleanup_fd_ int fd = open(w.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char path[256];

	format(path, sizeof(path), "bpf/agent%s", what);
	pins_remove_tree(fd, path);
}

/* F21: while the agent lives they come back, and are the same to the next one. */
Test(kernel_install, removed_pins_are_put_back)
{
	static const char *const places[] = { "/" LAYOUT "/links/osh_connect4", "/" LAYOUT "/maps/identity_last",
					      "/" LAYOUT "/programs", "/" LAYOUT "/links", "/" LAYOUT "/maps" };
	struct osh_kernel_options options = { .pin_dir = w.pins, .cgroup_path = w.cgroup };
	uint32_t connect4 = link_id("osh_connect4"), on_exec = link_id("osh_on_exec");
	struct osh_kernel *second = NULL;
	struct osh_err err = { 0 };
	int some = 0, found = 0;

	cr_expect_eq(osh_kernel_repin(w.kernel), 0, "nothing is missing");
	for (size_t i = 0; i < OSH_COUNT_OF(places); i++) {
		int r;

		remove_pins(places[i]);
		r = osh_kernel_repin(w.kernel);
		cr_expect(i < 3 ? r == 1 : r > 1, "%s: %d", places[i], r);
		some += i < 2 ? 0 : r;
		cr_expect_eq(osh_kernel_repin(w.kernel), 0);
	}
	remove_pins("/" LAYOUT "/build");
	cr_expect_eq(osh_kernel_repin(w.kernel), 1, "without it the layout counts as unfinished");
	remove_pins("");
	cr_assert_neq(access(w.pins, F_OK), 0);
	cr_expect_eq(osh_kernel_repin(w.kernel), some + 1, "programs, links, maps and the marker");
	/* The directory is another one now, and locked all the same. */
	cr_expect_eq(osh_kernel_open(&options, &second, &err), -EBUSY);
	osh_kernel_close(osh_take(w.kernel));
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "22");
	open_kernel();
	cr_expect_eq(link_id("osh_connect4"), connect4);
	cr_expect_eq(link_id("osh_on_exec"), on_exec);
	osh_kernel_sandbox_each(w.kernel, find_sandbox, &found);
	cr_expect_eq(found, 1);
}

static uint32_t memory_id(const char *name)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	_cleanup_fd_ int fd = -1;

	cr_assert_eq(osh_kernel_memory(w.pins, name, 4096, false, &fd), 0, "%s", name);
	cr_assert_eq(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
	return info.id;
}

/* F21: verdicts that wait there, and how far they are written down. */
Test(kernel_install, removed_memory_is_put_back)
{
	int fd = -1;
	uint32_t id;

	cr_assert_eq(osh_kernel_memory(w.pins, "m", 4096, true, &fd), 1);
	close(fd);
	id = memory_id("m");
	cr_assert_eq(osh_kernel_hold_memory(w.kernel), 0);
	cr_expect_eq(osh_kernel_repin(w.kernel), 0, "nothing is missing");
	remove_pins("/memory/m");
	cr_expect_eq(osh_kernel_repin(w.kernel), 1);
	cr_expect_eq(memory_id("m"), id);
	remove_pins("/memory");
	cr_expect_eq(osh_kernel_repin(w.kernel), 1);
	cr_expect_eq(osh_kernel_repin(w.kernel), 0);
	osh_kernel_close(osh_take(w.kernel));
	cr_expect_eq(memory_id("m"), id, "the next agent finds it");
	open_kernel();
}

/* F21: said with its reason, and tried again. */
Test(kernel_install, pins_that_cannot_be_put_back)
{
	char links[256];

	format(links, sizeof(links), "%s/" LAYOUT "/links", w.pins);
	remove_pins("/" LAYOUT "/links");
	cr_assert_eq(bpf_obj_pin(osh_kernel_maps(w.kernel)->flows, links), 0);
	cr_expect_eq(osh_kernel_repin(w.kernel), -ENOTDIR);
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "22");
	cr_assert_eq(unlink(links), 0);
	cr_expect_gt(osh_kernel_repin(w.kernel), 0);
	cr_expect_eq(osh_kernel_repin(w.kernel), 0);
}

/* Programs of another build with the same layout stay for as long as a sandbox needs them. */
Test(kernel_install, another_build_waits_for_the_last_sandbox)
{
	uint32_t before = link_id("osh_connect4");
	char path[512], marker[512] = "";
	struct dirent *entry;
	DIR *dir;

	format(path, sizeof(path), "%s/" LAYOUT "/build", w.pins);
	dir = opendir(path);
	cr_assert_not_null(dir);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			format(marker, sizeof(marker), "%.200s/%.200s", path, entry->d_name);
	closedir(dir);
	cr_assert_eq(rmdir(marker), 0, "%s", marker);
	osh_kernel_close(osh_take(w.kernel));
	open_kernel();
	cr_expect_eq(link_id("osh_connect4"), before);
	cr_assert_eq(osh_kernel_sandbox_remove(w.kernel, w.sandbox), 0);
	osh_kernel_close(osh_take(w.kernel));
	open_kernel();
	cr_expect_neq(link_id("osh_connect4"), before);
	cr_expect_eq(access(marker, F_OK), 0);
}

static void count_lease(void *context, uint32_t addr_host, const struct osh_lease *lease)
{
	(void)addr_host;
	(void)lease;
	++*(int *)context;
}

/* It was killed when it had removed a sandbox, and not yet what the tables hold of it. */
Test(kernel_install, what_a_dead_agent_left_of_a_removed_sandbox_goes)
{
	uint64_t other = make_sandbox("t");
	struct osh_lease lease = { .host = "ok.test" };
	struct osh_lease_key key = { .addr_host = OSH_SYNTH_FIRST };
	int left = 0, kept = 0;

	cr_assert_eq(osh_kernel_sandbox_add(w.kernel, other, false), 0);
	for (int i = 0; i < 2; i++) {
		key.sandbox = i ? other : w.sandbox;
		cr_assert_eq(osh_maps_lease_set(osh_kernel_maps(w.kernel), &key, &lease), 0);
	}
	cr_assert_eq(bpf_map_delete_elem(osh_kernel_maps(w.kernel)->sandboxes, &w.sandbox), 0);
	osh_kernel_close(osh_take(w.kernel));
	open_kernel();
	cr_expect_eq(osh_maps_lease_each(osh_kernel_maps(w.kernel), w.sandbox, count_lease, &left), 0);
	cr_expect_eq(osh_maps_lease_each(osh_kernel_maps(w.kernel), other, count_lease, &kept), 0);
	cr_expect(left == 0 && kept == 1, "%d of the removed one, %d of the other", left, kept);
}

/* Pins of another layout are replaced, but not from under a sandbox. */
Test(kernel_install, another_layout_is_left_alone_while_in_use)
{
	struct osh_kernel_options options = { .pin_dir = w.pins, .cgroup_path = w.cgroup };
	struct osh_err err = { 0 };
	char ours[300], theirs[300];

	osh_kernel_close(osh_take(w.kernel));
	format(ours, sizeof(ours), "%s/" LAYOUT, w.pins);
	format(theirs, sizeof(theirs), "%s/layout-0", w.pins);
	cr_assert_eq(rename(ours, theirs), 0);
	cr_expect_eq(osh_kernel_open(&options, &w.kernel, &err), -EBUSY);
	cr_expect(strstr(err.message, "another version"), "%s", err.message);
	cr_expect(strstr(err.message, "start that version again") && strstr(err.message, "--sweep"), "%s", err.message);
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "22"); /* still in force */

	cr_assert_eq(rename(theirs, ours), 0);
	open_kernel();
	cr_assert_eq(osh_kernel_sandbox_remove(w.kernel, w.sandbox), 0);
	osh_kernel_close(osh_take(w.kernel));
	cr_assert_eq(rename(ours, theirs), 0);
	open_kernel();
	cr_expect_neq(access(theirs, F_OK), 0, "nobody needed it");
	cr_expect_eq(access(ours, F_OK), 0);
}

/* Where no BPF file system is mounted yet, it is. */
Test(kernel_install, the_bpf_file_system_is_mounted_when_absent)
{
	char pins[64];
	struct osh_kernel_options options = { .pin_dir = pins, .cgroup_path = w.cgroup };
	struct osh_kernel *second = NULL;
	struct osh_err err = { 0 };

	format(pins, sizeof(pins), "/sys/fs/bpf/oshk-%d", getpid());
	/* Ours alone: this is a mount namespace of the test. */
	while (umount2("/sys/fs/bpf", MNT_DETACH) == 0)
		;
	cr_assert_eq(osh_kernel_open(&options, &second, &err), 0, "%s", err.message);
	cr_expect_eq(access(pins, F_OK), 0);
	osh_kernel_uninstall(second);
	cr_expect_neq(access(pins, F_OK), 0);
}

Test(kernel_install, one_agent_per_pin_directory)
{
	struct osh_kernel_options options = { .pin_dir = w.pins, .cgroup_path = w.cgroup };
	struct osh_kernel *second = NULL;
	struct osh_err err = { 0 };

	cr_expect_eq(osh_kernel_open(&options, &second, &err), -EBUSY);
	cr_expect(strstr(err.message, "another agent"), "%s", err.message);
}

/* Another agent beside this one: its own programs, its own sandboxes. */
Test(kernel_install, two_agents_side_by_side)
{
	char pins[160], cgroup[300];
	struct osh_kernel_options options = { .pin_dir = pins, .cgroup_path = cgroup };
	struct osh_kernel *second = NULL;
	struct osh_err err = { 0 };
	struct probe probe;

	make_sandbox("t");
	format(cgroup, sizeof(cgroup), "%s/t", w.cgroup); /* any cgroup will do as a root */
	format(pins, sizeof(pins), "%s/bpf/second", w.dir);
	cr_assert_eq(osh_kernel_open(&options, &second, &err), 0, "%s", err.message);
	probe = start(w.ok, "tcp", "198.18.0.50", "443");
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
	cr_expect_eq(osh_kernel_counter(w.kernel, OSH_COUNT_EXEC), 1);
	cr_expect_eq(osh_kernel_counter(second, OSH_COUNT_EXEC), 0, "not its sandbox");
	osh_kernel_uninstall(second);
	cr_expect_neq(access(pins, F_OK), 0, "uninstall leaves no pin");
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "22");
}

/* What is pinned goes only when there is certainly none. */
Test(kernel_install, tells_whether_it_has_a_sandbox)
{
	cr_expect(osh_kernel_has_sandbox(w.kernel));
	osh_kernel_sandbox_remove(w.kernel, w.sandbox);
	cr_expect_not(osh_kernel_has_sandbox(w.kernel));
	cr_expect(pins_has_sandbox(-1), "not to be told");
}

Test(kernel_install, uninstall_detaches_everything)
{
	osh_kernel_uninstall(osh_take(w.kernel));
	cr_expect_neq(access(w.pins, F_OK), 0);
	/* Only the namespace holds now: there is no way, and nobody says EPERM. */
	expect_probe("connect=ENETUNREACH", w.ok, "tcp", "198.18.0.50", "443");
}

Test(kernel_install, a_wrong_place_is_said_clearly)
{
	struct osh_kernel_options options = { .pin_dir = "/tmp/oshk-none", .cgroup_path = w.cgroup };
	struct osh_kernel *kernel = NULL;
	struct osh_err err = { 0 };

	cr_expect_eq(osh_kernel_open(&options, &kernel, &err), -EINVAL);
	cr_expect(strstr(err.message, "not on a BPF file system"), "%s", err.message);
	cr_expect_neq(access(options.pin_dir, F_OK), 0, "nothing half made");
	options = (struct osh_kernel_options){ .pin_dir = w.pins, .cgroup_path = "/tmp" };
	cr_expect_eq(osh_kernel_open(&options, &kernel, &err), -EINVAL);
	cr_expect(strstr(err.message, "cgroup v2"), "%s", err.message);
}

Test(kernel_install, features_are_told)
{
	const struct osh_kernel_feature *features;
	size_t count = osh_kernel_features(w.kernel, &features);

	cr_assert_geq(count, 3);
	for (size_t i = 0; i < count; i++) {
		cr_expect_not_null(features[i].name);
		cr_expect(features[i].present || features[i].fallback, "%s", features[i].name);
	}
	for (int i = 0; i < OSH_COUNTER_COUNT; i++)
		cr_expect_str_neq(osh_counter_name((enum osh_counter)i), "unknown");
	for (int i = 1; i < OSH_KERNEL_REASON_COUNT; i++)
		cr_expect_null(strstr(osh_kernel_reason_text((enum osh_kernel_reason)i), "unknown to"));
}

/* F20: a kernel that has none of them. */
Test(kernel_install, what_is_absent_is_named)
{
	static const char *const optional[] = { "cgroup network hooks", "connect_unix hooks", "sock_destroy", "BPF LSM" };
	const struct osh_optional_hooks none = { 0 }, all = { true, true, true, true };
	struct osh_kernel_feature features[OSH_FEATURES_MAX];
	size_t count = osh_features_list(&none, false, features), named = 0;

	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < OSH_COUNT_OF(optional); j++)
			named += strcmp(features[i].name, optional[j]) == 0 && !features[i].present && features[i].fallback;
	}
	cr_expect_eq(named, OSH_COUNT_OF(optional));
	cr_assert_eq(osh_features_list(&all, true, features), count);
	for (size_t i = 0; i < count; i++)
		cr_expect(features[i].present, "%s", features[i].name);
}

/* ---- Memory that outlives the agent ------------------------------------------------------ */

#define MEMORY_BYTES (3 * 4096u)

static char *map_memory(int fd, size_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

static int open_memory(const char *name, size_t bytes, bool may_make, int want)
{
	int fd = -1;

	cr_assert_eq(osh_kernel_memory(w.pins, name, bytes, may_make, &fd), want, "%s", name);
	return fd;
}

Test(kernel_install, memory_stays_as_it_was_left)
{
	int fd = open_memory("m", MEMORY_BYTES, true, 1);
	char *memory = map_memory(fd, MEMORY_BYTES);

	cr_assert_neq(memory, MAP_FAILED);
	for (size_t i = 0; i < MEMORY_BYTES; i++)
		cr_assert_eq(memory[i], 0);
	memory[MEMORY_BYTES - 1] = 'x';
	munmap(memory, MEMORY_BYTES);
	close(fd);
	osh_kernel_close(osh_take(w.kernel));
	fd = open_memory("m", MEMORY_BYTES, false, 0);
	memory = map_memory(fd, MEMORY_BYTES);
	cr_assert_neq(memory, MAP_FAILED);
	cr_expect_eq(memory[MEMORY_BYTES - 1], 'x');
	munmap(memory, MEMORY_BYTES);
	close(fd);
	open_memory("other", MEMORY_BYTES, false, -ENOENT);
	open_kernel();
	osh_kernel_uninstall(osh_take(w.kernel));
	cr_expect_neq(access(w.pins, F_OK), 0, "uninstall leaves no pin");
}

/* Whoever may write there cannot cut it short under its readers. */
Test(kernel_install, memory_has_one_size)
{
	int fd = open_memory("m", MEMORY_BYTES, true, 1);
	char *memory = map_memory(fd, MEMORY_BYTES);

	cr_assert_neq(memory, MAP_FAILED);
	cr_expect_lt(ftruncate(fd, 0), 0);
	cr_expect_lt(bpf_map_freeze(fd), 0, "nor keep the next one from writing");
	cr_expect_eq(map_memory(fd, MEMORY_BYTES + 4096), MAP_FAILED);
	memory[0] = 'y';
	close(fd);
	/* Another size: another version's. It is made anew, and who has the old one keeps it. */
	fd = open_memory("m", MEMORY_BYTES + 4096, true, 1);
	cr_expect_eq(memory[0], 'y');
	munmap(memory, MEMORY_BYTES);
	memory = map_memory(fd, MEMORY_BYTES + 4096);
	cr_assert_neq(memory, MAP_FAILED);
	cr_expect_eq(memory[0], 0);
	munmap(memory, MEMORY_BYTES + 4096);
	close(fd);
}

Test(kernel_install, the_writers_lock_goes_with_its_last_descriptor)
{
	int fd = open_memory("m", MEMORY_BYTES, true, 1), lock, handed;

	close(fd);
	lock = osh_kernel_memory_lock(w.pins);
	cr_assert_geq(lock, 0);
	handed = dup(lock);
	close(lock);
	cr_expect_eq(osh_kernel_memory_lock(w.pins), -EWOULDBLOCK, "who was handed it still lives");
	close(handed);
	lock = osh_kernel_memory_lock(w.pins);
	cr_expect_geq(lock, 0);
	close(lock);
}
