/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the NVMe/TCP target share. */
#ifndef SERVER_NVME_INTERNAL_H
#define SERVER_NVME_INTERNAL_H

#include "base/macros.h"
#include "server/nvme_server.h"
#include "wire/nvme_tcp.h"

enum {
	NVME_QUEUES_MAX = 64,      /* I/O queues of a controller: a queue a worker */
	NVME_CONTROLLERS_MAX = 64, /* of a worker */
	NVME_DEPTH_MAX = 128,      /* entries of a queue; what CAP says */
	NVME_DEPTH_MIN = 32,       /* the usual admin queue */
	NVME_BATCH_MAX = 31,       /* responses of a send: two pieces each, and a TermReq */
	NVME_HEAD_MAX = 160,       /* bytes of headers of a response: 128, 4 and 28 */
	NVME_HEADS_SIZE = NVME_BATCH_MAX * NVME_HEAD_MAX,
	NVME_CAPSULE_MAX = 16384,      /* bytes of data in the capsule of an I/O command */
	NVME_H2C_MAX = 128 << 10,      /* bytes of data in an H2CData */
	NVME_TRANSFER_MAX = 256 << 10, /* bytes of data of a command: what MDTS says */
	NVME_MDTS = 6,                 /* its power of two, in pages of 4 KiB */
	NVME_SCRATCH_MAX = 64 << 10, /* bytes moved at once by what reads or writes no host data */
	NVME_EVENTS_MAX = 4,         /* asynchronous event requests that a controller keeps */
	NVME_CID_CHAINS = 128,       /* power of two */
};
_Static_assert(NVME_TRANSFER_MAX == NVME_PAGE_SIZE << NVME_MDTS, "MDTS");
_Static_assert(2 * NVME_BATCH_MAX + 2 <= STREAM_IOV_MAX, "a batch is one send");

#define NVME_SECOND_NS 1000000000ull
#define NVME_SWEEP_NS (NVME_SECOND_NS / 4)
#define NVME_CONNECT_NS (10 * NVME_SECOND_NS) /* from accept to the end of Connect */
#define NVME_STALL_NS (30 * NVME_SECOND_NS)   /* data that is owed, or not taken */
#define NVME_LINGER_NS (2 * NVME_SECOND_NS)   /* after a TermReq */

enum nvme_command_phase {
	NVME_PHASE_FREE,
	NVME_PHASE_CAPSULE, /* the data of its capsule comes */
	NVME_PHASE_STARVED, /* no buffer is free: in server->starved */
	NVME_PHASE_DATA,    /* an R2T was sent, or will be */
	NVME_PHASE_RUN,
	NVME_PHASE_EVENT,  /* an asynchronous event request: kept by its controller */
	NVME_PHASE_ANSWER, /* in queue->out */
};

struct nvme_command;
typedef void nvme_run_fn(struct nvme_command *command);

/*
 * A command that a host has sent, until its response is copied into a batch. Memory: the server's
 * pool. Each connection has as many as its queue has entries reserved, so none is ever missing.
 */
struct nvme_command {
	STAILQ_ENTRY(nvme_command) link;     /* in the free list, or queue->out */
	TAILQ_ENTRY(nvme_command) wait_link; /* in server->starved, or controller->events */
	LIST_ENTRY(nvme_command) cid_link;
	struct nvme_queue *queue;
	nvme_run_fn *run; /* when all its data is here */
	struct nvme_sqe sqe;
	uint8_t phase;         /* enum nvme_command_phase */
	bool to_controller;    /* the direction of its data, if it has any */
	bool wants_r2t;        /* in queue->out to ask for data, not to answer */
	uint16_t status;       /* of the answer */
	uint64_t result;       /* of the answer */
	uint32_t data_size;    /* bytes of data: what the command says and its SGL has to */
	uint32_t data_done;    /* bytes that have come, or that the device has moved */
	uint32_t scratch_size; /* bytes beyond the data that it needs in buf; 0: none */
	struct buf *buf;       /* its data; NULL: none */
	struct buf *scratch;   /* NULL: none */
	struct export *export; /* NULL: not entered */
	uint64_t lba;
	uint32_t blocks_left, blocks_now;
	uint32_t range_index, range_count; /* of dataset management */
	struct iovec iov;
	struct req req;
};
STAILQ_HEAD(nvme_command_list, nvme_command);
TAILQ_HEAD(nvme_command_queue, nvme_command);

