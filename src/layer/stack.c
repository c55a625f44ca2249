/* SPDX-License-Identifier: Apache-2.0 */
/* A stack's stages matched with the table of layers, opened, started, stopped and closed. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/macros.h"
#include "core/worker.h"
#include "layer/layer.h"

enum { MAPPED_SIZE_MIN = 64 << 10, MEMORY_ALIGN = 4096 };

struct part {
	const struct blk_layer *layer;
	struct layer_value values[STACK_OPTIONS_MAX];
	struct blk *blk; /* NULL: not opened */
};

enum walk { WALK_IDLE, WALK_START, WALK_UNDO, WALK_STOP };

struct stack {
	struct stack_tree tree;
	struct part parts[STACK_STAGES_MAX]; /* by stage */
	struct stack_env *env;
	/* Starting and stopping: one stage after the other. */
	enum walk walk;
	unsigned at;     /* stage */
	struct req step; /* what a layer completes */
	struct req *waiter;
	enum status status;
	char error[STACK_ERROR_SIZE];
	size_t room_size; /* values without quotes, terminated */
	char room[2 * STACK_TEXT_MAX + 2];
};

struct step_frame {
	struct frame frame;
	struct stack *stack;
};

enum status layer_fail(struct layer_open *open, enum status status, const char *format, ...)
{
	va_list args;

	assert(status != STATUS_OK);
	va_start(args, format);
	vsnprintf(open->why, sizeof(open->why), format, args);
	va_end(args);
	return status;
}

enum status layer_fail_option(struct layer_open *open, unsigned option, const char *format, ...)
{
	va_list args;

	assert(option < open->layer->option_count);
	va_start(args, format);
	vsnprintf(open->why, sizeof(open->why), format, args);
	va_end(args);
	open->bad_option = (int)option;
	return STATUS_INVALID;
}

void *layer_memory_open(struct layer_open *open, size_t size)
{
	void *memory;

	assert(size > 0);
	if (size > open->env->memory) {
		layer_fail(open, STATUS_NO_SPACE,
		           "needs %.1f MiB, and %.1f MiB are left: stacks.memory says how much "
		           "layers may take",
		           (double)size / (1 << 20), (double)open->env->memory / (1 << 20));
		return NULL;
	}
	if (size >= MAPPED_SIZE_MIN) {
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		              0);
		memory = memory == MAP_FAILED ? NULL : memory;
	} else {
		size_t align = size >= MEMORY_ALIGN ? MEMORY_ALIGN : 64;

		memory = aligned_alloc(align, align_up(size, align));
		if (memory != NULL)
			memset(memory, 0, size);
	}
	if (memory == NULL)
		layer_fail(open, STATUS_NO_SPACE, "this machine has no %.1f MiB",
		           (double)size / (1 << 20));
	else
		open->env->memory -= size;
	return memory;
}

void layer_memory_close(struct stack_env *env, void *memory, size_t size)
{
	if (memory == NULL)
		return;
	env->memory += size;
	if (size >= MAPPED_SIZE_MIN) {
		int r = munmap(memory, size);

		assert(r == 0);
	} else {
		free(memory);
	}
}

static bool word_is(const struct stack_tree *tree, struct stack_word word, const char *name)
{
	return strlen(name) == word.size && memcmp(tree->text + word.at, name, word.size) == 0;
}

