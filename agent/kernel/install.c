#include "kernel/install.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/knockout.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/netns.h"
#include "base/str.h"
#include "kernel/pins.h"
#include "openshell.skel.h"

static const char *const map_names[OSH_MAP_COUNT] = {
	[OSH_MAP_SETTINGS] = "settings",
	[OSH_MAP_SANDBOXES] = "sandboxes",
	[OSH_MAP_USAGE] = "usage",
	[OSH_MAP_TASKS] = "tasks",
	[OSH_MAP_IDENTITIES] = "identities",
	[OSH_MAP_IDENTITY_IDS] = "identity_ids",
	[OSH_MAP_FLOWS] = "flows",
	[OSH_MAP_REACHABLE] = "reachable",
	[OSH_MAP_DENIALS] = "denials",
	[OSH_MAP_LEASES] = "leases",
	[OSH_MAP_EVENTS] = "events",
	[OSH_MAP_COUNTERS] = "counters",
	[OSH_MAP_ATTACHED_LEVELS] = "attached_levels",
	[OSH_MAP_LATE] = "late",
	[OSH_MAP_SOCKETS] = "sockets",
	[OSH_MAP_UNIX_SOCKETS] = "unix_sockets",
	[OSH_MAP_IDENTITY_LAST] = "identity_last",
	[OSH_MAP_WOKEN] = "woken",
};

/* What one call of osh_install_open works with. */
struct job {
	const struct osh_kernel_options *options;
	struct osh_err *err;
	struct openshell *skel; /* opened; loaded only when nothing can be adopted */
	int cgroup_fd;
	uint64_t cgroup;
	uint64_t netns;
	char dir[PATH_MAX];     /* pin_dir/LAYOUT */
};

/* ---- libbpf's own words ---------------------------------------------------------- */

/* The first warning since the last reset is the cause; what follows repeats it. The agent
 * has one thread that loads. */
static char libbpf_words[256];

__attribute__((format(printf, 2, 0)))
static int on_libbpf_print(enum libbpf_print_level level, const char *format, va_list args)
{
	char *newline;

	if (level != LIBBPF_WARN || libbpf_words[0])
		return 0;
	vsnprintf(libbpf_words, sizeof(libbpf_words), format, args);
	newline = strchr(libbpf_words, '\n');
	if (newline)
		*newline = '\0';
	return 0;
}

static int libbpf_failed(struct job *job, int code, const char *what)
{
	if (code == EPERM || code == EACCES)
		return osh_err_set(job->err, code,
				   "%s: not permitted (%s): run as root, with CAP_BPF, CAP_PERFMON and "
				   "CAP_NET_ADMIN", what, libbpf_words);
	if (code == ENOMEM)
		return osh_err_sys(job->err, code, "%s", what);
	if (access("/sys/kernel/btf/vmlinux", R_OK) < 0)
		return osh_err_set(job->err, code,
				   "%s: this kernel carries no type information "
				   "(/sys/kernel/btf/vmlinux): use one built with CONFIG_DEBUG_INFO_BTF", what);
	return osh_err_sys(job->err, code, "%s (Linux 6.1 or later is needed; libbpf: %s)", what,
			   libbpf_words[0] ? libbpf_words : "no message");
}

/* ---- Where pins live ---------------------------------------------------------------- */

/* A path below pin_dir/LAYOUT. Too long gives "", which no call accepts. */
static const char *pin_path(const struct job *job, char buf[PATH_MAX], const char *kind,
			    const char *name)
{
	if (snprintf(buf, PATH_MAX, "%s/%s/%s", job->dir, kind, name) >= PATH_MAX)
		buf[0] = '\0';
	return buf;
}

/* ---- Facts about this place ------------------------------------------------------------ */

static int open_cgroup(struct job *job)
{
	const char *path = job->options->cgroup_path;
	struct statfs fs;
	struct stat st;

	job->cgroup_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (job->cgroup_fd < 0)
		return osh_err_sys(job->err, errno, "cannot open the cgroup %s", path);
	if (fstatfs(job->cgroup_fd, &fs) < 0 || (uint32_t)fs.f_type != CGROUP2_SUPER_MAGIC)
		return osh_err_set(job->err, EINVAL, "%s is not in a cgroup v2 hierarchy", path);
	if (fstat(job->cgroup_fd, &st) < 0)
		return osh_err_sys(job->err, errno, "cannot stat the cgroup %s", path);
	job->cgroup = st.st_ino; /* kernfs: the inode number is the cgroup's id */
	return 0;
}

