/* SPDX-License-Identifier: Apache-2.0 */
#include "lin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"

enum {
	MEMO_SIZE_FIRST = 1 << 12,
	MEMO_SIZE_MAX = 1 << 22, /* configurations: then the search gives up */
};

/* A call or a return, in a list in the order of time from which what was tried is lifted out. */
struct event {
	struct event *previous, *next;
	struct event *match; /* of a call: its return, and the reverse; NULL: it never returns */
	const struct lin_op *op;
	uint64_t when;
	uint32_t index; /* of the operation, among those of its key */
	bool is_call;
};

/* Sets of operations with the value they lead to, that were seen before. */
struct memo {
	uint64_t *slots; /* words + 1 each: the set, then the value */
	uint8_t *used;
	size_t size, count, words;
};

/* What was chosen so far. */
struct choice {
	struct event *call;
	int64_t value_before;
	bool dropped; /* never took effect */
};

struct search {
	struct event *events, head;
	struct choice *choices;
	size_t op_count, chosen, complete_left;
	uint64_t *done; /* a bit per operation */
	int64_t value;
	struct memo memo;
	struct lin_result *result;
};

static void *take(size_t count, size_t size)
{
	void *memory = calloc(count == 0 ? 1 : count, size);

	assert(memory != NULL);
	return memory;
}

static bool is_unknown(const struct lin_op *op)
{
	return op->unknown || op->returned == LIN_PENDING;
}

/* Whether the operation can be done now, with the result it had; *value becomes the new one. */
static bool step(const struct lin_op *op, int64_t *value)
{
	bool known = !is_unknown(op);
	int64_t before = *value;

	switch (op->kind) {
	case LIN_GET:
		return !known || op->result == before;
	case LIN_PUT:
		*value = op->argument;
		return true;
	case LIN_DELETE:
		*value = LIN_ABSENT;
		return !known || op->result == (before != LIN_ABSENT);
	case LIN_CAS:
		if (before == op->expected)
			*value = op->argument;
		return !known || op->result == (before == op->expected);
	case LIN_INCR:
		*value = (before == LIN_ABSENT ? 0 : before) + op->argument;
		return !known || op->result == *value;
	}
	unreachable();
}

static void memo_open(struct memo *memo, size_t words, size_t size)
{
	*memo = (struct memo){ .size = size, .words = words };
	memo->slots = take(size, (words + 1) * sizeof(uint64_t));
	memo->used = take(size, 1);
}

static void memo_close(struct memo *memo)
{
	free(memo->slots);
	free(memo->used);
}

/* False: it was there before. */
static bool memo_insert(struct memo *memo, const uint64_t *entry)
{
	size_t bytes = (memo->words + 1) * sizeof(uint64_t);
	size_t at = hash64(bytes_of(entry, bytes)) & (memo->size - 1);

	while (memo->used[at]) {
		if (memcmp(&memo->slots[at * (memo->words + 1)], entry, bytes) == 0)
			return false;
		at = (at + 1) & (memo->size - 1);
	}
	memo->used[at] = 1;
	memcpy(&memo->slots[at * (memo->words + 1)], entry, bytes);
	memo->count++;
	return true;
}

static void memo_grow(struct memo *memo)
{
	struct memo larger;

	if (memo->count < memo->size / 2)
		return;
	memo_open(&larger, memo->words, memo->size * 2);
	for (size_t i = 0; i < memo->size; i++) {
		if (memo->used[i])
			memo_insert(&larger, &memo->slots[i * (memo->words + 1)]);
	}
	memo_close(memo);
	*memo = larger;
}

static void unlink_event(struct event *event)
{
	event->previous->next = event->next;
	if (event->next != NULL)
		event->next->previous = event->previous;
}

static void relink_event(struct event *event)
{
	event->previous->next = event;
	if (event->next != NULL)
		event->next->previous = event;
}

static int event_order(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	if (x->when != y->when)
		return x->when < y->when ? -1 : 1;
	/* At the same moment calls come first: then the two were concurrent. */
	return y->is_call - x->is_call;
}

/* The done set and the value as one key of the memo: the words are followed by room for it. */
static bool is_new_state(struct search *s, int64_t value)
{
	s->done[s->memo.words] = (uint64_t)value;
	s->result->states++;
	if (!memo_insert(&s->memo, s->done))
		return false;
	memo_grow(&s->memo);
	return true;
}

static bool try_choice(struct search *s, struct event *call, int64_t value, bool dropped)
{
	s->done[call->index / 64] |= 1ull << call->index % 64;
	if (!is_new_state(s, value)) {
		s->done[call->index / 64] &= ~(1ull << call->index % 64);
		return false;
	}
	s->choices[s->chosen++] = (struct choice){ call, s->value, dropped };
	s->value = value;
	s->complete_left -= !is_unknown(call->op);
	unlink_event(call);
	if (call->match != NULL)
		unlink_event(call->match);
	if (s->chosen > s->result->explained)
		s->result->explained = s->chosen;
	return true;
}

