#!/usr/bin/env bats
# What a program inside can see and do besides the network; and what the proxy, which
# parses hostile bytes, can do.

load helpers

bats_require_minimum_version 1.5.0

setup_file() {
	start_all
	install_probe
	make_sandbox box default
	make_sandbox lab "$SCRATCH/probe.yaml"
}

teardown_file() { stop_all; }
teardown() { end_cores; }

inspect() {
	BODY=$(osh sandbox get "$1" -o json)
	json "b[\"$2\"]"
}

status_field() { awk -v key="$2:" '$1 == key { print $2 }' "/proc/$1/status"; }

@test "its own user, with an entry in passwd and no account on the host" {
	local uid
	uid=$(inside box id -u)
	((uid > 65535))
	expect_equal "$(inside box id -un)" sandbox
	expect_equal "$(inside box id -G)" "$(inside box id -g)" "groups"
	refute getent passwd "$uid"
	expect_equal "$(inspect box uid)" "$uid"
	expect_equal "$(inside box sh -c 'cd && pwd && echo $HOME')" $'/sandbox\n/sandbox'
	make_sandbox box2 default
	[[ $(inside box2 id -u) != "$uid" ]]
	osh sandbox delete box2
}

@test "no capability, no new privileges, a seccomp filter" {
	run inside box cat /proc/self/status
	expect_contains "$output" $'CapEff:\t0000000000000000'
	expect_contains "$output" $'CapPrm:\t0000000000000000'
	expect_contains "$output" $'CapBnd:\t0000000000000000'
	expect_contains "$output" $'CapAmb:\t0000000000000000'
	expect_contains "$output" $'NoNewPrivs:\t1'
	expect_contains "$output" $'Seccomp:\t2'
}

@test "namespaces of its own" {
	local pid kind
	pid=$(inspect box pid)
	for kind in cgroup ipc mnt net pid uts; do
		[[ $(readlink "/proc/$pid/ns/$kind") != "$(readlink "/proc/$$/ns/$kind")" ]] || fail "shares $kind"
	done
	(($(inside box sh -c 'echo $$') < 1000))
	refute inside box test -e "/proc/$AGENT_PID"
	run inside box sh -c 'cat /proc/[0-9]*/comm'
	expect_lacks "$output" bats
	run inside box unshare -Ur true
	((status != 0))
}

@test "only descriptors 0, 1 and 2" {
	run inside box ls /proc/self/fd
	# 3 is the directory that ls itself reads.
	expect_equal "$(paste -sd' ' <<<"$output")" "0 1 2 3"
	exec 7</etc/passwd 8</
	run inside box sh -c 'ls /proc/$$/fd'
	exec 7<&- 8<&-
	expect_lacks "$output" 7
	expect_lacks "$output" 8
}

@test "what the policy makes writable is, the rest is not" {
	local path
	inside box sh -c 'echo x >/sandbox/f && cat /sandbox/f && echo x >/tmp/f && echo x >/dev/null'
	for path in /usr/x /etc/x /var/log/x /x /usr/bin/curl /etc/passwd /bin/x /dev/x; do
		run inside box sh -c "echo x >>$path"
		((status != 0)) || fail "$path is writable"
	done
	inside box cat /etc/hostname /etc/resolv.conf /etc/hosts >/dev/null
	inside box sh -c 'head -c 4 /dev/urandom >/dev/null'
}

@test "every mount is without setuid and devices, and read-only but for what is its own" {
	local where options count=0
	while read -r where options; do
		expect_contains "$options" nosuid
		[[ $options == *nodev* || $where == /dev || $where == /dev/pts ]] || fail "devices on $where"
		case $where in
		/sandbox | /tmp | /dev/pts | /dev/shm) expect_contains ",$options" ,rw ;;
		*) expect_contains ",$options" ,ro ;;
		esac
		((++count))
	done < <(inside box awk '{ print $5, $6 }' /proc/self/mountinfo)
	((count > 10))
	run inside box mknod /sandbox/disk b 8 0
	((status != 0))
	# What is setuid on the host is not here.
	inside box test -u /usr/bin/su
	run inside box sh -c 'su -c id root </dev/null'
	((status != 0))
}

@test "other users' processes are hidden, its pid 1 too" {
	run inside box grep ' /proc ' /proc/self/mountinfo
	expect_contains "$output" hidepid=invisible
	run inside box ls /proc
	refute grep -qx 1 <<<"$output"
	inside box sh -c 'test -d /proc/$$'
}

