/* A sandbox from inside: what a program finds, and what it must not find. Each denied
 * case stands beside an allowed twin. Needs root. */
#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

#include "sandbox_world.h"

TestSuite(inside, .init = make_world, .fini = sweep_world, .timeout = 240);

Test(inside, is_an_own_user_without_powers)
{
	char want[64];
	uid_t uid;

	launch_default();
	uid = osh_sandbox_uid(world.box);
	cr_expect(eq(u32, uid, OSH_SANDBOX_UID_FIRST + (uint32_t)(osh_sandbox_id(world.box) & 0xffffff)));
	snprintf(want, sizeof(want), "%u %u sandbox /sandbox", uid, uid);
	expect_sh("echo $(id -u) $(id -G) $(id -un) ~", want);
	expect_sh("grep -E '^Cap' /proc/self/status | tr -d '\\t\\n'",
		  "CapInh:0000000000000000CapPrm:0000000000000000CapEff:0000000000000000"
		  "CapBnd:0000000000000000CapAmb:0000000000000000");
	expect_sh("grep -E 'NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\t\\n'", "NoNewPrivs:1Seccomp:2");
	expect_sh("grep 'core file' /proc/self/limits | awk '{print $6}'; umask; ulimit -Sn", "1\n0022\n1024");
	expect_sh("cat /proc/self/oom_score_adj", "0");
	end_world();
}

Test(inside, has_only_its_own_descriptors)
{
	launch_default();
	/* 3 is ls's own view of the directory. */
	expect_sh("ls /proc/self/fd | tr '\\n' ' '", "0 1 2 3 ");
	end_world();
}

Test(inside, lives_in_namespaces_of_its_own)
{
	static const char *const kinds[] = { "cgroup", "ipc", "mnt", "net", "pid", "uts" };
	static struct run run;

	launch_default();
	for (size_t i = 0; i < OSH_COUNT_OF(kinds); i++) {
		char path[64], host[64] = "", line[96];

		snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i]);
		cr_assert(gt(long, (long)readlink(path, host, sizeof(host) - 1), 0L));
		snprintf(line, sizeof(line), "readlink %s", path);
		cr_expect(eq(int, sh(&run, line), 0));
		cr_expect(eq(int, strncmp(run.output, kinds[i], strlen(kinds[i])), 0));
		cr_expect(ne(str, run.output, host), "%s", kinds[i]);
	}
	/* The user namespace is the host's: no program gains a capability in one of its own. */
	expect_sh("hostname; cat /etc/hostname; grep ^0:: /proc/self/cgroup", "demo\ndemo\n0::/");
	expect_sh("ps -e -o comm= | grep -v -E '^(sh|ps|grep|wc)$' | wc -l", "0");
	expect_sh("ps -p $$ -o comm=", "sh");
	end_world();
}

Test(inside, sees_only_lo_with_a_default_route)
{
	launch_default();
	expect_sh("ls -d /sys/class/net 2>/dev/null; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '", "lo");
	expect_sh("/sbin/ip -o -4 addr | awk '{print $4}'", "127.0.0.1/8\n198.18.0.1/15");
	expect_sh("/sbin/ip -o -6 addr | awk '{print $4}'", "fd6f:7368::c612:1/96\n::1/128");
	expect_sh("/sbin/ip route get 203.0.113.9 | head -1 | awk '{print $3, $5}'", "lo 198.18.0.1");
	expect_sh("/sbin/ip -6 route get 2001:db8::9 | head -1 | grep -o 'dev lo.*src [^ ]*'",
		  "dev lo src fd6f:7368::c612:1");
	end_world();
}

Test(inside, has_identity_files_of_its_own)
{
	char want[128];

	launch_default();
	expect_sh("cat /etc/resolv.conf", "nameserver 198.18.0.1\noptions edns0");
	expect_sh("getent hosts localhost | head -1 | awk '{print $2}'", "localhost");
	snprintf(want, sizeof(want), "sandbox:x:%u:%u:sandbox:/sandbox:/bin/bash",
		 osh_sandbox_uid(world.box), osh_sandbox_uid(world.box));
	expect_sh("getent passwd sandbox", want);
	expect_sh("wc -l < /etc/passwd", "3");
	expect_sh("grep ^hosts /etc/nsswitch.conf", "hosts: files dns");
	end_world();
}

