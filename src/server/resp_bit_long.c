/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on bits of values that are not in memory: they read what they look at, and no more. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_bit.h"
#include "server/resp_txn.h"

/* A new value is made of the parts, as the key of argument `index`; false: no memory. */
static bool make(struct resp_call *call, uint32_t index, const struct resp_make *parts)
{
	struct resp_make made = *parts;

	if (!resp_call_key(call, index, &made.key))
		unreachable(); /* the transaction has looked it up */
	return resp_make(call, &made);
}

/* It becomes the value of the key: false: it has failed. */
static bool store_made(struct resp_call *call, uint32_t index, uint64_t expires_ms)
{
	struct resp_value value = {
		.blob = call->txn->make.made,
		.kind = RESP_STRING,
		.expires_ms = expires_ms,
	};
	struct bytes key;

	if (value.blob == NULL)
		return false;
	value.size = value.blob->size;
	if (!resp_call_key(call, index, &key))
		unreachable(); /* the transaction has looked it up */
	return resp_txn_put(call->txn, key, &value);
}

static struct resp_part part_of(const struct resp_value *value, enum bits_op op)
{
	return (struct resp_part){
		.size = value->exists ? value->size : 0,
		.bytes = value->exists ? value->value : bytes_of(NULL, 0),
		.blob = value->exists ? value->blob : NULL,
		.op = op,
	};
}

static void setbit_notify(struct resp_call *call)
{
	struct bytes key;

	(void)resp_value_of(call, 1, &key);
	resp_notify(call, RESP_EVENT_STRING, "setbit", key);
}

/* GETBIT, SETBIT. */

static bool byte_take(struct resp_call *call, uint64_t offset, struct bytes piece)
{
	(void)offset;
	RESP_STATE(call, struct bit_state)->byte = piece.data[0];
	return true;
}

/* The byte that the bit is in comes into the state, and next() runs; maybe before it returns. */
static void byte_read(struct resp_call *call, resp_next_fn *next)
{
	struct bit_state *state = RESP_STATE(call, struct bit_state);
	const struct resp_value *value = resp_value_of(call, 1, NULL);
	uint64_t at = state->offset / 8;

	state->byte = 0;
	call->txn->read.failed = false;
	if (at < value->size && value->blob != NULL) {
		struct resp_read read = {
			.blob = value->blob,
			.offset = at,
			.left = 1,
			.take = byte_take,
			.next = next,
		};

		if (!resp_read(call, &read))
			resp_stream_done(call);
		return;
	}
	if (at < value->size)
		state->byte = value->value.data[at];
	next(call);
}

static bool bit_of(const struct bit_state *state)
{
	return bits_get(bytes_of(&state->byte, 1), state->offset % 8);
}

static void getbit_read(struct resp_call *call)
{
	if (!call->txn->read.failed)
		resp_reply_i64(call, bit_of(RESP_STATE(call, struct bit_state)));
	resp_stream_done(call);
}

void getbit_stream(struct resp_call *call)
{
	byte_read(call, getbit_read);
}

static void setbit_made(struct resp_call *call)
{
	if (store_made(call, 1, resp_value_of(call, 1, NULL)->expires_ms))
		setbit_notify(call);
	resp_stream_done(call);
}

static bool setbit_make(struct resp_call *call)
{
	struct bit_state *state = RESP_STATE(call, struct bit_state);
	const struct resp_value *old = resp_value_of(call, 1, NULL);
	struct resp_part *parts = resp_txn_memory(call->txn, 2 * sizeof(*parts));
	uint64_t at = state->offset / 8;
	struct resp_make parts_of = {
		.parts = parts,
		.part_count = 2,
		.size = old->size > at ? old->size : at + 1,
		.next = setbit_made,
	};

	if (parts == NULL)
		return false;
	bits_set(&state->byte, state->offset % 8, state->bit == 1);
	parts[0] = part_of(old, BITS_COPY);
	parts[1] = (struct resp_part){
		.at = at,
		.size = 1,
		.bytes = bytes_of(&state->byte, 1),
		.op = BITS_COPY,
	};
	return make(call, 1, &parts_of);
}

static void setbit_read(struct resp_call *call)
{
	const struct bit_state *state = RESP_STATE(call, struct bit_state);
	bool bit = bit_of(state);
	bool is_there = state->offset / 8 < resp_value_of(call, 1, NULL)->size;

	if (!call->txn->read.failed)
		resp_reply_i64(call, bit);
	if (call->txn->read.failed || (is_there && bit == (state->bit == 1)) || !setbit_make(call))
		resp_stream_done(call);
}

void setbit_stream(struct resp_call *call)
{
	byte_read(call, setbit_read);
}

/* BITCOUNT, BITPOS. */

/* The bits of the range that a piece has, counted from its start. */
static struct bits_range piece_range(const struct bit_state *state, uint64_t offset,
                                     struct bytes piece)
{
	uint64_t first = offset * 8, end = first + piece.size * 8;
	uint64_t from = state->from > first ? state->from : first;
	uint64_t to = state->to < end ? state->to : end;

