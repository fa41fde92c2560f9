#!/usr/bin/env bats
# An agent that reaches the internet by a company's proxy alone (upstream_proxy).

load helpers

agent_config() {
	cat <<-END
		state_dir: $AGENT_DIR/state
		run_dir: $AGENT_DIR/run
		upstream_ca: $WORLD_CA
		dns_servers: [$WORLD_DNS]
		workers: 2
		upstream_proxy: http://203.0.113.10:3128
		upstream_proxy_credential: $SCRATCH/credential
		no_proxy: [skip.test, 10.9.0.0/16]
	END
}

setup_file() {
	start_world
	SCRATCH=$(mktemp -d /tmp/openshell-e2e.XXXXXX)
	chmod 0711 "$SCRATCH"
	export SCRATCH
	export CREDENTIAL=agent:$RANDOM$RANDOM$RANDOM
	(umask 077 && echo "$CREDENTIAL" >"$SCRATCH/credential")
	nsenter --net="$WORLD_UP" /usr/bin/python3 "$E2E/connect_proxy.py" 203.0.113.10 3128 "$CREDENTIAL" \
		"$WORLD_DIR/proxy.log" "$WORLD_DIR/proxy.ready" </dev/null >"$SCRATCH/proxy.out" 2>&1 3>&- &
	export PROXY_PID=$!
	wait_until 10 test -e "$WORLD_DIR/proxy.ready"
	agent_start "$SCRATCH/agent"
	export AGENT_DIR AGENT_PID AGENT_SOCKET
	sed '/host: expired\.test/ { p; s/expired/refused/; }' "$(policy probe)" >"$SCRATCH/probe.yaml"
	make_sandbox box "$SCRATCH/probe.yaml"
}

teardown_file() {
	[[ ! ${PROXY_PID:-} ]] || kill "$PROXY_PID"
	stop_all
}

# How many requests of the proxy's log have these words.
tunnels() { grep -cF -- "$1" "$WORLD_DIR/proxy.log" || true; }

# Connections that left the host for PORT, past the proxy.
past_it() { packets "tcp dst port $1 and tcp[tcpflags] & tcp-syn != 0 and not src host 203.0.113.10"; }

@test "everything goes through it, and nothing past it" {
	fetch box https://ok.test/pub/x
	expect_status 200
	expect_equal "$(json 'b["host"]')" ok.test
	expect_equal "$(tunnels '200 CONNECT ok.test:443 HTTP/1.1')" 1
	fetch box http://plain.test/pub/x
	expect_status 200
	expect_equal "$(tunnels '200 CONNECT plain.test:80 HTTP/1.1')" 1
	run probe box tcp l4.test 5432 hello
	expect_contains "$output" "l4 ready"
	expect_equal "$(tunnels '200 CONNECT l4.test:5432 HTTP/1.1')" 1
	settle
	expect_equal "$(past_it 443)" 0
	expect_equal "$(past_it 80)" 0
	expect_equal "$(past_it 5432)" 0
}

@test "the sandbox sees none of it" {
	run inside box env
	expect_lacks "$output" 3128
	fetch box https://ok.test/pub/x
	expect_lacks "$BODY" "${CREDENTIAL#*:}"
	run osh logs box
	expect_lacks "$output" "${CREDENTIAL#*:}"
	refute grep -rqF -- "${CREDENTIAL#*:}" "$AGENT_DIR"
}

@test "what is denied is not told to it" {
	local canary
	canary=$(new_canary)
	fetch box "https://ok.test/secret/$canary"
	expect_status 403
	fetch box "https://$canary.test/pub/x"
	expect_status 403
	fetch box https://loop.test/x
	expect_status 403
	expect_equal "$(tunnels "$canary")" 0
	expect_equal "$(tunnels loop.test)" 0
	expect_absent "$canary"
}

@test "the server behind it is verified" {
	fetch box https://expired.test/pub/x
	expect_status 502
	expect_contains "$BODY" expired
	fetch box https://wronghost.test/pub/x
	expect_status 502
	fetch box https://ok.test/pub/x
	expect_status 200
}

@test "its refusal is explained" {
	echo "refused.test 203.0.113.10" >>"$WORLD_DIR/zone"
	fetch box https://refused.test/pub/x
	expect_status 502
	expect_contains "$(json 'b["reason"]')" "the upstream proxy 203.0.113.10:3128 refused: 403 Not during work"
	expect_verdicts 1 box dst_host=refused.test l7_decision=deny engine=upstream
}

@test "no_proxy: by name and by address, directly" {
	put box "$WORLD_CA" /sandbox/world.pem
	run inside box curl -sS --cacert /sandbox/world.pem https://skip.test/any
	expect_contains "$output" '"host": "skip.test"'
	settle
	(($(past_it 443) > 0))
	expect_equal "$(tunnels skip.test)" 0
}

@test "a proxy of the program's own choice is a host like any other" {
	run inside box env https_proxy=http://203.0.113.66:3128 curl -sS -m 5 -o /dev/null -w '%{http_code}' https://ok.test/pub/x
	((status != 0))
	run inside box env -u https_proxy curl -sS -o /dev/null -w '%{http_code}' https://ok.test/pub/x
	expect_equal "$output" 200
}

@test "mistakes in the configuration are told" {
	local config=$SCRATCH/wrong.yaml
	config_says() {
		printf '%s\n' "$1" >"$config"
		run "$BUILD/openshelld" --config "$config" --state-dir "$SCRATCH/none" --run-dir "$SCRATCH/none"
		((status == 1))
		expect_contains "$output" "$2"
	}
	config_says "upstream_proxy: https://203.0.113.10:3128" "must be http://HOST:PORT"
	config_says "upstream_proxy: http://203.0.113.10" "must be http://HOST:PORT"
	config_says "upstream_proxy: http://agent:secret@203.0.113.10:3128" "upstream_proxy_credential"
	config_says "no_proxy: [a b]" "no name, address or prefix"
	config_says "no_proxy: skip.test" "takes a list"
}
