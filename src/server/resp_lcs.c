/* SPDX-License-Identifier: Apache-2.0 */
/* LCS: the longest common subsequence of two strings. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/number.h"
#include "server/resp_internal.h"

/* Cells of the table: what one command may cost, some 20 ms. */
enum { CELLS_MAX = 16 << 20 };

struct lcs_state {
	int64_t match_min;
	bool only_size, with_index, with_match_size;
};

static bool lcs_prepare(struct resp_call *call)
{
	struct lcs_state *state = RESP_STATE(call, struct lcs_state);

	*state = (struct lcs_state){ 0 };
	for (uint32_t i = 3; i < call->argc; i++) {
		if (resp_word_is(call->argv[i], "idx")) {
			state->with_index = true;
		} else if (resp_word_is(call->argv[i], "len")) {
			state->only_size = true;
		} else if (resp_word_is(call->argv[i], "withmatchlen")) {
			state->with_match_size = true;
		} else if (resp_word_is(call->argv[i], "minmatchlen") && i + 1 < call->argc) {
			if (!resp_argument_i64(call, ++i, &state->match_min))
				return false;
			if (state->match_min < 0)
				state->match_min = 0;
		} else {
			resp_reply_syntax_error(call);
			return false;
		}
	}
	if (!state->with_index || !state->only_size)
		return true;
	resp_reply_error(call, "ERR If you want both the length and indexes, please just use IDX.");
	return false;
}

/* table[i * (b.size + 1) + j]: the size of the LCS of the first i bytes of a and j of b. */
static void reply_too_long(struct resp_call *call)
{
	resp_reply_error(call, "ERR Insufficient memory, transient memory for LCS exceeds "
	                       "proto-max-bulk-len");
}

static uint32_t *lcs_table(struct resp_call *call, struct bytes a, struct bytes b)
{
	size_t width = b.size + 1, cells = (a.size + 1) * width;
	uint32_t *table;

	if (a.size >= CELLS_MAX || b.size >= CELLS_MAX || cells > CELLS_MAX) {
		reply_too_long(call);
		return NULL;
	}
	table = resp_txn_memory(call->txn, cells * sizeof(*table));
	if (table == NULL)
		return NULL;
	memset(table, 0, width * sizeof(*table));
	for (size_t i = 1; i <= a.size; i++) {
		uint32_t *row = table + i * width, *above = row - width;

		row[0] = 0;
		for (size_t j = 1; j <= b.size; j++) {
			if (a.data[i - 1] == b.data[j - 1])
				row[j] = above[j - 1] + 1;
			else
				row[j] = above[j] > row[j - 1] ? above[j] : row[j - 1];
		}
	}
	return table;
}

struct match {
	size_t a_first, b_first, size;
};

static void reply_match(struct resp_call *call, const struct match *match)
{
	bool with_size = RESP_STATE(call, struct lcs_state)->with_match_size;

	resp_reply_array(call, with_size ? 3 : 2);
	resp_reply_array(call, 2);
	resp_reply_i64(call, (int64_t)match->a_first);
	resp_reply_i64(call, (int64_t)(match->a_first + match->size - 1));
	resp_reply_array(call, 2);
	resp_reply_i64(call, (int64_t)match->b_first);
	resp_reply_i64(call, (int64_t)(match->b_first + match->size - 1));
	if (with_size)
		resp_reply_i64(call, (int64_t)match->size);
}

/* Walks back from the end. Returns how many matches are long enough; replies them if wanted. */
static uint64_t lcs_matches(struct resp_call *call, struct bytes a, struct bytes b,
                            const uint32_t *table, bool reply)
{
	int64_t match_min = RESP_STATE(call, struct lcs_state)->match_min;
	size_t width = b.size + 1, i = a.size, j = b.size;
	struct match match = { .size = 0 };
	uint64_t count = 0;

	while (i > 0 && j > 0) {
		bool same = a.data[i - 1] == b.data[j - 1];
		bool go_on = same && match.size > 0 && match.a_first == i && match.b_first == j;

		if (match.size > 0 && !go_on) {
			if ((int64_t)match.size >= match_min) {
				count++;
				if (reply)
					reply_match(call, &match);
			}
			match.size = 0;
		}
		if (same) {
			match = (struct match){ i - 1, j - 1, match.size + 1 };
			i--;
			j--;
		} else if (table[(i - 1) * width + j] > table[i * width + j - 1]) {
			i--;
		} else {
			j--;
		}
	}
	if (match.size > 0 && (int64_t)match.size >= match_min) {
		count++;
		if (reply)
			reply_match(call, &match);
	}
	return count;
}

static void reply_sequence(struct resp_call *call, struct bytes a, struct bytes b,
                           const uint32_t *table)
{
	size_t width = b.size + 1, i = a.size, j = b.size;
	size_t size = table[i * width + j], left = size;
	uint8_t *out = resp_txn_memory(call->txn, size > 0 ? size : 1);

	if (out == NULL)
		return;
	while (i > 0 && j > 0) {
		if (a.data[i - 1] == b.data[j - 1]) {
			out[--left] = a.data[i - 1];
			i--;
			j--;
		} else if (table[(i - 1) * width + j] > table[i * width + j - 1]) {
			i--;
		} else {
			j--;
		}
	}
	assert(left == 0);
	resp_reply_bulk(call, bytes_of(out, size));
}

static void lcs_apply(struct resp_call *call)
{
	const struct lcs_state *state = RESP_STATE(call, struct lcs_state);
	struct bytes strings[2], key;
	uint32_t *table;
	int64_t size;

	for (uint32_t i = 0; i < 2; i++) {
		const struct resp_value *value;

		if (!resp_call_key(call, i + 1, &key))
			unreachable(); /* the transaction has loaded it */
		value = resp_txn_get(call->txn, key);
		resp_count_lookup(call, key, value->exists);
		if (value->exists && value->kind != RESP_STRING) {
			resp_reply_error(call, "ERR The specified keys must contain string values");
			return;
		}
		if (value->blob != NULL) {
			reply_too_long(call);
			return;
		}
		strings[i] = value->exists ? value->value : bytes_of(NULL, 0);
	}
	table = lcs_table(call, strings[0], strings[1]);
	if (table == NULL)
		return;
	size = table[strings[0].size * (strings[1].size + 1) + strings[1].size];
	if (state->only_size) {
		resp_reply_i64(call, size);
	} else if (!state->with_index) {
		reply_sequence(call, strings[0], strings[1], table);
	} else {
		resp_reply_map(call, 2);
		resp_reply_text(call, "matches");
		resp_reply_array(call, lcs_matches(call, strings[0], strings[1], table, false));
		lcs_matches(call, strings[0], strings[1], table, true);
		resp_reply_text(call, "len");
		resp_reply_i64(call, size);
	}
}

// clang-format off
static const struct resp_command commands[] = {
	{ .name = "lcs", .arity = -3, .key_first = 1, .key_last = 2, .key_step = 1,
	  .flags = RESP_READONLY, .acl = RESP_ACL_READ | RESP_ACL_STRING | RESP_ACL_SLOW,
	  .prepare = lcs_prepare, .apply = lcs_apply },
};
// clang-format on

const struct resp_table resp_lcs_table = { commands, array_count(commands) };