	assert(from < to);
	return (struct bits_range){
		.start = (int64_t)(from - first),
		.end = (int64_t)(to - first) - 1,
		.by_bit = true,
		.end_given = true,
	};
}

static bool count_take(struct resp_call *call, uint64_t offset, struct bytes piece)
{
	struct bit_state *state = RESP_STATE(call, struct bit_state);
	struct bits_range range = piece_range(state, offset, piece);

	state->count += bits_count(piece, &range);
	return true;
}

static bool position_take(struct resp_call *call, uint64_t offset, struct bytes piece)
{
	struct bit_state *state = RESP_STATE(call, struct bit_state);
	struct bits_range range = piece_range(state, offset, piece);
	int64_t found = bits_position(piece, state->bit == 1, &range);

	if (found >= 0)
		state->found = (int64_t)(offset * 8) + found;
	return found < 0;
}

/* False: the range is empty, or no memory. */
static bool range_read(struct resp_call *call, const struct bits_range *range,
                       const struct resp_read *by)
{
	struct bit_state *state = RESP_STATE(call, struct bit_state);
	struct resp_read read = *by;

	read.blob = resp_value_of(call, 1, NULL)->blob;
	if (!bits_resolve(range, read.blob->size, &state->from, &state->to))
		return false;
	read.offset = state->from / 8;
	read.left = (state->to + 7) / 8 - read.offset;
	return resp_read(call, &read);
}

static void bitcount_read(struct resp_call *call)
{
	if (!call->txn->read.failed)
		resp_reply_i64(call, (int64_t)RESP_STATE(call, struct bit_state)->count);
	resp_stream_done(call);
}

void bitcount_stream(struct resp_call *call)
{
	static const struct resp_read by = { .take = count_take, .next = bitcount_read };
	struct bits_range range;

	RESP_STATE(call, struct bit_state)->count = 0;
	if (!bitcount_range(call, &range)) {
		resp_stream_done(call);
		return;
	}
	/* As in Redis: these two count from the end, and are the wrong way round. */
	if (range.start < 0 && range.end < 0 && range.start > range.end) {
		resp_reply_i64(call, 0);
		resp_stream_done(call);
	} else if (!range_read(call, &range, &by)) {
		resp_reply_i64(call, 0);
		resp_stream_done(call);
	}
}

static void bitpos_read(struct resp_call *call)
{
	const struct bit_state *state = RESP_STATE(call, struct bit_state);
	int64_t found = state->found;

	if (found < 0 && state->bit == 0 && state->open)
		found = (int64_t)state->to; /* the zeros behind the end */
	if (!call->txn->read.failed)
		resp_reply_i64(call, found);
	resp_stream_done(call);
}

void bitpos_stream(struct resp_call *call)
{
	static const struct resp_read by = { .take = position_take, .next = bitpos_read };
	struct bit_state *state = RESP_STATE(call, struct bit_state);
	struct bits_range range;

	state->found = -1;
	if (!bitpos_range(call, &range)) {
		resp_stream_done(call);
		return;
	}
	state->open = !range.end_given;
	if (!range_read(call, &range, &by)) {
		resp_reply_i64(call, -1);
		resp_stream_done(call);
	}
}

/* BITOP. */

static void bitop_made(struct resp_call *call)
{
	struct bytes key;

	if (store_made(call, 2, 0)) {
		(void)resp_value_of(call, 2, &key);
		resp_notify(call, RESP_EVENT_STRING, "set", key);
		resp_reply_i64(call, (int64_t)call->txn->make.made->size);
	}
	resp_stream_done(call);
}

static bool bitop_make(struct resp_call *call)
{
	enum bits_op op = RESP_STATE(call, struct bitop_state)->op;
	uint32_t count = call->argc - 3;
	struct resp_part *parts = resp_txn_memory(call->txn, count * sizeof(*parts));
	struct resp_make of = { .parts = parts, .part_count = count, .next = bitop_made };

	if (parts == NULL)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		const struct resp_value *source = resp_value_of(call, i + 3, NULL);

		parts[i] = part_of(source, i == 0 && op != BITS_NOT ? BITS_COPY : op);
		if (parts[i].size > of.size)
			of.size = parts[i].size;
	}
	return make(call, 2, &of);
}

void bitop_stream(struct resp_call *call)
{
	if (!bitop_make(call))
		resp_stream_done(call);
}

/* BITFIELD. */

enum { WINDOW_SIZE = 9 }; /* bytes that 64 bits may touch */

/* The bytes that a step sees: as the steps before have left them. */
struct bitfield_window {
	uint64_t at;
	uint8_t size;
	bool changed;
	uint8_t data[WINDOW_SIZE];
};

static void bitfield_next(struct resp_call *call);

static struct bitfield_window *window_of(struct resp_call *call)
{
	struct bitfield_state *state = RESP_STATE(call, struct bitfield_state);

	return &state->windows[state->step];
}

