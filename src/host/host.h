/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host is all that runs in a process: workers on their cores, their transports, the store, and
 * the faces through which requests come. Both the server and the library are one.
 */
#ifndef HOST_HOST_H
#define HOST_HOST_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/buf.h"
#include "core/conf.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/metrics.h"
#include "core/plan.h"
#include "core/recent.h"
#include "core/trace.h"
#include "engine/volume.h"
#include "layer/layer.h"
#include "proto/kv.h"
#include "proto/stream.h"
#include "transport/io.h"
#include "transport/nvme_host.h"

enum {
	HOST_LISTENERS_MAX = 16, /* of a worker: plain and secure ones of each face */
	HOST_RING_SIZE = 512,    /* requests on the way from a worker to another; more wait there */
	HOST_PORTS_TRIED = 100,  /* from a default port that is taken */
	HOST_FACES_MAX = 8,
	HOST_SPACE_MARKS = 255, /* records that are always durable, of the library alone */
	HOST_ERROR_SIZE = 1024, /* bytes of a message for people, terminator included */
};

struct export_set;
struct kv_shard;
struct obj;
struct obj_engine;
struct host;
struct host_worker;
struct stream_tls;

/* Something that the main thread wants done in a worker's turn. */
typedef enum status host_task_fn(struct host_worker *w, void *arg);

/*
 * Something that a worker wants done by the main thread, because it blocks: a file to be read.
 * Rare. Memory: the worker's, until `req` completes.
 */
struct host_chore {
	void (*run)(struct host_chore *chore); /* main thread */
	struct req *req; /* completed with OK, on its worker, when it has run */
};

/*
 * Memory: the host's. Thread: opened and closed by the main thread while its own does not run;
 * in between its own, but for the atomics and what core/log.h and core/metrics.h allow.
 */
struct host_worker {
	struct worker worker;
	struct actor control; /* drains when asked to, runs tasks */
	struct host *host;
	struct io *io;
	struct bufs bufs;
	struct kv *kv;          /* the whole store, as this worker sees it */
	unsigned store_index;   /* of its engine, if it has one */
	struct kv_shard *shard; /* that kv, when others have a part of it */
	bool kv_is_local;       /* all of it is this worker's own */
	struct obj *obj;        /* its objects; NULL: see host_objects_open() */
	struct obj_engine *objects;
	struct export_set *exports; /* what block faces serve here; NULL: nothing */
	struct volumes *volumes;    /* NULL: see host_volumes_open() */
	struct listener *listeners[HOST_LISTENERS_MAX];
	unsigned listener_count;
	struct stream_tls *tls;      /* NULL: nobody may connect with it */
	void *faces[HOST_FACES_MAX]; /* by index of the face; NULL: not on this worker */
	uint16_t cpu;
	int node; /* whose memory it prefers, as the system numbers nodes; -1: there is one only */
	bool has_engine;
	bool bufs_opened, started, draining, killed;
	pthread_t thread;
	host_task_fn *task; /* of the main thread, while task_posted */
	void *task_arg;
	enum status task_status;
	atomic_bool task_posted;
	atomic_bool drained;
	/* Of its engine, about once a second, for whoever asks. */
	_Atomic uint64_t store_used; /* bytes */
	atomic_bool store_failed;    /* writes are refused until a restart */
	uint64_t told_ns;
	_Atomic(struct host_chore *)
	        chore;                  /* the worker's, for the main thread; NULL: it has run */
	struct host_chore *chore_waits; /* the worker's own: what it will complete */
	struct trace trace;
	struct log log;
	struct recent slow;
	char name[16];
	char labels[24]; /* of its metrics */
};

/* host_listen.c: an address that a face listens at, on every worker that has faces[index]. */
struct host_listen {
	enum conf_id setting;
	const char *face;
	/* NULL: bytes travel in the clear. Else what is offered with TLS, as "h2,http/1.1"; "":
	 * the face has one protocol. */
	const char *tls;
	unsigned index;
	const struct listener_handler *handler; /* its listeners' owner: faces[index] */
	bool authenticated;                     /* strangers are asked who they are */
	const char *remedy;                     /* what would make it so: "set resp.password" */
};