@test "a session of its own, without the caller's terminal" {
	run inside box python3 -c 'import os
print(os.getsid(0) == os.getpid() == os.getpgid(0))
os.open("/dev/tty", os.O_RDWR)'
	expect_contains "$output" True
	expect_contains "$output" "No such device or address: '/dev/tty'"
	run inside box python3 -c 'import fcntl, os, pty, termios
master, slave = pty.openpty()
os.write(master, b"x\n")
print(os.read(slave, 2))
fcntl.ioctl(slave, termios.TIOCSTI, b"x")'
	expect_contains "$output" "b'x\\n'"
	expect_contains "$output" "Operation not permitted"
}

@test "/sandbox and /tmp are its own" {
	local canary
	canary=$(new_canary)
	make_sandbox box2 default
	inside box sh -c "echo $canary >/tmp/mine; echo $canary >/sandbox/mine"
	run inside box2 cat /tmp/mine
	((status != 0))
	run inside box2 cat /sandbox/mine
	((status != 0))
	[[ ! -e /tmp/mine && ! -e /sandbox/mine ]]
	expect_equal "$(inside box cat /tmp/mine)" "$canary"
	osh sandbox delete box2
}

@test "secrets and sockets of the host are not there" {
	local path
	for path in /etc/shadow /root /home /run/docker.sock "$AGENT_DIR" "$AGENT_SOCKET" "$WORLD_DIR" \
		/run/openshell/openshell.sock /var/lib/openshell /sys/fs/bpf /sys/kernel/btf/vmlinux /proc/kcore /proc/sysrq-trigger; do
		run inside box sh -c "ls -A $path/ 2>/dev/null | head -n 1; cat $path 2>/dev/null | head -c 1"
		expect_equal "$output" "" "$path"
	done
	inside box test -r /etc/passwd
}

@test "the control socket is out of reach, by path and by descriptor" {
	run inside box python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])' "$AGENT_SOCKET"
	((status != 0))
	expect_contains "$output" Error
	# A peer that lives in a sandbox's cgroup is refused, wherever it got the path from.
	local pid
	pid=$(inspect box pid)
	run bash -c 'echo $$ >"$1/cgroup.procs" && exec "$2" --socket "$3" sandbox list' _ \
		"$(cgroup_of "$pid")" "$BUILD/openshell" "$AGENT_SOCKET"
	((status != 0))
	expect_lacks "$output" running
	run osh sandbox list
	expect_equal "$status" 0
	expect_contains "$output" box
}

@test "the host's Unix sockets are out of reach, the sandbox's own are not" {
	local server=$SCRATCH/host.sock pid path
	/usr/bin/python3 -c 'import socket, sys, time
servers = []
for address in sys.argv[1], "/run/osh-host-%s.sock" % sys.argv[2], "\0osh-host-" + sys.argv[2]:
    for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
        server = socket.socket(socket.AF_UNIX, kind)
        server.bind(address if kind == socket.SOCK_STREAM else address + ".dgram")
        servers.append(server)
        if kind == socket.SOCK_STREAM: server.listen()
print("listening", flush=True)
sys.stdin.read()' "$server" $$ >"$SCRATCH/server" 3>&- < <(tail -f /dev/null --pid=$$) &
	pid=$!
	wait_until 5 has_line "$SCRATCH/server" listening
	run inside box python3 -c 'import socket, sys
for address in sys.argv[1:]:
    for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
        where = address.replace("@", "\0", 1) + ("" if kind == socket.SOCK_STREAM else ".dgram")
        try:
            socket.socket(socket.AF_UNIX, kind).connect(where)
            print("reached", address)
        except OSError as error:
            print("refused")' "$server" "/run/osh-host-$$.sock" "@osh-host-$$" /run/systemd/private /run/docker.sock
	kill "$pid"
	rm -f "/run/osh-host-$$.sock" "/run/osh-host-$$.sock.dgram"
	expect_lacks "$output" reached
	expect_equal "$(grep -c refused <<<"$output")" 10
	run inside box python3 -c 'import socket
for address in "/tmp/own.sock", "\0own":
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen()
    socket.socket(socket.AF_UNIX).connect(address)
    print("reached")'
	expect_equal "$output" $'reached\nreached'
}