Test(inside, trusts_the_sandbox_ca_beside_the_hosts)
{
	launch_default();
	expect_sh("cat $NODE_EXTRA_CA_CERTS | grep -c 'sandbox ca'", "1");
	expect_sh("for f in /etc/ssl/certs/ca-certificates.crt $SSL_CERT_FILE $GIT_SSL_CAINFO "
		  "$CURL_CA_BUNDLE $REQUESTS_CA_BUNDLE; do grep -c 'sandbox ca' $f; done", "1\n1\n1\n1\n1");
	expect_sh("test $(grep -c BEGIN $SSL_CERT_FILE) -gt 50 && echo many", "many");
	cr_expect(ne(int, outside("grep -q 'sandbox ca' /etc/ssl/certs/ca-certificates.crt"), 0));
	end_world();
}

Test(inside, cannot_write_but_where_it_may)
{
	static const char *const writable[] = { "/sandbox", "/tmp", "/var/tmp", "/dev/shm" };
	static const char *const closed[] = { "/", "/usr", "/usr/bin", "/etc", "/opt", "/app", "/run", "/home",
					      "/var", "/var/log", "/dev", "/run/openshell" };
	char line[128];

	launch_default();
	for (size_t i = 0; i < OSH_COUNT_OF(writable); i++) {
		snprintf(line, sizeof(line), "echo x > %s/f && cat %s/f && rm %s/f", writable[i], writable[i],
			 writable[i]);
		expect_sh(line, "x");
	}
	for (size_t i = 0; i < OSH_COUNT_OF(closed); i++) {
		snprintf(line, sizeof(line), "echo x > %s/f", closed[i]);
		expect_sh_fails(line, "f:");
	}
	expect_sh("for d in null zero full tty; do test -w /dev/$d || echo $d; done; echo x > /dev/null; "
		  "head -c 3 /dev/urandom | wc -c", "3");
	expect_sh_fails("/bin/echo x > /dev/full", "No space left");
	end_world();
}

Test(inside, has_read_only_mounts_under_landlock)
{
	static struct run run;

	launch_default();
	/* Whatever Landlock says: each mount but those that must be writable is read-only, and
	 * none honours set-user-id or, outside /dev, devices. */
	cr_expect(eq(int, sh(&run, "awk '$2 !~ /^\\/(sandbox|tmp|dev\\/pts|dev\\/shm)$/ && "
				   "$4 !~ /(^|,)ro(,|$)/ {print \"writable\", $2} $4 !~ /nosuid/ {print "
				   "\"suid\", $2} $2 !~ /^\\/dev/ && $4 !~ /nodev/ {print \"dev\", $2}' "
				   "/proc/self/mounts"), 0));
	cr_expect(eq(str, run.output, ""));
	expect_sh("awk '$2 == \"/usr\" {print substr($4, 1, 3)}' /proc/self/mounts", "ro,");
	end_world();
}

Test(inside, does_not_see_the_hosts_secrets)
{
	static const char *const empty[] = { "/home", "/srv", "/mnt", "/media", "/sys", "/var/lib" };
	char line[256];

	launch_default();
	expect_sh_fails("cat /etc/shadow", "Permission denied");
	expect_sh("cat /etc/passwd | head -1 | cut -d: -f1", "root");
	expect_sh_fails("ls /root", "Permission denied");
	expect_sh_fails("ls /etc/ssl/private", "Permission denied");
	for (size_t i = 0; i < OSH_COUNT_OF(empty); i++) {
		snprintf(line, sizeof(line), "ls -A %s 2>&1; true", empty[i]);
		static struct run run;
		sh(&run, line);
		cr_expect(ne(int, !run.output[0] || strstr(run.output, "Permission denied"), 0), "%s: %s",
			  empty[i], run.output);
	}
	snprintf(line, sizeof(line), "ls %s", world.dir);
	expect_sh_fails(line, "No such file");
	expect_sh_fails("head -c 1 /proc/kallsyms", "Permission denied");
	expect_sh_fails("head -c 1 /proc/keys", "Permission denied");
	expect_sh("head -c 5 /proc/version", "Linux");
	end_world();
}

