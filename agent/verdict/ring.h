/* The verdict ring: shared memory, one writer, any number of readers that can
 * only look. A slow reader loses the oldest records and learns how many; the
 * writer never waits. Used twice: by the agent towards every `openshell logs` and
 * `openshell term`, in a memfd that it makes; and by each proxy worker towards the
 * agent, in memory that outlives both (osh_kernel_memory). */
#ifndef OSH_VERDICT_RING_H
#define OSH_VERDICT_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "openshell/verdict.h"

struct osh_ring_writer;
struct osh_ring_reader;

/* Make a ring of `slots` records (a power of two) in a new memfd sealed against
 * resizing. Returns 0 or -errno. */
int osh_ring_create(const char *name, uint32_t slots, struct osh_ring_writer **ret_writer);
void osh_ring_writer_free(struct osh_ring_writer *writer);
/* The memfd, borrowed. */
int osh_ring_writer_fd(const struct osh_ring_writer *writer);
/* A new read-only descriptor of the same memory, to hand to a reader that must
 * not write (opened through /proc/self/fd). From the first call on the ring is sealed:
 * today's writer goes on, no other can ever map it for writing. Returns it or -errno. */
int osh_ring_reader_fd(const struct osh_ring_writer *writer);

/* Publish one record: encode, then make visible with its sequence number
 * (release order). Wakes sleeping readers only in osh_ring_flush. */
void osh_ring_publish(struct osh_ring_writer *writer, const struct osh_verdict *verdict);
/* The same, visible only after osh_ring_flush. What is staged takes the places of the oldest
 * records at once: never more than half the slots without a flush. */
void osh_ring_stage(struct osh_ring_writer *writer, const struct osh_verdict *verdict);
/* Show what was staged, and wake readers that sleep in osh_ring_wait, if there is anything new. */
void osh_ring_flush(struct osh_ring_writer *writer);

/* ---- In memory that somebody else made ---- */

/* Bytes of a ring of so many slots: whole pages. */
size_t osh_ring_bytes(uint32_t slots);
/* Map such memory for writing, to go on where the writer before ended. The descriptor is
 * duplicated. -EBADMSG: no ring of `slots` slots was begun there. */
int osh_ring_writer_open(int fd, uint32_t slots, struct osh_ring_writer **ret_writer);
/* Map it for the reader, who keeps house there: nothing that it holds is believed. */
int osh_ring_keeper_open(int fd, uint32_t slots, struct osh_ring_writer **ret_writer);
/* The writer is dead. The record that it had finished and not shown is shown; returns 1 when it
 * died inside one instead, which is lost, else 0. */
uint64_t osh_ring_mend(struct osh_ring_writer *writer);
/* Begin anew, while nobody writes: no record, the next one is number 0. Readers begin anew as
 * well (osh_ring_reader_restart). */
void osh_ring_restart(struct osh_ring_writer *writer);

/* Where a new reader starts. */
enum osh_ring_from { OSH_RING_FROM_OLDEST, OSH_RING_FROM_NOW };

/* Map read-only; the descriptor is not kept. A ring whose layout version or
 * size is wrong is -EBADMSG. */
int osh_ring_reader_open(int fd, enum osh_ring_from from, struct osh_ring_reader **ret_reader);
/* The same of memory that somebody else made, from record `position` on; whether there is a ring in
 * it does not matter. */
int osh_ring_reader_at(int fd, uint32_t slots, uint64_t position, struct osh_ring_reader **ret_reader);
void osh_ring_reader_free(struct osh_ring_reader *reader);
/* The number of the record that is read next. */
uint64_t osh_ring_reader_position(const struct osh_ring_reader *reader);
/* Has the writer shown more than was read? osh_ring_read gives up between many torn records. */
bool osh_ring_reader_is_behind(const struct osh_ring_reader *reader);
/* Begin anew with the writer. Returns the losses that no read has told. */
uint64_t osh_ring_reader_restart(struct osh_ring_reader *reader);

/* Take the next record. Returns 1 and fills *ret_verdict, whose strings live in
 * `room` (OSH_VERDICT_BYTES_MAX bytes); 0 when there is none now. *ret_lost
 * (may be NULL) is the number of records skipped before this one. The record is
 * copied and its sequence checked again, so a torn one is never returned; bytes
 * from the writer are validated, so a hostile writer cannot harm the reader. */
int osh_ring_read(struct osh_ring_reader *reader, char *room, struct osh_verdict *ret_verdict,
		  uint64_t *ret_lost);
/* Sleep until something is published or timeout_ms passed (futex on the shared
 * page; -1: for ever). */
void osh_ring_wait(struct osh_ring_reader *reader, int timeout_ms);
/* Records lost to this reader so far. */
uint64_t osh_ring_lost(const struct osh_ring_reader *reader);

/* The encoding of one record, also used on its own in tests. encode returns the
 * length (long strings are cut, it always fits); decode returns 0 or -EBADMSG
 * and borrows from `data`. */
size_t osh_verdict_encode(const struct osh_verdict *verdict, char buf[OSH_VERDICT_BYTES_MAX]);
int osh_verdict_decode(const char *data, size_t len, struct osh_verdict *ret_verdict);

#endif
