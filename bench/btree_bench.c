/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the ordered index costs: insertion in random order, lookups one by one and in batches with
 * prefetch, a walk over all keys, and memory per key. One line per figure: name, value, unit; the
 * best of some rounds, in processor time, since on a shared machine no time is ever too short.
 */
#include "bench.h"

#include "base/assert.h"
#include "base/macros.h"
#include "base/prng.h"
#include "engine/btree.h"

enum { BATCH = 16, KEY_SIZE_MAX = 64, ROUNDS = 4 };

struct bench {
	const char *name;
	size_t key_size;
	uint32_t count;
	uint8_t *keys;
	uint32_t *order; /* a random one */
	struct btree_pool *pool;
	struct btree tree;
};

static void figure(const struct bench *bench, const char *what, double value, const char *unit)
{
	printf("btree_%s_%s %.1f %s\n", bench->name, what, value, unit);
}

/* Nanoseconds per key of the fastest round. */
static double best_of(struct bench *bench, void (*run)(struct bench *bench))
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t started = clock_ns(CLOCK_THREAD_CPUTIME_ID), took;

		run(bench);
		took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - started;
		best = took < best ? took : best;
	}
	return (double)best / (double)bench->count;
}

static struct bytes key_at(const struct bench *bench, uint32_t i)
{
	return bytes_of(bench->keys + (size_t)i * bench->key_size, bench->key_size);
}

static void shuffle(struct bench *bench, struct prng *prng)
{
	for (uint32_t i = bench->count - 1; i > 0; i--) {
		uint32_t j = (uint32_t)prng_below(prng, i + 1), other = bench->order[j];

		bench->order[j] = bench->order[i];
		bench->order[i] = other;
	}
}

static void open_tree(struct bench *bench)
{
	if (btree_init(&bench->tree, bench->pool, 1) != STATUS_OK)
		die("memory for the tree");
}

static void insert_all(struct bench *bench)
{
	struct btree_miss miss;
	btree_value old;

	btree_fini(&bench->tree);
	open_tree(bench);
	for (uint32_t i = 0; i < bench->count; i++) {
		enum btree_result result =
		        btree_set(&bench->tree, key_at(bench, bench->order[i]), i + 1, &old, &miss);

		assert(result == BTREE_OK);
	}
}

static void insert_batches(struct bench *bench)
{
	struct btree_miss miss;
	btree_value old;

	btree_fini(&bench->tree);
	open_tree(bench);
	for (uint32_t i = 0; i + BATCH <= bench->count; i += BATCH) {
		for (uint32_t j = i; j < i + BATCH; j++)
			btree_prefetch(&bench->tree, key_at(bench, bench->order[j]));
		for (uint32_t j = i; j < i + BATCH; j++) {
			enum btree_result result = btree_set(
			        &bench->tree, key_at(bench, bench->order[j]), j + 1, &old, &miss);

			assert(result == BTREE_OK);
		}
	}
}

static void find_one(struct bench *bench, uint32_t i)
{
	struct btree_miss miss;
	btree_value value;
	enum btree_result result = btree_find(&bench->tree, key_at(bench, i), &value, &miss);

	assert(result == BTREE_OK);
}

static void find_all(struct bench *bench)
{
	for (uint32_t i = 0; i < bench->count; i++)
		find_one(bench, bench->order[i]);
}

static void find_batches(struct bench *bench)
{
	for (uint32_t i = 0; i + BATCH <= bench->count; i += BATCH) {
		for (uint32_t j = 0; j < BATCH; j++)
			btree_prefetch(&bench->tree, key_at(bench, bench->order[i + j]));
		for (uint32_t j = 0; j < BATCH; j++)
			find_one(bench, bench->order[i + j]);
	}
}

static void walk_all(struct bench *bench)
{
	struct btree_cursor cursor;
	struct btree_miss miss;
	uint64_t count = 0;
	enum btree_result result = btree_seek(&bench->tree, &cursor, BYTES(""), false, &miss);

	for (; result == BTREE_OK; result = btree_next(&cursor, false, &miss))
		count++;
	assert(count == bench->tree.key_count);
}

