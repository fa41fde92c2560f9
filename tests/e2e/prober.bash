# shellcheck shell=bash
# A program in sandbox $BOX that goes on while the agent does not: what it reached, and what it did not.

pid_of_init() {
	BODY=$(osh sandbox get "$BOX" -o json)
	json 'b["pid"]'
}

# A program inside that tries, over and over, to reach what it may and what it may not. Each
# line of its output: the time and how it ended.
start_prober() {
	PROBER_CANARY=$(new_canary)
	inside "$BOX" sh -c 'trap "" HUP; : >/sandbox/probes; exec python3 - "$1"' _ "$PROBER_CANARY" >/dev/null 2>&1 3>&- <<-'END' &
		import http.client, socket, ssl, sys
		context = ssl.create_default_context()
		out = open("/sandbox/probes", "a", buffering=1)
		number = 0
		while True:
		    number += 1
		    for host, port in (("no.test", 443), ("l4.test", 5999), ("203.0.113.10", 5432)):
		        try:
		            with socket.create_connection((host, port), timeout=3) as s:
		                s.settimeout(3)
		                s.sendall(sys.argv[1].encode())
		                s.shutdown(socket.SHUT_WR)
		                out.write(f"{number} {host} connected {s.recv(10)}\n")
		        except OSError as error:
		            out.write(f"{number} {host} {error}\n")
		    try:
		        allowed = http.client.HTTPSConnection("ok.test", timeout=3, context=context)
		        allowed.request("GET", "/pub/probe")
		        out.write(f"{number} allowed {allowed.getresponse().status}\n")
		    except (OSError, http.client.HTTPException) as error:
		        out.write(f"{number} allowed failed {error}\n")
	END
	PROBER=$!
	wait_until 10 probed 2
}

# Rounds that the prober has begun. The agent may be dead: look through its init's root.
rounds() { awk '{ n = $1 } END { print n + 0 }' "/proc/$INIT/root/sandbox/probes" 2>/dev/null || echo 0; }
probed() { (($(rounds) >= $1)); }
allowed_is() { grep ' allowed ' "/proc/$INIT/root/sandbox/probes" | tail -n 1 | grep -q " allowed $1"; }
probe_more() { wait_until 20 probed $(($(rounds) + $1)); }

serves_again() {
	fetch "$BOX" https://ok.test/pub/after
	[[ $STATUS == 200 ]]
}
