/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a history of operations on registers could have come from one that does each at once. */
#ifndef TESTS_LIN_H
#define TESTS_LIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Wing and Gong's search with Lowe's memory of states that led nowhere, key by key: a history is
 * linearizable when that of each key is (Herlihy and Wing 1990). An operation whose outcome nobody
 * knows may have taken effect at any moment between its call and its return, or never; where a
 * restart decides that, its return is the restart. Many that never return make the search long.
 */
enum lin_kind {
	LIN_GET,    /* result: the value */
	LIN_PUT,    /* argument: the value; no result */
	LIN_DELETE, /* result: 1 if there was one, 0 */
	LIN_CAS,    /* argument if expected was there; result: 1 done, 0 not */
	LIN_INCR,   /* adds argument, absent counts as 0; result: the new value */
};

#define LIN_ABSENT INT64_MIN   /* as a value: no such key */
#define LIN_PENDING UINT64_MAX /* as returned: it may take effect at any time; unknown */

struct lin_op {
	uint64_t key;
	uint64_t called, returned; /* moments, of one clock; called < returned */
	enum lin_kind kind;
	bool unknown; /* whether it took effect, and its result */
	int64_t argument, expected, result;
};

struct lin_result {
	bool linearizable;
	bool given_up;    /* the search grew over its bound: nothing is known */
	uint64_t key;     /* that is not linearizable */
	uint64_t states;  /* looked at */
	size_t explained; /* most operations of that key that fit one order */
};

/* All keys are absent at first. The operations may come in any order; they are not changed. */
struct lin_result lin_check(const struct lin_op *ops, size_t count);

/* Writes the history of a key to stderr, for people. */
void lin_print(const struct lin_op *ops, size_t count, uint64_t key);

#endif
