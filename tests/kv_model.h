/* SPDX-License-Identifier: Apache-2.0 */
/* What a key-value store may answer: an oracle for many clients and for power cuts. */
#ifndef TESTS_KV_MODEL_H
#define TESTS_KV_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

/*
 * Every write has a number of its own, which its value carries, so that what is read names the
 * write that it comes from. A write is known by when it was submitted and when it completed, so the
 * rule for one key is: what is seen comes from a write that no other write surely came after. A
 * write that was acknowledged, or that a completed read has seen, must outlive a power cut; one
 * that was neither may be there or not, and once a restart has decided, it stays decided. The
 * writes of one commit are there all or none.
 *
 * In a relaxed space an acknowledged write may be lost by a restart, but a log loses nothing from
 * its middle: what was acknowledged before a write of the same log began, that is there or must be
 * there, must be there too. So every log has a horizon: what had ended before it is durable.
 *
 * Thread: one. Time: a count of calls. What is wrong is counted and described; the first is kept.
 */
struct kv_model;

#define KV_MODEL_EXPIRY_KEPT UINT64_MAX

enum {
	KV_MODEL_VALUE_MIN = 24, /* bytes: number, number before, size */
	KV_MODEL_KEYS_MAX = 4096,
	KV_MODEL_STREAMS_MAX = 8,
};

struct kv_model *kv_model_open(unsigned key_count);
void kv_model_close(struct kv_model *model);

/* Numbers count up from 1; 0: absent. */
struct kv_model_write {
	unsigned key;
	uint32_t size;       /* of the value, at least KV_MODEL_VALUE_MIN */
	uint64_t expires_ms; /* 0: never; KV_MODEL_EXPIRY_KEPT: that of what it replaces, if any */
	uint64_t group;      /* of one commit: the number of its first write; 0: alone */
	unsigned stream;     /* the log that it goes to */
	bool relaxed;        /* the key is in a relaxed space: reads do not wait either */
	bool unsure;         /* all keys of its commit are: OK does not say that it is durable */
	bool deletes;
	bool undecided; /* an update whose visit has not run */
};

/* Returns the number that the value must carry. With group UINT64_MAX: the first of its group. */
uint64_t kv_model_begin(struct kv_model *model, const struct kv_model_write *write);

/*
 * The visit of an update has run: it stores, deletes or, with `keeps`, writes nothing. `before` is
 * the number of what it saw.
 */
struct kv_model_decision {
	uint64_t number, before;
	uint64_t expires_ms;
	bool deletes, keeps;
};
void kv_model_decide(struct kv_model *model, const struct kv_model_decision *decision);

/*
 * The write has completed. OK: it is durable, unless it was unsure. A status that says that nothing
 * was done (CONFLICT, NO_SPACE, BUSY, TOO_LARGE, INVALID, UNSUPPORTED, DENIED): it is not there.
 * Any other: it may be. `version`: the key's new one, 0: not told.
 */
void kv_model_end(struct kv_model *model, uint64_t number, enum status status, uint64_t version);

/* The bytes of a write's value, and their reverse: 0 if they are no value that was ever written. */
void kv_model_fill(uint64_t number, uint64_t before, uint8_t *data, uint32_t size);
uint64_t kv_model_number(struct bytes value);

/* A read has begun: give what is returned to kv_model_seen(). */
uint64_t kv_model_now(struct kv_model *model);

/* What a read has seen of one key; it has completed, so what it saw is durable, unless relaxed. */
struct kv_model_seen {
	unsigned key;
	uint64_t number;                      /* 0: absent */
	uint64_t version;                     /* 0: not told */
	uint64_t since;                       /* kv_model_now() at its submission */
	uint64_t wall_ms_first, wall_ms_last; /* of the time in which it ran */
};
bool kv_model_seen(struct kv_model *model, const struct kv_model_seen *seen);

/*
 * Whether commits, and clears that were given as one, are whole in what one scan saw: numbers[key]
 * for the keys first..last, of one moment not before `since`.
 */
struct kv_model_snapshot {
	const uint64_t *numbers;
	unsigned first, last;
	uint64_t since;
};
bool kv_model_whole(struct kv_model *model, const struct kv_model_snapshot *snapshot);

/*
 * After a restart: numbers[key] of every key. `decides`: this is what the store goes on with.
 * Without, it was a trial, and all that is in flight goes on. `clean`: it was closed, not cut off.
 */
struct kv_model_restart {
	const uint64_t *numbers;
	uint64_t wall_ms_first, wall_ms_last;
	bool decides, clean;
};
bool kv_model_restarted(struct kv_model *model, const struct kv_model_restart *restart);

/* Nothing is known of any key any more, not even that it is absent: after a damaged store. */
void kv_model_reset(struct kv_model *model);

/* Forgets what no operation that was submitted at `since` or later can see. */
void kv_model_prune(struct kv_model *model, uint64_t since);

struct kv_model_stats {
	uint64_t acked, seen; /* writes acknowledged, reads checked */
	uint64_t lost;        /* an acknowledged write is not there, or an update did not see it */
	uint64_t forged;      /* what is there was never written, or must not be there any more */
	uint64_t split;       /* a commit is there in part */
	uint64_t versions; /* a version is wrong: repeated, or not of the write that it came with */
	char first[256];   /* the first that was wrong, or empty */
};
void kv_model_stats(const struct kv_model *model, struct kv_model_stats *out);

#endif
