/* The programs in force on one more cgroup: the links of the agent's root cgroup, made again for
 * it. Pins keep them when the agent ends; its descriptors keep them when somebody removes the pins. */
#include "kernel/install.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "kernel/pins.h"

/* The packets' guard first; connect last. */
enum turn { TURN_PACKETS, TURN_OTHERS, TURN_CONNECT, TURN_COUNT };

static enum turn turn_of(uint32_t attach_type)
{
	switch (attach_type) {
	case BPF_CGROUP_INET_EGRESS:
		return TURN_PACKETS;
	case BPF_CGROUP_INET4_CONNECT:
	case BPF_CGROUP_INET6_CONNECT:
		return TURN_CONNECT;
	default:
		return TURN_OTHERS;
	}
}

struct place {
	const struct osh_install *install;
	struct osh_held_links *held;
	int cgroup_fd;
	char dir[PATH_MAX];
	int made; /* links that were not in force before */
	struct osh_err *err;
};

/* ---- Held open ---------------------------------------- */

static struct osh_held_links *find_held(const struct osh_install *install, const char *name)
{
	struct osh_held_links *held;

	LL_FOREACH(install->held, held) {
		if (strcmp(held->name, name) == 0)
			return held;
	}
	return NULL;
}

static int hold_place(struct osh_install *install, const char *name, struct osh_held_links **ret_held)
{
	struct osh_held_links *held = find_held(install, name);

	if (!held) {
		held = calloc(1, sizeof(*held));
		if (!held)
			return -ENOMEM;
		if (osh_str_copy(osh_str(name), held->name, sizeof(held->name)) < 0) {
			free(held);
			return -ENAMETOOLONG;
		}
		LL_PREPEND(install->held, held);
	}
	*ret_held = held;
	return 0;
}

static bool holds(const struct osh_held_links *held, uint32_t program)
{
	for (size_t i = 0; i < held->count; i++) {
		if (held->programs[i] == program)
			return true;
	}
	return false;
}

/* There are at most as many as link_fds has room for. */
static void hold(struct osh_held_links *held, uint32_t program, int *link)
{
	held->programs[held->count] = program;
	held->fds[held->count++] = osh_take_fd(link);
}

static void let_go(struct osh_install *install, struct osh_held_links *held)
{
	if (!held)
		return;
	for (size_t i = 0; i < held->count; i++)
		osh_close(held->fds[i]);
	LL_DELETE(install->held, held);
	free(held);
}

void osh_install_release(struct osh_install *install)
{
	while (install->held)
		let_go(install, install->held);
}

/* ---- Attaching ---------------------------------------- */

/* Two programs may have the same type of attachment: their numbers differ. */
static void name_pin(const char *dir, uint32_t program, char path[static PATH_MAX + 16])
{
	snprintf(path, PATH_MAX + 16, "%s/%u", dir, program);
}

/* What is pinned and not detached, or -errno. */
static int open_in_force(const char *dir, uint32_t program)
{
	char path[PATH_MAX + 16];
	_cleanup_fd_ int link = -1;

	name_pin(dir, program, path);
	link = bpf_obj_get(path);
	if (link < 0)
		return link;
	return osh_install_is_detached(link) ? -ENOLINK : osh_take_fd(&link);
}

static int attach_like(struct place *place, const struct bpf_link_info *model)
{
	_cleanup_fd_ int program = -1, link = -1;
	char path[PATH_MAX + 16];

	if (holds(place->held, model->prog_id))
		return 0;
	link = open_in_force(place->dir, model->prog_id);
	if (link >= 0) {
		hold(place->held, model->prog_id, &link);
		return 0;
	}
	name_pin(place->dir, model->prog_id, path);
	if (link == -ENOLINK)
		(void)unlink(path);
	program = bpf_prog_get_fd_by_id(model->prog_id);
	if (program < 0)
		return osh_err_sys(place->err, -program, "cannot find kernel program %u again", model->prog_id);
	link = bpf_link_create(program, place->cgroup_fd, (enum bpf_attach_type)model->cgroup.attach_type, NULL);
	if (link < 0)
		return osh_err_sys(place->err, -link, "cannot attach kernel program %u", model->prog_id);
	if (bpf_obj_pin(link, path) < 0)
		return osh_err_sys(place->err, errno, "cannot pin %s", path);
	hold(place->held, model->prog_id, &link);
	place->made++;
	return 0;
}

/* One of the agent's root cgroup. 1, 0: it is no cgroup's; or -errno. */
static int read_model(int link_fd, struct bpf_link_info *ret_info)
{
	uint32_t len = sizeof(*ret_info);

	*ret_info = (struct bpf_link_info){ 0 };
	if (bpf_obj_get_info_by_fd(link_fd, ret_info, &len) < 0)
		return -errno;
	return ret_info->type == BPF_LINK_TYPE_CGROUP;
}

