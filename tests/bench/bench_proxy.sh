#!/bin/bash
# The data plane beside its peers: the same world, server and client, in turn.
#   bench_proxy.sh [--keep] [ROUNDS]     writes build/bench.md; --keep puts the tables into
#                                        tests/bench/bench.md, too
# Peers: direct (no proxy), HAProxy (static certificate, re-encrypting), Squid (ssl-bump),
# mitmproxy (transparent); where the client speaks HTTP/2, HAProxy also with HTTP/2 to its server
# (haproxy-h2), as openshell has it. A round (7 of them) measures each for a second per load, so what else
# the machine does meets all; a figure is the median of the rounds, a ratio the median of the
# rounds' ratios. Figures are to be read, not a test.
# Needs root, and the packages below the bench mark of scripts/packages.
set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/../.."
# shellcheck source=scripts/lib/bench.bash
. scripts/lib/bench.bash

keep=
[[ ${1:-} != --keep ]] || { keep=yes; shift; }
rounds=${1:-7}
address=203.0.113.20
client_uid=65533
BULK_MIB=128
IDLE=500
ENDPOINTS=${OSH_BENCH_ENDPOINTS:-10000}
SANDBOXES=${OSH_BENCH_SANDBOXES:-200}
peers=(direct openshell haproxy haproxy-h2 squid mitmproxy)
AGENT_UNDER=(setsid) # see below
declare -A samples started

end_more() {
	local pid
	for pid in "${started[@]}"; do
		kill "$pid" 2>/dev/null || true
		wait_until 10 is_gone "$pid" || true
	done
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
	truncate -s "${BULK_MIB}M" "$scratch/www/pub/bulk"
	chmod -R a+rX "$scratch/www"
	fill_in nginx.conf >"$scratch/nginx.conf"
	setsid nsenter --net="$WORLD_UP" nginx -p "$scratch" -c "$scratch/nginx.conf" >"$scratch/nginx.out" 2>&1 &
	started[nginx]=$!
	wait_until 10 serves || die "nginx does not serve: $(tail -n 3 "$scratch/nginx.out")"
}

# ---- The peers: start_NAME sets started[NAME], the process itself and no shell around it -------

# Each in a session of its own, as services are: the scheduler shares out by session.

declare -A port=([haproxy]=8101 [haproxy-h2]=8105 [squid]=8102 [mitmproxy]=8104)

in_px() { nsenter --net="$WORLD_PX" "$@"; }

start_direct() { started[direct]=${started[nginx]}; }

start_haproxy() { start_haproxy_as haproxy http/1.1; }
start_haproxy-h2() { start_haproxy_as haproxy-h2 h2; }
start_haproxy_as() { # PEER PROTOCOL: to the server
	fill_in haproxy.cfg | sed "s|@PORT@|${port[$1]}|; s|@ALPN@|$2|" >"$scratch/$1.cfg"
	setsid nsenter --net="$WORLD_PX" haproxy -db -f "$scratch/$1.cfg" >"$scratch/$1.out" 2>&1 &
	started[$1]=$!
}

start_squid() {
	fill_in squid.conf >"$scratch/squid.conf"
	/usr/lib/squid/security_file_certgen -c -s "$scratch/squid-certs" -M 16MB >/dev/null
	chown -R proxy "$scratch/squid-certs" "$scratch/mint.pem"
	install -o proxy /dev/null "$scratch/squid.log"
	setsid nsenter --net="$WORLD_PX" squid -N -f "$scratch/squid.conf" >"$scratch/squid.out" 2>&1 &
	started[squid]=$!
}

start_mitmproxy() {
	setsid nsenter --net="$WORLD_PX" mitmdump --mode transparent --listen-host 127.0.0.1 --listen-port "${port[mitmproxy]}" \
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
	write_policy 2 >"$scratch/policy.yaml"
	osh sandbox create --name bench --policy "$scratch/policy.yaml" >/dev/null 2>&1
	find_openshell
}

# Of the agent's children, the others are the sandboxes' first processes.
find_openshell() {
	local pid
	for pid in $(<"/proc/$AGENT_PID/task/$AGENT_PID/children"); do
		[[ $(readlink "/proc/$pid/exe") != */openshelld ]] || started[openshell]=$pid
	done
}

# ---- The client ------------------------------------------------------------------------------