Test(inside, reads_its_log_and_cannot_write_it)
{
	FILE *log;

	launch_default();
	log = fopen(osh_sandbox_log_path(world.box), "a");
	cr_assert(ne(ptr, log, NULL));
	fprintf(log, "a verdict\n");
	fclose(log);
	expect_sh("cat /var/log/openshell.log", "a verdict");
	expect_sh_fails("echo forged >> /var/log/openshell.log", "openshell.log");
	expect_sh_fails("rm -f /var/log/openshell.log", "openshell.log");
	expect_sh_fails("chmod 666 /var/log/openshell.log", "openshell.log");
	end_world();
}

Test(inside, keeps_its_files_to_itself)
{
	char path[256];
	struct stat st;

	launch_default();
	expect_sh("echo mine > /sandbox/f; echo mine > /tmp/f; stat -c %U /sandbox /sandbox/f /tmp/f",
		  "sandbox\nsandbox\nsandbox");
	snprintf(path, sizeof(path), "%s/sandbox/f", osh_sandbox_dir(world.box));
	cr_expect(eq(int, stat(path, &st), 0));
	cr_expect(eq(u32, st.st_uid, osh_sandbox_uid(world.box)));
	cr_expect(ne(int, access("/sandbox/f", F_OK), 0));
	/* No other user of the host gets there. */
	cr_expect(eq(int, stat(world.state, &st), 0));
	cr_expect(eq(int, (int)(st.st_mode & 0777), 0700));
	end_world();
}

/* Python speaks system calls; the expected line is what a refusal looks like. */
#define PY(code) "/usr/bin/python3 -c '" code "'"
#define SOCKET_TRY(args) PY("import socket\ntry:\n  socket.socket(" args "); print(\"made\")\n" \
			    "except OSError as e: print(e.errno)")
#define CALL_TRY(args) PY("import ctypes\nl=ctypes.CDLL(None,use_errno=True)\nr=l.syscall(" args ")\n" \
			  "print(ctypes.get_errno() if r<0 else \"done\")")

Test(inside, may_make_only_sockets_that_are_judged)
{
	static const struct { const char *line, *want; } cases[] = {
		{ SOCKET_TRY("socket.AF_INET, socket.SOCK_STREAM"), "made" },
		{ SOCKET_TRY("socket.AF_INET6, socket.SOCK_STREAM, 6"), "made" },
		{ SOCKET_TRY("socket.AF_INET, socket.SOCK_DGRAM, 17"), "made" },
		{ SOCKET_TRY("socket.AF_UNIX, socket.SOCK_STREAM"), "made" },
		{ SOCKET_TRY("socket.AF_UNIX, socket.SOCK_SEQPACKET"), "made" },
		{ SOCKET_TRY("socket.AF_NETLINK, socket.SOCK_RAW, 0"), "made" },
		{ SOCKET_TRY("socket.AF_NETLINK, socket.SOCK_RAW, 4"), "1" },
		{ SOCKET_TRY("socket.AF_PACKET, socket.SOCK_RAW"), "1" },
		{ SOCKET_TRY("socket.AF_VSOCK, socket.SOCK_STREAM"), "1" },
		{ SOCKET_TRY("socket.AF_ALG, socket.SOCK_SEQPACKET"), "1" },
		{ SOCKET_TRY("socket.AF_INET, socket.SOCK_RAW, 1"), "1" },
		{ SOCKET_TRY("socket.AF_INET, socket.SOCK_DGRAM, 1"), "1" },
		{ SOCKET_TRY("socket.AF_INET, socket.SOCK_DGRAM, 136"), "1" },
		{ SOCKET_TRY("socket.AF_INET6, socket.SOCK_DGRAM, 136"), "1" },
		{ SOCKET_TRY("socket.AF_INET, socket.SOCK_STREAM, 262"), "1" },
		{ SOCKET_TRY("socket.AF_INET, socket.SOCK_STREAM, 132"), "1" },
		{ SOCKET_TRY("socket.AF_INET, socket.SOCK_SEQPACKET"), "1" },
	};

	launch_default();
	for (size_t i = 0; i < OSH_COUNT_OF(cases); i++)
		expect_sh(cases[i].line, cases[i].want);
	/* Every family that is not one of the four. */
	expect_sh(PY("import socket\nfor f in range(0,64):\n  for t in (1,2,3,5):\n    try:\n      "
		     "socket.socket(f,t)\n      if f not in (1,2,10,16): print(f,t,\"made\")\n    except "
		     "OSError as e:\n      if f not in (1,2,10,16) and e.errno != 1: print(f,t,e.errno)"), "");
	end_world();
}

