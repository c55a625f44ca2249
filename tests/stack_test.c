/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar of stacks, what its errors point at, and stacks being opened, started and ended. */
#include "layer_bed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct layer_bed bed;

static void assert_text(const struct stack_tree *tree, struct stack_word word, const char *text)
{
	assert_int_equal(word.size, strlen(text));
	assert_memory_equal(tree->text + word.at, text, word.size);
}

static void parses_a_chain(void **state)
{
	static struct stack_tree tree;
	char error[STACK_ERROR_SIZE];

	(void)state;
	assert_int_equal(
	        stack_parse(&tree, " cache size=1G policy=s3fifo | uring path=\"a b\" ", error),
	        STATUS_OK);
	assert_int_equal(tree.stage_count, 2);
	assert_text(&tree, tree.stages[0].name, "cache");
	assert_int_equal(tree.stages[0].parent, -1);
	assert_int_equal(tree.stages[0].lowers, 1);
	assert_int_equal(tree.stages[0].options, 2);
	assert_text(&tree, tree.stages[0].keys[1], "policy");
	assert_text(&tree, tree.stages[0].values[1], "s3fifo");
	assert_text(&tree, tree.stages[1].name, "uring");
	assert_int_equal(tree.stages[1].parent, 0);
	assert_text(&tree, tree.stages[1].values[0], "\"a b\"");
}

static void parses_legs(void **state)
{
	static const int16_t parents[] = { -1, 0, 1, 1, 3, 1, 5, 5 };
	static const uint16_t legs[] = { 0, 0, 0, 1, 0, 2, 0, 1 };
	static struct stack_tree tree;
	char error[STACK_ERROR_SIZE];

	(void)state;
	assert_int_equal(stack_parse(&tree, "a | b x=1 { c | (d | e) | f { g | h } }", error),
	                 STATUS_OK);
	assert_int_equal(tree.stage_count, array_count(parents));
	for (unsigned i = 0; i < array_count(parents); i++) {
		assert_int_equal(tree.stages[i].parent, parents[i]);
		assert_int_equal(tree.stages[i].leg, legs[i]);
	}
	assert_int_equal(tree.stages[1].lowers, 3);
	assert_int_equal(tree.stages[3].lowers, 1);
	assert_int_equal(tree.stages[5].lowers, 2);
}

/* The error's last line points with carets at `word`, which is in the text once. */
static void assert_points(const char *text, const char *word, const char *why, const char *error)
{
	const char *marks = strrchr(error, '\n');
	size_t at = word[0] == '\0' ? strlen(text) : (size_t)(strstr(text, word) - text);

	assert_non_null(marks);
	assert_non_null(strstr(error, text));
	if (strstr(error, why) == NULL)
		fail_msg("%s\nsays not: %s", error, why);
	assert_int_equal(strspn(marks + 3, " "), at);
	assert_int_equal(strlen(marks + 3) - at, word[0] == '\0' ? 1 : strlen(word));
}

static void points_at_what_is_wrong(void **state)
{
	static const struct {
		const char *text, *word, *why;
	} rows[] = {
		{ "", "", "the name of a layer" },
		{ "ram |", "", "the name of a layer" },
		{ "ram size", "size", "written key=value" },
		{ "ram size=", "", "a value comes here" },
		{ "ram size=\"1M", "\"", "not closed" },
		{ "ram size=\"1M\"x", "x", "comes a blank" },
		{ "offset { ram", "{", "not closed" },
		{ "offset { ram )", ")", "or }" },
		{ "offset { (ram }", "}", "or )" },
		{ "ram }", "}", "| or nothing" },
		{ "offset { ram } | null", "|", "devices in braces" },
		{ "(ram)", "(", "parentheses" },
		{ "ram; null", "ram", "letters" },
		{ "Ram", "R", "the name of a layer" },
		{ "ram foo=1", "foo", "its options: size, block_size" },
		{ "ram size=1M size=2M", "size=2M", "said twice" },
		{ "ram size=1Q", "1Q", "size of ram: allowed: size in bytes" },
		{ "ram size=2G", "2G", "0 to 1G" },
		{ "cash | ram", "cash", "no layer or device cash; there are batch, cache" },
		{ "ram | null", "ram", "it stands on nothing" },
		{ "null { ram }", "null", "it stands on nothing" },
		{ "offset first=4K", "offset", "what it stands on" },
		{ "offset { ram | null }", "offset", "one device" },
		{ "offset first=7 | ram", "7", "a multiple of 4096" },
		{ "offset first=1M | ram size=1M", "1M | ram", "less than 1048576" },
	};

	(void)state;
	for (unsigned i = 0; i < array_count(rows); i++) {
		const char *word = rows[i].word;

		assert_int_equal(bed_try_open(&bed, rows[i].text), STATUS_INVALID);
		if (strcmp(word, "size=2M") == 0 || strcmp(word, "1M | ram") == 0) {
			assert_non_null(strstr(bed.error, rows[i].why));
			continue;
		}
		assert_points(rows[i].text, word, rows[i].why, bed.error);
	}
	/* Options are looked at before what a layer stands on, so that one pass tells the most. */
	assert_int_equal(stack_check("ram size=1M", bed.env.devices, bed.error), STATUS_OK);
	assert_int_equal(stack_check("uring path=x", bed.env.devices, bed.error), STATUS_INVALID);
}