static bool window_take(struct resp_call *call, uint64_t offset, struct bytes piece)
{
	struct bitfield_window *window = window_of(call);

	assert(offset == window->at && piece.size <= window->size);
	memcpy(window->data, piece.data, piece.size);
	return true;
}

static void window_overlay(struct bitfield_window *window, const struct bitfield_window *before)
{
	for (unsigned i = 0; i < window->size; i++) {
		uint64_t at = window->at + i;

		if (at >= before->at && at - before->at < before->size)
			window->data[i] = before->data[at - before->at];
	}
}

/* The bytes of the window are those of the value: the step runs. */
static void window_run(struct resp_call *call)
{
	struct bitfield_state *state = RESP_STATE(call, struct bitfield_state);
	struct bitfield_window *window = window_of(call);
	struct bitfield_step step = state->field.steps[state->step];
	uint8_t before[WINDOW_SIZE];
	int64_t value;

	for (uint32_t i = 0; i < state->step; i++) {
		if (state->windows[i].changed)
			window_overlay(window, &state->windows[i]);
	}
	memcpy(before, window->data, sizeof(before));
	step.offset %= 8;
	if (state->field.size_min == 0)
		resp_reply_i64(call, bitfield_get(&step, bytes_of(window->data, window->size)));
	else if (bitfield_run(&step, window->data, window->size, &value))
		resp_reply_i64(call, value);
	else
		resp_reply_null(call);
	window->changed = memcmp(before, window->data, sizeof(before)) != 0;
	state->changed |= window->changed;
	state->step++;
}

static void window_read(struct resp_call *call)
{
	if (call->txn->read.failed) {
		resp_stream_done(call);
		return;
	}
	window_run(call);
	bitfield_next(call);
}

static void bitfield_made(struct resp_call *call)
{
	if (store_made(call, 1, resp_value_of(call, 1, NULL)->expires_ms))
		setbit_notify(call);
	resp_stream_done(call);
}

/* Whether the new value is being written; else there is none, or no memory. */
static bool bitfield_make(struct resp_call *call)
{
	struct bitfield_state *state = RESP_STATE(call, struct bitfield_state);
	const struct resp_value *old = resp_value_of(call, 1, NULL);
	uint64_t size_min = state->field.size_min;
	struct resp_make of = {
		.size = old->size > size_min ? old->size : size_min,
		.next = bitfield_made,
	};
	struct resp_part *parts;

	if (size_min == 0 || (!state->changed && of.size == old->size))
		return false;
	parts = resp_txn_memory(call->txn, (state->field.step_count + 1) * sizeof(*parts));
	if (parts == NULL)
		return false;
	parts[of.part_count++] = part_of(old, BITS_COPY);
	for (uint32_t i = 0; i < state->field.step_count; i++) {
		const struct bitfield_window *window = &state->windows[i];

		if (!window->changed)
			continue;
		parts[of.part_count++] = (struct resp_part){
			.at = window->at,
			.size = window->size,
			.bytes = bytes_of(window->data, window->size),
			.op = BITS_COPY,
		};
	}
	of.parts = parts;
	return make(call, 1, &of);
}

/* Whether the window's bytes are on their way; else those of them that are known are there. */
static bool window_fill(struct resp_call *call, const struct resp_value *value)
{
	struct bitfield_window *window = window_of(call);
	struct resp_read read = {
		.blob = value->blob,
		.offset = window->at,
		.take = window_take,
		.next = window_read,
	};

	if (window->at >= value->size)
		return false;
	read.left =
	        value->size - window->at < window->size ? value->size - window->at : window->size;
	if (value->blob == NULL) {
		memcpy(window->data, value->value.data + window->at, read.left);
		return false;
	}
	if (!resp_read(call, &read))
		resp_stream_done(call);
	return true;
}

static void bitfield_next(struct resp_call *call)
{
	struct bitfield_state *state = RESP_STATE(call, struct bitfield_state);
	const struct resp_value *value = resp_value_of(call, 1, NULL);

	while (state->step < state->field.step_count) {
		const struct bitfield_step *step = &state->field.steps[state->step];
		uint64_t at = step->offset / 8;

		*window_of(call) = (struct bitfield_window){
			.at = at,
			.size = (uint8_t)((step->offset + step->width + 7) / 8 - at),
		};
		assert(window_of(call)->size <= WINDOW_SIZE);
		if (window_fill(call, value))
			return;
		window_run(call);
	}
	if (!bitfield_make(call))
		resp_stream_done(call);
}

void bitfield_stream(struct resp_call *call)
{
	struct bitfield_state *state = RESP_STATE(call, struct bitfield_state);
	uint32_t count = state->field.step_count;

	state->step = 0;
	state->changed = false;
	state->windows = resp_txn_memory(call->txn, (count + 1) * sizeof(*state->windows));
	if (state->windows == NULL) {
		resp_stream_done(call);
		return;
	}
	resp_reply_array(call, count);
	bitfield_next(call);
}
