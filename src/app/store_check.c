/* SPDX-License-Identifier: Apache-2.0 */
#include "app/store_check.h"

#include <inttypes.h>
#include <stdlib.h>

#include "app/store_check_state.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"

enum {
	EXPIRY_PREFIX = 9,         /* space, time: then the key */
	EXPIRY_SET_BITS = 1 << 25, /* a missing entry is overlooked once in thousands of times */
	EXPIRY_PROBES = 4,
};

void check_progress(struct check *check)
{
	if (check->options->progress != NULL)
		check->options->progress(check->options->context, check->done, check->total);
}

/* The set of expiry entries of a partition. */

static void expiry_add(struct check *check, uint64_t hash)
{
	for (unsigned i = 0; i < EXPIRY_PROBES; i++, hash = hash * 0x9e3779b97f4a7c15ull + 1) {
		uint64_t bit = hash >> 32 & (EXPIRY_SET_BITS - 1);

		check->expiries[bit / 8] |= (uint8_t)(1u << bit % 8);
	}
}

static bool expiry_has(const struct check *check, uint64_t hash)
{
	for (unsigned i = 0; i < EXPIRY_PROBES; i++, hash = hash * 0x9e3779b97f4a7c15ull + 1) {
		uint64_t bit = hash >> 32 & (EXPIRY_SET_BITS - 1);

		if ((check->expiries[bit / 8] >> bit % 8 & 1) == 0)
			return false;
	}
	return true;
}

static uint64_t expiry_hash(uint64_t expires_ms, struct bytes key)
{
	return hash64(key) ^ expires_ms * 0xff51afd7ed558ccdull;
}

/* Entries of the engine's own space: {0, when, key}. */
static void see_expiry(struct check *check, uint32_t partition, struct bytes key, uint64_t value)
{
	struct bytes of = { .size = 0 };
	uint64_t expires_ms;
	char text[KEY_TEXT_SIZE];

	if (key.size > EXPIRY_PREFIX)
		of = bytes_of(key.data + EXPIRY_PREFIX, key.size - EXPIRY_PREFIX);
	if (value != 1 || walk_partition_of(&check->image, of) != partition) {
		findings_add(&check->findings, FINDING_DAMAGE,
		             "partition %u, key %s: not an expiry, and nothing else is kept there",
		             partition, key_text(key, text));
		return;
	}
	expires_ms = __builtin_bswap64(get64(key.data + 1));
	expiry_add(check, expiry_hash(expires_ms, of));
	check->result->expiries++;
}

static void see_entry(void *context, uint32_t partition, struct bytes key, uint64_t value)
{
	struct check *check = context;
	struct location l = location_unpack(value);
	char text[KEY_TEXT_SIZE];

	check->entries++;
	if (key.size > 0 && key.data[0] == KV_SPACE_ENGINE) {
		see_expiry(check, partition, key, value);
		return;
	}
	if (walk_partition_of(&check->image, key) != partition) {
		findings_add(&check->findings, FINDING_DAMAGE,
		             "partition %u, key %s: belongs to another partition", partition,
		             key_text(key, text));
		return;
	}
	check->counts[key.data[0]]++;
	/* Given back: the log has something newer. */
	if (l.segment < check->image.segment_count && check->image.segments[l.segment].reused &&
	    check_has_newer(check, key))
		return;
	if (!walk_location_is_sound(&check->image, l)) {
		findings_add(&check->findings, FINDING_DAMAGE,
		             "partition %u, key %s: the index says segment %u, byte %u, where no "
		             "record can be",
		             partition, key_text(key, text), l.segment, l.offset);
		return;
	}
	assert(check->counting);
	store_image_needs_header(&check->image, l.segment);
	check->image.segments[l.segment].counted += l.size;
	walk_records_add(&check->records, partition, key, value);
}

static void see_page(void *context, uint32_t partition, struct location where, const void *page)
{
	struct check *check = context;

	(void)partition, (void)where, (void)page;
	check->result->pages++;
	check->done += BLOCK_SIZE;
	check_progress(check);
}

static void see_record(void *context, const struct walk_ref *ref, const struct record *record)
{
	struct check *check = context;
	uint32_t stream = ref->partition % check->image.super.stream_count;
	char text[KEY_TEXT_SIZE];

	check->result->keys++;
	check->done += location_unpack(ref->location).size;
	if (record->version == 0 || record->version >= check->image.roots[stream].version_next)
		findings_add(&check->findings, FINDING_DAMAGE,
		             "partition %u, key %s: has version %" PRIu64
		             ", and versions were given out below %" PRIu64,
		             ref->partition, key_text(record->key, text), record->version,
		             check->image.roots[stream].version_next);
	if (record->expires_ms != 0 &&
	    !expiry_has(check, expiry_hash(record->expires_ms, record->key)))
		findings_add(&check->findings, FINDING_DAMAGE,
		             "partition %u, key %s: expires, and the index has no entry that would "
		             "remove it",
		             ref->partition, key_text(record->key, text));
	if (record->flags & RECORD_BLOB)
		check_blob_add(check, record);
}

static void see_pause(void *context)
{
	check_blobs_run(context);
	check_progress(context);
}