static void has_limits(void **state)
{
	static char text[2 * STACK_TEXT_MAX];
	static struct stack_tree tree;
	char error[STACK_ERROR_SIZE];

	(void)state;
	memset(text, 'a', STACK_TEXT_MAX);
	assert_int_equal(stack_parse(&tree, text, error), STATUS_OK);
	text[STACK_TEXT_MAX] = 'a';
	assert_int_equal(stack_parse(&tree, text, error), STATUS_INVALID);
	text[0] = '\0';
	for (unsigned i = 0; i < STACK_STAGES_MAX; i++)
		strcat(text, i == 0 ? "a" : "|a");
	assert_int_equal(stack_parse(&tree, text, error), STATUS_OK);
	strcat(text, "|a");
	assert_int_equal(stack_parse(&tree, text, error), STATUS_INVALID);
	assert_non_null(strstr(error, "more than 64 layers"));
	text[0] = '\0';
	for (unsigned i = 0; i < 2 * STACK_DEPTH_MAX + 1; i++)
		strcat(text, "a {");
	assert_int_equal(stack_parse(&tree, text, error), STATUS_INVALID);
	assert_non_null(strstr(error, "braces in each other"));
	text[0] = '\0';
	strcat(text, "m { a");
	for (unsigned i = 1; i < STACK_LEGS_MAX + 1; i++)
		strcat(text, "| a");
	assert_int_equal(stack_parse(&tree, text, error), STATUS_INVALID);
	assert_non_null(strstr(error, "side by side"));
}

/* The text is longer than the window that is shown. */
static void points_into_long_texts(void **state)
{
	static struct stack_tree tree;
	char text[512], error[STACK_ERROR_SIZE];
	const char *marks, *shown;

	(void)state;
	memset(text, ' ', sizeof(text));
	memcpy(text + 300, "ram bad", 8);
	assert_int_equal(stack_parse(&tree, text, error), STATUS_INVALID);
	marks = strrchr(error, '\n') + 3;
	shown = strchr(error, '\n') + 3;
	assert_memory_equal(shown + strspn(marks, " "), "bad", 3);
	assert_string_equal(marks + strspn(marks, " "), "^^^");
}

static void a_value_loses_its_quotes(void **state)
{
	(void)state;
	bed_open(&bed, "offset first=\"4K\" | ram size=\"6\\4K\"");
	assert_int_equal(bed.blk->geometry.block_count, 15);
	bed_close(&bed);
}

static void offset_shifts(void **state)
{
	static uint8_t data[4 * BED_BLOCK], got[4 * BED_BLOCK];

	(void)state;
	bed_open(&bed, "offset first=16K size=64K | offset first=8K | ram size=256K");
	assert_int_equal(bed.blk->geometry.block_count, 16);
	bed_fill(data, 12, 4, 7);
	assert_int_equal(bed_write(&bed, 12, 4, data), STATUS_OK);
	assert_memory_equal(bed.rams[0]->data + (12 + 6) * BED_BLOCK, data, sizeof(data));
	assert_int_equal(bed_read(&bed, 12, 4, got), STATUS_OK);
	assert_memory_equal(got, data, sizeof(data));
	assert_int_equal(bed_do(&bed,
	                        (struct blk_cmd){ .op = BLK_ZEROES, .lba = 13, .block_count = 2 },
	                        NULL),
	                 STATUS_OK);
	assert_int_equal(bed_read(&bed, 12, 4, got), STATUS_OK);
	assert_true(bed_is(got, 12, 1, 7) && bed_is(got + BED_BLOCK, 0, 2, 0) &&
	            bed_is(got + 3 * BED_BLOCK, 15, 1, 7));
	assert_int_equal(bed.blk->submitted[BLK_READ], 2);
	assert_int_equal(bed.rams[0]->blk.submitted[BLK_WRITE], 1);
	bed_close(&bed);
}