enum {
	NVME_QUEUE_READY = 1 << 0,     /* in server->ready */
	NVME_QUEUE_CONNECTED = 1 << 1, /* Connect has succeeded */
	NVME_QUEUE_JOINED = 1 << 2,    /* its controller knows it */
	NVME_QUEUE_MESSAGE = 1 << 3,   /* queue->message is away */
	NVME_QUEUE_NO_FLOW = 1 << 4,   /* SQ flow control is disabled */
	NVME_QUEUE_DYING = 1 << 5,     /* nothing is taken or answered any more */
	NVME_QUEUE_TERM = 1 << 6,      /* a TermReq is to be sent, then it lingers */
	NVME_QUEUE_LINGER = 1 << 7,    /* what comes is dropped */
	NVME_QUEUE_DISCOVERY = 1 << 8,
	NVME_QUEUE_DRAINING = 1 << 9, /* it ends when it has answered */
	NVME_QUEUE_ENDED = 1 << 10,   /* the stream has ended */
};

struct nvme_controller;

/* One connection. Memory: the server's pool, until everything that refers to it has come home. */
struct nvme_queue {
	TAILQ_ENTRY(nvme_queue) link; /* in server->queues, or ->queues_free */
	TAILQ_ENTRY(nvme_queue) ready_link;
	struct nvme_server *server;
	struct stream *stream; /* NULL: closed */
	uint32_t flags;
	uint16_t id;            /* of the queue; 0: admin */
	uint16_t controller_id; /* once connected, or while it asks to join */
	uint32_t depth;         /* entries; commands that are reserved for it */
	uint32_t sq_head;
	uint32_t command_count;        /* in any phase but FREE */
	uint32_t waiting_count;        /* in NVME_PHASE_DATA or _CAPSULE */
	uint64_t received_ns, sent_ns; /* when something last was; sent: while sending */
	uint64_t deadline_ns;          /* connect, or linger; UINT64_MAX: none */
	struct nvme_tcp_link tcp;
	struct nvme_tcp_parser parser;
	struct nvme_command *receiving;     /* whose data the parser is in; NULL: it is dropped */
	struct nvme_controller *controller; /* of an admin queue; else NULL */
	LIST_HEAD(, nvme_command) cids[NVME_CID_CHAINS];
	struct nvme_command_list out; /* to be answered, or to be sent an R2T */
	/* The send that runs. */
	struct req send;
	bool sending;
	uint32_t held_count, heads_used, iov_count;
	struct buf *held[NVME_BATCH_MAX]; /* data that it sends */
	struct iovec iov[STREAM_IOV_MAX];
	uint8_t ic_resp[sizeof(struct nvme_tcp_ic)];
	uint8_t term[NVME_TCP_TERM_MAX];
	uint32_t ic_size, term_size; /* to be sent; 0: not */
	/* To and from the controller's worker: one message of each direction. */
	struct req message, order;
	struct nvme_command *connecting; /* waits for the answer; NULL: its queue has died since */
	uint8_t host_id[16];
	char host_nqn[NVME_NQN_MAX + 1];
	bool ordered; /* the controller's: order was sent */
	uint16_t join_status;
	_Alignas(16) uint8_t heads[NVME_HEADS_SIZE];
};
TAILQ_HEAD(nvme_queue_list, nvme_queue);

/* Memory: the server's. Thread: that of the worker of its admin queue. */
struct nvme_controller {
	struct nvme_server *server;
	struct nvme_queue *admin;                       /* NULL: gone */
	struct nvme_queue *queues[NVME_QUEUES_MAX + 1]; /* that have joined, by id; [0] is unused */
	uint32_t queue_count;                           /* of them */
	uint16_t id;
	bool used, ending, discovery;
	bool resetting; /* CC.EN was cleared, and queues have not left yet */
	bool shut_down;
	uint32_t cc;
	bool fatal;
	uint8_t host_id[16];
	char host_nqn[NVME_NQN_MAX + 1];
	uint32_t keep_alive_ms;
	uint64_t keep_alive_ns;           /* when it runs out */
	uint32_t async_events;            /* the feature */
	uint32_t features[8];             /* dwords of those that only remember */
	bool namespaces_changed;          /* told, and the log page not read since */
	uint8_t changed[EXPORTS_MAX / 8]; /* bit by id - 1 */
	struct nvme_command_queue events;
	uint32_t event_count;
};