# A20
@test "no namespace is made or entered; threads and children are" {
	run net_no lab namespaces
	expect_equal "$output" ""
	run inside lab python3 -c 'import ctypes, os, subprocess, threading
libc = ctypes.CDLL(None, use_errno=True)
for name in "net", "mnt", "user", "pid":
    held = os.open(f"/proc/self/ns/{name}", os.O_RDONLY)
    print(libc.setns(held, 0), ctypes.get_errno())
print(libc.setns(os.pidfd_open(os.getpid()), 0x40000000), ctypes.get_errno())
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
if os.fork() == 0: os._exit(0)
print("child", os.wait()[1], os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)[1])'
	expect_equal "$output" $'-1 1\n-1 1\n-1 1\n-1 1\n-1 1\nthread\nchild 0 0'
}

# A21
@test "what the caller holds open stays outside" {
	run /usr/bin/python3 -c 'import os, socket, subprocess, sys
held = [socket.create_server(("127.0.0.1", 0)), open("/etc/passwd"), socket.socketpair()[0]]
held += [os.open(path, os.O_RDONLY) for path in ("/", "/proc/self/ns/net", "/root")]
for number, item in enumerate(held, 3): os.dup2(item if isinstance(item, int) else item.fileno(), number + 20, True)
subprocess.run([sys.argv[1], "sandbox", "exec", "lab", "--", "python3", "-c", """import os
print(sorted(os.listdir("/proc/self/fd")))
for number in range(3, 40):
    try: os.stat("etc/shadow", dir_fd=number); print("open", number)
    except OSError: pass"""], close_fds=False)' "$BUILD/openshell"
	expect_equal "$output" "['0', '1', '2', '3']"
	run bash -c 'echo through | "$1" sandbox exec lab -- cat' _ "$BUILD/openshell"
	expect_equal "$output" through
}

# A23
@test "one program is not driven by another, nor are its connections taken" {
	local canary
	canary=$(new_canary)
	# shellcheck disable=SC2016  # for the inner shell
	run inside lab sh -c 'mkfifo end && exec 9<>end && rm end && { "$1/net-ok" hold l4.test 5432 held <&9 & } &&
		until test -s held; do :; done; "$1/net-no" steal held "$2"
		exec 2>/dev/null; read -r pid rest <held; grep -q net-ok "/proc/$pid/status" && kill "$pid" && wait "$pid"; echo "status $?"' _ "$PROBES" "$canary"
	# /proc is read-only before Landlock is asked.
	expect_equal "$output" $'pidfd_getfd EPERM\nprocess_vm_writev EPERM\nmem EROFS\nptrace EPERM\nstatus 143'
	expect_absent "$canary"
}

# A24
@test "a Node is not made to run what another program sends it" {
	# shellcheck disable=SC2016  # for the inner shell
	run inside lab sh -c 'node -e "require(\"http\").createServer((q, s) => s.end(\"served\")).listen(8024)" 2>inspector & node=$!
		until python3 -c "import socket; socket.create_connection((\"127.0.0.1\", 8024))" 2>/dev/null; do :; done
		kill -USR1 $node; until grep -q listening inspector; do :; done
		python3 -c "$1"; kill $node' _ 'import errno, socket, urllib.request
for host in "127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "127.0.0.2":
    try: socket.create_connection((host, 9229)); print("inspects")
    except OSError as error: print(errno.errorcode[error.errno])
print(urllib.request.urlopen("http://127.0.0.1:8024/").read().decode())'
	expect_equal "$output" $'EPERM\nEPERM\nEPERM\nEPERM\nserved'
	expect_verdicts 1 lab l7_decision=deny dst_host=127.0.0.2 dst_port=9229 binary=/usr/bin/python3.11 \
		"l7_deny_reason~Node runs the code that it is sent"
	run osh policy validate "$SCRATCH/probe.yaml"
	expect_contains "$output" "'/usr/bin/node' runs any script"
}

# A26: in crash.bats while the agent is away; the hook does not ask whether it is there.
@test "the agent's ports are not to be had" {
	run inside lab python3 -c 'import socket, errno
for host, port in ("198.18.0.1", 1), ("0.0.0.0", 1), ("::", 53), ("127.0.0.1", 53), ("127.0.0.1", 8000):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try: sock.bind((host, port)); print("bound")
    except OSError as error: print(errno.errorcode[error.errno])'
	expect_equal "$output" $'EPERM\nEPERM\nEPERM\nEPERM\nbound'
}