static void parts_are_told(void **state)
{
	struct stack_part part;

	(void)state;
	bed_open(&bed, "offset first=16K | ram size=64K");
	assert_true(stack_part(bed.stack, 0, &part));
	assert_string_equal(part.layer->name, "offset");
	assert_int_equal(part.depth, 0);
	assert_int_equal(part.blk->geometry.block_count, 12);
	assert_true(stack_part(bed.stack, 1, &part));
	assert_string_equal(part.layer->name, "ram");
	assert_int_equal(part.depth, 1);
	assert_false(stack_part(bed.stack, 2, &part));
	bed_close(&bed);
}

/* Layers of this test, which write down what happens to them. */

static char story[256];
static const char *refuse; /* who fails to start or to open */

struct told {
	struct blk blk;
	struct blk *lower;
	const char *name;
	void *memory;
	struct stack_env *env;
};

enum { TOLD_MEMORY = 100000 };

static void tell(const char *what, const char *name)
{
	size_t size = strlen(story);

	snprintf(story + size, sizeof(story) - size, "%s %s, ", what, name);
}

static void told_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	blk_submit(container_of(blk, struct told, blk)->lower, req, cmd);
}

static void told_close(struct blk *blk)
{
	struct told *told = container_of(blk, struct told, blk);

	tell("close", told->name);
	layer_memory_close(told->env, told->memory, TOLD_MEMORY);
	free(told);
}

static void told_stop(struct blk *blk, struct req *req)
{
	tell("stop", container_of(blk, struct told, blk)->name);
	req_complete(req, STATUS_OK, 0);
}

static void told_start(struct blk *blk, struct req *req)
{
	const char *name = container_of(blk, struct told, blk)->name;

	tell("start", name);
	req_complete(req, refuse != NULL && strcmp(refuse, name) == 0 ? STATUS_CORRUPT : STATUS_OK,
	             0);
}

static const struct blk_ops told_ops = { .name = "told",
	                                 .submit = told_submit,
	                                 .close = told_close,
	                                 .stop = told_stop };

static enum status told_open(struct layer_open *open, struct blk **out)
{
	struct told *told = calloc(1, sizeof(*told));

	assert_non_null(told);
	told->name = open->values[0].text;
	told->memory = layer_memory_open(open, TOLD_MEMORY);
	if (told->memory == NULL) {
		free(told);
		return STATUS_NO_SPACE;
	}
	if (refuse != NULL && strcmp(refuse, "open") == 0) {
		layer_memory_close(open->env, told->memory, TOLD_MEMORY);
		free(told);
		return layer_fail(open, STATUS_BUSY, "not now");
	}
	tell("open", told->name);
	told->env = open->env;
	told->lower = open->lower[0];
	told->blk = LAYER_DEVICE(told->lower, &told_ops, 110);
	*out = &told->blk;
	return STATUS_OK;
}

static const struct conf_setting told_options[] = {
	{ .name = "name", .type = CONF_STRING, .max = 10 }
};
static const struct blk_layer told_layer = { .name = "told",
	                                     .options = told_options,
	                                     .option_count = 1,
	                                     .lower_min = 1,
	                                     .lower_max = 1,
	                                     .open = told_open,
	                                     .start = told_start };
static const struct blk_layer *const *ram_rows;
static const struct blk_layer *rows_here[3];

static int told_set_up(void **state)
{
	(void)state;
	bed_init(&bed);
	ram_rows = bed.env.devices;
	rows_here[0] = &told_layer;
	rows_here[1] = ram_rows[0];
	bed.env.devices = rows_here;
	story[0] = '\0';
	refuse = NULL;
	return 0;
}

static void goes_up_and_down(void **state)
{
	(void)state;
	bed_open(&bed, "told name=a | told name=b | ram");
	assert_int_equal(bed.env.memory, (64u << 20) - 2 * TOLD_MEMORY);
	bed_close(&bed);
	assert_string_equal(story, "open b, open a, start b, start a, stop a, stop b, close a, "
	                           "close b, ");
	assert_int_equal(bed.env.memory, 64u << 20);
}

static void a_start_that_fails_is_undone(void **state)
{
	(void)state;
	refuse = "a";
	assert_int_equal(bed_try_open(&bed, "told name=a | told name=b | ram"), STATUS_CORRUPT);
	assert_string_equal(story, "open b, open a, start b, start a, stop b, close a, close b, ");
	assert_non_null(strstr(bed.error, "told: checksum mismatch"));
	story[0] = '\0';
	refuse = "b";
	assert_int_equal(bed_try_open(&bed, "told name=a | told name=b | ram"), STATUS_CORRUPT);
	assert_string_equal(story, "open b, open a, start b, close a, close b, ");
	refuse = "open";
	assert_int_equal(bed_try_open(&bed, "told name=a | ram"), STATUS_BUSY);
	assert_non_null(strstr(bed.error, "told: not now"));
	assert_int_equal(bed.env.memory, 64u << 20);
}

