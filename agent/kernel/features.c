/* What the running kernel can do, found by asking it to: a version number says little about
 * a distribution's kernel. */
#include "kernel/install.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"

/* lsm_list_modules(2), Linux 6.8; Debian 12's headers have neither. */
#define CALL_LSM_LIST_MODULES 461
#define LSM_ID_BPF 109
#define LSM_MODULES_MAX 64
#define TYPES_FILE "/sys/kernel/btf/vmlinux"
#define LSM_FILE "/sys/kernel/security/lsm"
#define LSM_FILE_BYTES_MAX 4096

/* "return 1": r0 = 1; exit */
static const struct bpf_insn return_one[] = {
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
	{ .code = BPF_JMP | BPF_EXIT },
};

static int load(enum bpf_prog_type type, int attach_type, int btf_id)
{
	LIBBPF_OPTS(bpf_prog_load_opts, options);

	options.expected_attach_type = (enum bpf_attach_type)attach_type;
	options.attach_btf_id = btf_id > 0 ? (__u32)btf_id : 0;
	return bpf_prog_load(type, "osh_probe", "GPL", return_one, OSH_COUNT_OF(return_one),
			     &options);
}

/* After a probe that failed: -errno when it has not found out, else 0, it is not there. */
static int absent(int r)
{
	return osh_is_shortage(r) ? r : 0;
}

static int can_load(enum bpf_prog_type type, int attach_type, int btf_id)
{
	_cleanup_fd_ int fd = load(type, attach_type, btf_id);

	return fd < 0 ? absent(fd) : 1;
}

static int has_unix_hooks(void)
{
	int r = can_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, OSH_UNIX_CONNECT, 0);

	return r <= 0 ? r : can_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, OSH_UNIX_SENDMSG, 0);
}

/* A kernel function is there when its type is. */
static int find_function(const struct btf *types, const char *name)
{
	return types ? btf__find_by_name_kind(types, name, BTF_KIND_FUNC) : -1;
}

/* Is BPF among the active security modules? Built in, it loads and attaches anyway, and is
 * never asked. The file is there where securityfs is mounted. */
static int is_lsm_active(void)
{
	uint64_t ids[LSM_MODULES_MAX];
	uint32_t size = sizeof(ids);
	long count = syscall(CALL_LSM_LIST_MODULES, ids, &size, 0);
	_cleanup_free_ char *names = NULL;
	size_t len;
	int r;

	for (long i = 0; i < count; i++) {
		if (ids[i] == LSM_ID_BPF)
			return 1;
	}
	if (count >= 0)
		return 0;
	r = osh_read_file(LSM_FILE, LSM_FILE_BYTES_MAX, &names, &len);
	return r < 0 ? absent(r) : strstr(names, "bpf") != NULL;
}

/* A kernel that is locked down refuses to load it, an older one of some architectures to attach
 * it: found by doing both. */
static int has_lsm(const struct btf *types, int cgroup_fd)
{
	int active = is_lsm_active();
	int id = active > 0 ? find_function(types, "bpf_lsm_file_receive") : -1;
	_cleanup_fd_ int program = id < 0 ? -1 : load(BPF_PROG_TYPE_LSM, BPF_LSM_CGROUP, id);
	_cleanup_fd_ int link = program < 0 ? -1 : bpf_link_create(program, cgroup_fd, BPF_LSM_CGROUP, NULL);

	if (id < 0)
		return active < 0 ? active : 0;
	if (program < 0)
		return absent(program);
	return link < 0 ? absent(link) : 1;
}

static bool has_send_trace(const struct btf *types)
{
	return types && btf__find_by_name_kind(types, "btf_trace_sock_send_length", BTF_KIND_TYPEDEF) > 0;
}

int osh_features_hooks(int cgroup_fd, struct osh_optional_hooks *ret_hooks)
{
	struct btf *types = btf__load_vmlinux_btf();
	/* libbpf goes on to other places, and says that it found it in none of them. */
	int r = types || access(TYPES_FILE, R_OK) < 0 ? 0 : -ENOMEM;
	int unix_sockets = r < 0 ? r : has_unix_hooks();
	int lsm = unix_sockets < 0 ? unix_sockets : has_lsm(types, cgroup_fd);

	if (lsm >= 0)
		*ret_hooks = (struct osh_optional_hooks){
			.unix_sockets = unix_sockets,
			.lsm = lsm,
			.send_trace = has_send_trace(types),
			.sock_destroy = find_function(types, "bpf_sock_destroy") > 0,
		};
	btf__free(types);
	return lsm < 0 ? lsm : 0;
}

size_t osh_features_list(const struct osh_optional_hooks *hooks, bool is_attached,
			 struct osh_kernel_feature features[OSH_FEATURES_MAX])
{
	const struct osh_kernel_feature list[] = {
		/* These were loaded and attached, or there would be no osh_kernel. */
		{ "exec and fork tracing", true, NULL },
		{ "cgroup network hooks", is_attached,
		  "somebody detached them: sandboxes have no network until openshelld is started anew" },
		{ "connect_unix hooks", hooks->unix_sockets,
		  "Unix sockets are bounded by the mounts of a sandbox alone" },
		{ "sock_destroy", hooks->sock_destroy, "sockets are ended through sock_diag" },
		{ "BPF LSM", hooks->lsm, hooks->send_trace ?
		  "sockets that change hands are recorded once used; connections of the sandbox then end; attached "
		  "cgroups are guarded less" :
		  "sockets that change hands count as their opener's; attached cgroups are guarded less" },
	};
	_Static_assert(OSH_COUNT_OF(list) <= OSH_FEATURES_MAX, "room for all");

	memcpy(features, list, sizeof(list));
	return OSH_COUNT_OF(list);
}