static int read_netns(struct job *job)
{
	int r = osh_netns_cookie(&job->netns);

	return r < 0 ? osh_err_sys(job->err, -r, "cannot name this network namespace") : 0;
}

/* Of the programs that this build would load. */
static const char *build_name(char buf[32])
{
	size_t len;
	const unsigned char *bytes = openshell__elf_bytes(&len);
	uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a: tells builds apart, no more */

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3u;
	snprintf(buf, 32, "%016llx", (unsigned long long)hash);
	return buf;
}

static bool is_same_build(const struct job *job)
{
	char path[PATH_MAX], name[32];

	return access(pin_path(job, path, "build", build_name(name)), F_OK) == 0;
}

static bool is_foreign_and_busy(const void *context, const char *pin_dir, const char *layout)
{
	(void)context;
	return strcmp(layout, LAYOUT) != 0 && pins_hold_sandboxes(pin_dir, layout);
}

/* ---- Adopting -------------------------------------------------------------------------- */

static void close_handles(struct osh_install *install)
{
	for (size_t i = 0; i < install->pin_count; i++)
		osh_close(install->pins[i].fd);
	install->pin_count = install->link_count = 0;
	install->file_program_fd = -1;
	for (size_t i = 0; i < OSH_MAP_COUNT; i++)
		install->map_fds[i] = -1;
}

int osh_install_hold(struct osh_install *install, const char *place, const char *name)
{
	struct osh_pin *pin = &install->pins[install->pin_count];
	char path[PATH_MAX];

	if (install->pin_count == OSH_PINS_MAX)
		return -E2BIG;
	if (osh_str_copy(osh_str(name), pin->name, sizeof(pin->name)) < 0)
		return -ENAMETOOLONG;
	if (snprintf(path, sizeof(path), "%s/%s/%s", install->pin_dir, place, name) >= PATH_MAX)
		return -ENAMETOOLONG;
	pin->place = place;
	pin->fd = bpf_obj_get(path);
	if (pin->fd < 0)
		return -ENOENT;
	install->pin_count++;
	return pin->fd;
}

/* Whoever forgets to raise LAYOUT must not have us read past a smaller entry. */
static bool is_our_shape(const struct job *job, int map_fd, const char *name)
{
	const struct bpf_map *map = bpf_object__find_map_by_name(job->skel->obj, name);
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	return map && bpf_obj_get_info_by_fd(map_fd, &info, &len) == 0 &&
	       info.key_size == bpf_map__key_size(map) &&
	       info.value_size == bpf_map__value_size(map);
}

static int get_maps(const struct job *job, struct osh_install *install)
{
	for (size_t i = 0; i < OSH_MAP_COUNT; i++) {
		install->map_fds[i] = osh_install_hold(install, LAYOUT "/maps", map_names[i]);
		if (install->map_fds[i] < 0)
			return install->map_fds[i];
		if (!is_our_shape(job, install->map_fds[i], map_names[i]))
			return -ESTALE;
	}
	return 0;
}

/* 0; -ENOENT: somebody detached it, which leaves a link to nothing; -EXDEV: elsewhere. */
static int check_link(const struct job *job, int link_fd)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(link_fd, &info, &len) < 0)
		return -ENOENT;
	if (info.type != BPF_LINK_TYPE_CGROUP || info.cgroup.cgroup_id == job->cgroup)
		return 0;
	return info.cgroup.cgroup_id == 0 ? -ENOENT : -EXDEV;
}

/* All but those that are run and not attached, and those that this kernel has no place for. */
static bool is_hook(const struct bpf_program *program)
{
	if (osh_layer_off(bpf_program__name(program)) ||
	    (osh_layer_off("hooks") && bpf_program__type(program) != BPF_PROG_TYPE_TRACING))
		return false;
	return bpf_program__type(program) != BPF_PROG_TYPE_SYSCALL && bpf_program__autoload(program);
}

static const char *file_program_name(const struct job *job)
{
	return bpf_program__name(job->skel->progs.osh_file);
}

