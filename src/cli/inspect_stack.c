/* SPDX-License-Identifier: Apache-2.0 */
/* weir inspect stack: what a stack is made of, what it can do, and what it guarantees. */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "cli/cli.h"
#include "core/worker.h"
#include "host/host.h"
#include "transport/clock.h"

enum { DESCRIPTION_SIZE = 512 };

enum cli_exit cli_check_stacks(const struct conf *conf)
{
	enum cli_exit exit = CLI_DONE;

	for (unsigned i = 0; i < conf->stack_count; i++) {
		const struct conf_stack *stack = &conf->stacks[i];
		char error[STACK_ERROR_SIZE] = "it has no layers";

		if (stack->layers != NULL &&
		    stack_check(stack->layers, io_device_layers, error) == STATUS_OK)
			continue;
		cli_error("stack %s: %s", stack->name, error);
		exit = CLI_USAGE;
	}
	return exit;
}

static void print_commands(const struct blk_geometry *g)
{
	static const char *const names[BLK_OP_COUNT] = { "read", "write", "flush", "discard",
		                                         "zeroes" };
	char size[CLI_SIZE_MAX];

	printf("commands   ");
	for (unsigned i = 0; i < BLK_OP_COUNT; i++) {
		if (g->ops & 1u << i)
			printf(" %s", names[i]);
	}
	printf("; at most %s in one", cli_size((uint64_t)g->transfer_max * g->block_size, size));
	if (g->align > 1)
		printf(", memory aligned to %u", g->align);
	printf("\n");
}

static const char *durability(const struct blk_geometry *g)
{
	if (g->volatile_media)
		return "none: it is memory, and gone when the process ends";
	if (!g->volatile_cache)
		return "a write is durable when it completes";
	return g->fua_is_flush ? "after a flush, or with FUA, which costs a flush here"
	                       : "after a flush, or with FUA";
}

static void print_guarantees(const struct blk *blk)
{
	const struct blk_geometry *g = &blk->geometry;
	char size[CLI_SIZE_MAX];

	printf("size        %s, %" PRIu64 " blocks of %u bytes\n",
	       cli_size(g->block_count * g->block_size, size), g->block_count, g->block_size);
	print_commands(g);
	printf("durable     %s\n", durability(g));
	if (g->atomic_unit > 0)
		printf("power cut   leaves each %u bytes old or new\n", g->atomic_unit);
	else
		printf("power cut   may tear any write that is under way\n");
	if (g->ops & 1u << BLK_DISCARD)
		printf("discarded   blocks read as %s\n",
		       g->discard_zeroes ? "zeroes" : "anything");
	printf("frames      %u of %u bytes of a request\n", blk->frames_size, STACK_FRAMES_MAX);
}

static void print_parts(const struct stack *stack)
{
	char description[DESCRIPTION_SIZE], size[CLI_SIZE_MAX];
	struct stack_part part;

	for (unsigned i = 0; stack_part(stack, i, &part); i++) {
		const struct blk_geometry *g = &part.blk->geometry;

		printf("%*s%s%s  (%s, frames %u)\n", (int)(4 * part.depth), "",
		       part.depth > 0 ? "└─ " : "", part.layer->name,
		       cli_size(g->block_count * g->block_size, size), part.blk->frames_size);
		description[0] = '\0';
		if (part.layer->describe != NULL)
			part.layer->describe(part.blk, description, sizeof(description));
		if (description[0] != '\0')
			printf("%*s   %s\n", (int)(4 * part.depth), "", description);
	}
}

/* An error of the text is the user's; another one is the machine's. */
static enum cli_exit open_and_print(const char *text, struct stack_env *env)
{
	char error[STACK_ERROR_SIZE];
	struct stack *stack;
	enum status status;

	status = stack_open(text, env, &stack, error);
	if (status != STATUS_OK) {
		cli_error("%s", error);
		return status == STATUS_INVALID ? CLI_USAGE : CLI_ENVIRONMENT;
	}
	print_parts(stack);
	printf("\n");
	print_guarantees(stack_top(stack));
	stack_close(stack);
	return CLI_DONE;
}

enum cli_exit cli_inspect_stack(const struct conf *conf, const char *text)
{
	static struct worker worker;
	const struct io_options options = { 0 };
	struct io_devices devices = { .look = true };
	struct stack_env env = {
		.worker = &worker,
		.memory = UINT64_MAX,
		.devices = io_device_layers,
		.owner = &devices,
		.read_file = io_device_read_file,
	};
	char error[IO_ERROR_SIZE];
	enum cli_exit exit;

	worker_init(&worker, 0, ROLE_STORAGE, clock_system());
	if (io_open((enum io_kind)conf_number(conf, CONF_TRANSPORT_KIND), &worker, &options,
	            &devices.io, error) != STATUS_OK) {
		cli_error("%s", error);
		return CLI_ENVIRONMENT;
	}
	worker_add_transport(&worker, &devices.io->transport);
	exit = open_and_print(text, &env);
	io_close(devices.io);
	return exit;
}
