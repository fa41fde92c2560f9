#!/usr/bin/env bats
# Common programs run well inside, and each language's own HTTP client is inspected: what the
# policy names arrives, what it does not is answered 403 and arrives nowhere.

load helpers

bats_require_minimum_version 1.5.0

setup_file() {
	start_all
	make_sandbox box programs
	local file
	for file in "$E2E"/programs/*; do
		put box "$file" "/sandbox/${file##*/}"
	done
	make_packages
}

teardown_file() { stop_all; }

# ---- Packages for the world to serve below https://ok.test/pub/files/ ------------------------

make_packages() {
	local files=$WORLD_DIR/files
	mkdir -p "$files/npm" "$files/simple/oshdemo" "$SCRATCH/package"
	make_npm_package "$files/npm"
	make_wheel "$files/simple/oshdemo"
}

make_npm_package() {
	cat >"$SCRATCH/package/package.json" <<-'END'
		{ "name": "oshdemo", "version": "1.0.0", "main": "index.js",
		  "scripts": { "install": "node -e 'require(\"fs\").writeFileSync(\"built\", \"yes\")'" } }
	END
	echo 'module.exports = () => require("fs").readFileSync(__dirname + "/built", "ascii")' >"$SCRATCH/package/index.js"
	tar -C "$SCRATCH" -czf "$1/oshdemo-1.0.0.tgz" package
	cat >"$1/oshdemo" <<-END
		{ "name": "oshdemo", "dist-tags": { "latest": "1.0.0" },
		  "versions": { "1.0.0": { "name": "oshdemo", "version": "1.0.0", "hasInstallScript": true,
		    "dist": { "tarball": "https://ok.test/pub/files/npm/oshdemo-1.0.0.tgz",
		              "shasum": "$(sha1sum <"$1/oshdemo-1.0.0.tgz" | cut -d' ' -f1)" } } } }
	END
}