/* Takes choices back, to the last that has another way; returns its call, or NULL: there is none.
 */
static struct event *unchoose(struct search *s)
{
	while (s->chosen > 0) {
		struct choice *last = &s->choices[--s->chosen];
		struct event *call = last->call;

		s->value = last->value_before;
		s->done[call->index / 64] &= ~(1ull << call->index % 64);
		s->complete_left += !is_unknown(call->op);
		if (call->match != NULL)
			relink_event(call->match);
		relink_event(call);
		if (!last->dropped)
			return call;
	}
	return NULL;
}

/* Whether this event could be what comes next. */
static bool try_event(struct search *s, struct event *at)
{
	int64_t value = s->value;

	if (!at->is_call) /* it returns and was not chosen: it must be one that never took effect */
		return is_unknown(at->op) && try_choice(s, at->match, value, true);
	if (!step(at->op, &value))
		return false;
	if (is_unknown(at->op) && value == s->value)
		return false; /* that is no different from never */
	return try_choice(s, at, value, false);
}

static bool search_run(struct search *s)
{
	struct event *at = s->head.next;

	while (s->complete_left > 0) {
		if (s->memo.count > MEMO_SIZE_MAX) {
			s->result->given_up = true;
			return false;
		}
		if (at != NULL && try_event(s, at)) {
			at = s->head.next;
			continue;
		}
		if (at != NULL && at->is_call) {
			at = at->next;
			continue;
		}
		at = unchoose(s);
		if (at == NULL)
			return false;
		at = at->next;
	}
	return true;
}

/* The events of one key, linked in the order of time. */
static void search_open(struct search *s, const struct lin_op *ops, size_t count, uint64_t key)
{
	struct event **calls = take(count, sizeof(struct event *)); /* by index */
	size_t events = 0;

	s->events = take(2 * count, sizeof(struct event));
	for (size_t i = 0; i < count; i++) {
		struct event event = { .op = &ops[i], .index = (uint32_t)s->op_count };

		if (ops[i].key != key)
			continue;
		assert(ops[i].called < ops[i].returned);
		event.when = ops[i].called;
		event.is_call = true;
		s->events[events++] = event;
		event.when = ops[i].returned;
		event.is_call = false;
		if (ops[i].returned != LIN_PENDING)
			s->events[events++] = event;
		s->complete_left += !is_unknown(&ops[i]);
		s->op_count++;
	}
	qsort(s->events, events, sizeof(struct event), event_order);
	for (size_t i = 0; i < events; i++) {
		struct event *event = &s->events[i];

		event->previous = i == 0 ? &s->head : &s->events[i - 1];
		event->previous->next = event;
		if (event->is_call) {
			calls[event->index] = event;
			continue;
		}
		event->match = calls[event->index];
		event->match->match = event;
	}
	free(calls);
	s->choices = take(s->op_count, sizeof(struct choice));
	s->memo.words = (s->op_count + 63) / 64;
	s->done = take(s->memo.words + 1, sizeof(uint64_t));
	memo_open(&s->memo, s->memo.words, MEMO_SIZE_FIRST);
}

static bool check_key(const struct lin_op *ops, size_t count, uint64_t key,
                      struct lin_result *result)
{
	struct search s = { .value = LIN_ABSENT, .result = result };
	bool good;

	result->explained = 0;
	search_open(&s, ops, count, key);
	good = search_run(&s);
	memo_close(&s.memo);
	free(s.events);
	free(s.choices);
	free(s.done);
	return good;
}

static int key_order(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

struct lin_result lin_check(const struct lin_op *ops, size_t count)
{
	struct lin_result result = { .linearizable = true };
	uint64_t *keys = take(count, sizeof(uint64_t));

	for (size_t i = 0; i < count; i++)
		keys[i] = ops[i].key;
	qsort(keys, count, sizeof(uint64_t), key_order);
	for (size_t i = 0; i < count && result.linearizable; i++) {
		if (i > 0 && keys[i] == keys[i - 1])
			continue;
		result.key = keys[i];
		result.linearizable = check_key(ops, count, keys[i], &result);
	}
	free(keys);
	return result;
}

void lin_print(const struct lin_op *ops, size_t count, uint64_t key)
{
	static const char *const names[] = { "get", "put", "delete", "cas", "incr" };

	for (size_t i = 0; i < count; i++) {
		const struct lin_op *op = &ops[i];

		if (op->key != key)
			continue;
		fprintf(stderr, "%8" PRIu64 " ", op->called);
		if (op->returned == LIN_PENDING)
			fprintf(stderr, "%8s ", "-");
		else
			fprintf(stderr, "%8" PRIu64 " ", op->returned);
		fprintf(stderr,
		        "%s%s argument %" PRId64 " expected %" PRId64 " result %" PRId64 "\n",
		        is_unknown(op) ? "? " : "", names[op->kind], op->argument, op->expected,
		        op->result);
	}
}
