/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/macros.h"
#include "base/prng.h"
#include "lin.h"

#define OP(from, to, ...) ((struct lin_op){ .called = from, .returned = to, __VA_ARGS__ })
#define PUT(from, to, value) OP(from, to, .kind = LIN_PUT, .argument = value)
#define GET(from, to, value) OP(from, to, .kind = LIN_GET, .result = value)
#define DELETE(from, to, found) OP(from, to, .kind = LIN_DELETE, .result = found)
#define CAS(from, to, old, new, done)                                                              \
	OP(from, to, .kind = LIN_CAS, .expected = old, .argument = new, .result = done)
#define INCR(from, to, by, value) OP(from, to, .kind = LIN_INCR, .argument = by, .result = value)

static struct lin_op unknown(struct lin_op op)
{
	op.unknown = true;
	return op;
}

#define assert_good(...)                                                                           \
	do {                                                                                       \
		const struct lin_op ops[] = { __VA_ARGS__ };                                       \
		assert_true(lin_check(ops, array_count(ops)).linearizable);                        \
	} while (0)
#define assert_bad(...)                                                                            \
	do {                                                                                       \
		const struct lin_op ops[] = { __VA_ARGS__ };                                       \
		struct lin_result result = lin_check(ops, array_count(ops));                       \
		assert_false(result.linearizable);                                                 \
		assert_false(result.given_up);                                                     \
		assert_true(result.explained < array_count(ops));                                  \
	} while (0)

static void test_known_good(void **state)
{
	(void)state;
	assert_true(lin_check(NULL, 0).linearizable);
	assert_good(GET(1, 2, LIN_ABSENT));
	assert_good(PUT(1, 2, 7), GET(3, 4, 7));
	/* A read that overlaps a write sees either; two reads in a row see them in order. */
	assert_good(PUT(1, 2, 7), PUT(3, 10, 8), GET(4, 5, 7), GET(6, 7, 8));
	assert_good(PUT(1, 10, 1), PUT(2, 9, 2), GET(3, 4, 2), GET(5, 6, 1));
	assert_good(PUT(1, 2, 7), DELETE(3, 4, 1), DELETE(5, 6, 0), GET(7, 8, LIN_ABSENT));
	assert_good(CAS(1, 10, LIN_ABSENT, 1, 1), CAS(2, 9, LIN_ABSENT, 2, 0), GET(11, 12, 1));
	assert_good(INCR(1, 10, 1, 2), INCR(2, 9, 1, 1), INCR(11, 12, 5, 7));
	/* Overlapping counters: results decide the order. */
	assert_good(INCR(1, 20, 1, 3), INCR(2, 19, 1, 1), INCR(3, 18, 1, 2), GET(21, 22, 3));
}

static void test_known_bad(void **state)
{
	(void)state;
	assert_bad(GET(1, 2, 5));
	assert_bad(PUT(1, 2, 7), GET(3, 4, LIN_ABSENT));                     /* lost */
	assert_bad(PUT(1, 2, 7), PUT(3, 4, 8), GET(5, 6, 7));                /* stale */
	assert_bad(PUT(1, 2, 7), PUT(3, 10, 8), GET(4, 5, 8), GET(6, 7, 7)); /* back again */
	assert_bad(PUT(1, 2, 7), DELETE(3, 4, 0));
	assert_bad(CAS(1, 10, LIN_ABSENT, 1, 1), CAS(2, 9, LIN_ABSENT, 2, 1)); /* both won */
	assert_bad(INCR(1, 10, 1, 1), INCR(2, 9, 1, 1));                       /* one is lost */
	assert_bad(PUT(1, 2, 1), CAS(3, 4, 2, 3, 1));
}

