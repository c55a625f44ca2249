/* SPDX-License-Identifier: Apache-2.0 */
/* Clients, power cuts and an oracle around any store that speaks the key-value protocol. */
#ifndef TESTS_SIM_STORE_HARNESS_H
#define TESTS_SIM_STORE_HARNESS_H

#include "proto/blk.h"
#include "proto/kv.h"
#include "sim/sim.h"
#include "sim/sim_disk.h"

/* What a store is opened on. The memory lives until abandon(). */
struct store_env {
	struct sim *sim; /* node 0 of it */
	struct worker *workers[SIM_WORKERS_MAX];
	struct blk *blks[SIM_WORKERS_MAX]; /* of worker i; all of one disk */
	unsigned worker_count;
	uint32_t relaxed; /* spaces that are, as bits 1 << their index in store_space() */
	bool format;      /* the disk is empty: make a store on it first */
	uint64_t seed;    /* for what the store draws */
};

enum store_state {
	STORE_IS_OPENING,
	STORE_IS_OPEN,
	STORE_IS_CLOSING,
	STORE_IS_CLOSED,
	STORE_HAS_FAILED,
};

/* The store under test. All of it is called from outside of turns; the workers are woken after. */
struct store_binding {
	const char *name;
	/* Starts to open; state() tells when it is. */
	void *(*open)(const struct store_env *env);
	/* FAILED: *status says why. After an I/O error it may be FAILED at any time, or stay OPEN.
	 */
	enum store_state (*state)(void *store, enum status *status);
	/* While it is OPEN: the whole store, for submits on that worker. */
	struct kv *(*kv)(void *store, unsigned worker);
	/* Starts a clean close; no request is running. */
	void (*close)(void *store);
	/* Frees all memory, in whatever state: the workers have stopped, what was submitted is
	 * gone. */
	void (*abandon)(void *store);
	/*
	 * Whether the bytes of a disk that the power was cut on are a sound store; if not, `what`
	 * says why. NULL: nobody can tell without opening it.
	 */
	bool (*check)(uint8_t *disk, uint64_t size, char what[static 256]);
};

struct store_harness_options {
	uint64_t seed;
	unsigned workers;    /* 0: 1 */
	uint32_t vary;       /* not 0: every open has 1..workers of them */
	unsigned clients;    /* in all, each with one request at a time; 0: 8 */
	unsigned keys;       /* 0: 48 */
	unsigned lives;      /* from an open to a cut, a kill or a close; 0: 8 */
	unsigned steps;      /* of a life, on average; 0: 400 */
	uint64_t disk_size;  /* 0: 16 MiB */
	uint32_t value_max;  /* bytes; over KV_INLINE_MAX: blobs are written; 0: 3000 */
	uint32_t expiry;     /* per million writes that expire */
	uint32_t touch;      /* not 0: some updates change the expiry alone; not with `expiry` */
	uint32_t commit_max; /* writes of a commit, up to 64; 0: 6 */
	uint32_t relaxed;    /* spaces whose writes may be acknowledged early: see store_env */
	/* Per million moments at which the power is cut on a copy of the disk, to be opened too. */
	uint32_t trials;
	struct sim_disk_options disk; /* seed and size are set here */
	/* Rates besides those of `disk`, only while the store is open: nothing on the media is
	 * damaged. */
	struct sim_disk_faults live_faults;
	uint32_t check; /* per million cuts whose image is given to binding->check() */
	/*
	 * The faults may damage what was durable (lost, misdirected or rotten): then a store may
	 * say CORRUPT, and may not open; but what it does show must still be right.
	 */
	bool may_corrupt;
	/* Operations that the store has not got yet, as bits 1 << enum kv_op: GET and PUT are used.
	 */
	uint32_t without;
	bool trace;
};

struct store_harness_result {
	uint64_t lives, cuts, trials, opens;    /* cuts: of the disk in use and on copies of it */
	uint64_t acked, seen;                   /* writes acknowledged; reads checked */
	uint64_t lost, forged, split, versions; /* see kv_model.h */
	uint64_t stuck;   /* requests that never completed, opens that never ended */
	uint64_t refused; /* opens that failed; with may_corrupt only */
	uint64_t checked; /* images that binding->check() has seen */
	uint64_t steps, disk_ops, faults;
	uint64_t status[STATUS_COUNT]; /* with which requests completed */
	char first[256];               /* the first that was wrong, or empty */
};

/*
 * One run. True: nothing was wrong. The same options give the same run; results are added to
 * *result.
 */
bool store_harness_run(const struct store_binding *binding,
                       const struct store_harness_options *options,
                       struct store_harness_result *result);

/*
 * The Nth read, write, flush fails, for N = 0, `stride`, 2 * stride ... to the end of a life: once
 * and for ever, with IO and for writes NO_SPACE too; after each a power cut and a check. Returns
 * the number of fault points, or 0: something was wrong, *result says what.
 */
uint64_t store_harness_sweep(const struct store_binding *binding,
                             const struct store_harness_options *options, unsigned stride,
                             struct store_harness_result *result);

/*
 * A program: "seed=N" runs that seed with a trace of what was wrong; "seconds=N" runs seed after
 * seed from the given one and prints figures; workers=, clients=, keys=, lives=, steps=, trials=,
 * vary=, value_max=, relaxed=, expiry=, disk= (MiB), torn=, garbage=, trace=1; "sweep=STRIDE" fails
 * every so manieth operation. Returns an exit code.
 */
int store_harness_main(const struct store_binding *binding, int argc, char **argv);

#endif
