/* Globs: pattern, a NUL, text. Compiling and matching end, and literals match themselves. */
#include <stdlib.h>
#include <string.h>

#include "policy/glob.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	const unsigned char *split = size ? memchr(data, '\0', size) : NULL;
	struct osh_str pattern, text;
	unsigned char *code = NULL;
	size_t len;
	bool matches;

	if (!split)
		return 0;
	pattern = osh_str_n((const char *)data, (size_t)(split - data));
	text = osh_str_n((const char *)split + 1, size - pattern.len - 1);
	if (osh_glob_compile(pattern, '/', &code, &len))
		return 0;
	matches = osh_glob_match(code, text);
	if (osh_glob_is_literal(pattern) && matches != osh_str_eq(pattern, text))
		abort();
	free(code);
	return 0;
}