static void memory_is_counted(void **state)
{
	(void)state;
	bed.env.memory = 2 * TOLD_MEMORY - 1;
	assert_int_equal(bed_try_open(&bed, "told name=a | told name=b | ram"), STATUS_NO_SPACE);
	assert_non_null(strstr(bed.error, "stacks.memory"));
	assert_string_equal(story, "open b, close b, ");
	assert_int_equal(bed.env.memory, 2 * TOLD_MEMORY - 1);
}

static void frames_are_counted(void **state)
{
	(void)state;
	assert_int_equal(bed_try_open(&bed, "told name=a | told name=b | ram"), STATUS_OK);
	bed_close(&bed);
	assert_int_equal(bed_try_open(&bed, "told name=a | told name=b | told name=c | ram"),
	                 STATUS_INVALID);
	assert_non_null(strstr(bed.error, "fork"));
}

/* A device of another worker: the request crosses, and comes home. */

enum { RING = 4 };

static struct worker peer;
static struct ring rings[2];
static struct req *slots[2][RING];

static void both_turn(void)
{
	for (unsigned i = 0; i < 8; i++) {
		worker_turn(&peer);
		worker_turn(&bed.worker);
	}
}

static void peer_done(struct req *req)
{
	req_pop(req, struct frame);
}

static void remote_crosses(void **state)
{
	static uint8_t data[BED_BLOCK];
	struct iovec iov = { data, sizeof(data) };
	struct blk_cmd cmd = {
		.op = BLK_WRITE, .lba = 5, .block_count = 1, .iov = &iov, .iov_count = 1
	};
	static struct req reqs[3 * RING];
	struct blk *remote;

	(void)state;
	bed_open(&bed, "ram");
	worker_init(&peer, 1, ROLE_NETWORK, &bed.clock);
	for (unsigned i = 0; i < 2; i++)
		ring_init(&rings[i], slots[i], RING);
	worker_connect(&peer, &bed.worker, &rings[0]);
	worker_connect(&bed.worker, &peer, &rings[1]);
	remote = blk_remote_open(&peer, bed.blk);
	assert_non_null(remote);
	assert_true(remote->frames_size > bed.blk->frames_size);
	assert_int_equal(remote->geometry.block_count, bed.blk->geometry.block_count);
	bed_fill(data, 5, 1, 1);
	/* More than the ring holds. */
	for (unsigned i = 0; i < array_count(reqs); i++) {
		req_init(&reqs[i], &peer);
		req_push(&reqs[i], struct frame, peer_done);
		blk_submit(remote, &reqs[i], &cmd);
	}
	both_turn();
	for (unsigned i = 0; i < array_count(reqs); i++) {
		assert_int_equal(reqs[i].state, REQ_IDLE);
		assert_int_equal(reqs[i].status, STATUS_OK);
		assert_ptr_equal(reqs[i].worker, &peer);
	}
	assert_memory_equal(bed.rams[0]->data + 5 * BED_BLOCK, data, sizeof(data));
	bed.rams[0]->fail = 1;
	bed.rams[0]->fail_ops = 1u << BLK_FLUSH;
	bed.rams[0]->fail_status = STATUS_IO;
	req_init(&reqs[0], &peer);
	req_push(&reqs[0], struct frame, peer_done);
	blk_submit(remote, &reqs[0], &(struct blk_cmd){ .op = BLK_FLUSH });
	both_turn();
	assert_int_equal(reqs[0].state, REQ_IDLE);
	assert_int_equal(reqs[0].status, STATUS_IO);
	remote->ops->close(remote);
	bed_close(&bed);
}

static int set_up(void **state)
{
	(void)state;
	bed_init(&bed);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_a_chain),
		cmocka_unit_test(parses_legs),
		cmocka_unit_test_setup(points_at_what_is_wrong, set_up),
		cmocka_unit_test(has_limits),
		cmocka_unit_test(points_into_long_texts),
		cmocka_unit_test_setup(a_value_loses_its_quotes, set_up),
		cmocka_unit_test_setup(offset_shifts, set_up),
		cmocka_unit_test_setup(parts_are_told, set_up),
		cmocka_unit_test_setup(remote_crosses, set_up),
		cmocka_unit_test_setup(goes_up_and_down, told_set_up),
		cmocka_unit_test_setup(a_start_that_fails_is_undone, told_set_up),
		cmocka_unit_test_setup(memory_is_counted, told_set_up),
		cmocka_unit_test_setup(frames_are_counted, told_set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