static int get_file_program(const struct job *job, struct osh_install *install)
{
	install->file_program_fd = osh_install_hold(install, LAYOUT "/programs", file_program_name(job));
	return install->file_program_fd < 0 ? install->file_program_fd : 0;
}

static int get_links(const struct job *job, struct osh_install *install)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, job->skel->obj) {
		int fd, r;

		if (!is_hook(program))
			continue;
		fd = install->link_count < OSH_LINKS_MAX ?
			     osh_install_hold(install, LAYOUT "/links", bpf_program__name(program)) : -E2BIG;
		r = fd < 0 ? fd : check_link(job, fd);
		if (r < 0)
			return r;
		install->link_fds[install->link_count++] = fd;
	}
	return 0;
}

/* 0; -ENOENT: something is missing; -ESTALE: another version's maps; -EXDEV: made for
 * another cgroup or network namespace. */
static int adopt(const struct job *job, struct osh_install *install)
{
	struct osh_settings settings;
	uint32_t zero = 0;
	int r = get_maps(job, install);

	if (r == 0 && bpf_map_lookup_elem(install->map_fds[OSH_MAP_SETTINGS], &zero, &settings) < 0)
		r = -ENOENT;
	if (r == 0 && (settings.root_cgroup != job->cgroup || settings.host_netns != job->netns))
		r = -EXDEV;
	if (r == 0)
		r = get_links(job, install);
	if (r == 0)
		r = get_file_program(job, install);
	if (r < 0)
		close_handles(install);
	return r;
}

/* ---- Loading ----------------------------------------------------------------------------- */

/* Some pins are gone while sandboxes run: new programs go to work on the old maps. */
static int reuse_maps(struct job *job)
{
	struct bpf_map *map;
	char path[PATH_MAX];

	bpf_object__for_each_map(map, job->skel->obj) {
		_cleanup_fd_ int fd = bpf_obj_get(pin_path(job, path, "maps", bpf_map__name(map)));
		int r;

		if (fd < 0)
			continue;
		r = bpf_map__reuse_fd(map, fd);
		if (r < 0)
			return libbpf_failed(job, -r, "cannot take over a map");
	}
	return 0;
}

static int write_settings(struct job *job)
{
	struct osh_level_question question = { .fd = (uint32_t)job->cgroup_fd };
	struct osh_settings settings = { .root_cgroup = job->cgroup, .host_netns = job->netns };
	LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = &question, .ctx_size_in = sizeof(question));
	int map_fd = bpf_map__fd(job->skel->maps.settings);
	uint32_t zero = 0;
	int r;

	if (bpf_map_lookup_elem(map_fd, &zero, &settings) == 0 && settings.root_cgroup)
		return 0; /* taken over, and frozen */
	settings = (struct osh_settings){ .root_cgroup = job->cgroup, .host_netns = job->netns };
	r = bpf_prog_test_run_opts(bpf_program__fd(job->skel->progs.osh_cgroup_level), &run);
	if (r < 0)
		return libbpf_failed(job, -r, "cannot find the cgroup's level");
	if (question.cgroup != job->cgroup)
		return osh_err_set(job->err, ENOTSUP,
				   "cannot read this kernel's cgroup tree: its types differ from what we know");
	settings.root_level = question.level;
	r = bpf_map_update_elem(map_fd, &zero, &settings, BPF_ANY);
	if (r == 0)
		r = bpf_map_freeze(map_fd);
	return r < 0 ? osh_err_sys(job->err, -r, "cannot write the settings map") : 0;
}

static int pin_maps(struct job *job)
{
	struct bpf_map *map;
	char path[PATH_MAX];

	bpf_object__for_each_map(map, job->skel->obj) {
		pin_path(job, path, "maps", bpf_map__name(map));
		if (access(path, F_OK) == 0)
			continue; /* reused */
		if (bpf_obj_pin(bpf_map__fd(map), path) < 0)
			return osh_err_sys(job->err, errno, "cannot pin %s", path);
	}
	return 0;
}