static void check_partition(struct check *check, uint32_t number)
{
	const struct image_partition *partition = &check->image.partitions[number];
	uint64_t damaged = check->index.damaged;

	if (!partition->listed) {
		findings_add(&check->findings, FINDING_FATAL,
		             "partition %u: in no checkpoint; its keys are lost", number);
		return;
	}
	assert(check->counting && !check->gathering);
	assert(check->records.count == 0); /* those of the partition before are done */
	memset(check->expiries, 0, EXPIRY_SET_BITS / 8);
	memset(check->counts, 0, sizeof(check->counts));
	check->entries = 0;
	walk_index_run(&check->index, number);
	walk_records_run(&check->records);
	if (check->index.damaged > damaged)
		return; /* then the counts cannot be right */
	if (check->entries != partition->key_count)
		findings_add(&check->findings, FINDING_DAMAGE,
		             "partition %u: has %" PRIu64
		             " entries, and its checkpoint says %" PRIu64,
		             number, check->entries, partition->key_count);
	for (uint32_t s = 0; s < KV_SPACES; s++) {
		if (check->counts[s] != partition->counts[s])
			findings_add(&check->findings, FINDING_DAMAGE,
			             "partition %u: has %" PRIu64
			             " keys of space %u, and its checkpoint says %" PRIu64,
			             number, check->counts[s], s, partition->counts[s]);
	}
}

/* What is counted as used against what is. */
static void check_live(struct check *check)
{
	for (uint32_t i = 0; i < check->image.segment_count; i++) {
		const struct image_segment *s = &check->image.segments[i];

		if (!s->listed || s->live == s->counted)
			continue;
		if (s->counted > s->live)
			findings_add(&check->findings, FINDING_DAMAGE,
			             "segment %u (%s): %" PRIu64
			             " bytes of it are used, and %" PRIu64
			             " are counted: it might be given back too early",
			             i, segment_kind_name(s->kind), s->counted, s->live);
		else if (check->index.damaged == 0 && check->records.damaged == 0)
			findings_add(&check->findings, FINDING_NOTE,
			             "segment %u (%s): %" PRIu64
			             " bytes of it are counted as used, and %" PRIu64
			             " are: space that is not given back",
			             i, segment_kind_name(s->kind), s->live, s->counted);
	}
}

static enum status check_open(struct check *check, struct store_reader *reader)
{
	enum status status = store_image_open(&check->image, reader, &check->findings);

	if (status != STATUS_OK)
		return status;
	check->expiries = malloc(EXPIRY_SET_BITS / 8);
	if (check->expiries == NULL)
		return STATUS_NO_SPACE;
	status = walk_index_open(&check->index, &check->image);
	if (status == STATUS_OK)
		status = walk_records_open(&check->records, &check->image);
	if (status == STATUS_OK)
		status = walk_log_open(&check->log, &check->image);
	check->index.context = check->records.context = check;
	check->index.page = see_page;
	check->index.entry = see_entry;
	check->records.record = see_record;
	check->records.pause = see_pause;
	return status;
}

static void check_close(struct check *check)
{
	for (uint32_t i = 0; i < check->blob_count; i++)
		free(check->blobs[i].value);
	free(check->blobs);
	free(check->expiries);
	free(check->newer);
	walk_index_close(&check->index);
	walk_records_close(&check->records);
	walk_log_close(&check->log);
	store_image_close(&check->image);
}

static uint32_t count_bad_copies(const struct store_image *image)
{
	uint32_t bad = 0;

	for (uint32_t i = 0; i < SUPER_COPIES; i++) {
		const struct image_super *copy = &image->supers[i];
		bool pair = (image->super.epoch & 1) == (i & 1);

		bad += copy->status != STATUS_OK &&
		       !(copy->zero && !pair && image->super.epoch <= 1);
	}
	for (uint32_t s = 0; s < image->super.stream_count; s++) {
		const struct root *root = &image->roots[s];

		for (uint32_t copy = 0; copy < ROOT_COPIES; copy++) {
			const struct image_root *seen =
			        &image->root_copies[s][root->sequence & 1][copy];

			bad += seen->status != STATUS_OK || seen->root.sequence != root->sequence ||
			       seen->root.run != root->run;
		}
	}
	return bad;
}

enum status store_check_run(struct store_reader *reader, const struct store_check_options *options,
                            struct store_check_result *result)
{
	struct check *check = calloc(1, sizeof(*check));
	uint64_t bytes = reader->bytes;
	enum status status;

	*result = (struct store_check_result){ .clean = false };
	if (check == NULL)
		return STATUS_NO_SPACE;
	assert(options->tell != NULL);
	check->options = options;
	check->result = result;
	check->findings.tell = options->tell;
	check->findings.context = options->context;
	status = check_open(check, reader);
	if (status == STATUS_OK) {
		result->clean = check->image.super.clean;
		result->copies_bad = count_bad_copies(&check->image);
		for (uint32_t i = 0; i < check->image.segment_count; i++)
			check->total += check->image.segments[i].live;
		assert(check->newer_count == 0 && check->clear_count == 0);
		check_replaced_gather(check);
		check->counting = true;
		for (uint32_t i = 0; i < check->image.super.partition_count; i++)
			check_partition(check, i);
		check_live(check);
		check->counting = false;
		check_logs(check);
		status = check->failed ? STATUS_NO_SPACE : STATUS_OK;
	}
	memcpy(result->found, check->findings.count, sizeof(result->found));
	result->bytes = reader->bytes - bytes;
	check_close(check);
	free(check);
	return status;
}
