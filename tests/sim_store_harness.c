/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_store_harness.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/macros.h"
#include "sim_store_clients.h"

enum {
	CALL_STEPS_MAX = 2000000, /* a request or an open that takes longer is stuck */
	SCAN_PAGE = 37,
	START_CHANCE = 300000, /* per million steps: a client starts something */
	BRIEF_STEPS = 20,      /* of a short life */
	REPLAY_CUTS_MAX = 3,   /* power cuts during one recovery */
};

/* One simulated machine with the store on it. */
struct machine {
	struct sim *sim;
	struct sim_disk *disk;
	struct store_env env;
	void *store; /* NULL: not running */
};

struct harness {
	const struct store_binding *binding;
	struct store_harness_options options;
	struct store_harness_result *result;
	struct prng prng;
	struct machine machine, copy;
	struct kv_model *model;
	struct store_clients *clients;
	uint64_t *numbers; /* by key: what a restart found */
	uint64_t moment;
	uint8_t *image; /* a disk's bytes, for binding->check(), or NULL */
	bool failed, clean; /* clean: closed, not cut off, when it last ended */
};

struct call_frame {
	struct frame frame;
	struct call *call;
};

struct call {
	struct req req;
	bool done;
};

static void fail(struct harness *h, uint64_t *counter, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

static void fail(struct harness *h, uint64_t *counter, const char *format, ...)
{
	va_list arguments;

	++*counter;
	h->failed = true;
	if (h->result->first[0] != '\0')
		return;
	va_start(arguments, format);
	vsnprintf(h->result->first, sizeof(h->result->first), format, arguments);
	va_end(arguments);
}

static void wake_all(struct machine *m)
{
	for (unsigned i = 0; i < m->env.worker_count; i++)
		sim_wake(m->sim, 0, i);
}

static void machine_start(struct harness *h, struct machine *m, bool format)
{
	assert(m->store == NULL);
	if (!sim_is_running(m->sim, 0))
		sim_start(m->sim, 0);
	m->env = (struct store_env){ .sim = m->sim,
		                     .worker_count = h->options.workers,
		                     .relaxed = h->options.relaxed,
		                     .format = format,
		                     .seed = prng_next(&h->prng) };
	if (h->options.vary != 0)
		m->env.worker_count = 1 + (unsigned)prng_below(&h->prng, h->options.workers);
	for (unsigned i = 0; i < m->env.worker_count; i++) {
		m->env.workers[i] = sim_worker(m->sim, 0, i);
		m->env.blks[i] = sim_disk_attach(m->disk, m->sim, 0, i);
	}
	m->store = h->binding->open(&m->env);
	wake_all(m);
}

static void machine_stop(struct harness *h, struct machine *m, enum sim_end end)
{
	if (end == SIM_POWER_CUT)
		h->result->cuts++;
	sim_stop(m->sim, 0, end);
	h->binding->abandon(m->store);
	m->store = NULL;
}

static enum store_state state_of(const struct harness *h, const struct machine *m,
                                 enum status *status)
{
	*status = STATUS_OK;
	return h->binding->state(m->store, status);
}

/* Runs until the store is no longer in `state`, for at most so many steps. */
static enum store_state run_while(struct harness *h, struct machine *m, enum store_state state,
                                  uint64_t steps_max)
{
	enum status status;

	for (uint64_t i = 0; i < steps_max && state_of(h, m, &status) == state; i++) {
		if (sim_step(m->sim) == SIM_QUIET)
			break;
	}
	return state_of(h, m, &status);
}

/* Whether the store opened. If not, that was either expected or a failure. */
static bool wait_open(struct harness *h, struct machine *m, const char *what)
{
	enum store_state state = run_while(h, m, STORE_IS_OPENING, CALL_STEPS_MAX);
	enum status status;

	h->result->opens++;
	if (state == STORE_IS_OPEN)
		return true;
	state_of(h, m, &status);
	if (state == STORE_IS_OPENING)
		fail(h, &h->result->stuck, "%s: the open never ends", what);
	else if (h->options.may_corrupt && status == STATUS_CORRUPT)
		h->result->refused++;
	else
		fail(h, &h->result->lost, "%s: the store does not open: %s", what,
		     status_name(status));
	return false;
}

static void call_done(struct req *req)
{
	req_pop(req, struct call_frame)->call->done = true;
}

static bool call_is_done(void *argument)
{
	return ((struct call *)argument)->done;
}

/* One request, from outside, to its end. */
static enum status do_cmd(struct harness *h, struct machine *m, const struct kv_cmd *cmd,
                          uint64_t *result)
{
	struct call call = { .done = false };
	struct kv *kv = h->binding->kv(m->store, 0);

	req_init(&call.req, kv->worker);
	req_push(&call.req, struct call_frame, call_done)->call = &call;
	kv_submit(kv, &call.req, cmd);
	sim_wake(m->sim, 0, kv->worker->id);
	if (!sim_run(m->sim, call_is_done, &call, CALL_STEPS_MAX)) {
		fail(h, &h->result->stuck, "a request of op %u never completes", cmd->op);
		return STATUS_TIMEOUT;
	}
	*result = call.req.result;
	return call.req.status;
}

struct audit {
	struct harness *h;
	uint64_t count;
	uint8_t last[STORE_KEY_MAX + 1];
	size_t last_size;
	bool disorder;
};

static void audit_entry(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct audit *audit = visitor;
	struct harness *h = audit->h;
	int index = store_key_index(entry->key);
	uint8_t room[STORE_KEY_MAX];

	assert(edit == NULL);
	audit->count++;
	if (index < 0 || index >= (int)h->options.keys ||
	    !bytes_equal(entry->key, store_key((unsigned)index, h->options.keys, room))) {
		fail(h, &h->result->forged, "a scan shows a key that nobody wrote");
		return;
	}
	if (bytes_compare(entry->key, bytes_of(audit->last, audit->last_size)) < 0)
		audit->disorder = true;
	memcpy(audit->last, entry->key.data, entry->key.size);
	audit->last_size = entry->key.size;
	h->numbers[index] = store_entry_number(entry);
}

/* Page by page; false: it could not be read. */
static bool audit_space(struct harness *h, struct machine *m, unsigned space, uint64_t *count)
{
	struct audit audit = { .h = h, .last = { store_space(space) }, .last_size = 1 };
	uint64_t visited;

	do {
		uint8_t from[STORE_KEY_MAX + 1];
		struct kv_cmd cmd = {
			.op = KV_SCAN, .limit = SCAN_PAGE, .visit = audit_entry, .visitor = &audit
		};
		enum status status;

		memcpy(from, audit.last, audit.last_size);
		from[audit.last_size] = 0; /* the first key after the last one */
		cmd.key = bytes_of(from, audit.last_size + (audit.count > 0));
		visited = 0;
		status = do_cmd(h, m, &cmd, &visited);
		if (status == STATUS_CORRUPT && h->options.may_corrupt)
			return false;
		if (status == STATUS_UNSUPPORTED && h->options.workers > 1) {
			h->options.without |= 1u << KV_SCAN; /* each partition alone only */
			return true;
		}
		if (status != STATUS_OK) {
			fail(h, &h->result->lost, "a scan after a restart ends with %s",
			     status_name(status));
			return false;
		}
	} while (visited == SCAN_PAGE);
	if (audit.disorder)
		fail(h, &h->result->forged, "a scan is not in the order of keys");
	*count = audit.count;
	return true;
}

static void audit_one(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	assert(edit == NULL);
	*(uint64_t *)visitor = store_entry_number(entry);
}

/* By GET too: it must agree with the scan. */
static bool audit_key(struct harness *h, struct machine *m, unsigned key)
{
	uint8_t room[STORE_KEY_MAX];
	uint64_t number = 0, result;
	struct kv_cmd cmd = { .op = KV_GET,
		              .flags = KV_LOAD,
		              .key = store_key(key, h->options.keys, room),
		              .visit = audit_one,
		              .visitor = &number };
	enum status status = do_cmd(h, m, &cmd, &result);

	if (status == STATUS_CORRUPT && h->options.may_corrupt)
		return false;
	if (status != STATUS_OK) {
		fail(h, &h->result->lost, "a get after a restart ends with %s",
		     status_name(status));
		return false;
	}
	if (h->numbers[key] != number && h->numbers[key] != (uint64_t)STORE_NUMBER_UNKNOWN &&
	    h->options.expiry == 0 && !(h->options.without & 1u << KV_SCAN))
		fail(h, &h->result->forged, "key %u: a scan shows %" PRIu64 ", a get %" PRIu64, key,
		     h->numbers[key], number);
	h->numbers[key] = number;
	return true;
}

/* All that the store holds, into h->numbers. False: it could not all be read. */
static bool audit(struct harness *h, struct machine *m)
{
	memset(h->numbers, 0, h->options.keys * sizeof(h->numbers[0]));
	for (unsigned space = 0; space < STORE_SPACES; space++) {
		uint8_t first = store_space(space);
		uint64_t scanned = 0, counted = 0;
		enum status status;

		if (h->options.without & 1u << KV_SCAN)
			break;
		if (!audit_space(h, m, space, &scanned))
			return false;
		if (h->options.expiry != 0 || (h->options.without & 1u << KV_SCAN) ||
		    (h->options.without & 1u << KV_COUNT))
			continue;
		status =
		        do_cmd(h, m, &(struct kv_cmd){ .op = KV_COUNT, .key = bytes_of(&first, 1) },
		               &counted);
		if (status != STATUS_OK || counted != scanned)
			fail(h, &h->result->forged,
			     "space %u: %" PRIu64 " keys scanned, %" PRIu64 " counted", first,
			     scanned, counted);
	}
	for (unsigned key = 0; key < h->options.keys; key++) {
		if (!audit_key(h, m, key))
			return false;
	}
	return true;
}

/* Opened, after a cut or a close: what it holds against what it must hold. */
static void check_restart(struct harness *h, struct machine *m, bool decides)
{
	struct kv_model_restart restart = {
		.numbers = h->numbers,
		.decides = decides,
		.clean = decides && h->clean,
	};

	if (decides)
		h->clean = false;
	restart.wall_ms_first = m->env.workers[0]->clock->wall_ms(m->env.workers[0]->clock);
	if (audit(h, m)) {
		restart.wall_ms_last = m->env.workers[0]->clock->wall_ms(m->env.workers[0]->clock);
		kv_model_restarted(h->model, &restart);
	} else if (decides) {
		kv_model_reset(h->model);
	}
}

/* The oracle that needs no store: what is on the media must be sound by itself. */
static void check_image(struct harness *h, const struct sim_disk *disk)
{
	char what[256] = "";

	if (h->image == NULL || h->result->lives == 0 || !prng_chance(&h->prng, h->options.check))
		return;
	h->result->checked++;
	sim_disk_peek(disk, 0, h->image, h->options.disk_size);
	if (!h->binding->check(h->image, h->options.disk_size, what))
		fail(h, &h->result->forged, "after a cut: %s", what);
}

/* Faults that only a store that is open meets. */
static void set_live_faults(struct harness *h, bool on)
{
	struct sim_disk_faults faults = h->options.disk.faults;

	if (on) {
		faults.read_flip += h->options.live_faults.read_flip;
		faults.read_error += h->options.live_faults.read_error;
	}
	sim_disk_set_faults(h->machine.disk, &faults);
}

/* What a power cut at this moment would leave: opened on a copy, checked, thrown away. */
static void try_cut(struct harness *h)
{
	struct clock *here = h->machine.env.workers[0]->clock;
	struct clock *there = sim_worker(h->copy.sim, 0, 0)->clock;

	sim_disk_cut_into(h->copy.disk, h->machine.disk, prng_next(&h->prng));
	/* The copy lives at the same time: what has expired here has expired there. */
	sim_wall_jump(h->copy.sim, 0, (int64_t)(here->wall_ms(here) - there->wall_ms(there)));
	h->result->trials++;
	h->result->cuts++;
	check_image(h, h->copy.disk);
	machine_start(h, &h->copy, false);
	if (prng_below(&h->prng, 4) == 0) {
		/* And again, in the middle of recovery. */
		run_while(h, &h->copy, STORE_IS_OPENING, prng_below(&h->prng, 200));
		machine_stop(h, &h->copy, SIM_POWER_CUT);
		machine_start(h, &h->copy, false);
	}
	if (wait_open(h, &h->copy, "a cut on a copy"))
		check_restart(h, &h->copy, false);
	machine_stop(h, &h->copy, SIM_KILL);
}

static bool clients_are_idle(void *argument)
{
	return store_clients_are_idle(argument);
}

static void copy_model_result(struct harness *h)
{
	struct kv_model_stats stats;

	kv_model_stats(h->model, &stats);
	if (stats.first[0] != '\0' && h->result->first[0] == '\0')
		memcpy(h->result->first, stats.first, sizeof(stats.first));
	if (stats.lost + stats.forged + stats.split + stats.versions > 0)
		h->failed = true;
}

static void run_clients(struct harness *h, uint64_t steps)
{
	struct machine *m = &h->machine;
	enum status status;

	for (uint64_t i = 0; i < steps && !h->failed; i++) {
		if (prng_chance(&h->prng, START_CHANCE)) {
			int worker = store_clients_start(h->clients, &h->prng);

			if (worker >= 0)
				sim_wake(m->sim, 0, (unsigned)worker);
		}
		sim_step(m->sim);
		if (sim_disk_moment(m->disk) != h->moment) {
			h->moment = sim_disk_moment(m->disk);
			if (prng_chance(&h->prng, h->options.trials))
				try_cut(h);
		}
		if (i % 256 == 0) {
			uint64_t now = kv_model_now(h->model);

			kv_model_prune(h->model, store_clients_since(h->clients, now));
			copy_model_result(h);
			if (state_of(h, m, &status) != STORE_IS_OPEN)
				return;
		}
	}
}

/* Whatever has failed, nobody waits for ever. */
static void drain(struct harness *h)
{
	if (!sim_run(h->machine.sim, clients_are_idle, h->clients, CALL_STEPS_MAX))
		fail(h, &h->result->stuck, "clients wait for ever");
}

/* A clean close: what was submitted ends first. */
static void close_cleanly(struct harness *h)
{
	struct machine *m = &h->machine;
	struct sim_disk_stats disk;
	enum store_state state;

	drain(h);
	h->binding->close(m->store);
	wake_all(m);
	state = run_while(h, m, STORE_IS_CLOSING, CALL_STEPS_MAX);
	if (state == STORE_IS_CLOSING)
		fail(h, &h->result->stuck, "the close never ends");
	sim_disk_stats(m->disk, &disk);
	if (state == STORE_IS_CLOSED && disk.in_flight > 0) {
		fail(h, &h->result->stuck, "closed with %u operations under way", disk.in_flight);
		state = STORE_HAS_FAILED;
	}
	h->clean = state == STORE_IS_CLOSED;
	machine_stop(h, m, state == STORE_IS_CLOSED ? SIM_CLOSE : SIM_POWER_CUT);
}

/* Opens the store; the power may fail several times while it recovers. */
static bool restart(struct harness *h, bool format)
{
	struct machine *m = &h->machine;

	for (unsigned cuts = 0; !format && cuts < REPLAY_CUTS_MAX; cuts++) {
		if (prng_below(&h->prng, 3) != 0)
			break;
		machine_start(h, m, false);
		run_while(h, m, STORE_IS_OPENING, prng_below(&h->prng, 300));
		machine_stop(h, m, prng_below(&h->prng, 2) == 0 ? SIM_KILL : SIM_POWER_CUT);
	}
	machine_start(h, m, format);
	if (wait_open(h, m, format ? "a new store" : "a restart"))
		return true;
	machine_stop(h, m, SIM_POWER_CUT);
	return false;
}

static bool live(struct harness *h, bool format)
{
	/* Some lives end at once: what recovery has shown must be durable already. */
	bool brief = prng_below(&h->prng, 3) == 0;
	uint64_t steps = prng_below(&h->prng, brief ? BRIEF_STEPS : 2ull * h->options.steps);
	enum status status;

	if (!restart(h, format)) {
		kv_model_reset(h->model);
		return false;
	}
	h->result->lives++;
	check_restart(h, &h->machine, true);
	store_clients_attach(h->clients, &h->machine.env, h->binding, h->machine.store);
	set_live_faults(h, true);
	run_clients(h, steps);
	if (prng_below(&h->prng, 4) == 0)
		drain(h);
	set_live_faults(h, false);
	if (!h->failed && prng_below(&h->prng, 4) == 0 &&
	    state_of(h, &h->machine, &status) == STORE_IS_OPEN)
		close_cleanly(h);
	else
		machine_stop(h, &h->machine,
		             prng_below(&h->prng, 3) == 0 ? SIM_KILL : SIM_POWER_CUT);
	store_clients_drop(h->clients);
	check_image(h, h->machine.disk);
	copy_model_result(h);
	return true;
}

static void set_defaults(struct store_harness_options *o)
{
	o->workers = o->workers == 0 ? 1 : o->workers;
	o->clients = o->clients == 0 ? 8 : o->clients;
	o->keys = o->keys == 0 ? 48 : o->keys;
	o->lives = o->lives == 0 ? 8 : o->lives;
	o->steps = o->steps == 0 ? 400 : o->steps;
	o->disk_size = o->disk_size == 0 ? 16 << 20 : o->disk_size;
	o->value_max = o->value_max == 0 ? 3000 : o->value_max;
	o->commit_max = o->commit_max == 0 ? 6 : o->commit_max;
	assert(o->keys >= 8 && o->keys <= KV_MODEL_KEYS_MAX);
	assert(o->workers <= SIM_WORKERS_MAX);
}

static void harness_open(struct harness *h, const struct store_binding *binding,
                         const struct store_harness_options *options,
                         struct store_harness_result *result)
{
	struct sim_options sim_options = { .event_first = 50000 };
	struct sim_disk_options disk_options;
	struct sim_disk_faults cut_faults;

	*h = (struct harness){ .binding = binding, .options = *options, .result = result };
	set_defaults(&h->options);
	prng_init(&h->prng, options->seed);
	sim_options.seed = prng_fork(&h->prng, 1);
	sim_options.workers_per_node = h->options.workers;
	sim_options.trace = options->trace;
	disk_options = options->disk;
	disk_options.seed = prng_fork(&h->prng, 2);
	disk_options.size = h->options.disk_size;
	h->machine.sim = sim_open(&sim_options);
	h->machine.disk = sim_disk_open(&disk_options);
	sim_options.trace = false;
	h->copy.sim = sim_open(&sim_options);
	assert(h->machine.sim != NULL && h->copy.sim != NULL);
	sim_stop(h->copy.sim, 0, SIM_CLOSE);
	h->copy.disk = sim_disk_open_like(h->machine.disk);
	/* A copy only has what the power cut did to it, and may be cut again. */
	cut_faults = (struct sim_disk_faults){ .cut_torn = disk_options.faults.cut_torn,
		                               .cut_garbage = disk_options.faults.cut_garbage };
	sim_disk_set_faults(h->copy.disk, &cut_faults);
	h->model = kv_model_open(h->options.keys);
	h->clients = store_clients_open(&h->options, h->model, result);
	h->numbers = calloc(h->options.keys, sizeof(h->numbers[0]));
	assert(h->numbers != NULL);
	if (options->check > 0 && binding->check != NULL) {
		h->image = malloc(h->options.disk_size);
		assert(h->image != NULL);
	}
}

static void harness_close(struct harness *h)
{
	struct store_harness_result *r = h->result;
	struct kv_model_stats model;
	struct sim_disk_stats disk;

	copy_model_result(h);
	kv_model_stats(h->model, &model);
	r->acked += model.acked;
	r->seen += model.seen;
	r->lost += model.lost;
	r->forged += model.forged;
	r->split += model.split;
	r->versions += model.versions;
	sim_disk_stats(h->machine.disk, &disk);
	for (unsigned i = 0; i < BLK_OP_COUNT; i++)
		r->disk_ops += disk.ops[i];
	r->faults += disk.faults;
	r->steps += sim_steps(h->machine.sim) + sim_steps(h->copy.sim);
	store_clients_close(h->clients);
	kv_model_close(h->model);
	free(h->numbers);
	free(h->image);
	sim_close(h->machine.sim);
	sim_close(h->copy.sim);
	sim_disk_close(h->copy.disk);
	sim_disk_close(h->machine.disk);
}

bool store_harness_run(const struct store_binding *binding,
                       const struct store_harness_options *options,
                       struct store_harness_result *result)
{
	struct harness h;
	bool alive = true;

	harness_open(&h, binding, options, result);
	/* A store that may refuse to open after damage is made anew. */
	for (unsigned i = 0; i < h.options.lives && !h.failed; i++)
		alive = live(&h, i == 0 || !alive);
	harness_close(&h);
	return !h.failed;
}

/* One fault, then a cut and a check without faults. Returns how many operations of the kind ran. */
static uint64_t sweep_point(struct harness *h, const struct sim_disk_rule *rule)
{
	struct machine *m = &h->machine;
	struct sim_disk_stats before, after;
	enum blk_op op = (enum blk_op)__builtin_ctz(rule->ops);
	bool opened;

	sim_disk_stats(m->disk, &before);
	sim_disk_add_rule(m->disk, rule);
	machine_start(h, m, true);
	opened = run_while(h, m, STORE_IS_OPENING, CALL_STEPS_MAX) == STORE_IS_OPEN;
	if (opened) {
		store_clients_attach(h->clients, &m->env, h->binding, m->store);
		run_clients(h, h->options.steps);
		drain(h);
	} else {
		enum status status;

		if (state_of(h, m, &status) == STORE_IS_OPENING)
			fail(h, &h->result->stuck, "the open never ends");
	}
	sim_disk_stats(m->disk, &after);
	machine_stop(h, m, SIM_POWER_CUT);
	store_clients_drop(h->clients);
	if (opened && op == BLK_READ) {
		/* Most reads are those of recovery: there it may fail, but it must end. */
		machine_start(h, m, false);
		if (run_while(h, m, STORE_IS_OPENING, CALL_STEPS_MAX) == STORE_IS_OPENING)
			fail(h, &h->result->stuck, "a failed open never ends");
		sim_disk_stats(m->disk, &after);
		machine_stop(h, m, SIM_POWER_CUT);
	}
	sim_disk_clear_rules(m->disk);
	if (opened) {
		machine_start(h, m, false);
		if (wait_open(h, m, "after a fault"))
			check_restart(h, m, true);
		machine_stop(h, m, SIM_POWER_CUT);
	}
	return after.ops[op] - before.ops[op];
}

uint64_t store_harness_sweep(const struct store_binding *binding,
                             const struct store_harness_options *options, unsigned stride,
                             struct store_harness_result *result)
{
	static const struct sim_disk_rule rules[] = {
		{ .ops = 1u << BLK_READ, .count = 1, .status = STATUS_IO },
		{ .ops = 1u << BLK_READ, .count = UINT32_MAX, .status = STATUS_IO },
		{ .ops = 1u << BLK_WRITE, .count = 1, .status = STATUS_IO },
		{ .ops = 1u << BLK_WRITE, .count = UINT32_MAX, .status = STATUS_IO },
		{ .ops = 1u << BLK_WRITE, .count = 1, .status = STATUS_NO_SPACE },
		{ .ops = 1u << BLK_WRITE, .count = UINT32_MAX, .status = STATUS_NO_SPACE },
		{ .ops = 1u << BLK_FLUSH, .count = 1, .status = STATUS_IO },
		{ .ops = 1u << BLK_FLUSH, .count = UINT32_MAX, .status = STATUS_IO },
	};
	uint64_t points = 0;

	assert(stride > 0);
	for (unsigned i = 0; i < array_count(rules); i++) {
		struct sim_disk_rule rule = rules[i];
		uint64_t ran;

		do {
			struct harness h;

			harness_open(&h, binding, options, result);
			ran = sweep_point(&h, &rule);
			copy_model_result(&h);
			harness_close(&h);
			points++;
			if (h.failed) {
				printf("%s: seed %" PRIu64 ", rule %u, skip %u: %s\n",
				       binding->name, options->seed, i, rule.skip, result->first);
				return 0;
			}
			rule.skip += stride;
		} while (ran > rule.skip - stride);
	}
	return points;
}

static void print_result(const struct store_harness_result *r, double seconds)
{
	printf("%" PRIu64 " lives, %" PRIu64 " power cuts (%" PRIu64 " on copies)", r->lives,
	       r->cuts, r->trials);
	if (seconds > 0)
		printf(", %.0f a second", (double)r->cuts / seconds);
	printf(", %" PRIu64 " opens, %" PRIu64 " writes acknowledged, %" PRIu64
	       " reads checked\n%" PRIu64 " lost, %" PRIu64 " forged, %" PRIu64 " split, %" PRIu64
	       " wrong versions, %" PRIu64 " stuck, %" PRIu64 " refused; %" PRIu64
	       " steps, %" PRIu64 " disk operations, %" PRIu64 " faults\n",
	       r->opens, r->acked, r->seen, r->lost, r->forged, r->split, r->versions, r->stuck,
	       r->refused, r->steps, r->disk_ops, r->faults);
	for (unsigned i = 0; i < STATUS_COUNT; i++) {
		if (r->status[i] > 0)
			printf("%s %" PRIu64 "  ", status_name((enum status)i), r->status[i]);
	}
	printf("%" PRIu64 " images checked\n", r->checked);
}

static bool take_u32(const char *argument, const char *name, uint32_t *value)
{
	size_t size = strlen(name);

	if (strncmp(argument, name, size) != 0 || argument[size] != '=')
		return false;
	*value = (uint32_t)strtoul(argument + size + 1, NULL, 0);
	return true;
}

static bool take_size(const char *argument, uint64_t *size)
{
	uint32_t mib;

	if (!take_u32(argument, "disk_mib", &mib))
		return false;
	*size = (uint64_t)mib << 20;
	return true;
}

/* False: no such argument. */
static bool take_argument(const char *argument, struct store_harness_options *o, uint32_t *seconds)
{
	uint32_t trace = 0, disk = 0;

	if (strncmp(argument, "seed=", 5) == 0) {
		o->seed = strtoull(argument + 5, NULL, 0);
		return true;
	}
	if (take_u32(argument, "disk", &disk)) {
		o->disk_size = (uint64_t)disk << 20;
		return true;
	}
	if (take_u32(argument, "trace", &trace)) {
		o->trace = trace != 0;
		return true;
	}
	return take_u32(argument, "seconds", seconds) ||
	       take_u32(argument, "workers", &o->workers) || take_u32(argument, "vary", &o->vary) ||
	       take_u32(argument, "clients", &o->clients) || take_u32(argument, "keys", &o->keys) ||
	       take_u32(argument, "lives", &o->lives) || take_u32(argument, "steps", &o->steps) ||
	       take_u32(argument, "trials", &o->trials) || take_u32(argument, "check", &o->check) ||
	       take_u32(argument, "flip", &o->live_faults.read_flip) ||
	       take_u32(argument, "read_error", &o->live_faults.read_error) ||
	       take_u32(argument, "value_max", &o->value_max) ||
	       take_u32(argument, "expiry", &o->expiry) || take_u32(argument, "touch", &o->touch) ||
	       take_u32(argument, "relaxed", &o->relaxed) ||
	       take_u32(argument, "commit_max", &o->commit_max) ||
	       take_size(argument, &o->disk_size) ||
	       take_u32(argument, "torn", &o->disk.faults.cut_torn) ||
	       take_u32(argument, "garbage", &o->disk.faults.cut_garbage);
}

int store_harness_main(const struct store_binding *binding, int argc, char **argv)
{
	struct store_harness_options options = {
		.seed = 1,
		.trials = 100000,
		.disk.faults = { .cut_torn = 200000, .cut_garbage = 100000, .stall = 1000 },
	};
	struct store_harness_result result = { 0 };
	time_t began = time(NULL);
	uint32_t seconds = 0, sweep = 0;
	uint64_t runs = 0;

	for (int i = 1; i < argc; i++) {
		if (!take_u32(argv[i], "sweep", &sweep) &&
		    !take_argument(argv[i], &options, &seconds)) {
			fprintf(stderr, "%s: no such argument\n", argv[i]);
			return 2;
		}
	}
	if (sweep > 0) {
		runs = store_harness_sweep(binding, &options, sweep, &result);
		print_result(&result, 0);
		printf("%s: %" PRIu64 " fault points\n", binding->name, runs);
		return runs == 0;
	}
	do {
		runs++;
		if (!store_harness_run(binding, &options, &result)) {
			print_result(&result, difftime(time(NULL), began));
			printf("%s: seed=%" PRIu64 ": %s\n", binding->name, options.seed,
			       result.first);
			return 1;
		}
		options.seed++;
	} while (difftime(time(NULL), began) < seconds);
	printf("%s: %" PRIu64 " seeds up to %" PRIu64 "\n", binding->name, runs, options.seed - 1);
	print_result(&result, difftime(time(NULL), began));
	return 0;
}