static int attach(struct job *job, struct bpf_program *program)
{
	bool tracing = bpf_program__type(program) == BPF_PROG_TYPE_TRACING;
	struct bpf_link *link = tracing ? bpf_program__attach(program) :
					  bpf_program__attach_cgroup(program, job->cgroup_fd);
	char path[PATH_MAX];
	int r;

	if (!link)
		return libbpf_failed(job, errno, bpf_program__name(program));
	pin_path(job, path, "links", bpf_program__name(program));
	(void)unlink(path); /* the new one is in force already */
	r = bpf_link__pin(link, path);
	bpf_link__destroy(link); /* closes our descriptor: the pin keeps it attached */
	return r < 0 ? osh_err_sys(job->err, -r, "cannot pin %s", path) : 0;
}

static int attach_all(struct job *job)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, job->skel->obj) {
		int r = is_hook(program) ? attach(job, program) : 0;

		osh_crash_point();
		if (r < 0)
			return r;
	}
	return 0;
}

static int pin_file_program(struct job *job)
{
	char path[PATH_MAX];

	pin_path(job, path, "programs", file_program_name(job));
	(void)unlink(path);
	if (bpf_obj_pin(bpf_program__fd(job->skel->progs.osh_file), path) < 0)
		return osh_err_sys(job->err, errno, "cannot pin %s", path);
	return 0;
}

static int make_dirs(struct job *job)
{
	static const char *const kinds[] = { "", "maps", "links", "programs", "attached", "build" };
	char path[PATH_MAX];

	for (size_t i = 0; i < OSH_COUNT_OF(kinds); i++) {
		if (mkdir(pin_path(job, path, kinds[i], ""), 0700) < 0 && errno != EEXIST)
			return osh_err_sys(job->err, errno, "cannot make %s", path);
	}
	return 0;
}

static int load(struct job *job)
{
	char path[PATH_MAX], name[32];
	int r;

	libbpf_words[0] = '\0';
	r = openshell__load(job->skel);
	if (r < 0)
		return libbpf_failed(job, -r, "cannot load the kernel programs");
	osh_crash_point();
	r = write_settings(job);
	if (r == 0)
		r = make_dirs(job);
	osh_crash_point();
	if (r == 0)
		r = pin_maps(job);
	osh_crash_point();
	if (r == 0)
		r = pin_file_program(job);
	if (r == 0)
		r = attach_all(job);
	/* Last: a directory without it is unfinished and will be replaced. */
	if (r == 0 && mkdir(pin_path(job, path, "build", build_name(name)), 0700) < 0 &&
	    errno != EEXIST)
		r = osh_err_sys(job->err, errno, "cannot make %s", path);
	return r;
}

static bool remove_layout(const void *context, const char *pin_dir, const char *layout)
{
	int fd = open(pin_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)context;
	pins_remove_tree(fd, layout);
	osh_close(fd);
	return false;
}

/* ---- Both ----------------------------------------------------------------------------------- */

static int outdated(const char *pin_dir, struct osh_err *err)
{
	return osh_err_set(err, EBUSY,
			   "sandboxes run under kernel programs of another version of openshell (pins: %s): start "
			   "that version again, if it is not there, and stop, delete or detach them with it; or stop it and "
			   "end them with 'openshelld --sweep' (attached cgroups, when their processes have ended)",
			   pin_dir);
}

int osh_kernel_check(const char *pin_dir, struct osh_err *err)
{
	return pins_any_layout(pin_dir, is_foreign_and_busy, NULL) ? outdated(pin_dir, err) : 0;
}

static int misplaced(struct job *job)
{
	return osh_err_set(job->err, EBUSY,
			   "sandboxes run under %s that were made from another network namespace or "
			   "cgroup: start the agent where it ran before, or delete them from there",
			   job->options->pin_dir);
}

static int install(struct job *job, struct osh_install *inst)
{
	const char *pin_dir = job->options->pin_dir;
	bool busy = pins_hold_sandboxes(pin_dir, LAYOUT);
	int r = osh_kernel_check(pin_dir, job->err);

	if (r < 0)
		return r;
	r = adopt(job, inst);
	if (r == 0 && (busy || is_same_build(job))) {
		inst->has_old_maps = true;
		return 0;
	}
	close_handles(inst);
	inst->has_old_maps = busy;
	if (r == -EXDEV && busy)
		return misplaced(job);
	if (r == -ESTALE && busy)
		return outdated(pin_dir, job->err);
	if (busy) {
		r = reuse_maps(job);
	} else {
		pins_any_layout(pin_dir, remove_layout, NULL);
		r = 0;
	}
	if (r == 0)
		r = load(job);
	if (r == 0) {
		r = adopt(job, inst);
		if (r < 0)
			osh_err_sys(job->err, -r, "what was just pinned below %s cannot be opened",
				    job->options->pin_dir);
	}
	if (r < 0 && !busy)
		pins_any_layout(pin_dir, remove_layout, NULL);
	return r;
}

