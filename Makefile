# openshell: build, test, install. Everything made lands in build/.
#   make             build/openshell, build/openshelld, build/openshell-init
#   make check       unit tests (Criterion; those that need root say so)
#   make fuzz        each fuzzer for FUZZ_SECONDS, its corpus replayed first
#   make bench       figures, each beside its bound (some need root)
#   make lint        include direction, banned calls, shellcheck, man pages
#   make install     PREFIX (/usr/local), DESTDIR
#   SAN=address,undefined builds into build/san instead: clang, sanitizers, and the
#                    coverage that fuzzers steer by, so one library serves tests and fuzzers
#   SAN=thread builds into build/tsan: clang's look at what threads share
#   KNOCKOUT=1 builds into build/knockout: programs for tests/e2e/knockout.bats, in which
#                    $OSH_LAYERS_OFF names layers of enforcement to go without; never installed
#   V=1 shows the commands.

.DELETE_ON_ERROR:
.SUFFIXES:

VERSION := 0.1.0
PREFIX ?= /usr/local
SHARE_DIR := $(PREFIX)/share/openshell
LIBEXEC_DIR := $(PREFIX)/libexec/openshell
FUZZ_SECONDS ?= 10
SAN ?=
KNOCKOUT ?=
B := build$(if $(SAN),/$(if $(filter thread,$(SAN)),tsan,san))$(if $(KNOCKOUT),/knockout)

CLANG := clang-14
CC := $(if $(SAN),$(CLANG),gcc)
Q := $(if $(V),,@)
msg = $(if $(V),,@printf '  %-8s %s\n' '$(1)' '$(2)')

PKGS := libbpf openssl yaml-0.1 libelf zlib libnl-3.0 libnl-route-3.0 libcares jansson libseccomp libcap-ng libnghttp2
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS))
PKG_LIBS := $(shell pkg-config --libs $(PKGS)) -lpthread
CLI_LIBS := $(shell pkg-config --libs ncursesw nettle)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla \
	-Wswitch-enum -Wundef
HARDEN := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
HARDEN_LD := -pie -Wl,-z,relro,-z,now
ifeq ($(SAN),)
HARDEN += -D_FORTIFY_SOURCE=2
else
SANFLAGS := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined -DOSH_SANITIZED
COVERAGE := $(if $(filter thread,$(SAN)),,-fsanitize=fuzzer-no-link -DOSH_FINDS_LEAKS)
WARN += -Wno-missing-field-initializers # clang takes libseccomp's SCMP_A0 for one; gcc looks too
endif
CFLAGS ?= $(if $(SAN),-O1,-O2) -g
ALL_CFLAGS := -std=gnu11 -D_GNU_SOURCE $(CFLAGS) $(WARN) $(if $(CI),-Werror) $(HARDEN) $(SANFLAGS) $(COVERAGE) $(if $(KNOCKOUT),-DOSH_KNOCKOUT) \
	-Iinclude -Iagent -Ibuild $(PKG_CFLAGS) -DOSH_VERSION='"$(VERSION)"' \
	-DOSH_SHARE_DIR='"$(SHARE_DIR)"' -DOSH_LIBEXEC_DIR='"$(LIBEXEC_DIR)"'
ALL_LDFLAGS := $(LDFLAGS) $(HARDEN_LD) $(SANFLAGS)

INIT_SRCS := $(wildcard agent/sandbox/init/*.c)
LIB_SRCS := $(filter-out $(INIT_SRCS),$(wildcard agent/*/*.c))
CLI_SRCS := $(wildcard cli/*.c)
LIB_OBJS := $(LIB_SRCS:%.c=$B/obj/%.o)
CLI_OBJS := $(CLI_SRCS:%.c=$B/obj/%.o)
# Pid 1 shares only the descriptor code with the agent: everything else stays out of it.
INIT_OBJS := $(INIT_SRCS:%.c=$B/obj/%.o) $B/obj/agent/base/fd.o \
	$(if $(KNOCKOUT),$B/obj/agent/base/knockout.o $B/obj/agent/base/str.o)

.PHONY: all check fuzz bench lint install clean help
all: $B/openshell $B/openshelld $B/openshell-init

help:
	@sed -n '2,15s/^# \{0,1\}//p' Makefile

# ---- BPF: C -> object -> one skeleton ---------------------------------------
MULTIARCH := $(shell $(CC) -print-multiarch)
BPF_SRCS := $(wildcard bpf/*.bpf.c)
BPF_OBJS := $(BPF_SRCS:bpf/%.bpf.c=build/bpf/%.bpf.o)
BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Werror -Iinclude -Ibpf -I/usr/include/$(MULTIARCH)

build/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) include/openshell/abi.h include/openshell/limits.h
	@mkdir -p $(@D)
	$(call msg,BPF,$<)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@

build/bpf/openshell.o: $(BPF_OBJS)
	$(call msg,BPFLINK,$@)
	$(Q)bpftool gen object $@ $^

build/openshell.skel.h: build/bpf/openshell.o
	$(call msg,SKEL,$@)
	$(Q)bpftool gen skeleton $< name openshell > $@

# ---- C ------------------------------------------------------------------------
$B/obj/agent/kernel/%.o: ALL_CFLAGS += -Wno-missing-prototypes
$(filter $B/obj/agent/kernel/%,$(LIB_OBJS)): | build/openshell.skel.h

$B/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call msg,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# Built into the agent by .incbin, which -MMD does not see.
$B/obj/agent/control/embed.o: \
	agent/control/io.openshell.varlink share/default-policy.yaml

$B/libopenshell.a: $(LIB_OBJS)
	$(call msg,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$B/openshelld: $B/obj/agent/main.o $B/libopenshell.a
	$(call msg,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

$B/openshell: $(CLI_OBJS) $B/libopenshell.a
	$(call msg,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) $(CLI_LIBS)

# Pid 1 of a sandbox: static, so that it runs whatever the sandbox's root holds.
$B/openshell-init: $(INIT_OBJS)
	$(call msg,LD,$@)
	$(Q)$(CC) $(if $(SAN),$(ALL_LDFLAGS),$(LDFLAGS) -static-pie) -o $@ $^

# ---- Tests ----------------------------------------------------------------------
TEST_SRCS := $(wildcard tests/unit/test_*.c)
TESTS := $(TEST_SRCS:tests/unit/%.c=$B/tests/%)
TEST_TIMEOUT := 300

$B/tests/%: tests/unit/%.c $B/libopenshell.a
	@mkdir -p $(@D)
	$(call msg,TEST,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -MF $@.d -o $@ $< $(ALL_LDFLAGS) $B/libopenshell.a \
		$(PKG_LIBS) $(CLI_LIBS) -lcriterion

check: $(TESTS) all
	$(Q)failed=0; for t in $(TESTS); do \
		printf '  %-8s %s\n' RUN "$${t##*/}"; \
		OSH_BUILD_DIR=$B timeout $(TEST_TIMEOUT) $$t --jobs 2 || failed=1; \
	done; exit $$failed

