/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream: the log of one worker, and its group commit. Records are appended to the open frame;
 * at the end of a turn the frame is closed and written, unless enough are in flight already: then
 * what comes meanwhile is the next frame. There is no timer in it.
 *
 * A frame that somebody waits for is written durably (BLK_FUA). One whose records are all relaxed
 * is written plainly, and a flush makes it durable later: when a tick has passed, or much was
 * written, or somebody waits for a frame behind it. Because BLK_FUA says nothing of the writes
 * before it, a frame is written so only when all before it are durable, are written so themselves,
 * or are covered by the flush that is under way; else it is written plainly too, and a flush
 * follows. Frames become durable in their order, whatever the order in which writes end.
 */
#ifndef ENGINE_LOG_H
#define ENGINE_LOG_H

#include "core/buf.h"
#include "engine/format.h"
#include "proto/blk.h"

enum {
	LOG_FRAMES = 6,            /* buffers: in flight, closed and open */
	LOG_IN_FLIGHT = 2,         /* durable writes at a time */
	LOG_IN_FLIGHT_RELAXED = 4, /* writes at a time of frames that nobody waits for */
	/* Written and not flushed: then a flush begins; with twice as much, writes wait for it. */
	LOG_UNFLUSHED_MAX = 64 << 20,
};

enum log_frame_state { FRAME_FREE, FRAME_OPEN, FRAME_CLOSED, FRAME_IN_FLIGHT, FRAME_ENDED };

struct log_frame {
	struct log *log;
	struct buf *buf;
	struct req_list waiters; /* until it is written: then they are the log's */
	uint64_t lsn;
	uint64_t generation;     /* of its segment */
	uint32_t segment, block; /* where it goes */
	uint32_t size_max;       /* bytes until the end of the segment, at most the buffer */
	uint32_t used;           /* bytes, header included */
	uint32_t record_count;
	uint32_t records_crc;
	uint8_t state; /* enum log_frame_state */
	bool urgent;   /* has a record that is not relaxed, or was waited for */
	bool fua;      /* written durably */
	uint64_t closed_ns;
	struct iovec iov;
	struct req req;
};

/* A segment that the log may write to; generation 0: none. */
struct log_segment {
	uint64_t generation;
	uint32_t segment;
	uint32_t seed; /* record_seed() */
};

struct log_stats {
	uint64_t frames, bytes;            /* closed; bytes with padding */
	uint64_t records, records_durable; /* appended; of them on disk */
	uint64_t stalls;                   /* reservations that had to wait */
	uint64_t flushes;
};

/* Memory: the shard's. Thread: its worker's. */
struct log {
	struct worker *worker;
	struct blk *blk;
	uint32_t segment_blocks;
	uint32_t frame_size_max;
	struct log_segment current, next; /* `next` is ready: its header is durable */
	uint32_t next_block;              /* in current: where the next frame starts */
	bool hurried; /* current was not zero-filled: left as soon as next is there */
	bool starved; /* a reservation waits for a segment */
	struct log_frame frames[LOG_FRAMES]; /* by lsn % LOG_FRAMES */
	struct log_frame *open;              /* NULL: none */
	uint64_t lsn_next;                   /* of the next frame to be opened */
	uint64_t lsn_written;                /* all up to this one are written */
	uint64_t lsn_flushing; /* all up to it are durable when the flush under way has ended */
	uint64_t lsn_durable;  /* all up to this one are on disk, whatever comes */
	uint64_t lsn_plain;    /* the last that was written plainly */
	struct req_list unflushed, flushing; /* wait for frames up to lsn_written, lsn_flushing */
	uint64_t unflushed_size, flushing_size; /* bytes, of frames that were written plainly */
	uint64_t records_written, records_flushing;
	struct req flush;
	bool flush_running;
	bool hasty; /* a bug that tests plant: BUG_HASTY_FUA */
	unsigned in_flight;
	enum status failed; /* not OK: the device failed a write; nothing is written any more */
	struct log_stats stats;
	/* Told when the log has moved on to `next` and wants another. */
	void (*switched)(struct log *log, uint32_t sealed_segment);
	/* Told when frames became durable: parked requests may go on. */
	void (*advanced)(struct log *log);
};

/* NO_SPACE: no buffers. */
enum status log_open(struct log *log, struct blk *blk, struct bufs *bufs, uint32_t segment_blocks)
        __attribute__((warn_unused_result));
void log_close(struct log *log); /* nothing is in flight */

/* Starts at frame `lsn`, in the segment `next` as soon as that is set. */
void log_start(struct log *log, uint64_t lsn);
void log_set_next(struct log *log, uint32_t segment, uint64_t generation);

/*
 * Makes sure that `size` bytes of records (at most frame_size_max less the header) fit the open
 * frame together. BUSY: not before a frame is durable or a segment is ready: wait for advanced() or
 * log_set_next(). READ_ONLY: the device has failed.
 */
enum status log_reserve(struct log *log, size_t size) __attribute__((warn_unused_result));

/* Whether that much fits the segment that is being filled. */
bool log_fits(const struct log *log, size_t size);

/* Where the next append will put a record of this size; after log_reserve(). */
uint64_t log_next_location(const struct log *log, size_t size, uint8_t flags);

/*
 * Appends; after log_reserve(). Returns the location: what log_next_location() said. `relaxed`: the
 * record is on disk when a flush comes by; else as soon as can be.
 */
uint64_t log_append(struct log *log, const struct record *record, bool relaxed);

/* The newest frame that has records; the newest that there was, if none has. */
static inline uint64_t log_last_lsn(const struct log *log)
{
	return log->open != NULL && log->open->record_count == 0 ? log->lsn_next - 2
	                                                         : log->lsn_next - 1;
}

/* The frame that the next append goes to, after log_reserve(). */
static inline uint64_t log_open_lsn(const struct log *log)
{
	return log->lsn_next - 1;
}

/*
 * Queues a running request until frame `lsn` is durable: it then completes with OK and its
 * req->result as it is now; with IO if the write failed. `lsn` is not durable yet.
 */
void log_wait(struct log *log, uint64_t lsn, struct req *req);

/* End of turn: closes the open frame and writes what may be written. */
void log_settle(struct log *log);

/* Now and then: what was written is made durable. Does nothing when nothing was. */
void log_tick(struct log *log);

/* No write or flush is under way. */
static inline bool log_is_idle(const struct log *log)
{
	return log->in_flight == 0 && !log->flush_running;
}

/* The shard cannot go on writing: as after a failed write. */
void log_fail(struct log *log, enum status status);

/* Closes the open frame, even if it must wait for its write; the last lsn there is. */
uint64_t log_cut(struct log *log);

/* A record that is still in one of the frame buffers; NULL: it is not. `size` bytes are there. */
const uint8_t *log_peek(const struct log *log, struct location location);

#endif
