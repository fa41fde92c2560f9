# shellcheck shell=bash
# An agent of one's own, in the test world, with its own directories.
# Needs common.bash, the world's variables and BUILD (the directory of the programs).
#
#   AGENT_UNDER        a command (array) that the agent is started by; none unless set
#   agent_start DIR    sets AGENT_DIR, AGENT_PID, AGENT_SOCKET, OPENSHELL_SOCKET
#   agent_stop         SIGTERM, and waits; fails when it did not come to its last step
#   agent_crash        SIGKILL, and waits

AGENT_UNDER=()

agent_config() {
	cat <<-END
		state_dir: $AGENT_DIR/state
		run_dir: $AGENT_DIR/run
		upstream_ca: $WORLD_CA
		dns_servers: [$WORLD_DNS]
		workers: 2
		log_level: info
	END
}

agent_answers() {
	is_gone "$AGENT_PID" && return 0
	"$BUILD/openshell" --socket "$AGENT_SOCKET" status >/dev/null 2>&1
}

# The world's namespace, but the host's mounts: cgroup2 must stay visible. What this shell waits on (pause) is
# nothing that an agent should have.
agent_program() {
	[[ ! ${idle_fd:-} ]] || exec {idle_fd}>&-
	exec nsenter --net="$WORLD_PX" "${AGENT_UNDER[@]}" "$BUILD/openshelld" --config "$AGENT_DIR/config.yaml"
}

agent_start() {
	AGENT_DIR=$1
	AGENT_SOCKET=$AGENT_DIR/run/openshell.sock
	mkdir -p "$AGENT_DIR"
	agent_config >"$AGENT_DIR/config.yaml"
	agent_program </dev/null >>"$AGENT_DIR/agent.log" 2>&1 3>&- &
	AGENT_PID=$!
	echo "$AGENT_PID" >"$AGENT_DIR/agent.pid"
	export OPENSHELL_SOCKET=$AGENT_SOCKET
	wait_until 20 agent_answers || true
	if is_gone "$AGENT_PID" || ! agent_answers; then
		echo "the agent did not start:" >&2
		tail -n 20 "$AGENT_DIR/agent.log" >&2
		return 1
	fi
}

# By the file: a test may have started another one meanwhile, in another shell.
agent_end() {
	AGENT_PID=$(<"$AGENT_DIR/agent.pid")
	is_gone "$AGENT_PID" && return 0
	kill "-$1" "$AGENT_PID" 2>/dev/null
	wait_until 10 is_gone "$AGENT_PID"
}

# Its last step lets go of the state directory.
agent_stop() {
	agent_end TERM
	[[ ! -e $AGENT_DIR/state/openshelld.lock ]] && return 0
	echo "the agent did not stop in order:" >&2
	tail -n 20 "$AGENT_DIR/agent.log" >&2
	return 1
}
agent_crash() { agent_end KILL; }