Test(inside, goes_without_the_calls_of_the_table)
{
	/* Numbers of x86-64 below 424, of every architecture above. */
	static const struct { const char *line, *want; } cases[] = {
		{ CALL_TRY("39"), "done" },                   /* getpid: calls work this way */
		{ CALL_TRY("425, 8, 0"), "1" },               /* io_uring_setup */
		{ CALL_TRY("101, 0, 0, 0, 0"), "1" },         /* ptrace(TRACEME) */
		{ CALL_TRY("310, 1, 0, 0, 0, 0, 0"), "1" },   /* process_vm_readv */
		{ CALL_TRY("438, 0, 0, 0"), "1" },            /* pidfd_getfd */
		{ CALL_TRY("321, 0, 0, 0"), "1" },            /* bpf */
		{ CALL_TRY("298, 0, 0, -1, -1, 0"), "1" },    /* perf_event_open */
		{ CALL_TRY("323, 1"), "1" },                  /* userfaultfd */
		{ CALL_TRY("250, 0, 0"), "1" },               /* keyctl */
		{ CALL_TRY("165, 0, 0, 0, 0, 0"), "1" },      /* mount */
		{ CALL_TRY("428, -100, 0, 0"), "1" },         /* open_tree */
		{ CALL_TRY("430, 0, 0"), "1" },               /* fsopen */
		{ CALL_TRY("161, 0"), "1" },                  /* chroot */
		{ CALL_TRY("308, 0, 0"), "1" },               /* setns */
		{ CALL_TRY("435, 0, 0"), "38" },              /* clone3: ENOSYS */
		{ CALL_TRY("467, 0, 0, 0, 0, 0"), "38" },     /* open_tree_attr: newer than the table */
		{ CALL_TRY("272, 0x200"), "done" },           /* unshare(CLONE_FS) */
		{ CALL_TRY("272, 0x10000000"), "1" },         /* unshare(CLONE_NEWUSER) */
		{ CALL_TRY("272, 0x40000000"), "1" },         /* unshare(CLONE_NEWNET) */
		{ CALL_TRY("272, 0x00000080"), "1" },         /* unshare(CLONE_NEWTIME) */
		{ CALL_TRY("56, 0x10000011, 0, 0, 0, 0"), "1" }, /* clone(CLONE_NEWUSER) */
		{ CALL_TRY("157, 35, 14, 0, 0, 0"), "1" },    /* prctl(PR_SET_MM) */
		{ CALL_TRY("16, 0, 0x5412, 0"), "1" },        /* ioctl(TIOCSTI) */
		{ CALL_TRY("16, 0, 0x1000000005412, 0"), "1" }, /* the same, with bits the kernel ignores */
	};

	launch_default();
	for (size_t i = 0; i < OSH_COUNT_OF(cases); i++)
		expect_sh(cases[i].line, cases[i].want);
	end_world();
}

