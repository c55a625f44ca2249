/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole server in one thread: clients on a simulated network speak RESP to it, its store lies
 * on a simulated disk, its power fails; and what the clients were told is checked for
 * linearizability.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "core/buf.h"
#include "lin.h"
#include "server/resp_server.h"
#include "sim/sim_net.h"
#include "sim_engine.h"

enum {
	WORKERS = 2,
	CLIENTS = 6,
	KEYS = 4,
	LIVES = 4,
	LIFE_STEPS = 2500,
	OPS_MAX = 20000,
	OPEN_STEPS_MAX = 1000000,
	BUFS_SIZE = 16 << 20,
};

struct person {
	struct world *world;
	struct sim_client *client; /* NULL: not connected */
	struct lin_op *op;         /* that waits for its reply; NULL: idle */
	char reply[256];
	size_t reply_size;
};

struct world {
	struct sim *sim;
	struct sim_disk *disk;
	struct sim_net *net;
	struct store_env env;
	void *store;
	struct bufs bufs[WORKERS];
	struct resp_server servers[WORKERS];
	struct person people[CLIENTS];
	struct prng prng;
	uint64_t now; /* moments of the history */
	size_t op_count;
	unsigned answered, errors, lost_connections;
	struct lin_op ops[OPS_MAX];
};

static struct world world;

/* What nobody knows the outcome of has had it when the server has stopped. */
static void settle_unknown(struct world *w)
{
	w->now++;
	for (size_t i = 0; i < w->op_count; i++) {
		if (w->ops[i].unknown && w->ops[i].returned == LIN_PENDING)
			w->ops[i].returned = w->now;
	}
}

static void answered(struct person *person, bool known, int64_t result)
{
	struct lin_op *op = person->op;

	person->op = NULL;
	person->reply_size = 0;
	if (!known) {
		op->unknown = true;
		return;
	}
	op->returned = ++person->world->now;
	op->result = result;
	person->world->answered++;
}

/* A whole reply: "+OK", ":7", "$1 7", "$-1" or "-ERR ...", with line ends. False: more is to come.
 */
static bool take_reply(struct person *person)
{
	const char *reply = person->reply, *line = strstr(reply, "\r\n");
	int64_t number;

	if (line == NULL)
		return false;
	number = strtoll(reply + 1, NULL, 10);
	switch (reply[0]) {
	case '+':
		answered(person, true, 1);
		return true;
	case ':':
		answered(person, true, number);
		return true;
	case '$':
		if (number < 0) { /* of a get: absent; of a set with NX: not done */
			answered(person, true, person->op->kind == LIN_GET ? LIN_ABSENT : 0);
			return true;
		}
		if (strstr(line + 2, "\r\n") == NULL)
			return false;
		answered(person, true, strtoll(line + 2, NULL, 10));
		return true;
	default:
		person->world->errors++;
		answered(person, false, 0);
		return true;
	}
}

static void person_received(struct sim_client *client, struct bytes data)
{
	struct person *person = client->owner;

	assert_non_null(person->op); /* else: an answer to nothing */
	assert_true(person->reply_size + data.size < sizeof(person->reply));
	memcpy(person->reply + person->reply_size, data.data, data.size);
	person->reply_size += data.size;
	person->reply[person->reply_size] = '\0';
	take_reply(person);
}

static void person_ended(struct sim_client *client, enum status status)
{
	struct person *person = client->owner;

	(void)status;
	person->world->lost_connections++;
	if (person->op != NULL)
		answered(person, false, 0);
	sim_client_close(client);
	person->client = NULL;
}

static const struct sim_client_handler person_handler = { .received = person_received,
	                                                  .ended = person_ended };

static int write_words(char *out, size_t size, unsigned count, const char *const *words)
{
	int used = snprintf(out, size, "*%u\r\n", count);

	for (unsigned i = 0; i < count; i++)
		used += snprintf(out + used, size - (size_t)used, "$%zu\r\n%s\r\n",
		                 strlen(words[i]), words[i]);
	return used;
}