/* A way in, such as a protocol that clients speak. */
struct face {
	const char *name;
	/*
	 * Opens it on every worker that takes such requests, and says where it listens; nothing
	 * when it is configured off. After an error it has said why, with host_fail().
	 */
	enum status (*open)(struct host *host, unsigned index); /* main thread */
	void (*drain)(void *face);            /* its worker's thread: take nothing new */
	void (*kill)(void *face);             /* its worker's thread: drop what is left */
	bool (*is_drained)(const void *face); /* its worker's thread */
	void (*close)(void *face);            /* main thread, after the worker's has ended */
	/* Bytes of each worker beside those for its connections; NULL: none. 0: it is off. */
	uint64_t (*memory)(const struct conf *conf);
};

/* What all of them take of each worker. */
uint64_t faces_memory(const struct face *const *faces, unsigned count, const struct conf *conf);

struct host_options {
	const struct conf *conf;
	const struct topology *topology;
	const char *path;                /* of the store */
	const struct face *const *faces; /* what may come in */
	unsigned face_count;
	log_write_fn *log_write; /* where lines for people go; NULL: nowhere */
	uint64_t relaxed_spaces; /* bit i: KV_SPACE_APP + i is relaxed, whatever the default */
	bool insecure;           /* strangers may come without a password */
	bool salvage;            /* go on behind damage */
	bool must_exist;         /* make no store where there is none */
	bool quiet;              /* no line per address */
};

/* Memory and thread: the main thread's, host_store.c's alone. */
struct host_store {
	struct store *store;
	struct blk *blks[PLAN_WORKERS_MAX];
	struct host_worker *workers[PLAN_WORKERS_MAX]; /* those with an engine */
	unsigned count;
	struct opening *opening; /* what recovery works with */
	int lock;                /* descriptor; -1: none */
	atomic_bool recovered;   /* the workers look at it */
	bool stopped;
};

/*
 * io_devices.c: the devices of a worker's transport, as rows for stacks: file, uring, plain, mem,
 * nvme_tcp.
 * A struct io_devices is the owner in their struct stack_env.
 */
struct io_devices {
	struct io *io;
	bool look; /* only to be looked at: nothing is locked, made or resized */
	struct nvme_host_io_net net;
};
extern const struct blk_layer *const io_device_layers[]; /* ends with NULL */
/* read_file() of their environment. DENIED: others than its owner may read the file. */
enum status io_device_read_file(void *owner, const char *path, void *data, size_t size_max,
                                size_t *size);
extern const struct blk_layer device_nvme_tcp; /* nvme_device.c */

/* Who this machine is to NVMe targets. */
void host_nvme_identity(uint8_t id[static 16]);

/* A stack of the configuration. Memory: the host's. Thread: opened and closed by the main one. */
struct host_stack {
	const struct conf_stack *conf;
	struct stack *stack;        /* NULL: not opened */
	struct host_worker *worker; /* whose it is */
	struct stack_env env;
	struct io_devices devices;
	bool started;
	struct blk *blks[PLAN_WORKERS_MAX]; /* as each worker sees it; NULL: not opened */
};

struct host {
	struct host_options options;
	const struct conf *conf;
	struct plan plan;
	uint64_t memory;
	uint64_t started_ms;       /* wall clock */
	struct memory_parts parts; /* of each worker */
	struct recent told;        /* what the operator was told that is LOG_WARN or worse */
	struct metrics metrics;    /* all there before somebody comes in and reads them */
	struct host_store store;
	struct host_listen listens[HOST_LISTENERS_MAX];
	unsigned listen_count;
	bool tls_certified; /* who connects with TLS has shown a certificate */
	struct host_stack stacks[CONF_STACKS_MAX];
	unsigned stack_count;
	unsigned count;
	struct host_worker *workers;
	struct ring *rings;
	struct req **ring_slots;
	/* Of the process, as the main thread last saw it. */
	_Atomic uint64_t memory_resident, memory_peak, cpu_user_us, cpu_system_us;
	atomic_bool draining, killing, stop;
	char error[HOST_ERROR_SIZE]; /* for people: why it could not be opened */
};

/*
 * Opens everything and lets it run. host_stop() and host_close() are the caller's to call whatever
 * the status; host->error says to people why:
 *
 *   INVALID               the configuration is wrong
 *   BUSY                  another process has the store
 *   NOT_FOUND             there is no store, and options->must_exist
 *   CORRUPT, UNSUPPORTED  the store is damaged; was made by a newer weir
 *   others                what the machine refused
 */
