/* Private to agent/kernel: the directory of the pins. */
#ifndef OSH_KERNEL_PINS_H
#define OSH_KERNEL_PINS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define LAYOUT_PREFIX "layout-"
/* Raise when a map's key, value or meaning changes (bpf/maps.h, include/openshell/abi.h),
 * or when programs of one build cannot work beside user space of the other. */
#define LAYOUT LAYOUT_PREFIX "8"

/* Beside the layouts: memory.c. */
#define PINS_MEMORY "memory"

/* Make it where it is missing, and the file system of /sys/fs/bpf with it. */
int pins_make_dir(const char *path, struct osh_err *err);
/* One agent at a time: as long as the descriptor is open. -EBUSY: another has it. */
int pins_lock_dir(const char *path, int *ret_fd, struct osh_err *err);
/* Pin `fd` again as `path`, below `pin_dir`, where that pin is gone, and make the directories on the way.
 * Returns 1, 0 (it is there) or -errno. `path` is changed meanwhile. */
int pins_mend(int fd, const char *pin_dir, char *path);
/* The same of a directory. */
int pins_mend_dir(const char *pin_dir, char *path);
/* Everything below `name`, and itself. Pins are at most three levels deep. */
void pins_remove_tree(int parent_fd, const char *name);
/* Calls `each` for every layout found; stops when it returns true, and returns it. */
bool pins_any_layout(const char *pin_dir, bool (*each)(const void *context, const char *pin_dir, const char *layout),
		     const void *context);
/* Does this table of sandboxes hold any? True when that cannot be told. */
bool pins_has_sandbox(int map_fd);
/* Do sandboxes run under the programs of this layout? True when that cannot be told. */
bool pins_hold_sandboxes(const char *pin_dir, const char *layout);

#endif
