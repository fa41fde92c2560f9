#include "control/embed.h"

/* .incbin takes the files as they are, relative to the top of the project, where make
 * runs; the Makefile names them as this object's dependencies. */
#define EMBED(symbol, path) \
	__asm__(".pushsection .rodata\n" \
		".global " #symbol "\n" #symbol ":\n" \
		".incbin \"" path "\"\n" \
		".global " #symbol "_end\n" #symbol "_end:\n" \
		".byte 0\n" \
		".popsection\n"); \
	extern const char symbol[] __attribute__((visibility("hidden"))); \
	extern const char symbol##_end[] __attribute__((visibility("hidden")))

EMBED(osh_embedded_interface, "agent/control/io.openshell.varlink");
EMBED(osh_embedded_policy, "share/default-policy.yaml");

const char *osh_embed_interface(void)
{
	return osh_embedded_interface;
}

struct osh_str osh_embed_default_policy(void)
{
	return osh_str_n(osh_embedded_policy,
			 (size_t)(osh_embedded_policy_end - osh_embedded_policy));
}
