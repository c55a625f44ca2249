/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the text of a stack: understood, or refused with an error that points into it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "layer/layer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct stack_tree tree;

static void check_word(struct stack_word word)
{
	assert(word.size > 0 && word.at + word.size <= tree.text_size);
}

/* Every stage but the top has a parent before it, and the legs of each are counted. */
static void check_tree(void)
{
	unsigned legs[STACK_STAGES_MAX] = { 0 };

	assert(tree.stage_count >= 1 && tree.stage_count <= STACK_STAGES_MAX);
	for (unsigned i = 0; i < tree.stage_count; i++) {
		const struct stack_stage *stage = &tree.stages[i];

		check_word(stage->name);
		assert(stage->options <= STACK_OPTIONS_MAX);
		for (unsigned j = 0; j < stage->options; j++) {
			check_word(stage->keys[j]);
			check_word(stage->values[j]);
		}
		assert((stage->parent < 0) == (i == 0));
		if (i > 0) {
			assert(stage->parent < (int)i);
			assert(stage->leg == legs[stage->parent]++);
		}
	}
	for (unsigned i = 0; i < tree.stage_count; i++)
		assert(tree.stages[i].lowers == legs[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[STACK_ERROR_SIZE];
	char *text = malloc(size + 1);
	enum status status;

	memcpy(text, data, size);
	text[size] = '\0';
	memset(error, 'x', sizeof(error));
	status = stack_parse(&tree, text, error);
	assert(status == STATUS_OK || status == STATUS_INVALID);
	if (status == STATUS_OK)
		check_tree();
	else
		assert(memchr(error, '\0', sizeof(error)) != NULL);
	memset(error, 'x', sizeof(error));
	if (stack_check(text, NULL, error) == STATUS_OK)
		check_tree();
	else
		assert(memchr(error, '\0', sizeof(error)) != NULL);
	free(text);
	return 0;
}