make_wheel() {
	/usr/bin/python3 - "$1/oshdemo-1.0-py3-none-any.whl" <<-'END'
		import sys, zipfile
		info = "oshdemo-1.0.dist-info/"
		files = {"oshdemo.py": "def answer():\n    return 42\n",
		         info + "METADATA": "Metadata-Version: 2.1\nName: oshdemo\nVersion: 1.0\n",
		         info + "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
		record = "".join(name + ",,\n" for name in [*files, info + "RECORD"])
		with zipfile.ZipFile(sys.argv[1], "w") as wheel:
		    for name, text in {**files, info + "RECORD": record}.items():
		        wheel.writestr(name, text)
	END
	echo '<a href="oshdemo-1.0-py3-none-any.whl">oshdemo</a>' >"$1/index.html"
}

# ---- Clients ----------------------------------------------------------------------------------

# is_inspected BINARY COMMAND...: the command prints the status of each URL that follows it.
is_inspected() {
	local binary=$1 allowed denied
	shift
	allowed=$(new_canary)
	denied=$(new_canary)
	run inside box "$@" "https://ok.test/pub/$allowed" "https://ok.test/secret/$denied" "https://no.test/pub/$denied"
	expect_equal "$(paste -sd' ' <<<"$output")" "200 403 403" "statuses of $binary"
	expect_arrived "$allowed"
	expect_absent "$denied"
	expect_verdicts 1 box l7_decision=deny "l7_target=/secret/$denied" "binary=$binary"
}

@test "curl" {
	is_inspected /usr/bin/curl sh -c 'for url; do curl -s -o /dev/null -w "%{http_code}\n" "$url"; done' _
}

@test "Python: urllib, requests, aiohttp" {
	local library python
	python=$(readlink -f /usr/bin/python3)
	for library in urllib requests aiohttp; do
		is_inspected "$python" python3 fetch.py "$library"
	done
}

@test "Node: fetch" { is_inspected /usr/bin/node node fetch.mjs; }

@test "Go: net/http" {
	run inside box go build -o /sandbox/fetch fetch.go
	expect_equal "$status" 0 "$output"
	is_inspected /sandbox/fetch ./fetch
}

@test "Java: HttpClient, by the keystore of the installation" {
	run inside box javac Fetch.java
	expect_equal "$status" 0 "$output"
	is_inspected "$(readlink -f /usr/bin/java)" java Fetch
	# The whole keystore can be read, and is whole (keytool checks its digest).
	run inside box keytool -list -cacerts -storepass changeit
	expect_equal "$status" 0
	expect_contains "$output" "trustedCertEntry"
	(($(grep -c trustedCertEntry <<<"$output") > $(grep -c BEGIN /etc/ssl/certs/ca-certificates.crt)))
}

@test "git: init, commit, branch, clone, gc; a push is refused" {
	run inside box sh -ec 'git init -q repo; cd repo; echo one >file; git add file
		git config user.name a; git config user.email a@b; git commit -qm one
		git switch -qc side; echo two >>file; git commit -qam two; git switch -q -; git merge -q side; git gc -q
		git log --oneline | wc -l'
	expect_equal "$output" 2
	run inside box sh -ec 'git clone -q https://github.com/acme/widgets.git && cat widgets/README.md'
	expect_equal "$output" "# widgets"
	run inside box git -C widgets push -q origin HEAD:main
	((status != 0))
	expect_contains "$output" 403
}

@test "npm installs from a registry that the policy names, and from no other" {
	local canary
	canary=$(new_canary)
	run inside box sh -ec 'mkdir -p app; cd app; npm init -y >/dev/null
		npm install --no-audit --no-fund --registry https://ok.test/pub/files/npm oshdemo >&2
		node -p "require(\"oshdemo\")()"' 
	expect_equal "$status" 0 "$output"
	expect_equal "${lines[-1]}" yes
	run inside box sh -c "cd app && npm install --no-audit --no-fund --fetch-retries 0 --registry https://ok.test/secret/$canary other"
	((status != 0))
	expect_contains "$output" 403
	expect_absent "$canary"
}

@test "pip installs into a venv from an index that the policy names, and from no other" {
	local canary
	canary=$(new_canary)
	run inside box sh -ec 'python3 -m venv venv
		venv/bin/pip install -q --disable-pip-version-check --index-url https://ok.test/pub/files/simple oshdemo
		venv/bin/python -c "import oshdemo; print(oshdemo.answer())"'
	expect_equal "$status" 0 "$output"
	expect_equal "${lines[-1]}" 42
	run inside box venv/bin/pip install --disable-pip-version-check --retries 0 --index-url "https://ok.test/secret/$canary" other
	((status != 0))
	expect_absent "$canary"
}

# ---- Without the network ------------------------------------------------------------------------

@test "Python: processes, threads, shared memory, TLS, SQLite" {
	run inside box python3 -c '
import asyncio, multiprocessing, sqlite3, ssl, subprocess, tempfile, threading
from multiprocessing import shared_memory
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(abs, [-1, -2]))
    memory = shared_memory.SharedMemory(create=True, size=16)
    memory.close()
    memory.unlink()
    thread = threading.Thread(target=print, args=("thread",))
    thread.start()
    thread.join()
    print(subprocess.run(["echo", "child"], capture_output=True, text=True, check=True).stdout.strip())
    print(len(ssl.create_default_context().get_ca_certs()) > 1)
    print(sqlite3.connect(tempfile.mktemp()).execute("select 6 * 7").fetchone()[0])
    print(asyncio.run(asyncio.wait_for(asyncio.sleep(0, "loop"), 5)))'
	expect_equal "$(paste -sd' ' <<<"$output")" "[1, 2] thread child True 42 loop"
}

@test "a C compiler and make" {
	run inside box sh -ec 'mkdir -p c; cd c
		printf "#include <stdio.h>\nint main(void) { puts(\"compiled\"); return 0; }\n" >hello.c
		printf "hello: hello.c\n\t\$(CC) -O2 -o \$@ \$<\n" >Makefile; make -s -j2 hello; ./hello'
	expect_equal "$output" compiled
}

