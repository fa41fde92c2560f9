#!/bin/bash
# The data plane beside its peers: the same world, server and client for each in turn.
#   bench_proxy.sh [SECONDS]     how long each load lasts (3)
# Peers: direct (no proxy), HAProxy (static certificate, re-encrypting), Squid (ssl-bump),
# mitmproxy (transparent). Writes build/bench.md; figures are ratios to be read, not a test.
# Needs root, and the packages below the bench mark of scripts/packages.
set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/../.."
export BUILD=$PWD/build
# shellcheck source=scripts/lib/common.bash
. scripts/lib/common.bash
# shellcheck source=scripts/lib/agent.bash
. scripts/lib/agent.bash

seconds=${1:-3}
address=203.0.113.20
client_uid=65533
IDLE=500
SANDBOXES=${OSH_BENCH_SANDBOXES:-199}
peers=(direct openshell haproxy squid mitmproxy)
world=bench-$$
scratch=$(mktemp -d /tmp/openshell-bench.XXXXXX)
chmod 0711 "$scratch"
declare -A figure started

clean_up() {
	local pid
	"$BUILD/openshell" sandbox list -o name 2>/dev/null |
		xargs -r "$BUILD/openshell" sandbox delete >/dev/null 2>&1 || true
	[[ ! ${AGENT_PID:-} ]] || agent_stop || true
	for pid in "${started[@]}"; do
		kill "$pid" 2>/dev/null || true
		wait_until 10 is_gone "$pid" || true
	done
	scripts/world down "$world" || true
	rm -rf "$scratch"
}

# ---- The real server -------------------------------------------------------------------------

fill_in() {
	sed "s|@DIR@|$scratch|g; s|@ADDRESS@|$address|g; s|@CA@|$WORLD_CA|g" "tests/bench/peers/$1"
}

make_certificates() {
	local certs=$WORLD_DIR/certs
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$scratch/server.key" \
		-subj /CN=bench.test -out "$scratch/server.csr" 2>/dev/null
	openssl x509 -req -in "$scratch/server.csr" -CA "$certs/ca.pem" -CAkey "$certs/ca.key" -days 2 \
		-extfile <(echo subjectAltName=DNS:bench.test,DNS:relay.test) -out "$scratch/server.crt" 2>/dev/null
	cat "$scratch/server.key" "$scratch/server.crt" >"$scratch/server.pem"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$scratch/mint.key" \
		-subj /CN=bench -addext keyUsage=critical,keyCertSign -days 2 -out "$scratch/mint.crt" 2>/dev/null
	cat "$scratch/mint.key" "$scratch/mint.crt" >"$scratch/mint.pem"
}

serves() {
	nsenter --net="$WORLD_UP" curl -sko "$scratch/probe" "https://$address/pub/1k"
}

start_server() {
	nsenter --net="$WORLD_UP" ip addr add "$address/24" dev up0
	printf 'bench.test %s\nrelay.test %s\n' "$address" "$address" >>"$WORLD_DIR/zone"
	printf '127.0.0.1 localhost\n%s bench.test relay.test\n' "$address" >"$scratch/hosts"
	mkdir -p "$scratch/www/pub"
	head -c 1024 /dev/zero | tr '\0' x >"$scratch/www/pub/1k"
	truncate -s 256M "$scratch/www/pub/bulk"
	chmod -R a+rX "$scratch/www"
	fill_in nginx.conf >"$scratch/nginx.conf"
	nsenter --net="$WORLD_UP" nginx -p "$scratch" -c "$scratch/nginx.conf" >"$scratch/nginx.out" 2>&1 &
	started[nginx]=$!
	wait_until 10 serves || die "nginx does not serve: $(tail -n 3 "$scratch/nginx.out")"
}

# ---- The peers: start_NAME sets started[NAME], the process itself and no shell around it -------

declare -A port=([haproxy]=8101 [squid]=8102 [mitmproxy]=8104)

in_px() { nsenter --net="$WORLD_PX" "$@"; }