# A29
@test "no way out of the cgroup" {
	run inside lab grep cgroup /proc/self/mountinfo
	expect_equal "$output" ""
	expect_equal "$(inside lab cat /proc/self/cgroup | sed -n 's/^0:://p')" /
	run inside lab sh -c 'setsid sh -c "cat /proc/self/cgroup"'
	expect_contains "$output" 0::/
	run inside lab ls -A /sys
	expect_contains "$output" "Permission denied"
}

# A35, A36
@test "the other doors of the kernel are shut, and stay shut" {
	run net_no lab abi
	if [[ $(uname -m) == x86_64 ]]; then
		expect_equal "$output" $'int80 SYS\nx32 refused\nnative ok'
	else
		expect_equal "$output" "native ok"
	fi
	run net_no lab calls
	expect_equal "$output" ""
	run net_no lab filter
	expect_equal "$output" $'install ok\nvsock EPERM'
}

# A43: a core limit of 0 would not keep a pipe's helper from being started.
@test "no helper of the host is started on behalf of a sandbox" {
	local pattern
	pattern=$(</proc/sys/kernel/core_pattern)
	printf '#!/bin/sh\ncat >/dev/null\necho "$1" >>%s/cores\n' "$SCRATCH" >"$SCRATCH/helper"
	chmod 0755 "$SCRATCH/helper"
	: >"$SCRATCH/cores"
	echo "|$SCRATCH/helper %e" >/proc/sys/kernel/core_pattern
	run inside lab sh -c 'python3 -c "import ctypes; ctypes.string_at(0)"; echo $?'
	# Who says 0 for more safety means no less.
	run inside lab sh -c 'ulimit -c 0; prlimit --core=0 true; python3 -c "import ctypes, resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))
print(*resource.getrlimit(resource.RLIMIT_CORE), *resource.getrlimit(resource.RLIMIT_NOFILE), flush=True)
ctypes.string_at(0)"; echo $?'
	bash -c 'ulimit -c unlimited; exec -a osh-core python3 -c "import ctypes; ctypes.string_at(0)"' 2>/dev/null || true
	wait_until 5 has_line "$SCRATCH/cores" python3 || true
	echo "$pattern" >/proc/sys/kernel/core_pattern
	expect_equal "${lines[*]: -3}" "1 1 99 99 Segmentation fault 139"
	# The twin outside did start it, once.
	expect_equal "$(wc -l <"$SCRATCH/cores")" 1 "helpers started"
}

# A43: nor a limit of 1 a server on a socket.
@test "no server of the host gets the memory of who crashes in a sandbox" {
	local canary
	canary=$(new_canary)
	serve_cores
	inside lab python3 -c "$CRASH" "$canary" || true
	ask_cores
	inside lab python3 -c "$CRASH" "$canary" || true
	expect_no_core "$canary"
	expect_verdicts 2 lab engine=kernel l7_decision=deny "l7_deny_reason~a crash may not hand its memory"
}