static void ask(struct person *person)
{
	static const char *const names[] = {
		[LIN_GET] = "GET", [LIN_PUT] = "SET",     [LIN_DELETE] = "DEL",
		[LIN_CAS] = "SET", [LIN_INCR] = "INCRBY",
	};
	static const unsigned counts[] = {
		[LIN_GET] = 2, [LIN_PUT] = 3, [LIN_DELETE] = 2, [LIN_CAS] = 4, [LIN_INCR] = 3,
	};
	struct world *w = person->world;
	struct lin_op *op = &w->ops[w->op_count];
	char key[16], value[24], text[256];
	const char *words[4] = { NULL, key, value, "NX" };
	int size;

	if (w->op_count == OPS_MAX)
		return;
	w->op_count++;
	*op = (struct lin_op){ .key = prng_below(&w->prng, KEYS),
		               .kind = (enum lin_kind)prng_below(&w->prng, 5),
		               .called = ++w->now,
		               .returned = LIN_PENDING,
		               .expected = LIN_ABSENT,
		               .argument = (int64_t)prng_below(&w->prng, 100000) };
	words[0] = names[op->kind];
	snprintf(key, sizeof(key), "key:%u", (unsigned)op->key);
	snprintf(value, sizeof(value), "%lld", (long long)op->argument);
	size = write_words(text, sizeof(text), counts[op->kind], words);
	person->op = op;
	person->reply_size = 0;
	assert_int_equal(sim_client_send(person->client, bytes_of(text, (size_t)size)), size);
}

static void move_people(struct world *w)
{
	struct person *person = &w->people[prng_below(&w->prng, CLIENTS)];

	if (prng_below(&w->prng, 4) != 0)
		return;
	if (person->client == NULL)
		person->client = sim_connect(w->net, "127.0.0.1:6379", &person_handler, person);
	else if (person->op == NULL)
		ask(person);
}

static bool store_has_opened(void *argument)
{
	struct world *w = argument;
	enum status status;

	return engine_binding()->state(w->store, &status) != STORE_IS_OPENING;
}

/* False: the store does not open, because it was damaged. */
static bool start_server(struct world *w, bool format)
{
	enum status status;

	w->env = (struct store_env){ .sim = w->sim, .worker_count = WORKERS, .format = format };
	for (unsigned i = 0; i < WORKERS; i++) {
		w->env.workers[i] = sim_worker(w->sim, 0, i);
		w->env.blks[i] = sim_disk_attach(w->disk, w->sim, 0, i);
	}
	w->env.seed = prng_next(&w->prng);
	w->store = engine_binding()->open(&w->env);
	sim_wake(w->sim, 0, 0);
	assert_true(sim_run(w->sim, store_has_opened, w, OPEN_STEPS_MAX));
	if (engine_binding()->state(w->store, &status) != STORE_IS_OPEN) {
		assert_int_equal(status, STATUS_CORRUPT);
		sim_stop(w->sim, 0, SIM_KILL);
		engine_binding()->abandon(w->store);
		return false;
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		struct resp_server_options options = { .worker = w->env.workers[i],
			                               .kv = engine_binding()->kv(w->store, i),
			                               .bufs = &w->bufs[i],
			                               .calls_max = 64,
			                               .connections_max = 16,
			                               .random_seed = prng_next(&w->prng) };

		assert_int_equal(bufs_open(&w->bufs[i], BUFS_SIZE, 0), STATUS_OK);
		assert_int_equal(resp_server_open(&w->servers[i], &options), STATUS_OK);
		sim_listen(w->net, &(struct sim_listen_options){ .worker = i,
		                                                 .address = "127.0.0.1:6379",
		                                                 .handler = &resp_listener_handler,
		                                                 .owner = &w->servers[i] });
		sim_wake(w->sim, 0, i);
	}
	return true;
}

/* Its memory goes back as if the process had ended. */
static void stop_server(struct world *w, enum sim_end end)
{
	sim_stop(w->sim, 0, end);
	settle_unknown(w);
	for (unsigned i = 0; i < WORKERS; i++) {
		w->servers[i].connection_count = 0;
		w->servers[i].calls_used = 0;
		resp_server_close(&w->servers[i]);
		w->bufs[i].used_size = 0;
		bufs_close(&w->bufs[i]);
	}
	engine_binding()->abandon(w->store);
	sim_start(w->sim, 0);
}

