/* What the running kernel can do, found by asking it to: a version number says little about
 * a distribution's kernel. */
#include "kernel/install.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "base/fd.h"

/* "return 1": r0 = 1; exit */
static const struct bpf_insn return_one[] = {
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
	{ .code = BPF_JMP | BPF_EXIT },
};

static bool can_load(enum bpf_prog_type type, int attach_type, int btf_id)
{
	LIBBPF_OPTS(bpf_prog_load_opts, options);
	_cleanup_fd_ int fd = -1;

	options.expected_attach_type = (enum bpf_attach_type)attach_type;
	options.attach_btf_id = btf_id > 0 ? (__u32)btf_id : 0;
	fd = bpf_prog_load(type, "osh_probe", "GPL", return_one, OSH_COUNT_OF(return_one),
			   &options);
	return fd >= 0;
}

bool osh_features_unix_hooks(void)
{
	return can_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, OSH_UNIX_CONNECT, 0) &&
	       can_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, OSH_UNIX_SENDMSG, 0);
}

/* A kernel function is there when its type is. */
static int find_function(const struct btf *types, const char *name)
{
	return types ? btf__find_by_name_kind(types, name, BTF_KIND_FUNC) : -1;
}

/* Attaching is what fails where BPF is not among the active security modules; here loading
 * is asked, which fails where they were not built in. */
static bool has_lsm(const struct btf *types)
{
	int id = find_function(types, "bpf_lsm_socket_sendmsg");

	return id > 0 && can_load(BPF_PROG_TYPE_LSM, BPF_LSM_MAC, id);
}

size_t osh_features_probe(struct osh_kernel_feature features[OSH_FEATURES_MAX])
{
	struct btf *types = btf__load_vmlinux_btf();
	size_t count = 0;

	/* These were loaded and attached, or there would be no osh_kernel. */
	features[count++] = (struct osh_kernel_feature){ "exec and fork tracing", true, NULL };
	features[count++] = (struct osh_kernel_feature){ "cgroup network hooks", true, NULL };
	features[count++] = (struct osh_kernel_feature){
		"connect_unix hooks", osh_features_unix_hooks(),
		"Unix sockets are bounded by the mounts of a sandbox alone",
	};
	features[count++] = (struct osh_kernel_feature){
		"sock_destroy", find_function(types, "bpf_sock_destroy") > 0,
		"sockets are ended through sock_diag",
	};
	features[count++] = (struct osh_kernel_feature){
		"BPF LSM", has_lsm(types), "seccomp and the cgroup hooks hold alone",
	};
	btf__free(types);
	return count;
}