# What the end-to-end tests run inside: static, so that it is one file wherever it is put.
$B/probe: tests/e2e/probe.c
	@mkdir -p $(@D)
	$(call msg,TEST,$<)
	$(Q)gcc -std=gnu11 -D_GNU_SOURCE -O2 -g $(WARN) $(if $(CI),-Werror) -static -o $@ $<

# What they preload into an agent, to have its clock jump and its memory run out.
$B/preload.so: tests/e2e/preload.c
	@mkdir -p $(@D)
	$(call msg,TEST,$<)
	$(Q)gcc -std=gnu11 -D_GNU_SOURCE -O2 -g $(WARN) $(if $(CI),-Werror) -fPIC -shared -o $@ $<

# ---- Fuzzers: libFuzzer, on the sanitized library ---------------------------------
FUZZ_SRCS := $(wildcard tests/fuzz/fuzz_*.c)
FUZZERS := $(FUZZ_SRCS:tests/fuzz/%.c=$B/fuzz/%)

$B/fuzz/fuzz_%: tests/fuzz/fuzz_%.c $B/libopenshell.a
	@mkdir -p $(@D)
	$(call msg,FUZZ,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -MMD -MP -MF $@.d -o $@ $< $(ALL_LDFLAGS) \
		$B/libopenshell.a $(PKG_LIBS)

ifeq ($(SAN),)
fuzz:
	$(Q)$(MAKE) --no-print-directory SAN=address,undefined fuzz
else
fuzz: $(FUZZERS)
	$(Q)for f in $(FUZZERS); do \
		name=$${f##*/fuzz_}; mkdir -p $B/fuzz/corpus/$$name; \
		printf '  %-8s %s\n' FUZZ "$$name"; \
		$$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 -verbosity=0 \
			-artifact_prefix=$B/fuzz/crash-$$name- $B/fuzz/corpus/$$name \
			$$(test -d tests/fuzz/corpus/$$name && echo tests/fuzz/corpus/$$name) || exit 1; \
	done
endif

# ---- The rest ---------------------------------------------------------------------
BENCH_SRCS := $(wildcard tests/bench/bench_*.c)
BENCHES := $(BENCH_SRCS:tests/bench/%.c=build/bench/%)
BENCH_SCRIPTS := $(wildcard tests/bench/bench_*.sh)
build/bench/%: tests/bench/%.c build/libopenshell.a
	@mkdir -p $(@D)
	$(call msg,BENCH,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $< $(ALL_LDFLAGS) build/libopenshell.a $(PKG_LIBS)

bench: all $(BENCHES)
	$(Q)scripts/install-packages bench
	$(Q)status=0; for b in $(BENCHES) $(BENCH_SCRIPTS); do echo "== $${b##*/}"; $$b || status=1; done; exit $$status

lint:
	$(Q)scripts/lint

ifneq ($(KNOCKOUT),)
install:
	$(error programs whose layers can be switched off are not for use)
else
install: all
	install -D -m 0755 build/openshell $(DESTDIR)$(PREFIX)/bin/openshell
	install -D -m 0755 build/openshelld $(DESTDIR)$(PREFIX)/sbin/openshelld
	install -D -m 0755 build/openshell-init $(DESTDIR)$(LIBEXEC_DIR)/openshell-init
	install -D -m 0644 share/default-policy.yaml $(DESTDIR)$(SHARE_DIR)/default-policy.yaml
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|@SBINDIR@|$(PREFIX)/sbin|' share/openshelld.service \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/openshelld.service
	install -D -m 0644 share/bash-completion/openshell \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/openshell
	install -D -m 0644 share/man/openshell.1 $(DESTDIR)$(PREFIX)/share/man/man1/openshell.1
	install -D -m 0644 share/man/openshell-policy.5 \
		$(DESTDIR)$(PREFIX)/share/man/man5/openshell-policy.5
	install -D -m 0644 share/man/openshelld.8 $(DESTDIR)$(PREFIX)/share/man/man8/openshelld.8

endif

clean:
	rm -rf build

-include $(LIB_OBJS:.o=.d) $(CLI_OBJS:.o=.d) $(INIT_OBJS:.o=.d) $(TESTS:=.d) $B/obj/agent/main.d $(FUZZERS:=.d)
