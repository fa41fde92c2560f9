/* The programs in force on one more cgroup: the links of the agent's root cgroup, made again for
 * it. */
#include "kernel/install.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
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
	int cgroup_fd;
	char dir[PATH_MAX];
	struct osh_err *err;
};

static int attach_like(const struct place *place, const struct bpf_link_info *model)
{
	_cleanup_fd_ int program = -1, link = -1;
	char path[PATH_MAX + 16];

	/* Two programs may have the same type of attachment: their numbers differ. */
	snprintf(path, sizeof(path), "%s/%u", place->dir, model->prog_id);
	if (access(path, F_OK) == 0)
		return 0;
	program = bpf_prog_get_fd_by_id(model->prog_id);
	if (program < 0)
		return osh_err_sys(place->err, -program, "cannot find kernel program %u again", model->prog_id);
	link = bpf_link_create(program, place->cgroup_fd, (enum bpf_attach_type)model->cgroup.attach_type, NULL);
	if (link < 0)
		return osh_err_sys(place->err, -link, "cannot attach kernel program %u", model->prog_id);
	if (bpf_obj_pin(link, path) < 0)
		return osh_err_sys(place->err, errno, "cannot pin %s", path);
	return 0;
}

static int attach_turn(const struct place *place, enum turn turn)
{
	for (size_t i = 0; i < place->install->link_count; i++) {
		struct bpf_link_info info = { 0 };
		uint32_t len = sizeof(info);
		int r;

		if (bpf_obj_get_info_by_fd(place->install->link_fds[i], &info, &len) < 0)
			return osh_err_sys(place->err, errno, "cannot read a link in the kernel");
		if (info.type != BPF_LINK_TYPE_CGROUP || turn_of(info.cgroup.attach_type) != turn)
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
	int r = find_place(install, name, place.dir);

	if (r < 0 || (mkdir(place.dir, 0700) < 0 && errno != EEXIST))
		return osh_err_sys(err, r < 0 ? -r : errno, "cannot make %s", place.dir);
	for (int turn = 0; r == 0 && turn < TURN_COUNT; turn++)
		r = attach_turn(&place, (enum turn)turn);
	if (r < 0)
		osh_install_detach(install, name);
	return r;
}

void osh_install_detach(struct osh_install *install, const char *name)
{
	char dir[PATH_MAX];
	_cleanup_fd_ int fd = -1;

	if (find_place(install, "", dir) < 0)
		return;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		pins_remove_tree(fd, name);
}

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