# The same command for each: what differs is where the kernel leads its connections. Who needs
# no redirect has none, nor its connection tracking. What was tracked before is forgotten: of a connection
# that ended while nothing was, the entry would lead a client's with the same port past the redirect.
lead_to() {
	in_px nft -f - <<-END
		table ip bench
		delete table ip bench
	END
	in_px conntrack --flush 2>/dev/null
	[[ ${port[$1]:-} ]] || return 0
	in_px nft -f - <<-END
		table ip bench {
			chain out {
				type nat hook output priority -100;
				meta skuid $client_uid ip daddr $address tcp dport 443 redirect to :${port[$1]}
			}
		}
	END
}

client() { # PEER COMMAND...
	local peer=$1
	shift
	if [[ $peer == openshell ]]; then
		osh sandbox exec bench -- "$@"
	else
		# shellcheck disable=SC2016  # for the inner shell
		in_px setsid --wait unshare -m sh -c 'mount --bind "$1" /etc/hosts; shift 1
			exec setpriv --reuid '"$client_uid"' --regid '"$client_uid"' --clear-groups "$@"' sh "$scratch/hosts" "$@"
	fi
}

answers() { client "$1" curl -sfko /dev/null https://bench.test/pub/1k; }

# ---- Figures ---------------------------------------------------------------------------------

processes_of() { # PID: it and its children
	echo "$1"
	cat "/proc/$1/task/"*/children
}

# Time on a processor so far, user and system, in nanoseconds.
cpu_of() {
	local pid
	for pid in $(processes_of "$1"); do
		cat "/proc/$pid/task/"*/schedstat
	done | awk '{ total += $1 } END { printf "%.0f", total }' # mawk's %d ends at 2^31
}

memory_of() { # in KiB; what is shared or mapped from files is not the flows'
	local pid
	for pid in $(processes_of "$1"); do
		cat "/proc/$pid/status"
	done | awk '/^RssAnon:/ { total += $2 } END { print total }'
}

stage= # of what grows; the first one has no name

add() { # PEER KEY VALUE
	samples[$1,$stage$2]+=" $3"
}

divide() { awk -v a="$1" -v b="$2" -v f="$3" 'BEGIN { printf f, b ? a / b : 0 }'; }

# In microseconds, from wrk's 12.3us, 1.2ms or 1s.
microseconds() {
	awk -v t="$1" 'BEGIN { f = t ~ /us$/ ? 1 : t ~ /ms$/ ? 1000 : 1000000; printf "%.0f", t * f }'
}

# load PEER KEY CONNECTIONS [WRK OPTION...]
load() {
	local peer=$1 key=$2 connections=$3 before agent_before after out requests
	shift 3
	agent_before=$(cpu_of "$AGENT_PID")
	before=$(cpu_of "${started[$peer]}")
	out=$(client "$peer" wrk -t1 "-c$connections" -d1s --latency "$@" https://bench.test/pub/1k)
	after=$(cpu_of "${started[$peer]}")
	! grep -q 'Non-2xx' <<<"$out" || die "$peer refused requests: $out"
	requests=$(awk '/requests in/ { print $1 }' <<<"$out")
	add "$peer" "$key,rate" "$(awk '/^Requests\/sec:/ { printf "%.0f", $2 }' <<<"$out")"
	add "$peer" "$key,cpu" "$(divide $((after - before)) $((requests * 1000)) %.1f)"
	add "$peer" "$key,p50" "$(microseconds "$(awk '$1 == "50%" { print $2 }' <<<"$out")")"
	add "$peer" "$key,p99" "$(microseconds "$(awk '$1 == "99%" { print $2 }' <<<"$out")")"
	[[ $peer != openshell ]] ||
		add "$peer" "$key,agent" "$(divide $(($(cpu_of "$AGENT_PID") - agent_before - after + before)) $((requests * 1000)) %.1f)"
}

# bulk PEER KEY HOST [CURL OPTION...]: BULK_MIB downloaded
bulk() {
	local peer=$1 key=$2 host=$3 before speed
	shift 3
	before=$(cpu_of "${started[$peer]}")
	speed=$(client "$peer" curl -sfko /dev/null -w '%{speed_download}' "$@" "https://$host/pub/bulk")
	add "$peer" "$key,rate" "$(divide "$speed" 1000000 %.0f)"
	add "$peer" "$key,cpu" "$(divide $(($(cpu_of "${started[$peer]}") - before)) $((BULK_MIB << 20)) %.2f)"
}

h2() {
	local peer=$1 before out
	before=$(cpu_of "${started[$peer]}")
	out=$(client "$peer" h2load -c1 -m100 -D1 --warm-up-time=0 https://bench.test/pub/1k)
	grep -q 'protocol: h2' <<<"$out" || return 0
	add "$peer" h2,rate "$(awk '/^finished in/ { printf "%.0f", $4 }' <<<"$out")"
	add "$peer" h2,cpu "$(divide $(($(cpu_of "${started[$peer]}") - before)) \
		"$(awk '/^requests:/ { print $2 * 1000 }' <<<"$out")" %.1f)"
}

# Memory of IDLE flows that stand idle after one request, in KiB each.
idle() {
	local peer=$1 before script
	script=$(<tests/bench/peers/idle.py)
	before=$(memory_of "${started[$peer]}")
	mkfifo "$scratch/hold"
	client "$peer" /usr/bin/python3 -c "$script" bench.test "$IDLE" <"$scratch/hold" >"$scratch/held" 2>&1 &
	local client=$! hold
	exec {hold}>"$scratch/hold"
	wait_until 60 has_line "$scratch/held" . || die "$peer: no idle flows"
	has_line "$scratch/held" '^held' || die "$peer: $(tail -n 1 "$scratch/held")"
	add "$peer" idle "$(divide $(($(memory_of "${started[$peer]}") - before)) "$IDLE" %.1f)"
	exec {hold}>&-
	wait "$client" || true
	rm "$scratch/hold" "$scratch/held"
}

measure() { # PEER
	lead_to "$1"
	if [[ $1 == haproxy-h2 ]]; then
		bulk "$1" bulk2 bench.test
		h2 "$1"
		return
	fi
	load "$1" one 1
	load "$1" many 64
	load "$1" new 16 -H 'Connection: close'
	bulk "$1" bulk bench.test --http1.1
	bulk "$1" bulk2 bench.test
	h2 "$1"
	[[ $1 != direct && $1 != openshell ]] || bulk "$1" relay relay.test
}

# Flows would use again what earlier loads left: they are counted in a process that has seen none.
idle_anew() {
	kill -KILL "${started[openshell]}"
	wait_until 20 is_gone "${started[openshell]}"
	wait_until 20 answers openshell || die "no proxy after the last: $(tail -n 3 "$AGENT_DIR/agent.log")"
	find_openshell
	idle openshell
}

# How ours grows; HAProxy beside it, which does not, shows what the machine did meanwhile.
measure_stage() { # NAME
	local round peer
	stage=$1/
	idle_anew
	for ((round = 0; round < rounds; round++)); do
		for peer in openshell haproxy; do
			measure "$peer"
		done
	done
	stage=
}

grow() {
	local i
	write_policy "$ENDPOINTS" >"$scratch/large.yaml"
	osh policy set bench --policy "$scratch/large.yaml" --wait >/dev/null
	measure_stage large
	osh policy set bench --policy "$scratch/policy.yaml" --wait >/dev/null
	for ((i = 2; i <= SANDBOXES; i++)); do
		osh sandbox create --name "other$i" --policy "$scratch/policy.yaml" >/dev/null 2>&1 </dev/null
	done
	measure_stage crowd
}

# ---- The tables ------------------------------------------------------------------------------

median() { tr ' ' '\n' | grep . | sort -g | awk '{ v[NR] = $1 } END { if (NR) print v[int((NR + 1) / 2)]; else print "-" }'; }

figure() { median <<<"${samples[$1,$2]:-}" || true; } # PEER KEY

beside() { # ratio|difference KEY PEER: ours and the peer's, round by round
	paste <(tr ' ' '\n' <<<"${samples[openshell,$2]:-}") <(tr ' ' '\n' <<<"${samples[$3,$2]:-}") |
		awk -v how="$1" 'NF == 2 && $2 > 0 { printf " " (how == "ratio" ? "%.2f" : "%+d"), how == "ratio" ? $1 / $2 : $1 - $2 }' |
		median
}

# TITLE|KEY|how it is compared|BOUND
rows=(
	'keep-alive 1 KiB, 64 connections, requests/s|many,rate|of haproxy|'
	'the same, cpu us/request|many,cpu|of haproxy|0.75'
	'the same, p50 us|many,p50|over direct|'
	'the same, p99 us|many,p99|over direct|'
	'the same, cpu us/request of the agent, which writes the verdict down|many,agent||'
	'1 connection, p50 us|one,p50|over direct|direct +60'
	'1 connection, p99 us|one,p99|over direct|'
	'1 connection, cpu us/request|one,cpu|of haproxy|'
	'a connection for each request, 16 at once, connections/s|new,rate|of haproxy|'
	'the same, cpu us/connection|new,cpu|of haproxy|0.75'
	'download inspected, HTTP/1.1, MB/s|bulk,rate|of haproxy|'
	'the same, cpu ns/byte|bulk,cpu|of haproxy|0.80'
	'download inspected, HTTP/2, MB/s|bulk2,rate|of haproxy haproxy-h2|'
	'the same, cpu ns/byte|bulk2,cpu|of haproxy haproxy-h2|0.80'
	'download relayed (tls: skip), MB/s|relay,rate|of direct|0.6 of direct'
	'the same, cpu ns/byte|relay,cpu||'
	'HTTP/2, 1 connection, 100 streams, requests/s|h2,rate|of haproxy haproxy-h2|'
	'the same, cpu us/request|h2,cpu|of haproxy haproxy-h2|'
	"memory per idle TLS flow, KiB ($IDLE flows)|idle|of haproxy|40"
)

compare() { # HOW KEY
	case $1 in
	'over direct') echo "direct $(beside difference "$2" direct)" ;;
	'of '*) compare_with "$2" ${1#of } ;;
	esac
}

compare_with() { # KEY PEER...
	local peer text=
	for peer in "${@:2}"; do
		text+="${text:+, }$(beside ratio "$1" "$peer") of $peer"
	done
	echo "$text"
}

print_row() { # TITLE KEY HOW BOUND
	local peer
	printf '| %s |' "$1"
	for peer in "${peers[@]}"; do
		printf ' %s |' "$(figure "$peer" "$2")"
	done
	printf ' %s | %s |\n' "$(compare "$3" "$2")" "$4"
}

print_growth() { # TITLE KEY
	local at
	printf '| %s |' "$1"
	for at in '' large/ crowd/; do
		printf ' %s | %s |' "$(figure openshell "$at$2")" "$(beside ratio "$at$2" haproxy)"
	done
	printf '\n'
}

each_row() { # COMMAND: with the fields of each row
	local row title key how bound
	for row in "${rows[@]}"; do
		IFS='|' read -r title key how bound <<<"$row"
		"$1" "$title" "$key" "$how" "$bound"
	done
}

report() {
	printf 'Machine: %s, %s cores, Linux %s; load %s when it began. %s rounds.\n' \
		"$(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo)" "$(nproc)" "$(uname -r)" "$load_before" "$rounds"
	printf 'cpu is user and system time of the proxy process; for direct it is the server'"'"'s.\n\n'
	printf '| figure |'
	printf ' %s |' "${peers[@]}" 'openshell is' bound
	printf '\n|---|'
	printf -- '---|%.0s' "${peers[@]}" - -
	printf '\n'
	each_row print_row
	printf '\nHow openshell grows, and what each figure is of HAProxy'"'"'s meanwhile:\n\n'
	printf '| figure | 2 endpoints, 1 sandbox | | %s endpoints | | %s sandboxes | |\n' "$ENDPOINTS" "$SANDBOXES"
	printf '|---|---|---|---|---|---|---|\n'
	each_row print_growth
}

# The committed page says what the tables mean; they stand between two marks.
keep_tables() {
	local page=tests/bench/bench.md
	awk -v tables="$BUILD/bench.md" '
		/^<!-- end of the tables/ { while ((getline line < tables) > 0) print line; inside = 0 }
		!inside { print }
		/^<!-- the tables/ { inside = 1 }' "$page" >"$scratch/page"
	cp "$scratch/page" "$page"
}

bench_begin
load_before=$(cut -d' ' -f1 /proc/loadavg)
make_certificates
start_server
for peer in "${peers[@]}"; do
	start_"$peer"
	lead_to "$peer"
	wait_until 20 answers "$peer" || die "$peer does not answer: $(tail -n 3 "$scratch/$peer.out")"
	idle "$peer"
done
for ((round = 0; round < rounds; round++)); do
	for peer in "${peers[@]}"; do
		measure "$peer"
	done
done
grow
report | tee "$BUILD/bench.md"
[[ ! $keep ]] || keep_tables
