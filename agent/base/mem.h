/* Ownership in C: cleanup attributes for locals, take() at the hand-over. */
#ifndef OSH_BASE_MEM_H
#define OSH_BASE_MEM_H

#include <stddef.h>
#include <stdlib.h>

#define OSH_CLEANUP(function) __attribute__((cleanup(function)))

static inline void osh_cleanup_free(void *pointer_to_pointer)
{
	free(*(void **)pointer_to_pointer);
}

/* A local that is freed when it goes out of scope: `_cleanup_free_ char *s = NULL;` */
#define _cleanup_free_ OSH_CLEANUP(osh_cleanup_free)

/* Move a pointer out of a cleaned-up local. */
#define osh_take(pointer)                            \
	({                                           \
		__typeof__(pointer) taken_ = (pointer); \
		(pointer) = NULL;                    \
		taken_;                              \
	})

#define osh_container_of(pointer, type, member) \
	((type *)((char *)(pointer) - offsetof(type, member)))

#define OSH_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