/* The 32-bit and x32 doors: the same call by the ordinary door stands beside it. */
Test(inside, has_no_other_door_to_the_kernel)
{
	static const char source[] =
		"#include <stdio.h>\n#include <unistd.h>\n#include <errno.h>\n#include <sys/syscall.h>\n"
		"int main(int c, char **v) { long r; (void)v;\n"
		"if (c == 1) r = syscall(SYS_getpid);\n"
		"else if (c == 2) r = syscall(0x40000000 | SYS_getpid);\n"
		"else __asm__ volatile(\"int $0x80\" : \"=a\"(r) : \"a\"(20L) : \"memory\");\n"
		"printf(\"%s\\n\", r > 0 ? \"done\" : errno == ENOSYS ? \"ENOSYS\" : \"?\"); return 0; }\n";
	static struct run run;
	char path[128];

	if (sizeof(long) != 8)
		cr_skip_test("only 64-bit kernels have more than one door");
	launch_default();
	snprintf(path, sizeof(path), "%s/door.c", world.dir);
	cr_assert(eq(int, osh_replace_file(path, source, sizeof(source) - 1, 0644), 0));
	{
		const char *const argv[] = { "gcc", "-x", "c", "-o", "/sandbox/door", "-", NULL };
		int in = open(path, O_RDONLY | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
		struct osh_sandbox_command command = { .argv = argv, .stdio = { in, null, null } };
		struct osh_sandbox_command_events events = events_of(&run);

		cr_assert(eq(int, osh_sandbox_spawn(world.box, &command, &events, NULL), 0));
		run_loop_until(&run.ended);
		cr_assert(eq(int, run.status, 0));
		close(in);
		close(null);
	}
	unlink(path);
	expect_sh("/sandbox/door", "done");
	expect_sh("/sandbox/door x32", "ENOSYS");
#ifdef __x86_64__
	/* A kernel without 32-bit emulation has no such door for anybody: SIGSEGV outside too. */
	snprintf(path, sizeof(path), "%s/sandbox/door i386 by int80 > /dev/null 2>&1",
		 osh_sandbox_dir(world.box));
	cr_expect(eq(int, sh(&run, "/sandbox/door i386 by int80"),
		     outside(path) == 0 ? 128 + SIGSYS : 128 + SIGSEGV), "%s", run.output);
#endif
	end_world();
}

Test(inside, cannot_write_into_another_program)
{
	static const char *const line =
		"sleep 100 & p=$!; head -c 4 /proc/$p/maps > /dev/null && echo readable; "
		"/usr/bin/python3 -c 'import sys\ntry: open(\"/proc/\" + sys.argv[1] + \"/mem\", \"r+b\")\n"
		"except OSError as e: print(e.errno)' $p";

	launch_default();
	expect_sh(line, "readable\n30");
	cr_expect(eq(int, osh_sandbox_destroy(world.box, NULL), 0));
	{
		static char *read_only[] = { "/usr", "/lib", "/lib64", "/bin" }, *read_write[] = { "/proc" };
		struct osh_policy_static policy = { .has_filesystem = true, .include_workdir = true,
						    .read_only = read_only, .read_only_count = 4,
						    .read_write = read_write, .read_write_count = 1 };

		free(world.warnings);
		world.warnings = NULL;
		launch_policy(&policy);
	}
	/* Whatever the policy grants. */
	expect_sh(line, "readable\n30");
	end_world();
}

Test(inside, cannot_touch_its_init_or_the_host)
{
	char line[96];

	launch_default();
	expect_sh("kill -9 1; kill -0 $$ && echo alive", "alive");
	expect_sh_fails("ls /proc/1/fd", "No such file");
	expect_sh("ls -d /proc/$$/fd >/dev/null && echo own", "own");
	snprintf(line, sizeof(line), "kill -0 %d", getpid());
	expect_sh_fails(line, "");
	expect_sh("(sleep 100 & kill -0 $!) && echo child", "child");
	expect_sh_fails("/run/openshell/init", "is started by openshelld");
	expect_sh_fails("unshare -Urn true", "Operation not permitted");
	end_world();
}

/* ---- Landlock --------------------------------------------------------------------- */

Test(inside, landlock_leaves_out_what_the_policy_does_not_name)
{
	static char *read_only[] = { "/usr", "/lib", "/lib64", "/bin", "/etc/passwd" };
	struct osh_policy_static policy = { .has_filesystem = true, .read_only = read_only,
					    .read_only_count = OSH_COUNT_OF(read_only) };

	launch_policy(&policy);
	expect_sh("head -1 /etc/passwd | cut -d: -f1", "root");
	expect_sh_fails("cat /etc/hosts", "Permission denied");
	expect_sh_fails("cat /proc/version", "Permission denied");
	expect_sh_fails("ls /sandbox", "Permission denied");
	expect_sh_fails("echo x > /tmp/f", "Permission denied");
	expect_sh("echo fine > /dev/null && echo fine", "fine");
	end_world();
}

Test(inside, landlock_best_effort_says_what_it_leaves_out)
{
	static char *read_only[] = { "/usr", "/lib", "/lib64", "/bin", "/no/such/path" };
	struct osh_policy_static policy = { .has_filesystem = true, .include_workdir = true,
					    .read_only = read_only,
					    .read_only_count = OSH_COUNT_OF(read_only) };

	launch_policy(&policy);
	cr_assert(ne(ptr, world.warnings, NULL));
	cr_expect(eq(str, world.warnings,
		     "filesystem_policy: /no/such/path is left out: No such file or directory\n"));
	expect_sh("echo x > f && cat f", "x");
	end_world();
}

Test(inside, landlock_hard_requirement_refuses_an_absent_path_and_takes_present_ones)
{
	static char *read_only[] = { "/usr", "/lib", "/lib64", "/bin", "/no/such/path" };
	struct osh_policy_static policy = { .has_filesystem = true, .include_workdir = true,
					    .landlock = OSH_LANDLOCK_HARD_REQUIREMENT,
					    .read_only = read_only, .read_only_count = 4 };
	struct osh_sandbox_spec spec = { .name = "demo", .policy = &policy };
	struct osh_err err = { 0 };

	launch_policy(&policy);
	expect_sh("echo works", "works");
	cr_expect(eq(int, osh_sandbox_destroy(world.box, NULL), 0));
	policy.read_only_count = 5;
	cr_expect(eq(int, launch_with("demo", &spec, &err), -ENOENT));
	cr_expect(ne(ptr, strstr(err.message, "Landlock: /no/such/path (compatibility is hard_requirement)"),
		     NULL), "%s", err.message);
	end_world();
}

Test(inside, binds_paths_that_the_policy_names)
{
	char shown[64], writable[64], hidden[64], line[256];
	char *read_only[] = { "/usr", "/lib", "/lib64", "/bin", shown };
	char *read_write[] = { writable };
	struct osh_policy_static policy = { .has_filesystem = true, .include_workdir = true,
					    .read_only = read_only,
					    .read_only_count = OSH_COUNT_OF(read_only),
					    .read_write = read_write, .read_write_count = 1 };
	char base[] = "/srv/oshs-XXXXXX";

	cr_assert(ne(ptr, mkdtemp(base), NULL));
	chmod(base, 0755);
	snprintf(shown, sizeof(shown), "%s/shown", base);
	snprintf(writable, sizeof(writable), "%s/writable", base);
	snprintf(hidden, sizeof(hidden), "%s/hidden", base);
	mkdir(shown, 0777);
	mkdir(writable, 0777);
	chmod(shown, 0777);
	chmod(writable, 0777);
	mkdir(hidden, 0777);
	launch_policy(&policy);
	snprintf(line, sizeof(line), "ls %s && echo listed", shown);
	expect_sh(line, "listed");
	snprintf(line, sizeof(line), "touch %s/f", shown);
	expect_sh_fails(line, "f");
	snprintf(line, sizeof(line), "echo x > %s/f && cat %s/f && rm %s/f", writable, writable, writable);
	expect_sh(line, "x");
	snprintf(line, sizeof(line), "ls %s", hidden);
	expect_sh_fails(line, "hidden");
	end_world();
	rmdir(shown);
	rmdir(writable);
	rmdir(hidden);
	cr_expect(eq(int, rmdir(base), 0));
}

Test(inside, never_shows_the_agents_own_state)
{
	char state[128];
	char *read_only[] = { "/usr", "/lib", "/lib64", "/bin", "/", state };
	struct osh_policy_static policy = { .has_filesystem = true, .include_workdir = true,
					    .read_only = read_only,
					    .read_only_count = OSH_COUNT_OF(read_only) };
	char line[160];

	snprintf(state, sizeof(state), "%s/sandboxes", world.state);
	launch_policy(&policy);
	snprintf(line, sizeof(line), "ls %s", state);
	expect_sh_fails(line, "No such file");
	expect_sh("cat /etc/hostname", "demo"); /* "/" is the sandbox's root, all of it */
	expect_sh_fails("cat /etc/shadow", "Permission denied");
	end_world();
}

Test(inside, takes_user_and_group_from_the_policy)
{
	struct osh_policy_static policy = default_static();

	policy.uid = 123456;
	policy.gid = 123457;
	launch_policy(&policy);
	expect_sh("id -u; id -g; id -un; echo x > /sandbox/f; stat -c %u:%g /sandbox/f",
		  "123456\n123457\nsandbox\n123456:123457");
	end_world();
}

/* ---- Common programs ------------------------------------------------------------------ */

Test(inside, common_programs_run)
{
	static const struct { const char *line, *want; } cases[] = {
		{ "/bin/bash -c 'x=(a b); echo ${#x[@]}; diff <(echo a) <(echo a) && echo same'", "2\nsame" },
		{ "git init -q r && cd r && git config user.email a@b && git config user.name n && echo x > f "
		  "&& git add f && git commit -qm one && git log --format=%s && git clone -q . ../c && cat "
		  "../c/f", "one\nx" },
		{ "/usr/bin/python3 -c 'import threading, subprocess, multiprocessing as m, tempfile\nt = "
		  "threading.Thread(target=print, args=(\"thread\",)); t.start(); t.join()\nprint(subprocess."
		  "check_output([\"echo\", \"child\"]).decode().strip())\nwith m.Pool(2) as p: print(p.map(abs"
		  ", [-1, -2]))'", "thread\nchild\n[1, 2]" },
		{ "node -e 'const w = require(\"worker_threads\"); console.log(require(\"os\").userInfo()."
		  "username, require(\"fs\").readFileSync(\"/etc/hostname\", \"utf8\").trim())'", "sandbox demo" },
		{ "printf '#include <stdio.h>\\nint main(void){puts(\"hi\");return 0;}\\n' > a.c && gcc a.c -o a "
		  "&& ./a", "hi" },
		{ "curl -s file:///etc/hostname", "demo" },
		{ "npm --version | grep -c '[0-9]'", "1" },
		{ "/usr/bin/python3 -m venv v --without-pip && v/bin/python -c 'import ssl; print(len("
		  "ssl.create_default_context().get_ca_certs()) > 50)'", "True" },
		{ "wget -q -O - http://127.0.0.1:9/ ; echo $?", "4" },
		{ "echo a b | awk '{print $2}' | sed s/b/c/ | sort | xargs echo", "c" },
		{ "seq 3 | tee /dev/stderr 2>/dev/null | wc -l", "3" },
		{ "script -qc 'tty' /dev/null | tr -d '\\r'", "/dev/pts/0" },
	};

	launch_default();
	for (size_t i = 0; i < OSH_COUNT_OF(cases); i++)
		expect_sh(cases[i].line, cases[i].want);
	end_world();
}

/* ---- Two at once ------------------------------------------------------------------------ */

Test(inside, two_sandboxes_do_not_meet)
{
	struct osh_policy_static policy = default_static();
	struct osh_sandbox_spec spec = { .name = "other", .policy = &policy };
	struct osh_sandbox_instance *first;
	struct osh_err err = { 0 };
	uid_t uid;

	launch_default();
	expect_sh("echo first > /tmp/f; echo first > /dev/shm/f; cat /tmp/f", "first");
	first = world.box;
	uid = osh_sandbox_uid(first);
	free(world.warnings);
	world.warnings = NULL;
	cr_assert(eq(int, launch_with("other", &spec, &err), 0), "%s", err.message);
	cr_expect(ne(u32, osh_sandbox_uid(world.box), uid));
	expect_sh_fails("cat /tmp/f", "No such file");
	expect_sh_fails("cat /dev/shm/f", "No such file");
	expect_sh("hostname", "other");
	cr_expect(eq(int, osh_sandbox_destroy(world.box, NULL), 0));
	world.box = first;
	expect_sh("cat /tmp/f; hostname", "first\ndemo");
	end_world();
}
