/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of blobs share. Inside of the engine only. */
#ifndef ENGINE_BLOB_STATE_H
#define ENGINE_BLOB_STATE_H

#include "engine/shard.h"

enum {
	EXTENT_BLOCKS_MAX = 128, /* 512 KiB: 512 MiB are 1024 extents */
	IOS_MAX = 16,
	FREES_MAX = 65536,
};

_Static_assert((KV_VALUE_MAX >> BLOCK_SHIFT) / EXTENT_BLOCKS_MAX + 64 <= BLOB_EXTENTS_MAX,
               "the largest value fits a record's list of extents");

struct blob_handle {
	uint64_t size;   /* bytes of the value */
	struct buf *buf; /* extents; or, opened from a record, the value itself */
	uint32_t extent_count;
	uint32_t generation; /* of the slot: an old handle is not taken for a new one */
	uint32_t running;    /* reads or writes */
	enum status status;
	struct req *user;   /* the command that it serves; others wait for its end */
	struct req *waiter; /* the same, while it waits for them */
	uint64_t used_ns;   /* when it was asked for last */
	bool used, writing, inline_value, closed;
	bool first; /* the write that made it has not ended */
};

struct blob_io {
	struct blobs *blobs;
	struct blob_handle *handle;
	struct buf *buf;
	uint8_t *out;            /* read: where the part goes that is asked for */
	uint32_t skip, out_size; /* read: bytes before it, and of it */
	uint32_t data_size, crc; /* read: what the extent holds */
	struct iovec iov;
	struct req req;
	bool busy;
};

struct blobs {
	struct shard *shard;
	uint32_t segment, next_block; /* that is filled; UINT32_MAX: none */
	uint8_t need;                 /* enum space_need: what it was taken for */
	struct blob_handle handles[SHARD_BLOBS_MAX];
	struct blob_io ios[IOS_MAX];
	struct req_list parked; /* wait for an io, a segment or the load memory */
	/* Records whose extents are to be freed: a ring. */
	uint64_t *frees;
	uint32_t free_head, free_tail;
	uint64_t leaked;
	struct buf *free_buf;
	struct iovec free_iov;
	struct req free_req;
	bool freeing, free_read;
	/* The whole value of one command, and its new one. */
	struct req *loader;
	uint8_t *load, *load_new;
	size_t load_max; /* bytes of each */
	struct blob_handle load_handle;
	uint64_t load_location; /* of the record whose value it is */
	bool loaded;
};

static inline uint8_t *blob_extents(struct blob_handle *h)
{
	return h->buf->data + BLOB_HEADER_SIZE;
}

/* shard_blob.c */
void blob_pin(struct shard *shard, uint32_t segment, int by);
void blob_pin_extents(struct shard *shard, struct blob_handle *h, int by);
/*
 * Up to so many blocks of the segment that is being filled, of which there is one; how many. They
 * are pinned.
 */
uint32_t blob_take_blocks(struct shard *shard, uint32_t blocks, struct blob_extent *extent);
/* Whether an extent that was read from a disk can be in the store. */
bool blob_extent_is_sane(const struct shard *shard, struct blob_extent extent);
enum op_result blob_park(struct blobs *blobs, struct req *req);
/* Writes all of it; op->result counts the bytes that were handed out. OP_DONE: they are on disk. */
enum op_result blob_write_all(struct req *req, struct blob_handle *h, struct bytes data);
/* Reads [offset, offset + size); op->result counts what was handed out. */
enum op_result blob_read_all(struct req *req, struct blob_handle *h, uint64_t offset, uint8_t *out,
                             uint64_t size);

#endif