void osh_install_init(struct osh_install *install)
{
	*install = (struct osh_install){ .pin_dir_fd = -1 };
	close_handles(install);
}

/* What the kernel does not have is left out. Of the two ways to mind a connection that changes
 * hands, refusing goes before telling. */
static void choose_hooks(struct openshell *skel, const struct osh_optional_hooks *hooks)
{
	struct bpf_program *program;

	/* Attach types that libbpf does not know yet. */
	bpf_program__set_expected_attach_type(skel->progs.osh_connect_unix, (enum bpf_attach_type)OSH_UNIX_CONNECT);
	bpf_program__set_expected_attach_type(skel->progs.osh_sendmsg_unix, (enum bpf_attach_type)OSH_UNIX_SENDMSG);
	bpf_program__set_autoload(skel->progs.osh_connect_unix, hooks->unix_sockets);
	bpf_program__set_autoload(skel->progs.osh_sendmsg_unix, hooks->unix_sockets);
	bpf_object__for_each_program(program, skel->obj) {
		if (bpf_program__type(program) == BPF_PROG_TYPE_LSM)
			bpf_program__set_autoload(program, hooks->lsm);
	}
	bpf_program__set_autoload(skel->progs.osh_sent, hooks->send_trace && !hooks->lsm);
}

static int prepare(struct job *job, struct osh_install *inst)
{
	int r;

	/* Before 5.11 maps counted against this; harmless since. */
	(void)setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY });
	libbpf_set_print(on_libbpf_print);
	libbpf_words[0] = '\0';
	job->skel = openshell__open();
	if (!job->skel)
		return libbpf_failed(job, errno, "cannot open the kernel programs");
	r = osh_features_hooks(job->cgroup_fd, &inst->hooks);
	if (r < 0)
		return osh_err_sys(job->err, -r, "cannot find out what this kernel has");
	choose_hooks(job->skel, &inst->hooks);
	if (snprintf(job->dir, sizeof(job->dir), "%s/" LAYOUT, job->options->pin_dir) >= PATH_MAX)
		return osh_err_set(job->err, ENAMETOOLONG, "%s is too long", job->options->pin_dir);
	inst->pin_dir = strdup(job->options->pin_dir);
	return inst->pin_dir ? 0 : osh_err_sys(job->err, ENOMEM, "cannot start");
}

int osh_install_open(struct osh_install *inst, const struct osh_kernel_options *options,
		     struct osh_err *err)
{
	struct job job = { .options = options, .err = err, .cgroup_fd = -1 };
	int r = open_cgroup(&job);

	if (r == 0)
		r = prepare(&job, inst);
	if (r == 0)
		r = read_netns(&job);
	if (r == 0)
		r = pins_make_dir(options->pin_dir, err);
	if (r == 0)
		r = pins_lock_dir(options->pin_dir, &inst->pin_dir_fd, err);
	if (r == 0)
		r = install(&job, inst);
	if (r == 0 && is_same_build(&job))
		build_name(inst->build);
	openshell__destroy(job.skel);
	osh_close(job.cgroup_fd);
	return r;
}

void osh_install_done(struct osh_install *inst)
{
	close_handles(inst);
	osh_install_release(inst);
	inst->pin_dir_fd = osh_close(inst->pin_dir_fd);
	free(osh_take(inst->pin_dir));
}

void osh_install_remove(struct osh_install *inst)
{
	if (inst->pin_dir_fd >= 0) {
		osh_crash_point();
		pins_remove_tree(inst->pin_dir_fd, LAYOUT);
		pins_remove_tree(inst->pin_dir_fd, PINS_MEMORY);
		osh_crash_point();
		(void)rmdir(inst->pin_dir); /* stays when something else is in it */
	}
	osh_install_done(inst);
}