/* What a namespace was when hosts were last told. */
struct nvme_seen {
	uint64_t block_count; /* 0: there was none */
	uint8_t uuid[16];
	bool read_only;
};

struct nvme_server {
	struct actor actor;
	struct worker *worker;
	struct bufs *bufs;
	struct export_set *exports;
	struct nvme_subsystem *subsystem;
	struct nvme_stats stats;
	struct nvme_queue *queue_memory;
	struct nvme_command *command_memory;
	struct nvme_controller *controllers; /* NVME_CONTROLLERS_MAX */
	uint32_t queues_max, queues_made, queue_count;
	uint32_t commands_max, commands_reserved, depth_max;
	uint32_t messages; /* of this worker's queues that are away */
	struct nvme_queue_list queues, queues_free, ready;
	struct nvme_command_list commands_free;
	struct nvme_command_queue starved; /* in the order in which they came */
	uint64_t data_size, data_max;      /* bytes of buffers that commands hold, and may */
	uint64_t generation;               /* of the exports, when `seen` was made */
	struct nvme_seen seen[EXPORTS_MAX];
	struct timer sweep;
	char address[NVME_ADDRESS_SIZE]; /* where it listens; empty: nobody has come yet */
	bool draining;
};

/* nvme_server.c */
void nvme_queue_ready(struct nvme_queue *queue); /* its turn comes before this one's end */
void nvme_queue_free(struct nvme_queue *queue);
bool nvme_reserve(struct nvme_server *server, uint32_t commands);

/* nvme_queue.c */
extern const struct stream_handler nvme_stream_handler;
void nvme_queue_init(struct nvme_queue *queue, struct stream *stream);
void nvme_queue_run(struct nvme_queue *queue); /* ends it when it dies and nothing runs */
void nvme_queue_kill(struct nvme_queue *queue);
void nvme_queue_sweep(struct nvme_queue *queue);
void nvme_queue_fail(struct nvme_queue *queue, enum nvme_tcp_error error, uint32_t information);

/* nvme_send.c: all that is in queue->out, in one send, unless one runs. */
void nvme_queue_send(struct nvme_queue *queue);

/* nvme_command.c */
void nvme_command_begin(struct nvme_queue *queue); /* its header is in queue->parser */
void nvme_command_data(struct nvme_command *command, struct bytes data);
void nvme_command_received(struct nvme_command *command, bool damaged); /* its PDU is complete */
void nvme_command_complete(struct nvme_command *command, uint16_t status);
void nvme_command_drop(struct nvme_command *command); /* its queue dies; it does not run */
void nvme_command_free(struct nvme_command *command);
void nvme_command_release(struct nvme_command *command); /* its buffers */
unsigned nvme_starved_run(struct nvme_server *server);
/* H2CData: which command it is for; NULL: the connection has failed. */
struct nvme_command *nvme_command_of_data(struct nvme_queue *queue);

/*
 * Checks of what a command says, before its data comes: a status other than success ends it. They
 * set run, and data_size, scratch_size, export.
 */
uint16_t nvme_fabrics_check(struct nvme_command *command);  /* nvme_fabrics.c */
uint16_t nvme_admin_check(struct nvme_command *command);    /* nvme_admin.c */
uint16_t nvme_io_check(struct nvme_command *command);       /* nvme_io.c */
uint16_t nvme_features_check(struct nvme_command *command); /* nvme_features.c */
uint16_t nvme_identify_check(struct nvme_command *command); /* nvme_identify.c */
uint16_t nvme_log_check(struct nvme_command *command);      /* nvme_log.c */

/* nvme_controller.c. NULL: none is free. */
struct nvme_controller *nvme_controller_get(struct nvme_server *server);
void nvme_controller_end(struct nvme_controller *controller); /* and all its queues */
void nvme_controller_drop_queues(struct nvme_controller *controller);
void nvme_controller_admin_left(struct nvme_controller *controller);
void nvme_controller_sweep(struct nvme_controller *controller);
void nvme_controller_alive(struct nvme_controller *controller);
void nvme_controller_changed(struct nvme_controller *controller); /* tells of namespaces */
void nvme_queue_join(struct nvme_queue *queue, struct nvme_command *command);
void nvme_queue_leave(struct nvme_queue *queue);
bool nvme_host_is_allowed(const struct nvme_subsystem *subsystem, const char *nqn);

uint32_t nvme_nsid_max(const struct nvme_server *server); /* the highest one in use, or 1 */

#endif