start_direct() { started[direct]=${started[nginx]}; }

start_haproxy() {
	fill_in haproxy.cfg >"$scratch/haproxy.cfg"
	nsenter --net="$WORLD_PX" haproxy -db -f "$scratch/haproxy.cfg" >"$scratch/haproxy.out" 2>&1 &
	started[haproxy]=$!
}

start_squid() {
	fill_in squid.conf >"$scratch/squid.conf"
	/usr/lib/squid/security_file_certgen -c -s "$scratch/squid-certs" -M 16MB >/dev/null
	chown -R proxy "$scratch/squid-certs" "$scratch/mint.pem"
	install -o proxy /dev/null "$scratch/squid.log"
	nsenter --net="$WORLD_PX" squid -N -f "$scratch/squid.conf" >"$scratch/squid.out" 2>&1 &
	started[squid]=$!
}

start_mitmproxy() {
	nsenter --net="$WORLD_PX" mitmdump --mode transparent --listen-host 127.0.0.1 --listen-port "${port[mitmproxy]}" \
		--set confdir="$scratch/mitm" --set ssl_verify_upstream_trusted_ca="$WORLD_CA" \
		--set stream_large_bodies=1m --set flow_detail=0 -q -s tests/bench/peers/mitm_rule.py >"$scratch/mitmproxy.out" 2>&1 &
	started[mitmproxy]=$!
}

write_policy() { # ENDPOINTS: bench.test, relay.test and others that nobody asks for
	local i
	cat <<-END
		version: 1
		network_policies:
		  bench:
		    binaries: [{ path: /usr/bin/wrk }, { path: /usr/bin/curl }, { path: /usr/bin/h2load }, { path: "/usr/bin/python3*" }]
		    endpoints:
		      - { host: relay.test, port: 443, tls: skip }
		      - host: bench.test
		        port: 443
		        protocol: rest
		        enforcement: enforce
		        rules: [{ allow: { method: GET, path: "/pub/**" } }]
	END
	for ((i = 2; i < $1; i++)); do
		printf '      - { host: h%d.test, port: 443, protocol: rest, enforcement: enforce, access: read-only }\n' "$i"
	done
}

start_openshell() {
	agent_start "$scratch/agent"
	write_policy 10 >"$scratch/policy.yaml"
	"$BUILD/openshell" sandbox create --name bench --policy "$scratch/policy.yaml" >/dev/null 2>&1
	started[openshell]=$(<"/proc/$AGENT_PID/task/$AGENT_PID/children")
	started[openshell]=${started[openshell]%% *}
}

# ---- The client ------------------------------------------------------------------------------

# The same command for each: what differs is where the kernel leads its connections.
lead_to() {
	in_px nft -f - <<-END
		table ip bench
		delete table ip bench
		table ip bench {
			chain out {
				type nat hook output priority -100;
				${port[$1]:+meta skuid $client_uid ip daddr $address tcp dport 443 redirect to :${port[$1]}}
			}
		}
	END
}

client() { # PEER COMMAND...
	local peer=$1
	shift
	if [[ $peer == openshell ]]; then
		"$BUILD/openshell" sandbox exec bench -- "$@"
	else
		# shellcheck disable=SC2016  # for the inner shell
		in_px unshare -m sh -c 'mount --bind "$1" /etc/hosts; shift 1
			exec setpriv --reuid '"$client_uid"' --regid '"$client_uid"' --clear-groups "$@"' sh "$scratch/hosts" "$@"
	fi
}