static void remove_all(struct bench *bench)
{
	struct btree_range range = { .lower = BYTES("") };
	struct btree_miss miss;
	enum btree_result result;

	do
		result = btree_remove_range(&bench->tree, &range, 10000, &miss);
	while (result == BTREE_OK);
	assert(result == BTREE_ABSENT);
	assert(bench->tree.key_count == 0);
}

static void run(struct bench *bench, void (*make)(struct prng *, uint8_t *, uint32_t), bool random)
{
	struct btree_pool_stats stats;
	struct prng prng;
	uint64_t started;

	prng_init(&prng, 1);
	bench->keys = malloc((size_t)bench->count * bench->key_size + 1);
	bench->order = malloc(bench->count * sizeof(*bench->order));
	if (bench->keys == NULL || bench->order == NULL)
		die("memory for keys");
	for (uint32_t i = 0; i < bench->count; i++) {
		make(&prng, bench->keys + (size_t)i * bench->key_size, i);
		bench->order[i] = i;
	}
	if (random)
		shuffle(bench, &prng);
	if (btree_pool_open(&bench->pool, (size_t)1 << 30) != STATUS_OK)
		die("memory for the pool");
	open_tree(bench);
	figure(bench, "insert_batched", best_of(bench, insert_batches), "ns");
	figure(bench, "insert", best_of(bench, insert_all), "ns");
	btree_pool_stats(bench->pool, &stats);
	figure(bench, "memory",
	       (double)(stats.pages * (BTREE_PAGE_SIZE + 64)) / (double)bench->tree.key_count,
	       "B/key");
	figure(bench, "depth", bench->tree.depth, "levels");
	shuffle(bench, &prng);
	figure(bench, "lookup", best_of(bench, find_all), "ns");
	figure(bench, "lookup_batched", best_of(bench, find_batches), "ns");
	figure(bench, "scan", best_of(bench, walk_all), "ns/key");
	started = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	remove_all(bench);
	figure(bench, "remove_range",
	       (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - started) / bench->count, "ns/key");
	btree_fini(&bench->tree);
	btree_pool_close(bench->pool);
	free(bench->keys);
	free(bench->order);
}

static void make_random(struct prng *prng, uint8_t *key, uint32_t i)
{
	(void)i;
	prng_fill(prng, key, 16);
}

static void make_number(struct prng *prng, uint8_t *key, uint32_t i)
{
	char text[KEY_SIZE_MAX];

	(void)prng;
	snprintf(text, sizeof(text), "key:%012u", i);
	memcpy(key, text, 16);
}

static void make_path(struct prng *prng, uint8_t *key, uint32_t i)
{
	char text[KEY_SIZE_MAX];

	snprintf(text, sizeof(text), "bucket-%02u/photos/2024/%02u/%02u/IMG_%08x_%08u.jpg",
	         (unsigned)prng_below(prng, 40), (unsigned)prng_below(prng, 12),
	         (unsigned)prng_below(prng, 28), (unsigned)prng_next(prng), i);
	memcpy(key, text, 55);
}

struct plan {
	const char *name;
	size_t key_size;
	void (*make)(struct prng *prng, uint8_t *key, uint32_t i);
	bool random;
};

/* btree_bench [KEYS [NAME]] */
int main(int argc, char **argv)
{
	static const struct plan plans[] = {
		{ "random16", 16, make_random, true },
		{ "number16", 16, make_number, true },
		{ "append16", 16, make_number, false },
		{ "path55", 55, make_path, true },
	};
	uint32_t count = argc > 1 ? (uint32_t)number_of('n', argv[1]) : 1000000;

	for (size_t i = 0; i < array_count(plans); i++) {
		struct bench bench = {
			.name = plans[i].name,
			.key_size = plans[i].key_size,
			.count = count,
		};

		if (argc <= 2 || strcmp(argv[2], plans[i].name) == 0)
			run(&bench, plans[i].make, plans[i].random);
	}
	return 0;
}
