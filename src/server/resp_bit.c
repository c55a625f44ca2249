/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on strings as arrays of bits. */
#include "server/resp_bit.h"
#include "base/assert.h"
#include "base/macros.h"
#include "server/bits.h"
#include "server/number.h"
#include "server/resp_long.h"

static bool parse_offset(struct resp_call *call)
{
	struct bit_state *state = RESP_STATE(call, struct bit_state);

	if (bits_parse_offset(call->argv[2], 0, &state->offset))
		return true;
	resp_reply_error(call, "ERR " BITS_OFFSET_ERROR);
	return false;
}

static bool setbit_prepare(struct resp_call *call)
{
	struct bit_state *state = RESP_STATE(call, struct bit_state);

	if (!parse_offset(call))
		return false;
	if (number_parse_int64(call->argv[3], &state->bit) && (state->bit == 0 || state->bit == 1))
		return true;
	resp_reply_error(call, "ERR bit is not an integer or out of range");
	return false;
}

static void getbit_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	(void)edit;
	resp_count_lookup(call, entry->key, entry->version != 0);
	if (resp_check_bytes(call, entry))
		resp_reply_i64(call,
		               bits_get(entry->value, RESP_STATE(call, struct bit_state)->offset));
}

/* The old value in scratch, with zeros up to `size_min`; the new size, or 0: not now. */
static uint64_t edit_copy(struct resp_call *call, const struct kv_entry *entry,
                          const struct kv_edit *edit, uint64_t size_min)
{
	uint64_t size = size_min > entry->size ? size_min : entry->size;

	assert(size_min > 0);
	if (!resp_edit_room(call, edit, size))
		return 0;
	if (entry->size > 0)
		memcpy(edit->scratch, entry->value.data, entry->size);
	memset(edit->scratch + entry->size, 0, size - entry->size);
	return size;
}

static void edit_store(const struct kv_entry *entry, struct kv_edit *edit, uint64_t size)
{
	edit->action = KV_STORE;
	edit->value = bytes_of(edit->scratch, size);
	edit->expires_ms = entry->expires_ms;
	edit->kind = RESP_STRING;
}

static void setbit_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	const struct bit_state *state = RESP_STATE(call, struct bit_state);
	uint64_t size;

	if (!resp_check_bytes(call, entry))
		return;
	if (state->offset / 8 < entry->size &&
	    bits_get(entry->value, state->offset) == (state->bit == 1)) {
		resp_reply_i64(call, state->bit); /* nothing to write */
		return;
	}
	size = edit_copy(call, entry, edit, state->offset / 8 + 1);
	if (size == 0)
		return;
	resp_reply_i64(call, bits_set(edit->scratch, state->offset, state->bit == 1));
	resp_notify(call, RESP_EVENT_STRING, "setbit", entry->key);
	edit_store(entry, edit, size);
}

/* BYTE or BIT; false: neither, replied. */
static bool parse_unit(struct resp_call *call, uint32_t index, bool *ret_by_bit)
{
	if (resp_word_is(call->argv[index], "bit")) {
		*ret_by_bit = true;
	} else if (resp_word_is(call->argv[index], "byte")) {
		*ret_by_bit = false;
	} else {
		resp_reply_syntax_error(call);
		return false;
	}
	return true;
}

bool bitcount_range(struct resp_call *call, struct bits_range *range)
{
	*range = (struct bits_range){ .end_given = true, .end = -1 };
	if (call->argc == 2)
		return true;
	if (call->argc != 4 && call->argc != 5) {
		resp_reply_syntax_error(call);
		return false;
	}
	return resp_argument_i64(call, 2, &range->start) &&
	       resp_argument_i64(call, 3, &range->end) &&
	       (call->argc == 4 || parse_unit(call, 4, &range->by_bit));
}

/* As in Redis, the range is not looked at when there is no key. */
static void bitcount_visit(struct resp_call *call, const struct kv_entry *entry,
                           struct kv_edit *edit)
{
	struct bits_range range;

	(void)edit;
	resp_count_lookup(call, entry->key, entry->version != 0);
	if (!resp_check_bytes(call, entry))
		return;
	if (entry->version == 0)
		resp_reply_i64(call, 0);
	else if (bitcount_range(call, &range))
		resp_reply_i64(call, (int64_t)bits_count(entry->value, &range));
}

