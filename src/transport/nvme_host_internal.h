/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the NVMe/TCP initiator share. */
#ifndef TRANSPORT_NVME_HOST_INTERNAL_H
#define TRANSPORT_NVME_HOST_INTERNAL_H

#include <sys/queue.h>

#include "base/prng.h"
#include "core/worker.h"
#include "transport/nvme_host.h"
#include "wire/nvme_tcp.h"

enum {
	HOST_ADMIN_DEPTH = 32,
	HOST_BATCH_MAX = 31,
	HOST_HEAD_MAX = 256,         /* bytes of headers of a PDU: what nvme_tcp_seal() may need */
	HOST_SEGMENTS_MAX = 48,      /* pieces of memory in one PDU */
	HOST_DATA_SIZE = 16384,      /* bytes of answers to admin commands */
	HOST_TRANSFER_MAX = 1 << 20, /* bytes of a command, when the controller has no less */
	HOST_GENERATIONS = 256,
};

#define HOST_TICK_NS 50000000ull
#define HOST_CALM_NS 250000000ull    /* of a device that is ready and waits for nothing */
#define HOST_SETUP_NS 10000000000ull /* of each step on the way to being ready */

enum host_slot_kind { SLOT_FREE, SLOT_BLOCK, SLOT_ADMIN };

/* A command identifier, and what is under way by it. */
struct host_slot {
	STAILQ_ENTRY(host_slot) link; /* in queue->free, or queue->out */
	struct req *req;              /* of SLOT_BLOCK */
	uint8_t kind;                 /* enum host_slot_kind */
	uint8_t generation;           /* in the identifier: a late answer fits nobody */
	uint8_t step;                 /* of SLOT_ADMIN: enum host_step */
	bool is_out;                  /* in queue->out */
	bool capsule_sent;
	bool sending; /* a part of it is in the send that runs */
	bool answered, damaged, writes;
	uint16_t status; /* of the answer */
	uint64_t result;
	uint64_t begun_ns;
	const struct iovec *iov; /* its data */
	uint32_t iov_count;
	uint32_t data_size;
	uint32_t received;     /* bytes of it that have come */
	uint16_t tag;          /* of the R2T */
	uint32_t offset, left; /* of the R2T: what is still to be sent */
	struct iovec own;      /* of data that is not the submitter's */
	struct nvme_dsm_range range;
	struct nvme_sqe sqe;
};
STAILQ_HEAD(host_slot_list, host_slot);

enum host_queue_state {
	QUEUE_CLOSED,
	QUEUE_SET_UP, /* ICReq is on its way, or ICResp */
	QUEUE_CONNECT,
	QUEUE_LIVE,
};

struct nvme_host;

struct host_queue {
	struct nvme_host *host;
	struct stream *stream; /* NULL: none */
	uint16_t id;           /* 0: admin */
	uint8_t state;         /* enum host_queue_state */
	bool ic_wanted;        /* to be sent */
	bool sending;
	uint32_t depth, limit; /* slots; commands under way that the controller takes */
	uint32_t in_flight;
	struct host_slot *slots;
	struct host_slot_list free, out;
	struct nvme_tcp_link tcp;
	struct nvme_tcp_parser parser;
	struct host_slot *receiving; /* whose data the parser is in */
	uint32_t received_at;        /* bytes into that slot's data */
	uint32_t h2c_max;            /* bytes of an H2CData */
	uint32_t capsule_max;        /* bytes of data in a capsule */
	struct req send;
	struct host_slot *batch[HOST_BATCH_MAX]; /* in the send that runs */
	uint32_t batch_count, heads_used, iov_count;
	struct iovec iov[STREAM_IOV_MAX];
	_Alignas(16) uint8_t heads[HOST_BATCH_MAX * HOST_HEAD_MAX];
	struct nvme_connect_data connect;
};

/* The way to being ready: admin commands, one after the other. */
enum host_step {
	STEP_NONE,
	STEP_CONNECT, /* of any queue */
	STEP_CAP,
	STEP_ENABLE,
	STEP_CSTS,
	STEP_CONTROLLER,
	STEP_NAMESPACES,
	STEP_NAMESPACE,
	STEP_DESCRIPTORS,
	STEP_QUEUES,
	STEP_EVENTS,
	STEP_ANA,
	STEP_DISCOVERY,
	/* In any order, once it is ready. */
	STEP_EVENT,
	STEP_KEEP_ALIVE,
	STEP_CHANGED,
	STEP_SHUTDOWN,
};

enum host_state {
	HOST_DOWN,  /* until retry_ns */
	HOST_ADMIN, /* the admin queue, and its steps */
	HOST_IO,    /* the I/O queues */
	HOST_READY,
	HOST_STOPPED,
};

/* What a command needs while it waits and when it is sent again; on the request. */
struct host_frame {
	struct frame frame;
	struct blk_cmd cmd;
	uint64_t since_ns;
	uint32_t attempts; /* that were answered, and to be made again */
};

struct nvme_host {
	struct blk blk;
	struct nvme_host_options options;
	struct nvme_host_facts facts;
	struct nvme_host_stats stats;
	enum host_state state;
	bool facts_given;
	bool discovery;  /* to be asked for its log, and nothing else */
	bool kicked;     /* `kick` is on its way */
	bool settling;   /* an admin command of the steps is under way */
	bool accessible; /* by ANA */
	bool ana_asked, event_asked, alive_asked;
	bool ended; /* discovery: the log is complete */
	enum host_step step;
	struct req kick;
	struct req *stopping;    /* NULL: nobody waits */
	struct req_list waiting; /* commands that have no slot */
	struct timer timer;
	struct prng prng;
	uint64_t step_ns; /* when the step, or the state, began */
	uint64_t retry_ns, alive_ns, ana_ns;
	uint64_t pause_ns; /* no command before that: the controller asked for another try */
	uint32_t attempts, next_queue;
	uint64_t cap;
	bool has_ana;
	uint64_t log_offset, entry_total; /* discovery */
	uint32_t io_capsule_max;
	char error[IO_ERROR_SIZE];
	uint8_t data[HOST_DATA_SIZE];
	uint32_t entry_count;
	struct nvme_host_entry *entries; /* the prober's */
	struct host_queue queues[NVME_HOST_QUEUES_MAX + 1];
};

/* nvme_host.c */
void host_kick(struct nvme_host *host);
void host_lose(struct nvme_host *host, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
void host_block_ended(struct host_slot *slot, struct host_queue *queue);
void host_requeue(struct nvme_host *host, struct req *req);
void host_quiet(struct nvme_host *host); /* a send has ended: perhaps the last one */

/* nvme_host_queue.c */
enum status host_queue_open(struct host_queue *queue);
void host_queue_close(struct host_queue *queue);
void host_queue_send(struct host_queue *queue);
struct host_slot *host_slot_get(struct host_queue *queue, enum host_slot_kind kind);
void host_slot_submit(struct host_queue *queue, struct host_slot *slot);
void host_slot_release(struct host_queue *queue, struct host_slot *slot);

/* nvme_host_setup.c */
void host_queue_connect(struct host_queue *queue); /* ICResp has come */
void host_admin_ended(struct host_slot *slot, struct host_queue *queue);
void host_setup_tick(struct nvme_host *host);
void host_admin_start(struct nvme_host *host, enum host_step step);

#endif
