#include "policy/builder.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "policy/glob.h"

struct osh_builder_piece {
	uint32_t hash, offset, len; /* offset 0: free */
};

/* ---- Bytes --------------------------------------------------------------- */

static bool grow(struct osh_builder *b, size_t want)
{
	size_t room = b->room ? b->room : 4096;
	unsigned char *data;

	while (room < want)
		room *= 2;
	if (room > OSH_IMAGE_BYTES_MAX) {
		b->error = -E2BIG;
		return false;
	}
	data = aligned_alloc(OSH_IMAGE_LINE, room);
	if (!data) {
		b->error = -ENOMEM;
		return false;
	}
	if (b->len)
		memcpy(data, b->data, b->len);
	free(b->data);
	b->data = data;
	b->room = room;
	return true;
}

void osh_builder_reserve(struct osh_builder *b, size_t len)
{
	if (!b->error && len > b->room)
		(void)grow(b, len);
}

void osh_builder_done(struct osh_builder *b, bool keep)
{
	free(b->pieces);
	if (!keep)
		free(b->data);
}

static uint32_t put(struct osh_builder *b, const void *data, size_t len, size_t alignment)
{
	size_t offset = (b->len + alignment - 1) / alignment * alignment;

	if (b->error || (offset + len > b->room && !grow(b, offset + len)))
		return 0;
	memset(b->data + b->len, 0, offset - b->len);
	if (data && len)
		memcpy(b->data + offset, data, len);
	else
		memset(b->data + offset, 0, len);
	b->len = offset + len;
	return (uint32_t)offset;
}

uint32_t osh_builder_put(struct osh_builder *b, const void *data, size_t len)
{
	return put(b, data, len, 4);
}

uint32_t osh_builder_put_at_line(struct osh_builder *b, const void *data, size_t len)
{
	return put(b, data, len, OSH_IMAGE_LINE);
}

/* ---- Shared pieces ------------------------------------------------------- */

/* The piece of these bytes, or the free place for it. */
static struct osh_builder_piece *find_piece(const struct osh_builder *b, uint32_t hash,
					    const void *data, size_t len)
{
	size_t mask = b->piece_room - 1;

	for (size_t i = hash & mask;; i = (i + 1) & mask) {
		struct osh_builder_piece *piece = &b->pieces[i];

		if (piece->offset == 0 ||
		    (piece->hash == hash && piece->len == len &&
		     memcmp(b->data + piece->offset, data, len) == 0))
			return piece;
	}
}

/* Keep a third of the table free. */
static bool make_piece_room(struct osh_builder *b)
{
	struct osh_builder_piece *old = b->pieces;
	size_t room = b->piece_room;

	if (room && 3 * (b->piece_count + 1) <= 2 * room)
		return true;
	b->piece_room = room ? 2 * room : 512;
	b->pieces = calloc(b->piece_room, sizeof(*old));
	for (size_t i = 0; i < room && b->pieces; i++) {
		if (old[i].offset)
			*find_piece(b, old[i].hash, b->data + old[i].offset, old[i].len) = old[i];
	}
	free(old);
	if (!b->pieces)
		b->error = -ENOMEM;
	return b->pieces != NULL;
}

uint32_t osh_builder_share(struct osh_builder *b, const void *data, size_t len)
{
	uint32_t hash = (uint32_t)osh_image_hash(osh_str_n(data, len));
	struct osh_builder_piece *piece;

	if (b->error || !make_piece_room(b))
		return 0;
	piece = find_piece(b, hash, data, len);
	if (piece->offset == 0) {
		*piece = (struct osh_builder_piece){ hash, osh_builder_put(b, data, len),
						     (uint32_t)len };
		b->piece_count += piece->offset != 0;
	}
	return piece->offset;
}

struct osh_image_str osh_builder_str(struct osh_builder *b, struct osh_str text)
{
	if (text.len == 0)
		return (struct osh_image_str){ 0 };
	return (struct osh_image_str){ osh_builder_share(b, text.data, text.len),
				       (uint32_t)text.len };
}

struct osh_image_list osh_builder_list(struct osh_builder *b, const void *items, size_t size,
				       size_t count)
{
	if (count == 0)
		return (struct osh_image_list){ 0 };
	return (struct osh_image_list){ osh_builder_share(b, items, size * count),
					(uint32_t)count };
}

uint32_t osh_builder_glob(struct osh_builder *b, struct osh_str pattern, char delimiter)
{
	_cleanup_free_ unsigned char *code = NULL;
	size_t len;
	enum osh_glob_error error = osh_glob_compile(pattern, delimiter, &code, &len);

	if (error == OSH_GLOB_NO_MEMORY)
		b->error = -ENOMEM;
	return error ? 0 : osh_builder_share(b, code, len);
}