@test "Node: child processes, workers, timers, files" {
	run inside box node -e '
const { Worker } = require("worker_threads"), fs = require("fs"), os = require("os");
console.log(require("child_process").execSync("echo child").toString().trim(), os.cpus().length > 0);
fs.writeFileSync("/tmp/node", "file"); console.log(fs.readFileSync("/tmp/node", "utf8"));
new Worker("require(\"worker_threads\").parentPort.postMessage(\"worker\")", { eval: true })
  .on("message", text => setTimeout(() => console.log(text), 1));'
	expect_equal "$(paste -sd' ' <<<"$output")" "child true file worker"
}

@test "Go and Java: hello" {
	run inside box sh -ec 'printf "package main\nfunc main() { println(\"go\") }\n" >hello.go && go run hello.go'
	expect_equal "$output" go
	run inside box sh -ec 'echo "class Hello { public static void main(String[] a) { System.out.println(\"java\"); } }" >Hello.java && java Hello.java'
	expect_equal "$output" java
}

@test "coreutils and their neighbours" {
	run inside box sh -ec 'cd /tmp; mkdir -p t; cd t; cp -a /etc/passwd p; mv p q; chmod 600 q; ln -sf q l; ln q h
		touch -d yesterday q; sort q | uniq | wc -l >n; dd if=/dev/zero of=z bs=1k count=4 2>/dev/null; truncate -s 8k z
		mkfifo pipe; tar czf a.tgz q l; tar xzf a.tgz; df . >/dev/null; du -s . >/dev/null; ps ax >/dev/null; date >/dev/null
		nice true; timeout 5 true; nohup true 2>/dev/null; nproc >/dev/null; id -un; hostname; sync z; stat -c %s z
		script -qec "tty" /dev/null | grep -q /dev/pts/; getent hosts localhost >/dev/null; free >/dev/null; find . -name l'
	expect_equal "$(paste -sd' ' <<<"$output")" "sandbox box 8192 ./l"
}

# ---- Programs that confine themselves -----------------------------------------------------------

@test "a sandbox within: no namespace, but seccomp for every thread" {
	run inside box sh -ec 'gcc -pthread -o inner_sandbox inner_sandbox.c && ./inner_sandbox'
	expect_equal "$output" $'namespace: EPERM\nfilter: 0\ntrapped: 4242 4242'
}

# Chromium's first layer is a namespace that it makes or a setuid helper: neither is to be had
# here, and it says so at once. Without it (the sandbox around it stays) it works.
@test "Chromium: says what it lacks; with --no-sandbox it runs" {
	run inside box timeout 60 chromium --headless --dump-dom data:text/html,x
	((status != 0 && status != 124))
	expect_contains "$output" "No usable sandbox"
	run --separate-stderr inside box timeout 60 chromium --headless --no-sandbox --dump-dom \
		'data:text/html,<p id=x></p><script>x.textContent = 6 * 7</script>'
	expect_equal "$status" 0
	expect_contains "$output" '<p id="x">42</p>'
}

@test "Chromium is inspected once its own trust store has the sandbox's CA" {
	local allowed denied
	allowed=$(new_canary)
	denied=$(new_canary)
	inside box sh -ec 'mkdir -p ~/.pki/nssdb; certutil -d sql:$HOME/.pki/nssdb -N --empty-password
		certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n sandbox -i /run/openshell/ca.pem'
	run inside box timeout 60 chromium --headless --no-sandbox --dump-dom "https://ok.test/pub/$allowed"
	expect_contains "$output" '"host": "ok.test"'
	expect_arrived "$allowed"
	run inside box timeout 60 chromium --headless --no-sandbox --dump-dom "https://ok.test/secret/$denied"
	expect_contains "$output" policy_denied
	expect_absent "$denied"
}
