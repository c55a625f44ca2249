/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the logs behind the checkpoints have replaced. A segment whose content the log has replaced
 * is given back without a checkpoint, so an index may name what is not there any more, as long as
 * the log says something newer of the key. Keys are remembered by their hash: a lost record is
 * overlooked once in very many times.
 */
#include <stdlib.h>

#include "app/store_check_state.h"
#include "base/assert.h"
#include "base/hash.h"

enum { TABLE_MIN = 1024 };

static void quiet(void *context, enum finding kind, const char *text)
{
	(void)context, (void)kind, (void)text;
}

/* The slot of the hash, or the empty one where it would be. */
static struct check_newer *slot_of(struct check_newer *table, uint32_t size, uint64_t hash)
{
	uint32_t i = (uint32_t)hash & (size - 1);

	assert(size > 0 && (size & (size - 1)) == 0);
	while (table[i].version != 0 && table[i].hash != hash)
		i = (i + 1) & (size - 1);
	return &table[i];
}

/* At most half of it is used, so that every search ends. */
static bool grow(struct check *check)
{
	uint32_t size = check->newer_size == 0 ? TABLE_MIN : 2 * check->newer_size;
	struct check_newer *table;

	if (2 * (check->newer_count + 1) <= check->newer_size)
		return true;
	table = calloc(size, sizeof(*table));
	if (table == NULL)
		return false;
	for (uint32_t i = 0; i < check->newer_size; i++) {
		const struct check_newer *old = &check->newer[i];

		if (old->version != 0)
			*slot_of(table, size, old->hash) = *old;
	}
	free(check->newer);
	check->newer = table;
	check->newer_size = size;
	return true;
}

static void add_key(struct check *check, const struct record *record)
{
	struct check_newer *newer;
	uint64_t hash = hash64(record->key);

	if (!grow(check)) {
		check->failed = true;
		return;
	}
	newer = slot_of(check->newer, check->newer_size, hash);
	check->newer_count += newer->version == 0;
	assert(newer->version == 0 || newer->hash == hash);
	newer->hash = hash;
	if (record->version < newer->version)
		return;
	newer->version = record->version;
	newer->places = hash64(record->value);
}

static void add_clear(struct check *check, const struct record *record)
{
	struct check_clear *clear = &check->clears[CHECK_CLEARS_MAX - 1];

	if (record->key.size > sizeof(clear->prefix))
		return;
	if (check->clear_count < CHECK_CLEARS_MAX)
		clear = &check->clears[check->clear_count++];
	else
		clear->prefix_size = 0; /* more than anybody has: the last stands for all */
	if (clear->version < record->version)
		clear->version = record->version;
	if (clear != &check->clears[CHECK_CLEARS_MAX - 1]) {
		clear->prefix_size = (uint16_t)record->key.size;
		memcpy(clear->prefix, record->key.data, record->key.size);
	}
}

void check_replaced_add(struct check *check, const struct record *record)
{
	assert(check->gathering);
	switch (record->type) {
	case RECORD_PUT:
	case RECORD_MOVED:
	case RECORD_DELETE:
	case RECORD_PREPARED_PUT:
	case RECORD_PREPARED_DELETE:
		if (record->key.size > 0 && record->version > 0)
			add_key(check, record);
		break;
	case RECORD_CLEAR:
		add_clear(check, record);
		break;
	default:
		break;
	}
}

/* What the logs have of the key itself; version 0: nothing. */
static struct check_newer newer_of(const struct check *check, struct bytes key)
{
	if (check->newer_size == 0)
		return (struct check_newer){ .version = 0 };
	return *slot_of(check->newer, check->newer_size, hash64(key));
}

/* The version of the newest clear of the key; 0: none. */
static uint64_t clear_of(const struct check *check, struct bytes key)
{
	uint64_t version = 0;

	for (uint32_t i = 0; i < check->clear_count; i++) {
		const struct check_clear *clear = &check->clears[i];

		if (key.size >= clear->prefix_size &&
		    memcmp(key.data, clear->prefix, clear->prefix_size) == 0 &&
		    clear->version > version)
			version = clear->version;
	}
	return version;
}

bool check_has_newer(const struct check *check, struct bytes key)
{
	return newer_of(check, key).version > 0 || clear_of(check, key) > 0;
}

bool check_is_replaced(const struct check *check, const struct record *record)
{
	struct check_newer newer = newer_of(check, record->key);

	if (newer.version > record->version || clear_of(check, record->key) > record->version)
		return true;
	/* The cleaner keeps the version and names other places. */
	return newer.version == record->version && newer.places != hash64(record->value);
}

struct store_replaced {
	struct check check;
	struct store_check_result result;
};

enum status store_replaced_open(struct store_replaced **out, const struct store_image *image)
{
	struct store_replaced *replaced = calloc(1, sizeof(*replaced));
	struct check *check;
	enum status status;

	*out = replaced;
	if (replaced == NULL)
		return STATUS_NO_SPACE;
	check = &replaced->check;
	check->image = *image; /* what it points to is the caller's */
	check->result = &replaced->result;
	status = walk_log_open(&check->log, &check->image);
	if (status != STATUS_OK)
		return status;
	check_replaced_gather(check);
	return check->failed ? STATUS_NO_SPACE : STATUS_OK;
}

void store_replaced_close(struct store_replaced *replaced)
{
	if (replaced == NULL)
		return;
	walk_log_close(&replaced->check.log);
	free(replaced->check.newer);
	free(replaced);
}

bool store_replaced_has(const struct store_replaced *replaced, struct bytes key, uint32_t segment)
{
	const struct store_image *image = &replaced->check.image;

	return segment < image->segment_count && image->segments[segment].reused &&
	       check_has_newer(&replaced->check, key);
}

void check_replaced_gather(struct check *check)
{
	struct store_check_result result = *check->result;
	struct findings findings = check->findings;

	assert(!check->gathering && !check->counting);
	check->findings.tell = quiet;
	check->gathering = true;
	check_logs(check);
	check->gathering = false;
	check->findings = findings;
	*check->result = result;
}
