/* Request targets: the canonical form is a fixed point and never climbs. */
#include <stdlib.h>
#include <string.h>

#include "policy/path.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static char first[3 * OSH_PATH_TARGET_MAX + 1], second[3 * OSH_PATH_TARGET_MAX + 1];
	struct osh_path path, again;
	bool slash = size && (data[0] & 1);

	if (size == 0 || osh_path_canonicalise(osh_str_n((const char *)data + 1, size - 1), slash,
					       first, sizeof(first), &path))
		return 0;
	if (path.path.len == 0 || path.path.data[0] != '/' ||
	    memmem(path.path.data, path.path.len, "/../", 4) ||
	    memmem(path.path.data, path.path.len, "//", 2) ||
	    osh_str_chr(path.path, ';'))
		abort();
	if (!slash && memmem(path.path.data, path.path.len, "%2F", 3))
		abort();
	if (path.path.len <= OSH_PATH_TARGET_MAX &&
	    (osh_path_canonicalise(path.path, slash, second, sizeof(second), &again) ||
	     !osh_str_eq(path.path, again.path)))
		abort();
	return 0;
}