static const struct sim_disk_faults honest = { .cut_torn = 200000,
	                                       .cut_garbage = 100000,
	                                       .stall = 1000 };

/* False: the store was damaged. */
static bool run_world(struct world *w, uint64_t seed, const struct sim_net_options *net,
                      const struct sim_disk_faults *faults)
{
	struct sim_net_options net_options = *net;
	bool opened = true;

	memset(w, 0, offsetof(struct world, ops));
	prng_init(&w->prng, seed);
	net_options.seed = seed;
	w->sim = sim_open(&(struct sim_options){
	        .seed = seed, .workers_per_node = WORKERS, .event_first = 50000 });
	w->net = sim_net_open(w->sim, &net_options);
	w->disk = sim_disk_open(
	        &(struct sim_disk_options){ .seed = seed, .size = 32 << 20, .faults = *faults });
	for (unsigned i = 0; i < CLIENTS; i++)
		w->people[i].world = w;
	for (unsigned life = 0; life < LIVES && opened; life++) {
		uint64_t steps = 100 + prng_below(&w->prng, 2 * LIFE_STEPS);

		opened = start_server(w, life == 0);
		for (uint64_t i = 0; i < steps && opened; i++) {
			move_people(w);
			sim_step(w->sim);
		}
		if (opened)
			stop_server(w, prng_below(&w->prng, 3) == 0 ? SIM_KILL : SIM_POWER_CUT);
	}
	sim_close(w->sim);
	sim_net_close(w->net);
	sim_disk_close(w->disk);
	return opened;
}

static void check_worlds(unsigned seeds, const struct sim_net_options *net)
{
	unsigned answered_count = 0, lost = 0;
	uint64_t states = 0;

	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct lin_result result;

		assert_true(run_world(&world, seed, net, &honest));
		result = lin_check(world.ops, world.op_count);
		if (!result.linearizable) {
			lin_print(world.ops, world.op_count, result.key);
			fail_msg("seed %lu: key %lu is not linearizable%s", seed, result.key,
			         result.given_up ? " as far as was searched" : "");
		}
		answered_count += world.answered;
		lost += world.lost_connections;
		states += result.states;
		assert_int_equal(world.errors, 0);
	}
	printf("%u seeds, %u answers, %u connections lost, %lu states searched\n", seeds,
	       answered_count, lost, states);
	assert_true(answered_count > seeds * 50);
}

static void test_power_cuts(void **state)
{
	(void)state;
	check_worlds(12, &(struct sim_net_options){ .stall = 1000 });
}

static void test_power_cuts_and_resets(void **state)
{
	(void)state;
	check_worlds(12,
	             &(struct sim_net_options){ .stall = 2000, .reset = 2000, .refuse = 50000 });
}

/*
 * The check is one: with a disk that only says that it has written, clients see it, or
 * the store does when it opens.
 */
static void test_a_lying_disk_is_found_out(void **state)
{
	struct sim_disk_faults lies = { .flush_lie = 300000 };
	unsigned by_clients = 0, by_store = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		if (!run_world(&world, seed, &(struct sim_net_options){ 0 }, &lies))
			by_store++;
		else if (!lin_check(world.ops, world.op_count).linearizable)
			by_clients++;
	}
	printf("of 20 lying disks %u were found by clients, %u when the store was opened\n",
	       by_clients, by_store);
	assert_true(by_clients + by_store > 0);
}

static void test_same_seed_same_history(void **state)
{
	static struct lin_op before[OPS_MAX];
	size_t count;

	(void)state;
	run_world(&world, 7, &(struct sim_net_options){ .reset = 1000 }, &honest);
	count = world.op_count;
	memcpy(before, world.ops, sizeof(before[0]) * count);
	run_world(&world, 7, &(struct sim_net_options){ .reset = 1000 }, &honest);
	assert_int_equal(count, world.op_count);
	assert_memory_equal(before, world.ops, sizeof(before[0]) * count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_power_cuts),
		cmocka_unit_test(test_power_cuts_and_resets),
		cmocka_unit_test(test_a_lying_disk_is_found_out),
		cmocka_unit_test(test_same_seed_same_history),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