# A44
@test "IPC of the host is another's" {
	local key=$((RANDOM + 70000)) id
	id=$(/usr/bin/python3 -c 'import ctypes, sys
print(ctypes.CDLL(None).shmget(int(sys.argv[1]), 4096, 0o1666))' "$key")
	echo x >"/dev/shm/osh-$$"
	run inside lab python3 -c 'import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
print(libc.shmget(int(sys.argv[1]), 4096, 0o666), ctypes.get_errno(), os.path.exists("/dev/shm/osh-" + sys.argv[2]))
print(libc.shmget(int(sys.argv[1]), 4096, 0o1666) >= 0)
from multiprocessing import shared_memory
own = shared_memory.SharedMemory(create=True, size=16); own.close(); own.unlink(); print("own")' "$key" $$
	rm "/dev/shm/osh-$$"
	ipcrm -m "$id"
	expect_equal "$output" $'-1 2 False\nTrue\nown'
	run inside lab python3 -c 'import errno, fcntl, os, pty, termios
master, slave = pty.openpty()
try: fcntl.ioctl(slave, termios.TIOCSTI, b"x"); print("typed")
except OSError as error: print(errno.errorcode[error.errno])'
	expect_equal "$output" EPERM
}

# A45
@test "what the host runs later from a shared directory is not written inside" {
	local shared=/var/lib/osh-shared-$$ before
	mkdir -p "$shared/.vscode"
	git init -q "$shared"
	echo '#!/bin/sh' >"$shared/.git/hooks/pre-commit"
	echo 'export A=1' >"$shared/.envrc"
	echo '{}' >"$shared/.vscode/tasks.json"
	echo '{}' >"$shared/.vscode/settings.json"
	echo one >"$shared/source"
	git -C "$shared" add source
	chmod -R a+rwX "$shared"
	before=$(cd "$shared" && sha256sum .git/hooks/* .git/config .envrc .vscode/tasks.json)
	sed "s|read_write: \[|&$shared, |" "$SCRATCH/probe.yaml" >"$SCRATCH/shared.yaml"
	run osh sandbox create --name shared --policy "$SCRATCH/shared.yaml" </dev/null
	expect_contains "$output" "read-only in $shared, because the host runs them: .git/hooks, .git/config, .vscode/tasks.json, .envrc"
	# shellcheck disable=SC2016  # for the inner shell
	run inside shared sh -c 'cd "$1"
		for file in .git/hooks/pre-commit .git/hooks/post-checkout .git/config .vscode/tasks.json .envrc; do
			(echo x >>"$file") 2>/dev/null && echo "wrote $file"; done
		for file in .git .git/hooks .git/config .vscode .vscode/tasks.json .envrc; do
			mv "$file" aside 2>/dev/null && echo "moved $file"; done
		rm -rf .git/hooks .git/config .vscode/tasks.json .envrc 2>/dev/null && echo removed
		ln -sf /bin/true .git/hooks/post-merge 2>/dev/null && echo linked
		python3 -c "import ctypes; print(ctypes.CDLL(None).umount2(b\".git/hooks\", 2))"' _ "$shared"
	expect_equal "$output" -1
	expect_equal "$(cd "$shared" && sha256sum .git/hooks/* .git/config .envrc .vscode/tasks.json)" "$before"
	# T: work goes on, and what is named is writable.
	inside shared sh -c 'cd "$1" && echo two >>source && echo "{ }" >.vscode/settings.json && git -c safe.directory="*" -c user.name=a -c user.email=a@b commit -qam x' _ "$shared"
	expect_equal "$(cat "$shared/source")" $'one\ntwo'
	sed -i "s|read_write: \[|&$shared/.envrc, |" "$SCRATCH/shared.yaml"
	osh sandbox delete shared
	make_sandbox shared "$SCRATCH/shared.yaml"
	inside shared sh -c 'echo more >>"$1/.envrc" && ! echo x >>"$1/.git/config"' _ "$shared"
	expect_contains "$(cat "$shared/.envrc")" more
	osh sandbox delete shared
	rm -r "$shared"
}

# A46
@test "one sandbox does not reach another" {
	local address server='import socket, sys, threading
for family, address in (socket.AF_INET, ("0.0.0.0", 8100)), (socket.AF_UNIX, "\0sibling"), (socket.AF_UNIX, "/tmp/sibling"):
    sock = socket.socket(family); sock.bind(address); sock.listen()
    threading.Thread(target=lambda sock=sock: [sock.accept() for _ in range(9)], daemon=True).start()
open("/dev/shm/sibling", "w").close(); open("/tmp/ready", "w").close(); threading.Event().wait()' client='import errno, os, socket
for family, address in (socket.AF_INET, ("127.0.0.1", 8100)), (socket.AF_INET, ("198.18.0.1", 8100)), (socket.AF_UNIX, "\0sibling"), (socket.AF_UNIX, "/tmp/sibling"):
    try: socket.socket(family).connect(address); print("reached", end=" ")
    except OSError as error: print(errno.errorcode[error.errno], end=" ")
print(os.path.exists("/dev/shm/sibling"))'
	inside lab sh -c 'python3 -c "$1" >/dev/null 2>&1 & until test -e /tmp/ready; do :; done' _ "$server"
	run inside box python3 -c "$client"
	expect_equal "$output" "ECONNREFUSED EPERM ECONNREFUSED ENOENT False"
	run inside lab python3 -c "$client"
	expect_equal "$output" "reached EPERM reached reached True"
}

@test "the environment holds what is named, nothing of the caller's" {
	SSH_AUTH_SOCK=/tmp/agent AWS_SECRET_ACCESS_KEY=secret LD_PRELOAD='' DOCKER_HOST=x \
		run inside box env
	expect_lacks "$output" SSH_AUTH_SOCK
	expect_lacks "$output" AWS_SECRET
	expect_lacks "$output" LD_PRELOAD
	expect_lacks "$output" DOCKER_HOST
	expect_contains "$output" HOME=/sandbox
	expect_contains "$output" PATH=
	run --separate-stderr osh sandbox create --name named --env COLOUR=blue --no-keep -- printenv COLOUR
	expect_equal "$output" blue
}

@test "system calls that lead out of the sandbox fail" {
	run inside box python3 -c 'import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
calls = {"bpf": 321, "io_uring_setup": 425, "perf_event_open": 298, "keyctl": 250, "mount": 165,
         "unshare": 272, "setns": 308, "ptrace": 101, "process_vm_writev": 311, "pidfd_getfd": 438,
         "userfaultfd": 323, "kexec_load": 246, "open_tree": 428, "fsopen": 430}
for name, number in calls.items():
    if libc.syscall(number, 0x10000000, 0, 0, 0, 0, 0) >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        print(name, errno.errorcode.get(ctypes.get_errno()))'
	expect_equal "$output" ""
	run inside box python3 -c 'import os, threading, subprocess
t = threading.Thread(target=print, args=("thread",)); t.start(); t.join()
print(subprocess.run(["echo", "child"], capture_output=True, text=True).stdout)
os.kill(os.getpid(), 0)'
	expect_contains "$output" thread
	expect_contains "$output" child
}

@test "no core dump, and the exit status tells of the signal" {
	run inside box sh -c 'ulimit -c; kill -SEGV $$'
	expect_equal "$status" 139
	[[ ${lines[0]} == [01] ]]
	run inside box sh -c 'ls -A /sandbox /tmp | grep -c core'
	expect_contains "$output" 0
}

@test "nothing inside reaches a process outside" {
	local victim
	tail -f /dev/null 3>&- &
	victim=$!
	run inside box sh -c "kill -9 $victim; kill -9 -1"
	refute is_gone "$victim"
	kill "$victim"
	run inside box true
	expect_equal "$status" 0
}

@test "hard_requirement: a path that is not there fails the creation, best_effort says so" {
	printf 'version: 1\nfilesystem_policy: { include_workdir: true, read_only: [/usr, /lib, /etc, /proc, /no/such/path], read_write: [/tmp, /dev/null] }\nlandlock: { compatibility: hard_requirement }\n' \
		>"$SCRATCH/hard.yaml"
	run osh sandbox create --name hard --policy "$SCRATCH/hard.yaml"
	expect_equal "$status" 1
	expect_contains "$output" /no/such/path
	run osh sandbox get hard
	expect_equal "$status" 1
	sed -i 's/hard_requirement/best_effort/' "$SCRATCH/hard.yaml"
	run osh sandbox create --name soft --policy "$SCRATCH/hard.yaml"
	expect_equal "$status" 0
	expect_contains "$output" /no/such/path
	osh sandbox delete soft
}

@test "the proxy has no privilege, and the agent cannot be dumped" {
	local proxy thread
	BODY=$(osh status -o json)
	proxy=$(json 'b["proxy_pid"]')
	for thread in "/proc/$proxy/task"/*; do
		thread=${thread##*/}
		expect_equal "$(status_field "$thread" CapEff)" 0000000000000000 "CapEff of $thread"
		expect_equal "$(status_field "$thread" CapPrm)" 0000000000000000 "CapPrm of $thread"
		expect_equal "$(status_field "$thread" CapBnd)" 0000000000000000 "CapBnd of $thread"
		expect_equal "$(status_field "$thread" NoNewPrivs)" 1
		expect_equal "$(status_field "$thread" Seccomp)" 2
		[[ $(status_field "$thread" Uid) != 0 ]]
	done
	# A process that is not dumpable belongs to root in /proc; so do its memory and environment.
	run setpriv --reuid 65534 --clear-groups cat "/proc/$AGENT_PID/environ"
	((status != 0))
	[[ $(status_field "$AGENT_PID" NoNewPrivs) ]]
}

@test "the control socket belongs to root, and others are refused" {
	local mode
	mode=$(stat -c '%a %U' "$AGENT_SOCKET")
	[[ $mode == "600 root" || $mode == "660 root" ]]
	run setpriv --reuid 65534 --regid 65534 --clear-groups "$BUILD/openshell" --socket "$AGENT_SOCKET" sandbox list
	((status != 0))
}
