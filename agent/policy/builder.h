/* Growing an image while a document is compiled. Private to agent/policy. */
#ifndef OSH_POLICY_BUILDER_H
#define OSH_POLICY_BUILDER_H

#include "policy/document.h"
#include "policy/image.h"

#define OSH_PRESETS_COUNT 9

struct osh_builder_piece;

struct osh_builder {
	unsigned char *data; /* at a cache line */
	size_t len, room;
	int error; /* 0, -ENOMEM or -E2BIG; sticky */
	/* Pieces that may be shared, by their bytes: open addressing, a power of two. */
	struct osh_builder_piece *pieces;
	size_t piece_count, piece_room;
	/* Rules of the presets, compiled once and shared by all endpoints that use them. */
	struct osh_image_list presets[OSH_PRESETS_COUNT];
};

/* Make room beforehand: an image of about so many bytes is coming. */
void osh_builder_reserve(struct osh_builder *b, size_t len);
/* Free what is not the image; that too, unless `keep`. */
void osh_builder_done(struct osh_builder *b, bool keep);

/* Append zeroed (data NULL) or given bytes at an alignment of 4; the offset, 0 on failure. */
uint32_t osh_builder_put(struct osh_builder *b, const void *data, size_t len);
/* The same at the start of a cache line. */
uint32_t osh_builder_put_at_line(struct osh_builder *b, const void *data, size_t len);
/* Where these bytes already lie, or else as put: for what many endpoints have in common. */
uint32_t osh_builder_share(struct osh_builder *b, const void *data, size_t len);

/* Shared, too. Empty ones take no room. */
struct osh_image_str osh_builder_str(struct osh_builder *b, struct osh_str text);
struct osh_image_list osh_builder_list(struct osh_builder *b, const void *items, size_t size,
				       size_t count);
/* A compiled glob; 0 when the pattern cannot be read or memory is out (then error is set). */
uint32_t osh_builder_glob(struct osh_builder *b, struct osh_str pattern, char delimiter);

/* Rules of one endpoint, presets expanded (compile_rules.c). */
void osh_compile_rules(struct osh_builder *b, const struct osh_endpoint *e,
		       struct osh_image_endpoint *out);
struct osh_image_list osh_compile_registry(struct osh_builder *b, const struct osh_endpoint *e);
/* The trie over all endpoints, `count` of them in image order (compile_hosts.c). */
void osh_compile_hosts(struct osh_builder *b, const struct osh_endpoint *const *endpoints,
		       size_t count, struct osh_image_header *header);

#endif
