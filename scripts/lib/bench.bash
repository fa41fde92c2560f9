# shellcheck shell=bash
# A benchmark's own agent in a world of its own; both are gone when the script ends. To be sourced
# from the tree's top directory.
#
#   bench_begin       makes them; sets $scratch, a directory, and what world and agent set
#   end_more          what a script started besides, it ends here: to be defined by it
#   osh               the CLI, which speaks to that agent
#   microseconds_of   COMMAND..., whatever it answers
#   as_ms             of microseconds, three digits behind the point

export BUILD=$PWD/build
# shellcheck source=scripts/lib/common.bash
. scripts/lib/common.bash
# shellcheck source=scripts/lib/agent.bash
. scripts/lib/agent.bash

world=bench-$$

osh() { "$BUILD/openshell" "$@"; }

end_more() { :; }

bench_end() {
	if [[ ${AGENT_PID:-} ]]; then
		! is_gone "$AGENT_PID" || agent_start "$AGENT_DIR" || true
		osh sandbox delete --all >/dev/null 2>&1 || true
		agent_stop || true
	fi
	end_more
	scripts/world down "$world" || true
	rm -rf "$scratch"
}

bench_begin() {
	scratch=$(mktemp -d /tmp/openshell-bench.XXXXXX)
	chmod 0711 "$scratch"
	trap bench_end EXIT
	export OSH_WORLD_CAPTURE=no # nobody looks into it, and it would cost
	# shellcheck source=/dev/null
	. "$(scripts/world up "$world")"
	agent_start "$scratch/agent"
}

microseconds_of() {
	local start=${EPOCHREALTIME/./}
	"$@" >/dev/null 2>&1
	echo $((${EPOCHREALTIME/./} - start))
}

as_ms() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); }
