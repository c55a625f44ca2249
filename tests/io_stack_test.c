/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stacks on real files and memory, by io_uring and by plain system calls: the same workload and
 * model as on devices of tests, for every device that a configuration can name.
 */
#include "io_fixture.h"

#include <inttypes.h>
#include <sys/stat.h>

#include "blk_model.h"
#include "host/host.h"

enum { COMMANDS = 400, BLOCKS = 256 };

static char directory[64];
static struct fixture f;
static struct io_devices devices;
static struct blk_model model;
static struct stack *stack;

struct waiter {
	struct req req;
	bool done;
};

struct waiter_frame {
	struct frame frame;
	struct waiter *waiter;
};

static void waiter_done(struct req *req)
{
	req_pop(req, struct waiter_frame)->waiter->done = true;
}

static void walk(void (*begin)(struct stack *, struct req *))
{
	struct waiter waiter = { .done = false };

	req_init(&waiter.req, &f.worker);
	req_push(&waiter.req, struct waiter_frame, waiter_done)->waiter = &waiter;
	waiter.req.state = REQ_RUNNING;
	begin(stack, &waiter.req);
	RUN_UNTIL(&f, waiter.done);
	assert_int_equal(waiter.req.status, STATUS_OK);
}

/* %s: the directory. */
static void open_stack(struct stack_env *env, const char *format)
{
	char text[1024], error[STACK_ERROR_SIZE];

	snprintf(text, sizeof(text), format, directory, directory, directory);
	*env = (struct stack_env){ .worker = &f.worker,
		                   .memory = 32u << 20,
		                   .seed = 3,
		                   .devices = io_device_layers,
		                   .owner = &devices,
		                   .read_file = io_device_read_file };
	if (stack_open(text, env, &stack, error) != STATUS_OK)
		fail_msg("%s", error);
	walk(stack_start);
}

static void run_commands(uint64_t seed, const char *format)
{
	struct stack_env env;

	open_stack(&env, format);
	model_open(&model, stack_top(stack), seed, BLOCKS);
	if (strstr(format, "crypt") != NULL)
		model_forget(&model);
	for (unsigned i = 0; i < COMMANDS; i++) {
		if (!model_start(&model))
			fixture_step(&f);
		else if (i % 4 == 0)
			worker_turn(&f.worker);
	}
	RUN_UNTIL(&f, model.running == 0);
	walk(stack_stop);
	stack_close(stack);
}

/* What was written is there when it is opened again. */
static void read_again(const char *format)
{
	struct stack_env env;

	open_stack(&env, format);
	model_move(&model, stack_top(stack));
	for (uint32_t lba = 0; lba < BLOCKS; lba += 16) {
		model_start_read(&model, lba, 16);
		RUN_UNTIL(&f, model.running == 0);
	}
	walk(stack_stop);
	stack_close(stack);
	model_close(&model);
}

static const struct {
	const char *first, *again; /* NULL: it keeps nothing */
} rows[] = {
	{ "file path=%s/a size=4M create=yes", "file path=%s/a" },
	{ "file path=%s/b size=4M create=yes direct=no fua=flush", "file path=%s/b direct=no" },
	{ "mem size=4M", NULL },
	{ "cache size=128K | batch | file path=%s/c size=4M create=yes", "file path=%s/c" },
	{ "crypt key=%s/key | file path=%s/d size=4M create=yes",
	  "cache size=64K | crypt key=%s/key | file path=%s/d" },
	{ "stripe { file path=%s/e size=4M create=yes | file path=%s/f size=4M create=yes }",
	  "stripe { file path=%s/e | file path=%s/f }" },
	{ "mirror adopt=clean { file path=%s/g size=4M create=yes | file path=%s/h size=4M "
	  "create=yes | mem size=4M }",
	  NULL },
	{ "mirror quorum=2 adopt=clean { file path=%s/i size=4M create=yes | file path=%s/j "
	  "size=4M create=yes }",
	  "mirror quorum=2 { file path=%s/i | file path=%s/j }" },
};

static void stacks_keep_their_word(void **state)
{
	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	devices.io = f.io;
	for (unsigned i = 0; i < array_count(rows); i++) {
		run_commands(i + 1, rows[i].first);
		if (rows[i].again != NULL)
			read_again(rows[i].again);
		else
			model_close(&model);
	}
	fixture_close(&f);
}

/* The names of the transports insist on theirs. */
static void names_insist(void **state)
{
	static const char *const names[] = { "uring", "plain" };
	char text[256], error[STACK_ERROR_SIZE];

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	devices.io = f.io;
	for (unsigned i = 0; i < 2; i++) {
		struct stack_env env = { .worker = &f.worker,
			                 .devices = io_device_layers,
			                 .owner = &devices };
		bool here = strcmp(names[i], io_name(f.io)) == 0;

		snprintf(text, sizeof(text), "%s path=%s/k size=1M create=yes", names[i],
		         directory);
		assert_int_equal(stack_open(text, &env, &stack, error),
		                 here ? STATUS_OK : STATUS_UNSUPPORTED);
		if (here) {
			/* Another stack may not have it. */
			struct stack *other;

			assert_int_equal(stack_open(text, &env, &other, error), STATUS_BUSY);
			stack_close(stack);
		}
	}
	fixture_close(&f);
}

static int set_up(void **state)
{
	char path[128];
	FILE *file;

	(void)state;
	snprintf(directory, sizeof(directory), "/var/tmp/weir_io_stack.XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/key", directory);
	file = fopen(path, "w");
	assert_non_null(file);
	for (unsigned i = 0; i < 128; i++)
		fputc("0123456789abcdef"[i * 7 / 3 % 16], file);
	assert_int_equal(fclose(file), 0);
	return chmod(path, 0600);
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(stacks_keep_their_word, set_up, tear_down),
		cmocka_unit_test_setup_teardown(names_insist, set_up, tear_down),
	};

	return run_all_kinds(tests, array_count(tests));
}