__attribute__((format(printf, 4, 5))) static enum status fail_at(const struct stack_tree *tree,
                                                                 struct stack_word word,
                                                                 char *error, const char *format,
                                                                 ...)
{
	char why[LAYER_WHY_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	stack_point(tree, word, why, error);
	return STATUS_INVALID;
}

static const struct blk_layer *find_in(const struct blk_layer *const *rows,
                                       const struct stack_tree *tree, struct stack_word name)
{
	for (; rows != NULL && *rows != NULL; rows++) {
		if (word_is(tree, name, (*rows)->name))
			return *rows;
	}
	return NULL;
}

static size_t list_names(const struct blk_layer *const *rows, char *out, size_t size, size_t max)
{
	for (; rows != NULL && *rows != NULL && size < max; rows++)
		size += (size_t)snprintf(out + size, max - size, "%s%s", size == 0 ? "" : ", ",
		                         (*rows)->name);
	return size;
}

static enum status find_layer(struct stack *stack, unsigned index,
                              const struct blk_layer *const *devices, char *error)
{
	const struct stack_tree *tree = &stack->tree;
	struct stack_word name = tree->stages[index].name;
	const struct blk_layer *layer = find_in(blk_layers, tree, name);
	char names[LAYER_WHY_SIZE - 64];

	if (layer == NULL)
		layer = find_in(devices, tree, name);
	stack->parts[index].layer = layer;
	if (layer != NULL)
		return STATUS_OK;
	list_names(devices, names, list_names(blk_layers, names, 0, sizeof(names)), sizeof(names));
	return fail_at(tree, name, error, "there is no layer or device %.*s; there are %s",
	               name.size < 24 ? name.size : 24, tree->text + name.at, names);
}

static enum status check_lowers(const struct stack *stack, unsigned index, char *error)
{
	const struct stack_stage *stage = &stack->tree.stages[index];
	const struct blk_layer *layer = stack->parts[index].layer;

	if (stage->lowers >= layer->lower_min && stage->lowers <= layer->lower_max)
		return STATUS_OK;
	if (layer->lower_max == 0)
		return fail_at(&stack->tree, stage->name, error,
		               "%s is a device: it stands on nothing", layer->name);
	if (layer->lower_max == 1 && stage->lowers == 0)
		return fail_at(&stack->tree, stage->name, error,
		               "%s is a layer: | and what it stands on come after it", layer->name);
	if (layer->lower_max == 1)
		return fail_at(&stack->tree, stage->name, error, "%s stands on one device",
		               layer->name);
	return fail_at(&stack->tree, stage->name, error,
	               "%s stands on %u to %u devices, in braces: %s { a | b }", layer->name,
	               layer->lower_min, layer->lower_max, layer->name);
}

/* A value without its quotes, kept. The room is twice the text: a terminator each. */
static const char *keep_value(struct stack *stack, struct stack_word word)
{
	const char *text = stack->tree.text + word.at;
	char *start = stack->room + stack->room_size, *out = start;
	bool quoted = text[0] == '"';

	assert(stack->room_size + word.size + 1 <= sizeof(stack->room));
	for (unsigned i = quoted; i < word.size - (unsigned)quoted; i++) {
		if (quoted && text[i] == '\\')
			i++;
		*out++ = text[i];
	}
	*out++ = '\0';
	stack->room_size += (size_t)(out - start);
	return start;
}

static int find_option(const struct blk_layer *layer, const struct stack_tree *tree,
                       struct stack_word key)
{
	for (unsigned i = 0; i < layer->option_count; i++) {
		if (word_is(tree, key, layer->options[i].name))
			return (int)i;
	}
	return -1;
}

static enum status fail_option(const struct stack *stack, const struct blk_layer *layer,
                               struct stack_word key, char *error)
{
	char names[LAYER_WHY_SIZE - 64] = "none";
	size_t size = 0;

	for (unsigned i = 0; i < layer->option_count && size < sizeof(names); i++)
		size += (size_t)snprintf(names + size, sizeof(names) - size, "%s%s",
		                         i == 0 ? "" : ", ", layer->options[i].name);
	return fail_at(&stack->tree, key, error, "%s has no option %.*s; its options: %s",
	               layer->name, key.size < 24 ? key.size : 24, stack->tree.text + key.at,
	               names);
}

static enum status set_option(struct stack *stack, unsigned index, unsigned said, char *error)
{
	const struct stack_stage *stage = &stack->tree.stages[index];
	struct part *part = &stack->parts[index];
	struct stack_word key = stage->keys[said], word = stage->values[said];
	int option = find_option(part->layer, &stack->tree, key);
	struct layer_value *value;
	char why[CONF_WHY_MAX];

	if (option < 0)
		return fail_option(stack, part->layer, key, error);
	value = &part->values[option];
	if (value->said)
		return fail_at(&stack->tree, key, error, "said twice");
	value->text = keep_value(stack, word);
	value->said = true;
	if (!conf_value_parse(&part->layer->options[option], value->text, &value->number, why))
		return fail_at(&stack->tree, word, error, "%s of %s: %s",
		               part->layer->options[option].name, part->layer->name, why);
	return STATUS_OK;
}

static enum status set_default(struct stack *stack, unsigned index, unsigned option, char *error)
{
	struct part *part = &stack->parts[index];
	const struct conf_setting *setting = &part->layer->options[option];
	char why[CONF_WHY_MAX];
	bool parsed;

	if (part->values[option].said)
		return STATUS_OK;
	if (setting->initial == NULL)
		return fail_at(&stack->tree, stack->tree.stages[index].name, error,
		               "%s needs %s=...: %s", part->layer->name, setting->name,
		               setting->help);
	part->values[option].text = setting->initial;
	parsed = conf_value_parse(setting, setting->initial, &part->values[option].number, why);
	assert(parsed); /* else: a default that is not allowed */
	return STATUS_OK;
}

static enum status resolve(struct stack *stack, const struct blk_layer *const *devices, char *error)
{
	for (unsigned i = 0; i < stack->tree.stage_count; i++) {
		enum status status = find_layer(stack, i, devices, error);
		const struct blk_layer *layer = stack->parts[i].layer;

		for (unsigned j = 0; j < stack->tree.stages[i].options && status == STATUS_OK; j++)
			status = set_option(stack, i, j, error);
		for (unsigned j = 0; status == STATUS_OK && j < layer->option_count; j++)
			status = set_default(stack, i, j, error);
		if (status == STATUS_OK)
			status = check_lowers(stack, i, error);
		if (status != STATUS_OK)
			return status;
	}
	return STATUS_OK;
}

/* Of the parsed text; freed by free_stack(). */
static struct stack *make_stack(const char *text, const struct blk_layer *const *devices,
                                enum status *status, char error[static STACK_ERROR_SIZE])
{
	struct stack *stack = calloc(1, sizeof(*stack));

	if (stack == NULL) {
		snprintf(error, STACK_ERROR_SIZE, "no memory for a stack");
		*status = STATUS_NO_SPACE;
		return NULL;
	}
	*status = stack_parse(&stack->tree, text, error);
	if (*status == STATUS_OK)
		*status = resolve(stack, devices, error);
	return stack;
}

static void free_stack(struct stack *stack)
{
	free(stack);
}

enum status stack_check(const char *text, const struct blk_layer *const *devices,
                        char error[static STACK_ERROR_SIZE])
{
	enum status status;
	struct stack *stack = make_stack(text, devices, &status, error);

	free_stack(stack);
	return status;
}

/* What the layer says is wrong, with the word that it means. */
static enum status explain(struct stack *stack, unsigned index, const struct layer_open *open,
                           enum status status, char *error)
{
	const struct stack_stage *stage = &stack->tree.stages[index];
	const char *why = open->why[0] != '\0' ? open->why : status_text(status);
	struct stack_word word = stage->name;

	for (unsigned i = 0; i < stage->options && open->bad_option >= 0; i++) {
		if (word_is(&stack->tree, stage->keys[i],
		            open->layer->options[open->bad_option].name))
			word = stage->values[i];
	}
	if (open->bad_option >= 0)
		fail_at(&stack->tree, word, error, "%s of %s: %s",
		        open->layer->options[open->bad_option].name, open->layer->name, why);
	else
		fail_at(&stack->tree, word, error, "%s: %s", open->layer->name, why);
	return status;
}

static void close_part(struct part *part)
{
	struct blk *blk = part->blk;

	part->blk = NULL;
	if (blk != NULL && blk->ops->close != NULL)
		blk->ops->close(blk);
}

static enum status open_part(struct stack *stack, unsigned index, char *error)
{
	struct part *part = &stack->parts[index];
	struct blk *lower[STACK_LEGS_MAX];
	struct layer_open open = { .layer = part->layer,
		                   .env = stack->env,
		                   .values = part->values,
		                   .lower = lower,
		                   .lower_count = stack->tree.stages[index].lowers,
		                   .bad_option = -1 };
	enum status status;

	for (unsigned i = index + 1; i < stack->tree.stage_count; i++) {
		if (stack->tree.stages[i].parent == (int)index)
			lower[stack->tree.stages[i].leg] = stack->parts[i].blk;
	}
	status = part->layer->open(&open, &part->blk);
	if (status != STATUS_OK) {
		part->blk = NULL;
		return explain(stack, index, &open, status, error);
	}
	blk_check(part->blk);
	assert(part->blk->worker == stack->env->worker);
	if (part->blk->frames_size <= STACK_FRAMES_MAX)
		return STATUS_OK;
	layer_fail(&open, STATUS_INVALID,
	           "with all that is below it needs %u bytes of a request, %u are there: fork "
	           "below it starts with a new one",
	           part->blk->frames_size, STACK_FRAMES_MAX);
	close_part(part);
	return explain(stack, index, &open, STATUS_INVALID, error);
}

enum status stack_open(const char *text, struct stack_env *env, struct stack **out,
                       char error[static STACK_ERROR_SIZE])
{
	enum status status;
	struct stack *stack = make_stack(text, env->devices, &status, error);

	assert(env->worker != NULL);
	for (unsigned i = stack == NULL ? 0 : stack->tree.stage_count; i > 0 && status == STATUS_OK;
	     i--) {
		stack->env = env;
		status = open_part(stack, i - 1, error);
	}
	if (status == STATUS_OK) {
		*out = stack;
		return STATUS_OK;
	}
	if (stack != NULL)
		stack_close(stack);
	return status;
}

void stack_close(struct stack *stack)
{
	assert(stack->walk == WALK_IDLE);
	for (unsigned i = 0; i < stack->tree.stage_count; i++)
		close_part(&stack->parts[i]);
	free_stack(stack);
}

struct blk *stack_top(const struct stack *stack)
{
	assert(stack->parts[0].blk != NULL);
	return stack->parts[0].blk;
}

bool stack_part(const struct stack *stack, unsigned index, struct stack_part *part)
{
	unsigned depth = 0;

	if (index >= stack->tree.stage_count)
		return false;
	for (int i = stack->tree.stages[index].parent; i >= 0; i = stack->tree.stages[i].parent)
		depth++;
	*part = (struct stack_part){ .layer = stack->parts[index].layer,
		                     .blk = stack->parts[index].blk,
		                     .depth = depth };
	return true;
}

/* Starting goes up, stopping down; a start that fails stops what has started. */

static void walk_on(struct stack *stack);

static void step_done(struct req *req)
{
	struct stack *stack = req_pop(req, struct step_frame)->stack;

	if (req->status != STATUS_OK && stack->status == STATUS_OK) {
		stack->status = req->status;
		fail_at(&stack->tree, stack->tree.stages[stack->at].name, stack->error, "%s: %s",
		        stack->parts[stack->at].layer->name, status_text(req->status));
		if (stack->walk == WALK_START)
			stack->walk = WALK_UNDO;
	}
	walk_on(stack);
}

static struct req *step_req(struct stack *stack)
{
	req_init(&stack->step, stack->env->worker);
	req_push(&stack->step, struct step_frame, step_done)->stack = stack;
	stack->step.state = REQ_RUNNING;
	return &stack->step;
}

static void walk_end(struct stack *stack)
{
	struct req *waiter = stack->waiter;

	stack->walk = WALK_IDLE;
	stack->waiter = NULL;
	req_complete(waiter, stack->status, 0);
}

/* Goes to the next stage that has something to do. */
static void walk_on(struct stack *stack)
{
	while (stack->walk == WALK_START && stack->at > 0) {
		struct part *part = &stack->parts[--stack->at];

		if (part->layer->start != NULL) {
			part->layer->start(part->blk, step_req(stack));
			return;
		}
	}
	while (stack->walk != WALK_START && stack->at + 1 < stack->tree.stage_count) {
		struct part *part = &stack->parts[++stack->at];

		if (part->blk->ops->stop != NULL) {
			part->blk->ops->stop(part->blk, step_req(stack));
			return;
		}
	}
	walk_end(stack);
}

void stack_start(struct stack *stack, struct req *req)
{
	assert(stack->walk == WALK_IDLE && req->worker == stack->env->worker);
	stack->waiter = req;
	stack->status = STATUS_OK;
	stack->walk = WALK_START;
	stack->at = stack->tree.stage_count;
	walk_on(stack);
}

void stack_stop(struct stack *stack, struct req *req)
{
	struct part *top = &stack->parts[0];

	assert(stack->walk == WALK_IDLE && req->worker == stack->env->worker);
	stack->waiter = req;
	stack->status = STATUS_OK;
	stack->walk = WALK_STOP;
	stack->at = 0;
	if (top->blk->ops->stop != NULL)
		top->blk->ops->stop(top->blk, step_req(stack));
	else
		walk_on(stack);
}

const char *stack_error(const struct stack *stack)
{
	return stack->error;
}