static bool bitpos_prepare(struct resp_call *call)
{
	struct bit_state *state = RESP_STATE(call, struct bit_state);

	if (!resp_argument_i64(call, 2, &state->bit))
		return false;
	if (state->bit == 0 || state->bit == 1)
		return true;
	resp_reply_error(call, "ERR The bit argument must be 1 or 0.");
	return false;
}

bool bitpos_range(struct resp_call *call, struct bits_range *range)
{
	*range = (struct bits_range){ .end_given = call->argc >= 5, .end = -1 };
	if (call->argc > 6) {
		resp_reply_syntax_error(call);
		return false;
	}
	if (call->argc >= 4 && !resp_argument_i64(call, 3, &range->start))
		return false;
	if (call->argc == 6 && !parse_unit(call, 5, &range->by_bit))
		return false;
	return call->argc < 5 || resp_argument_i64(call, 4, &range->end);
}

static void bitpos_visit(struct resp_call *call, const struct kv_entry *entry, struct kv_edit *edit)
{
	bool bit = RESP_STATE(call, struct bit_state)->bit == 1;
	struct bits_range range;

	(void)edit;
	resp_count_lookup(call, entry->key, entry->version != 0);
	if (!resp_check_bytes(call, entry))
		return;
	if (entry->version == 0) {
		resp_reply_i64(call, bit ? -1 : 0);
		return;
	}
	if (bitpos_range(call, &range))
		resp_reply_i64(call, bits_position(entry->value, bit, &range));
}

static bool bitop_prepare(struct resp_call *call)
{
	struct bitop_state *state = RESP_STATE(call, struct bitop_state);

	if (!bits_parse_op(call->argv[1], &state->op)) {
		resp_reply_syntax_error(call);
		return false;
	}
	if (state->op == BITS_NOT && call->argc != 4) {
		resp_reply_error(call, "ERR BITOP NOT must be called with a single source key.");
		return false;
	}
	return true;
}

static void bitop_apply(struct resp_call *call)
{
	size_t count = call->argc - 3, size;
	struct bytes *sources = resp_txn_memory(call->txn, count * sizeof(*sources));
	struct resp_value value = { .kind = RESP_STRING };
	struct bytes key;
	uint8_t *out;

	if (sources == NULL)
		return;
	for (uint32_t i = 0; i < count; i++) {
		const struct resp_value *source;

		if (!resp_call_key(call, i + 3, &key))
			unreachable(); /* the transaction has loaded it */
		source = resp_txn_get(call->txn, key);
		resp_count_lookup(call, key, source->exists);
		if (source->exists && source->kind != RESP_STRING) {
			resp_reply_wrong_type(call);
			return;
		}
		sources[i] = source->exists ? source->value : bytes_of(NULL, 0);
		call->blob |= source->blob != NULL;
	}
	if (call->blob)
		return;
	size = bits_combined_size(sources, count);
	if (!resp_call_key(call, 2, &key))
		unreachable(); /* the transaction has loaded it */
	if (size == 0) {
		if (resp_txn_get(call->txn, key)->exists) {
			resp_txn_delete(call->txn, key);
			resp_notify(call, RESP_EVENT_GENERIC, "del", key);
		}
		resp_reply_i64(call, 0);
		return;
	}
	out = resp_txn_memory(call->txn, size);
	if (out == NULL)
		return;
	bits_combine(RESP_STATE(call, struct bitop_state)->op, sources, count, out);
	value.value = bytes_of(out, size);
	value.size = size;
	if (!resp_txn_put(call->txn, key, &value))
		return;
	resp_notify(call, RESP_EVENT_STRING, "set", key);
	resp_reply_i64(call, (int64_t)size);
}

