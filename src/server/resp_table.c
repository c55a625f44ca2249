/* SPDX-License-Identifier: Apache-2.0 */
/* All commands of the RESP face, found by name. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_internal.h"

/* A family of commands is one file with one table, and one line here. */
static const struct resp_table *const tables[] = {
	&resp_basic_table,    &resp_string_table, &resp_key_table,  &resp_multi_table,
	&resp_dump_table,     &resp_incr_table,   &resp_scan_table, &resp_bit_table,
	&resp_lcs_table,      &resp_own_table,    &resp_acl_table,  &resp_client_table,
	&resp_config_table,   &resp_docs_table,   &resp_info_table, &resp_log_table,
	&resp_misc_table,     &resp_swap_table,   &resp_sync_table, &resp_pubsub_table,
	&resp_keyspace_table, &resp_s3_key_table, &resp_volume_table,
};

enum { SLOTS = 1024, NAME_MAX = 32 };

static uint16_t slots[SLOTS]; /* 1 + index of a command; 0: empty. Written once, when opened. */
static const struct resp_command *commands[SLOTS / 2];
static uint64_t short_names[SLOTS / 2]; /* the first 8 bytes of its name */
static uint8_t name_sizes[SLOTS / 2];
static uint32_t command_count;

/* The first up to 8 bytes of a name, in lower case: for a short one, as good as the name. */
static uint64_t pack(struct bytes name)
{
	const uint64_t ones = 0x0101010101010101ull;
	uint64_t packed = bytes_word(name), seven, is_upper;

	/* Per byte: from 'A' on the first sum has its high bit, past 'Z' the second too. */
	seven = packed & 0x7f * ones;
	is_upper = (seven + (0x80 - 'A') * ones) & ~(seven + (0x80 - 'Z' - 1) * ones) & ~packed &
	           0x80 * ones;
	return packed | is_upper >> 2;
}

static uint32_t slot_of(uint64_t packed, size_t size)
{
	return (uint32_t)((packed * 0x9e3779b97f4a7c15ull + size * 0x517cc1b727220a95ull) >> 54);
}

static void add(const struct resp_command *command)
{
	struct bytes name = bytes_of(command->name, strlen(command->name));
	uint64_t packed = pack(name);
	uint32_t slot = slot_of(packed, name.size);

	assert(name.size > 0 && name.size <= NAME_MAX);
	assert(command_count < array_count(commands));
	assert(resp_command_find(name, NULL) == NULL); /* else: two rows of one name */
	while (slots[slot] != 0)
		slot = (slot + 1) % SLOTS;
	commands[command_count] = command;
	short_names[command_count] = packed;
	name_sizes[command_count] = (uint8_t)name.size;
	slots[slot] = (uint16_t)++command_count;
}

void resp_table_open(void)
{
	if (command_count > 0)
		return;
	for (unsigned t = 0; t < array_count(tables); t++) {
		for (uint32_t i = 0; i < tables[t]->count; i++)
			add(&tables[t]->commands[i]);
	}
}

bool resp_word_is(struct bytes word, const char *lower)
{
	for (size_t i = 0; i < word.size; i++) {
		uint8_t c = word.data[i];

		if (c >= 'A' && c <= 'Z')
			c |= 0x20;
		if (c != (uint8_t)lower[i] || c == 0)
			return false;
	}
	return lower[word.size] == '\0';
}

const struct resp_command *resp_command_find(struct bytes name, uint32_t *index)
{
	uint64_t packed;
	uint32_t slot;

	if (name.size == 0 || name.size > NAME_MAX)
		return NULL;
	packed = pack(name);
	slot = slot_of(packed, name.size);
	for (; slots[slot] != 0; slot = (slot + 1) % SLOTS) {
		uint32_t i = slots[slot] - 1u;

		if (short_names[i] != packed || name_sizes[i] != name.size ||
		    (name.size > 8 && !resp_word_is(name, commands[i]->name)))
			continue;
		if (index != NULL)
			*index = i;
		return commands[i];
	}
	return NULL;
}

uint32_t resp_command_count(void)
{
	return command_count;
}

const struct resp_command *resp_command_at(uint32_t index)
{
	assert(index < command_count);
	return commands[index];
}
