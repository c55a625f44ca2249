/* SPDX-License-Identifier: Apache-2.0 */
/* A stack's text into stages: one pass over the characters, no recursion, nothing opened. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/macros.h"
#include "layer/layer.h"

_Static_assert(STACK_TEXT_MAX < UINT16_MAX, "places are 16 bits");

enum { WINDOW = 72 }; /* characters of the text around what is pointed at */

/* Where a stage that begins now belongs. */
enum scope { SCOPE_STACK, SCOPE_LEGS, SCOPE_GROUP };

struct level {
	enum scope scope;
	struct stack_word open; /* the brace */
	int owner;              /* stage whose legs these are; -1: none */
	int last;               /* stage that the next one of a stack goes under; -1: none yet */
};

struct parser {
	struct stack_tree *tree;
	char *error;
	unsigned at; /* in the text */
	unsigned depth;
	struct level levels[2 * STACK_DEPTH_MAX + 1];
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* What a bare value cannot hold. */
static bool is_special(char c)
{
	return c == '\0' || is_blank(c) || strchr("|{}()\"", c) != NULL;
}

void stack_point(const struct stack_tree *tree, struct stack_word word, const char *why,
                 char error[static STACK_ERROR_SIZE])
{
	unsigned from = word.at > WINDOW / 2 ? word.at - WINDOW / 2 : 0;
	unsigned size = tree->text_size - from < WINDOW ? tree->text_size - from : WINDOW;
	unsigned carets = word.size == 0 ? 1 : word.size;
	char shown[WINDOW + 1], marks[2 * WINDOW];

	assert(word.at <= tree->text_size);
	for (unsigned i = 0; i < size; i++)
		shown[i] = tree->text[from + i] < ' ' ? ' ' : tree->text[from + i];
	shown[size] = '\0';
	if (carets > WINDOW - (word.at - from))
		carets = WINDOW - (word.at - from);
	memset(marks, ' ', sizeof(marks));
	memset(marks + (word.at - from), '^', carets);
	marks[word.at - from + carets] = '\0';
	snprintf(error, STACK_ERROR_SIZE, "%.400s\n  %s\n  %s", why, shown, marks);
}

__attribute__((format(printf, 3, 4))) static enum status fail(struct parser *p,
                                                              struct stack_word word,
                                                              const char *format, ...)
{
	char why[LAYER_WHY_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	stack_point(p->tree, word, why, p->error);
	return STATUS_INVALID;
}

static struct stack_word here(const struct parser *p, unsigned size)
{
	return (struct stack_word){ (uint16_t)p->at, (uint16_t)size };
}

static char skip_blanks(struct parser *p)
{
	while (is_blank(p->tree->text[p->at]))
		p->at++;
	return p->tree->text[p->at];
}

static struct stack_word take_name(struct parser *p)
{
	struct stack_word word = here(p, 0);

	while (is_name(p->tree->text[p->at]))
		p->at++;
	word.size = (uint16_t)(p->at - word.at);
	return word;
}

static enum status take_value(struct parser *p, struct stack_word *value)
{
	const char *text = p->tree->text;

	*value = here(p, 1);
	if (text[p->at] != '"') {
		while (!is_special(text[p->at]))
			p->at++;
	} else {
		for (p->at++; text[p->at] != '"'; p->at++) {
			if (text[p->at] == '\\' && text[p->at + 1] != '\0')
				p->at++;
			if (text[p->at] == '\0')
				return fail(p, *value, "this quote is not closed");
		}
		p->at++;
		if (!is_special(text[p->at]) || text[p->at] == '"')
			return fail(p, here(p, 1), "after a quoted value comes a blank");
	}
	value->size = (uint16_t)(p->at - value->at);
	if (value->size == 0)
		return fail(p, *value, "a value comes here; an empty one is written \"\"");
	return STATUS_OK;
}

/* key=value, any number of them. */
static enum status take_options(struct parser *p, struct stack_stage *stage)
{
	while (is_name(skip_blanks(p))) {
		struct stack_word key = take_name(p);
		enum status status;

		if (p->tree->text[p->at] != '=')
			return fail(p, key,
			            "options are written key=value; layers are joined by |");
		if (stage->options == STACK_OPTIONS_MAX)
			return fail(p, key, "more than %d options", STACK_OPTIONS_MAX);
		p->at++;
		stage->keys[stage->options] = key;
		status = take_value(p, &stage->values[stage->options]);
		if (status != STATUS_OK)
			return status;
		stage->options++;
	}
	return STATUS_OK;
}

static enum status push(struct parser *p, enum scope scope, int owner)
{
	if (p->depth + 1 == array_count(p->levels))
		return fail(p, here(p, 1), "more than %d braces in each other", STACK_DEPTH_MAX);
	p->depth++;
	p->levels[p->depth] =
	        (struct level){ .scope = scope, .open = here(p, 1), .owner = owner, .last = -1 };
	p->at++;
	return STATUS_OK;
}

/* Under whom the next stage goes; the parent counts it. */
static enum status adopt(struct parser *p, struct stack_stage *stage)
{
	struct level *level = &p->levels[p->depth];
	int parent = level->last >= 0 && level->scope != SCOPE_LEGS ? level->last : level->owner;

	stage->parent = (int16_t)parent;
	if (parent < 0)
		return STATUS_OK;
	if (p->tree->stages[parent].lowers == STACK_LEGS_MAX)
		return fail(p, here(p, 1), "more than %d devices side by side", STACK_LEGS_MAX);
	stage->leg = p->tree->stages[parent].lowers++;
	return STATUS_OK;
}

/* A name and its options; braces after it are opened. */
static enum status take_stage(struct parser *p)
{
	struct stack_tree *tree = p->tree;
	struct level *level = &p->levels[p->depth];
	struct stack_stage *stage;
	enum status status;
	int index;

	if (!is_name(tree->text[p->at]))
		return fail(p, here(p, 1), "the name of a layer or device comes here");
	if (tree->stage_count == STACK_STAGES_MAX)
		return fail(p, here(p, 1), "more than %d layers", STACK_STAGES_MAX);
	index = (int)tree->stage_count++;
	stage = &tree->stages[index];
	*stage = (struct stack_stage){ .parent = -1 };
	status = adopt(p, stage);
	if (status != STATUS_OK)
		return status;
	stage->name = take_name(p);
	if (!is_special(tree->text[p->at]))
		return fail(p, stage->name, "a name has the letters a to z, digits and _");
	level->last = index;
	status = take_options(p, stage);
	if (status == STATUS_OK && skip_blanks(p) == '{')
		status = push(p, SCOPE_LEGS, index);
	return status;
}

/* What begins a stage: its name, or the parenthesis of a leg that is a stack. */
static enum status take_element(struct parser *p)
{
	struct level *level = &p->levels[p->depth];
	enum status status;

	if (skip_blanks(p) == '(') {
		if (level->scope != SCOPE_LEGS)
			return fail(p, here(p, 1), "parentheses are for stacks in braces");
		status = push(p, SCOPE_GROUP, level->owner);
		if (status != STATUS_OK)
			return status;
		skip_blanks(p);
	}
	return take_stage(p);
}

/* After a whole element: what may follow. *more: another element. */
static enum status take_joint(struct parser *p, bool *more)
{
	struct level *level = &p->levels[p->depth];
	char c = skip_blanks(p);

	*more = false;
	if (c == '|') {
		if (level->scope != SCOPE_LEGS && p->tree->stages[level->last].lowers > 0)
			return fail(p, here(p, 1), "what is before has its devices in braces");
		p->at++;
		*more = true;
		return STATUS_OK;
	}
	if ((c == '}' && level->scope == SCOPE_LEGS) || (c == ')' && level->scope == SCOPE_GROUP)) {
		p->depth--;
		p->at++;
		return STATUS_OK;
	}
	if (c == '\0' && p->depth > 0)
		return fail(p, level->open, "this is not closed");
	return fail(p, here(p, 1), "here comes | or nothing%s",
	            level->scope == SCOPE_LEGS    ? ", or }"
	            : level->scope == SCOPE_GROUP ? ", or )"
	                                          : "");
}

enum status stack_parse(struct stack_tree *tree, const char *text,
                        char error[static STACK_ERROR_SIZE])
{
	struct parser p = { .tree = tree, .error = error };
	size_t size = strlen(text);
	enum status status;
	bool more = true;

	tree->stage_count = 0;
	tree->text_size = (uint16_t)(size > STACK_TEXT_MAX ? STACK_TEXT_MAX : size);
	memcpy(tree->text, text, tree->text_size);
	tree->text[tree->text_size] = '\0';
	if (size > STACK_TEXT_MAX)
		return fail(&p, here(&p, 1), "longer than %d bytes", STACK_TEXT_MAX);
	p.levels[0] = (struct level){ .scope = SCOPE_STACK, .owner = -1, .last = -1 };
	/* Every pass takes at least a character. */
	for (;;) {
		unsigned depth = p.depth;

		status = more ? take_element(&p) : STATUS_OK;
		if (status != STATUS_OK)
			return status;
		if (more && p.depth > depth && p.levels[p.depth].last < 0)
			continue; /* braces were opened: their first leg */
		if (p.depth == 0 && skip_blanks(&p) == '\0')
			return STATUS_OK;
		status = take_joint(&p, &more);
		if (status != STATUS_OK)
			return status;
	}
}