static bool bitfield_prepare(struct resp_call *call)
{
	struct bitfield *field = &RESP_STATE(call, struct bitfield_state)->field;
	bool read_only = call->command->flags & RESP_READONLY;
	const char *error;

	*field = (struct bitfield){ .step_max = call->argc / 3 + 1 };
	field->steps = resp_call_memory(call, field->step_max * sizeof(*field->steps));
	if (field->steps == NULL) {
		resp_reply_error(call, "OOM no memory for this command");
		return false;
	}
	error = bitfield_parse(call->argv + 2, call->argc - 2, read_only, field);
	if (error == NULL)
		return true;
	resp_reply_errorf(call, "%s%s", strncmp(error, "ERR ", 4) == 0 ? "" : "ERR ", error);
	return false;
}

static void bitfield_visit(struct resp_call *call, const struct kv_entry *entry,
                           struct kv_edit *edit)
{
	const struct bitfield *field = &RESP_STATE(call, struct bitfield_state)->field;
	uint64_t size = 0;
	int64_t value;

	if (field->size_min == 0)
		resp_count_lookup(call, entry->key, entry->version != 0);
	if (!resp_check_bytes(call, entry))
		return;
	if (field->size_min > 0) {
		assert(edit != NULL);
		size = edit_copy(call, entry, edit, field->size_min);
		if (size == 0)
			return;
	}
	resp_reply_array(call, field->step_count);
	for (uint32_t i = 0; i < field->step_count; i++) {
		const struct bitfield_step *step = &field->steps[i];

		if (size == 0)
			resp_reply_i64(call, bitfield_get(step, entry->value));
		else if (bitfield_run(step, edit->scratch, size, &value))
			resp_reply_i64(call, value);
		else
			resp_reply_null(call);
	}
	if (size == 0 || bytes_equal(bytes_of(edit->scratch, size), entry->value))
		return;
	resp_notify(call, RESP_EVENT_STRING, "setbit", entry->key);
	edit_store(entry, edit, size);
}

static bool prepare_nothing(struct resp_call *call)
{
	(void)call;
	return true;
}

enum {
	READS = RESP_READONLY | RESP_LOADS,
	WRITES = RESP_WRITE | RESP_DENYOOM | RESP_LOADS,
	ACL_READS = RESP_ACL_READ | RESP_ACL_BITMAP,
	ACL_WRITES = RESP_ACL_WRITE | RESP_ACL_BITMAP,
};

#define KEY_1 .key_first = 1, .key_last = 1, .key_step = 1

// clang-format off
static const struct resp_command commands[] = {
	{ .name = "getbit", .arity = 3, KEY_1, .flags = READS | RESP_FAST,
	  .acl = ACL_READS | RESP_ACL_FAST, .prepare = parse_offset, .visit = getbit_visit,
	  .stream = getbit_stream },
	{ .name = "setbit", .arity = 4, KEY_1, .flags = WRITES,
	  .acl = ACL_WRITES | RESP_ACL_SLOW, .prepare = setbit_prepare, .visit = setbit_visit,
	  .stream = setbit_stream },
	{ .name = "bitcount", .arity = -2, KEY_1, .flags = READS,
	  .acl = ACL_READS | RESP_ACL_SLOW, .prepare = prepare_nothing, .visit = bitcount_visit,
	  .stream = bitcount_stream },
	{ .name = "bitpos", .arity = -3, KEY_1, .flags = READS,
	  .acl = ACL_READS | RESP_ACL_SLOW, .prepare = bitpos_prepare, .visit = bitpos_visit,
	  .stream = bitpos_stream },
	{ .name = "bitop", .arity = -4, .key_first = 2, .key_last = -1, .key_step = 1,
	  .flags = RESP_WRITE | RESP_DENYOOM, .acl = ACL_WRITES | RESP_ACL_SLOW,
	  .prepare = bitop_prepare, .apply = bitop_apply, .stream = bitop_stream },
	{ .name = "bitfield", .arity = -2, KEY_1, .flags = WRITES,
	  .acl = ACL_WRITES | RESP_ACL_SLOW, .prepare = bitfield_prepare, .visit = bitfield_visit,
	  .stream = bitfield_stream },
	{ .name = "bitfield_ro", .arity = -2, KEY_1, .flags = READS | RESP_FAST,
	  .acl = ACL_READS | RESP_ACL_FAST, .prepare = bitfield_prepare, .visit = bitfield_visit,
	  .stream = bitfield_stream },
};
// clang-format on

const struct resp_table resp_bit_table = { commands, array_count(commands) };