static int attach_turn(struct place *place, enum turn turn)
{
	for (size_t i = 0; i < place->install->link_count; i++) {
		struct bpf_link_info info;
		int r = read_model(place->install->link_fds[i], &info);

		if (r < 0)
			return osh_err_sys(place->err, -r, "cannot read a link in the kernel");
		if (r == 0 || turn_of(info.cgroup.attach_type) != turn)
			continue;
		r = attach_like(place, &info);
		if (r < 0)
			return r;
	}
	return 0;
}

static int find_place(const struct osh_install *install, const char *name, char dir[static PATH_MAX])
{
	int n = snprintf(dir, PATH_MAX, "%s/" LAYOUT "/attached/%s", install->pin_dir, name);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int osh_install_attach(struct osh_install *install, int cgroup_fd, const char *name, struct osh_err *err)
{
	struct place place = { .install = install, .cgroup_fd = cgroup_fd, .err = err };
	bool is_new = !find_held(install, name);
	int r = find_place(install, name, place.dir);

	if (r == 0)
		r = hold_place(install, name, &place.held);
	if (r < 0 || (mkdir(place.dir, 0700) < 0 && errno != EEXIST))
		return osh_err_sys(err, r < 0 ? -r : errno, "cannot make %s", place.dir);
	for (int turn = 0; r == 0 && turn < TURN_COUNT; turn++)
		r = attach_turn(&place, (enum turn)turn);
	if (r < 0 && is_new)
		osh_install_detach(install, name);
	return r < 0 ? r : place.made;
}

bool osh_install_has_all_links(const struct osh_install *install, const char *name)
{
	char dir[PATH_MAX];

	if (find_place(install, name, dir) < 0)
		return false;
	for (size_t i = 0; i < install->link_count; i++) {
		struct bpf_link_info info;
		_cleanup_fd_ int link = -1;
		int r = read_model(install->link_fds[i], &info);

		if (r > 0)
			link = open_in_force(dir, info.prog_id);
		if (r < 0 || (r > 0 && link < 0))
			return false;
	}
	return true;
}

void osh_install_detach(struct osh_install *install, const char *name)
{
	char dir[PATH_MAX];
	_cleanup_fd_ int fd = -1;

	let_go(install, find_held(install, name));
	if (find_place(install, "", dir) < 0)
		return;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		pins_remove_tree(fd, name);
}

/* ---- Links that somebody detached ---------------------------------------- */

bool osh_install_is_detached(int link_fd)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(link_fd, &info, &len) == 0 && info.type == BPF_LINK_TYPE_CGROUP &&
	       info.cgroup.cgroup_id == 0;
}

bool osh_install_is_attached(const struct osh_install *install)
{
	for (size_t i = 0; i < install->link_count; i++) {
		if (osh_install_is_detached(install->link_fds[i]))
			return false;
	}
	return true;
}

unsigned osh_install_drop_detached(struct osh_install *install, const char *name)
{
	struct osh_held_links *held = find_held(install, name);
	char dir[PATH_MAX], path[PATH_MAX + 16];
	unsigned dropped = 0;
	size_t kept = 0;

	if (!held || find_place(install, name, dir) < 0)
		return 0;
	for (size_t i = 0; i < held->count; i++) {
		if (!osh_install_is_detached(held->fds[i])) {
			held->programs[kept] = held->programs[i];
			held->fds[kept++] = held->fds[i];
			continue;
		}
		name_pin(dir, held->programs[i], path);
		(void)unlink(path);
		osh_close(held->fds[i]);
		dropped++;
	}
	held->count = kept;
	return dropped;
}

/* ---- Pins that somebody removed ---------------------------------------- */

static int repin(const struct osh_install *install, const struct osh_held_links *held)
{
	char dir[PATH_MAX], path[PATH_MAX + 16];
	int pinned = 0, r = find_place(install, held->name, dir);

	for (size_t i = 0; r >= 0 && i < held->count; i++) {
		name_pin(dir, held->programs[i], path);
		r = pins_mend(held->fds[i], install->pin_dir, path);
		pinned += r > 0;
	}
	return r < 0 ? r : pinned;
}

int osh_install_repin_attached(const struct osh_install *install)
{
	const struct osh_held_links *held;
	int first_error = 0, pinned = 0;

	LL_FOREACH(install->held, held) {
		int r = repin(install, held);

		if (r < 0 && first_error == 0)
			first_error = r;
		pinned += r > 0 ? r : 0;
	}
	return first_error < 0 ? first_error : pinned;
}

/* ---- Who runs already ---------------------------------------- */

int osh_install_run_late(const struct osh_install *install)
{
	char path[PATH_MAX], nothing[64];
	_cleanup_fd_ int link = -1, tasks = -1;
	ssize_t n;

	if (snprintf(path, sizeof(path), "%s/" LAYOUT "/links/osh_late", install->pin_dir) >= PATH_MAX)
		return -ENAMETOOLONG;
	link = bpf_obj_get(path);
	if (link < 0)
		return -errno;
	tasks = bpf_iter_create(link);
	if (tasks < 0)
		return -errno;
	do /* the program says nothing: the end comes when it has seen all */
		n = read(tasks, nothing, sizeof(nothing));
	while (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)));
	return n < 0 ? -errno : 0;
}
