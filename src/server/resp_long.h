/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long values of the RESP face: those that a transaction does not bring into memory, and what makes
 * new ones of them. For commands with a stream function, and for the transaction itself.
 */
#ifndef SERVER_RESP_LONG_H
#define SERVER_RESP_LONG_H

#include "server/bits.h"
#include "server/resp_internal.h"

/*
 * A value of a blob: opened, or written by this run of the transaction and nobody's value yet.
 * Memory: the transaction's, until the end of the run. It does not change.
 */
struct resp_long {
	struct resp_long *next; /* of those of the run */
	uint64_t handle;        /* of the kv; 0: there is none, or it is not the run's any more */
	uint64_t size;          /* bytes */
	uint32_t partition;     /* made: that of the key whose value it may become */
	bool made;              /* else it is what a key had when it was looked up */
	bool lent;              /* an upload's, which closes it */
	bool replied;           /* is sent after the commit: no key may take it */
};

/* Some bytes of a new value. */
struct resp_part {
	uint64_t at, size;            /* where they lie in it, and how many they are */
	struct bytes bytes;           /* in memory: all of them; or */
	const struct resp_long *blob; /* not NULL: there, */
	uint64_t offset;              /* from this byte on */
	enum bits_op op;              /* how they meet those of the parts before */
};

/*
 * Writes a new value piece by piece: zeros, and over them the parts in their order. next() runs
 * when it is written; with `made` NULL it has failed, and so has the transaction.
 */
struct resp_make {
	const struct resp_part *parts; /* the transaction's memory */
	uint32_t part_count;
	struct bytes key; /* the engine's, of which it may become the value */
	uint64_t size;    /* > 0 */
	resp_next_fn *next;
	struct resp_long *made; /* the result */
	/* Under way: */
	struct resp_long *target;
	struct buf *out, *in;
	uint64_t at;   /* bytes of it that are written */
	uint32_t part; /* the next to be put into the piece in `out` */
};
/* False: no memory; the transaction fails, and next() is not called. */
bool resp_make(struct resp_call *call, const struct resp_make *make);

/*
 * Reads [offset, offset + left) and hands it over in pieces; take() says whether it wants more.
 * next() runs when that is done, or has failed: then the transaction has, too, and `failed` is set.
 */
typedef bool resp_take_fn(struct resp_call *call, uint64_t offset, struct bytes piece);
struct resp_read {
	const struct resp_long *blob;
	uint64_t offset, left;
	resp_take_fn *take;
	resp_next_fn *next;
	bool failed; /* the result */
	/* Under way: */
	struct buf *in;
	uint32_t wanted;
};
bool resp_read(struct resp_call *call, const struct resp_read *read); /* false: as resp_make() */

/*
 * Replies with bytes of a long value: they are read and sent when the transaction is committed.
 * With none, an empty string.
 */
void resp_reply_long(struct resp_call *call, struct resp_long *blob, uint64_t offset,
                     uint64_t size);
/* The value as a payload of DUMP. */
void resp_reply_dump(struct resp_call *call, struct resp_long *blob);
/* A string's value, wherever it is; or null. */
void resp_reply_value(struct resp_call *call, const struct resp_value *value);

/* The value of argument `index`, which is a key; with it the key, if wanted. */
const struct resp_value *resp_value_of(struct resp_call *call, uint32_t index,
                                       struct bytes *ret_key);

#endif
