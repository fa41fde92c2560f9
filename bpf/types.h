/* Kernel types by hand: only the fields that are read, found by BTF relocation
 * (CO-RE) in the running kernel, so a build needs no vmlinux.h. A type with a
 * ___suffix is another kernel's layout of the same one. */
#ifndef OSH_BPF_TYPES_H
#define OSH_BPF_TYPES_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};

struct qstr {
	__u32 len;
	const unsigned char *name;
};

struct super_block {
	__u32 s_dev;
};

struct kuid {
	__u32 val;
};

/* kernel_cap_t: of two 32-bit words before 6.3, the low one first. */
struct kernel_caps {
	__u64 words;
};

struct cred {
	struct kuid uid, suid, euid;
	struct kernel_caps cap_permitted;
};

struct file;

struct mm_struct {
	struct file *exe_file;
	unsigned long env_start;
	unsigned long env_end;
};

struct inode {
	unsigned short i_mode;
	struct kuid i_uid;
	struct super_block *i_sb;
	unsigned long i_ino;
	unsigned int i_nlink;
	__u32 i_generation;
	void *i_private;
	__s64 i_ctime_sec; /* since 6.11 */
	__u32 i_ctime_nsec;
};

struct timespec64 {
	__s64 tv_sec;
	long tv_nsec;
};

struct inode___ctime_6_6 {
	struct timespec64 __i_ctime;
};

struct inode___ctime_6_1 {
	struct timespec64 i_ctime;
};

struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
	int mnt_flags;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	void *private_data; /* the socket, in those of sockets */
};

struct net;

struct sock_common {
	unsigned short skc_family;
	unsigned char skc_state;
	__u32 skc_daddr, skc_rcv_saddr;
	__u16 skc_dport, skc_num;
	struct {
		__u32 word_be[4];
	} skc_v6_daddr, skc_v6_rcv_saddr; /* struct in6_addr */
	struct {
		struct net *net;
	} skc_net;
};

struct kernfs_node {
	__u64 id;
	void *priv; /* the cgroup, in cgroup2's directories */
};

struct cgroup {
	int level;
	struct kernfs_node *kn;
	struct cgroup *ancestors[]; /* by level; since 6.1 */
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct sock {
	struct sock_common __sk_common;
	struct sock_cgroup_data sk_cgrp_data;
	__u16 sk_type;
};

struct sockaddr_un {
	char sun_path[108];
};

struct unix_address {
	int len; /* family included */
	struct sockaddr_un name[];
};

struct unix_sock {
	struct sock sk;
	struct unix_address *addr; /* NULL: it is bound to nothing */
	struct path path; /* where it is bound; empty: it has an abstract name, or none */
	struct sock *peer; /* the other end; NULL: it is not connected */
};

struct socket {
	struct sock *sk;
};

struct nsproxy {
	struct net *net_ns;
};

struct linux_binprm {
	struct file *file;
};

struct fs_struct {
	struct path root;
};

struct signal_struct {
	struct {
		int counter;
	} live; /* atomic_t: threads that have not begun to exit */
};

struct fdtable {
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct {
	unsigned int flags;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	__u64 start_boottime;
	__u64 self_exec_id;
	const struct cred *cred;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct css_set *cgroups;
};

struct bpf_iter_meta;

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task; /* NULL: the end */
};

#pragma clang attribute pop

#endif
