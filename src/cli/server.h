/* SPDX-License-Identifier: Apache-2.0 */
/* A whole server put together: workers, their transports, the store, the faces. */
#ifndef CLI_SERVER_H
#define CLI_SERVER_H

#include <pthread.h>
#include <stdatomic.h>

#include "cli/cli.h"
#include "core/buf.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/plan.h"
#include "core/trace.h"
#include "proto/stream.h"
#include "transport/io.h"

enum {
	SERVER_LISTENERS_MAX = 8, /* of a worker: one per face */
	SERVER_RING_SIZE = 512, /* requests on the way from a worker to another; more wait there */
	SERVER_PORTS_TRIED = 100, /* from a default port that is taken */
	SERVER_FACES_MAX = 8,
};

struct kv_shard;
struct server;
struct server_worker;

/* Something that the main thread wants done in a worker's turn. */
typedef enum cli_exit server_task_fn(struct server_worker *w, void *arg);

/*
 * Memory: the server's. Thread: opened and closed by the main thread while its own does not run;
 * in between its own, but for the atomics and what core/log.h and core/metrics.h allow.
 */
struct server_worker {
	struct worker worker;
	struct actor control; /* drains when asked to, runs tasks */
	struct server *server;
	struct io *io;
	struct bufs bufs;
	struct kv *kv;          /* the whole store, as this worker sees it */
	unsigned store_index;   /* of its engine, if it has one */
	struct kv_shard *shard; /* that kv, when others have a part of it */
	bool kv_is_local;       /* all of it is this worker's own */
	struct listener *listeners[SERVER_LISTENERS_MAX];
	unsigned listener_count;
	void *faces[SERVER_FACES_MAX]; /* by index of the face; NULL: not on this worker */
	uint16_t cpu;
	bool has_engine;
	bool bufs_opened, started, draining, killed;
	pthread_t thread;
	server_task_fn *task; /* of the main thread, while task_posted */
	void *task_arg;
	enum cli_exit task_exit;
	atomic_bool task_posted;
	atomic_bool drained;
	struct trace trace;
	struct log log;
	char name[16];
};

/* A way in. One row of the table in server.c, one file face_NAME.c. */
struct face {
	const char *name;
	/* Opens it on every network worker and listens; nothing when it is configured off. */
	enum cli_exit (*open)(struct server *server, unsigned index); /* main thread */
	void (*drain)(void *face);            /* its worker's thread: take nothing new */
	void (*kill)(void *face);             /* its worker's thread: drop what is left */
	bool (*is_drained)(const void *face); /* its worker's thread */
	void (*close)(void *face);            /* main thread, after the worker's has ended */
};

struct server_options {
	const struct conf *conf;
	const struct topology *topology;
	const char *path; /* of the store */
	bool insecure;    /* strangers may come without a password */
	bool salvage;     /* go on behind damage */
	bool quiet;       /* no line per address */
};

/* Memory and thread: the main thread's, server_store.c's alone. */
struct server_store {
	struct store *store;
	struct blk *blks[PLAN_WORKERS_MAX];
	struct server_worker *workers[PLAN_WORKERS_MAX]; /* those with an engine */
	unsigned count;
	int lock; /* descriptor; -1: none */
	bool recovered, stopped;
};

struct server {
	struct server_options options;
	const struct conf *conf;
	struct plan plan;
	uint64_t memory;
	struct memory_parts parts; /* of each worker */
	struct metrics metrics;
	struct server_store store;
	unsigned count;
	struct server_worker *workers;
	struct ring *rings;
	struct req **ring_slots;
	/* Of the process, as the main thread last saw it. */
	_Atomic uint64_t memory_resident, memory_peak, cpu_user_us, cpu_system_us;
	atomic_bool draining, killing, stop;
};

/*
 * Opens everything and lets it run. After an error it has said why; server_stop() and
 * server_close() are the caller's to call in either case.
 */
enum cli_exit server_open(struct server *server, const struct server_options *options);
void server_close(struct server *server); /* after server_stop() */

void server_drain(struct server *server); /* asks for it; server_is_drained() says when */
void server_kill(struct server *server);  /* after server_drain(): drops what has not ended */
bool server_is_drained(struct server *server);
void server_look(struct server *server); /* at the process, for facts; now and then */
void server_stop(struct server *server); /* ends and joins all threads */

/* Runs task(w, arg) in a turn of w, or at once while w has no thread, and waits for it. */
enum cli_exit server_call(struct server_worker *w, server_task_fn *task, void *arg);

/* Lines that workers have written, to stderr. */
void server_drain_logs(struct server *server);

/* A line of the main thread, to stderr, unless conf says that less is logged. */
void server_log(const struct server *server, enum log_level level, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* For faces: listens at the address that `setting` has, on every worker that has faces[index]. */
struct server_listen {
	enum conf_id setting;
	const char *face;
	unsigned index;
	const struct listener_handler *handler; /* its listeners' owner: faces[index] */
	bool authenticated;                     /* strangers are asked who they are */
};
enum cli_exit server_listen(struct server *server, const struct server_listen *listen);

/* Of what INFO tells: a worker's own part, in its turn; the process's. */
struct resp_facts;
void server_store_facts(struct server_worker *w, struct resp_facts *facts);
void server_process_facts(const struct server *server, struct resp_facts *facts);

/*
 * server_store.c: the store below all faces. Opened before any thread runs; recovery starts them,
 * the first storage worker's before the others'.
 */
enum cli_exit server_store_open(struct server *server);
enum cli_exit server_store_recover(struct server *server);
void server_store_stop(struct server *server);  /* no requests any more; writes that it was clean */
void server_store_close(struct server *server); /* after all threads have ended */

enum cli_exit server_start_worker(struct server_worker *w); /* started already: nothing */

extern const struct face face_resp; /* face_resp.c */

/*
 * Signals. Fatal ones dump all flight recorders; the others stay blocked in every thread, and the
 * main thread takes them with sigwait.
 */
void signals_install(struct server *server);
void signals_dump(const struct server *server, unsigned limit); /* to stderr */

/* Tells systemd, when that has asked to be told: "READY=1", "STOPPING=1". */
void notify(const char *state);

#endif