static void test_pending(void **state)
{
	(void)state;
	/* It may have been done, at any time, or not at all. */
	assert_good(PUT(1, LIN_PENDING, 7), GET(3, 4, 7));
	assert_good(PUT(1, LIN_PENDING, 7), GET(3, 4, LIN_ABSENT), GET(5, 6, 7));
	assert_good(PUT(1, LIN_PENDING, 7), GET(3, 4, LIN_ABSENT));
	assert_good(PUT(1, 2, 1), DELETE(3, LIN_PENDING, 0), GET(4, 5, 1), GET(6, 7, LIN_ABSENT));
	assert_good(INCR(1, LIN_PENDING, 1, 0), INCR(2, LIN_PENDING, 1, 0), GET(3, 4, 2));
	/* But not before its call, not twice, and not undone. */
	assert_good(unknown(PUT(1, 5, 7)), GET(6, 7, 7));
	assert_good(unknown(PUT(1, 5, 7)), GET(6, 7, LIN_ABSENT));
	assert_good(PUT(1, 2, 1), unknown(PUT(3, 6, 2)), GET(4, 5, 1), GET(7, 8, 2));
	assert_bad(unknown(PUT(1, 5, 7)), GET(6, 7, LIN_ABSENT), GET(8, 9, 7)); /* decided by 5 */
	assert_bad(GET(1, 2, 7), PUT(3, LIN_PENDING, 7));
	assert_bad(PUT(1, LIN_PENDING, 7), GET(3, 4, 7), GET(5, 6, LIN_ABSENT));
	assert_bad(INCR(1, LIN_PENDING, 1, 0), GET(3, 4, 2));
	assert_bad(PUT(1, 2, 1), PUT(3, LIN_PENDING, 2), GET(5, 6, 2), GET(7, 8, 1));
}

static void test_keys_are_apart(void **state)
{
	struct lin_op ops[] = { PUT(1, 2, 7), PUT(1, 2, 8), GET(3, 4, 7), GET(3, 4, 8) };
	struct lin_result result;

	(void)state;
	ops[1].key = ops[3].key = 9;
	assert_true(lin_check(ops, 4).linearizable);
	ops[3].result = 7;
	result = lin_check(ops, 4);
	assert_false(result.linearizable);
	assert_int_equal(result.key, 9);
}

enum { CLIENTS = 6, OPS = 400 };

/* A history of a register that does each operation at a moment between its call and its return. */
static void make_history(struct prng *prng, struct lin_op *ops)
{
	uint64_t free_at[CLIENTS] = { 0 };
	int64_t value = LIN_ABSENT;

	for (unsigned i = 0; i < OPS; i++) {
		struct lin_op *op = &ops[i];
		unsigned client = (unsigned)prng_below(prng, CLIENTS);
		uint64_t now = 100 * (i + 1); /* it is done at this moment */
		uint64_t from = free_at[client] + 1 > now - 600 || now < 600 ? free_at[client] + 1
		                                                             : now - 600;

		*op = (struct lin_op){ .kind = (enum lin_kind)prng_below(prng, 5) };
		op->called = from >= now ? now - 1 : prng_range(prng, from, now - 1);
		op->returned = now + 1 + prng_below(prng, 600);
		free_at[client] = op->returned;
		op->argument = (int64_t)prng_below(prng, 4);
		op->expected = (int64_t)prng_below(prng, 4);
		if (prng_below(prng, 20) == 0) {
			op->unknown = true;
			if (prng_below(prng, 8) == 0)
				op->returned = LIN_PENDING;
			free_at[client] = now; /* another client takes its place */
			if (prng_below(prng, 2) == 0)
				continue; /* never done */
		}
		switch (op->kind) {
		case LIN_GET:
			op->result = value;
			break;
		case LIN_PUT:
			value = op->argument;
			break;
		case LIN_DELETE:
			op->result = value != LIN_ABSENT;
			value = LIN_ABSENT;
			break;
		case LIN_CAS:
			op->result = value == op->expected;
			value = op->result ? op->argument : value;
			break;
		case LIN_INCR:
			value = (value == LIN_ABSENT ? 0 : value) + op->argument;
			op->result = value;
			break;
		}
	}
}

static void test_random_histories(void **state)
{
	static struct lin_op ops[OPS];
	struct prng prng;
	unsigned caught = 0;
	uint64_t states = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 100; seed++) {
		struct lin_result result;
		unsigned changed;

		prng_init(&prng, seed);
		make_history(&prng, ops);
		result = lin_check(ops, OPS);
		if (!result.linearizable)
			lin_print(ops, OPS, 0);
		assert_true(result.linearizable);
		states += result.states;
		/* A result that the register never had. */
		do
			changed = (unsigned)prng_below(&prng, OPS);
		while (ops[changed].kind != LIN_GET || ops[changed].unknown);
		ops[changed].result = 1000000;
		result = lin_check(ops, OPS);
		caught += !result.linearizable && !result.given_up;
	}
	assert_int_equal(caught, 100);
	assert_true(states < 100000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_good),       cmocka_unit_test(test_known_bad),
		cmocka_unit_test(test_pending),          cmocka_unit_test(test_keys_are_apart),
		cmocka_unit_test(test_random_histories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