enum status host_open(struct host *host, const struct host_options *options);
void host_close(struct host *host); /* after host_stop() */

void host_drain(struct host *host); /* asks for it; host_is_drained() says when */
void host_kill(struct host *host);  /* after host_drain(): drops what has not ended */
bool host_is_drained(struct host *host);
void host_end(struct host *host);  /* drains, drops what has not ended, and waits */
void host_look(struct host *host); /* at the process, for facts; now and then */
void host_stop(struct host *host); /* ends and joins all threads */

/* Runs task(w, arg) in a turn of w, or at once while w has no thread, and waits for it. */
enum status host_call(struct host_worker *w, host_task_fn *task, void *arg);

/* What workers have left for the main thread: lines, to options->log_write, and chores. */
void host_drain_logs(struct host *host);

/* In a turn of w: the main thread runs it soon. One at a time. */
void host_chore_post(struct host_worker *w, struct host_chore *chore);

/* A line of the main thread, to options->log_write, unless conf says that less is logged. */
void host_log(struct host *host, enum log_level level, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* Keeps why opening fails, unless something is kept already. Returns `status`, not OK. */
enum status host_fail(struct host *host, enum status status, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* For faces, in their open(): *listen is copied. Nobody comes in before all faces are open. */
void host_listen(struct host *host, const struct host_listen *listen);
enum status host_listen_open(struct host *host); /* main thread, then */
bool host_listens(const struct host *host, enum conf_id setting, enum conf_id tls_setting);

/*
 * host_tls.c: TLS on every network worker, if some address wants it; opened before the faces are.
 */
enum status host_tls_open(struct host *host);
void host_tls_close(struct host_worker *w); /* after its faces */
/* Reads the files of tls.* again: all of it is used from now on, or nothing and a line says why. */
void host_tls_reload(struct host *host);
/* What host_tls_open() would refuse about the files. INVALID: `error` says why. */
enum status host_tls_check(const struct conf *conf, char error[static HOST_ERROR_SIZE]);

/*
 * host_store.c: the store below all faces. Opened before any thread runs; recovery starts them,
 * the first storage worker's before the others'.
 */
enum status host_store_open(struct host *host);
enum status host_store_recover(struct host *host);
void host_store_stop(struct host *host);  /* no requests any more; writes that it was clean */
void host_store_close(struct host *host); /* after all threads have ended */

/*
 * host_objects.c: objects on the store. A face that needs them asks for them when it opens: then
 * every worker has an obj. Asked for again: nothing.
 */
enum status host_objects_open(struct host *host);
void host_objects_stop(struct host *host); /* no commands any more */
void host_objects_close(struct host *host);

/*
 * host_stack.c: the stacks that the configuration names, each on a storage worker, in turn; the
 * other workers see it through their rings. Faces find them in host->stacks when they open.
 */
enum status host_stacks_open(struct host *host);
void host_stacks_stop(struct host *host); /* no commands any more */
void host_stacks_close(struct host *host);

/* Bytes that the configuration wants for layers. */
uint64_t host_stacks_memory(const struct conf *conf, uint64_t memory);

/*
 * host_volumes.c: volumes on the store, on every worker. Who opens them is told of each, in a turn
 * of each worker: see struct volumes_options; owner: faces[index].
 */
struct host_volumes {
	unsigned index;
	uint64_t seed;
	void (*appeared)(void *owner, const struct volume_info *info, struct blk *blk);
	bool (*may_leave)(void *owner, const struct volume_info *info, struct blk *blk);
};
enum status host_volumes_open(struct host *host, const struct host_volumes *with);
void host_volumes_stop(struct host *host); /* no commands any more */
void host_volumes_close(struct host *host);

/* Something that a request of the main thread's is about, and some worker runs. host_errand.c. */
struct host_errand {
	struct req req;
	atomic_bool done;
	enum status status;
};
/* In a turn of w: then errand->req is given to what completes it. */
void host_errand_begin(struct host_errand *errand, struct host_worker *w);
enum status host_errand_wait(struct host *host, struct host_errand *errand); /* main thread */

/* In a turn of w: what others may know of its engine. */
void host_store_tell(struct host_worker *w);

enum status host_start_worker(struct host_worker *w); /* started already: nothing */

#endif