answers() { client "$1" curl -sfko /dev/null https://bench.test/pub/1k; }

# ---- Figures ---------------------------------------------------------------------------------

# User and system time of a process and its children so far, in microseconds.
cpu_of() {
	local pid children total=0
	for pid in "$1" $(cat "/proc/$1/task/"*/children); do
		children=$(sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }')
		total=$((total + children))
	done
	echo $((total * 1000000 / $(getconf CLK_TCK)))
}

rss_of() {
	local pid total=0
	for pid in "$1" $(cat "/proc/$1/task/"*/children); do
		total=$((total + $(awk '/^VmRSS:/ { print $2 }' "/proc/$pid/status")))
	done
	echo "$total"
}

# In microseconds, from wrk's 12.3us, 1.2ms or 1s.
microseconds() {
	awk -v t="$1" 'BEGIN { f = t ~ /us$/ ? 1 : t ~ /ms$/ ? 1000 : 1000000; printf "%.0f", t * f }'
}

# load PEER KEY CONNECTIONS [WRK OPTION...]
load() {
	local peer=$1 key=$2 connections=$3 before out requests
	shift 3
	before=$(cpu_of "${started[$peer]}")
	out=$(client "$peer" wrk -t1 "-c$connections" "-d${seconds}s" --latency "$@" https://bench.test/pub/1k)
	! grep -q 'Non-2xx' <<<"$out" || die "$peer refused requests: $out"
	requests=$(awk '/requests in/ { print $1 }' <<<"$out")
	figure[$peer,$key,rate]=$(awk '/^Requests\/sec:/ { printf "%.0f", $2 }' <<<"$out")
	figure[$peer,$key,cpu]=$(awk -v d=$(($(cpu_of "${started[$peer]}") - before)) -v n="$requests" \
		'BEGIN { printf "%.1f", n ? d / n : 0 }')
	figure[$peer,$key,p50]=$(microseconds "$(awk '$1 == "50%" { print $2 }' <<<"$out")")
	figure[$peer,$key,p99]=$(microseconds "$(awk '$1 == "99%" { print $2 }' <<<"$out")")
}

# bulk PEER KEY HOST: 256 MiB downloaded
bulk() {
	local peer=$1 key=$2 before out
	before=$(cpu_of "${started[$peer]}")
	out=$(client "$peer" curl -sfko /dev/null -w '%{speed_download}' "https://$3/pub/bulk")
	figure[$peer,$key,rate]=$(awk -v r="$out" 'BEGIN { printf "%.0f", r / 1e6 }')
	figure[$peer,$key,cpu]=$(awk -v d=$(($(cpu_of "${started[$peer]}") - before)) \
		'BEGIN { printf "%.2f", d * 1000 / (256 * 1048576) }')
}

h2() {
	local peer=$1 before out
	before=$(cpu_of "${started[$peer]}")
	out=$(client "$peer" h2load -c1 -m100 -n20000 https://bench.test/pub/1k)
	grep -q 'h2' <<<"$out" || { figure[$peer,h2,rate]=-; figure[$peer,h2,cpu]=-; return; }
	figure[$peer,h2,rate]=$(awk '/^finished in/ { printf "%.0f", $4 }' <<<"$out")
	figure[$peer,h2,cpu]=$(awk -v d=$(($(cpu_of "${started[$peer]}") - before)) 'BEGIN { printf "%.1f", d / 20000 }')
}

# Memory of IDLE flows that stand idle after one request, in KiB each.
idle() {
	local peer=$1 before script
	script=$(<tests/bench/peers/idle.py)
	before=$(rss_of "${started[$peer]}")
	mkfifo "$scratch/hold"
	client "$peer" /usr/bin/python3 -c "$script" bench.test "$IDLE" <"$scratch/hold" >"$scratch/held" 2>&1 &
	local client=$! hold
	exec {hold}>"$scratch/hold"
	wait_until 60 has_line "$scratch/held" . || die "$peer: no idle flows"
	has_line "$scratch/held" '^held' || die "$peer: $(tail -n 1 "$scratch/held")"
	figure[$peer,idle]=$(awk -v d=$(($(rss_of "${started[$peer]}") - before)) -v n="$IDLE" 'BEGIN { printf "%.1f", d / n }')
	exec {hold}>&-
	wait "$client" || true
	rm "$scratch/hold" "$scratch/held"
}

measure() {
	local peer=$1
	start_"$peer"
	lead_to "$peer"
	wait_until 20 answers "$peer" || die "$peer does not answer: $(tail -n 3 "$scratch/$peer.out")"
	load "$peer" one 1
	load "$peer" many 64
	load "$peer" new 16 -H 'Connection: close'
	bulk "$peer" bulk bench.test
	h2 "$peer"
	idle "$peer"
}

# ---- The table -------------------------------------------------------------------------------

ratio() { # KEY: ours over HAProxy's
	awk -v a="${figure[openshell,$1]:-}" -v b="${figure[haproxy,$1]:-}" \
		'BEGIN { if (a > 0 && b > 0) printf "%.2f", a / b; else printf "-" }'
}

row() { # TITLE KEY BOUND
	local peer
	printf '| %s |' "$1"
	for peer in "${peers[@]}"; do
		printf ' %s |' "${figure[$peer,$2]:--}"
	done
	printf ' %s | %s |\n' "$(ratio "$2")" "$3"
}

report() {
	printf '# The data plane beside its peers\n\n'
	printf 'Machine: %s, %s cores, Linux %s. Loads of %s s, one client thread beside the proxy.\n' \
		"$(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo)" "$(nproc)" "$(uname -r)" "$seconds"
	printf 'cpu is the proxy process alone, user and system; for direct it is the server.\n\n'
	printf '| figure | %s | %s | %s | %s | %s | openshell/haproxy | bound |\n' "${peers[@]}"
	printf '|---|---|---|---|---|---|---|---|\n'
	row 'keep-alive 1 KiB, 64 connections, requests/s' many,rate ''
	row 'the same, cpu us/request' many,cpu '0.75'
	row 'the same, p50 us' many,p50 ''
	row 'the same, p99 us' many,p99 ''
	row '1 connection, p50 us' one,p50 'direct + 60'
	row '1 connection, p99 us' one,p99 ''
	row 'a connection for each request, 16 at once, connections/s' new,rate ''
	row 'the same, cpu us/connection' new,cpu '0.75'
	row 'download inspected, MB/s' bulk,rate ''
	row 'the same, cpu ns/byte' bulk,cpu '0.80'
	row 'download relayed (tls: skip), MB/s' relay,rate '0.6 of direct'
	row 'the same, cpu ns/byte' relay,cpu ''
	row 'HTTP/2, 1 connection, 100 streams, requests/s' h2,rate ''
	row 'the same, cpu us/request' h2,cpu ''
	row 'memory per idle TLS flow, KiB' idle '40 KiB'
	printf '\n'
	printf '| openshell, keep-alive 1 KiB, 64 connections | requests/s | cpu us/request |\n|---|---|---|\n'
	printf '| 10 endpoints | %s | %s |\n' "${figure[openshell,many,rate]}" "${figure[openshell,many,cpu]}"
	printf '| 10,000 endpoints | %s | %s |\n' "${figure[openshell,large,rate]}" "${figure[openshell,large,cpu]}"
	printf '| beside %s other sandboxes | %s | %s |\n' "$SANDBOXES" "${figure[openshell,crowd,rate]}" "${figure[openshell,crowd,cpu]}"
}

# How ours grows: a policy of 10,000 endpoints, then other sandboxes beside it.
grow() {
	local i
	write_policy 10000 >"$scratch/large.yaml"
	"$BUILD/openshell" policy set bench --policy "$scratch/large.yaml" --wait >/dev/null
	load openshell large 64
	"$BUILD/openshell" policy set bench --policy "$scratch/policy.yaml" --wait >/dev/null
	for ((i = 1; i <= SANDBOXES; i++)); do
		"$BUILD/openshell" sandbox create --name "other$i" --policy "$scratch/policy.yaml" >/dev/null 2>&1 </dev/null
	done
	load openshell crowd 64
}

trap clean_up EXIT
# shellcheck source=/dev/null
. "$(scripts/world up "$world")"
make_certificates
start_server
for peer in "${peers[@]}"; do
	measure "$peer"
done
bulk openshell relay relay.test
bulk direct relay relay.test
grow
report | tee "$BUILD/bench.md"
