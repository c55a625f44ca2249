/* SPDX-License-Identifier: Apache-2.0 */
/* The check, second part: the logs behind the checkpoints, and the bytes of blobs. */
#include <inttypes.h>
#include <stdlib.h>

#include "app/store_check_state.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"

/* Blobs. */

/* Whether some of it lies where something else is by now, and may do so. */
static bool blob_is_gone(const struct check *check, const struct record *record)
{
	struct blob_value value;

	if (!check_is_replaced(check, record))
		return false;
	if (!check->counting) /* of a log: what it had is not listed */
		return true;
	if (blob_value_decode(record->value, &value) != STATUS_OK)
		return false;
	for (uint32_t i = 0; i < value.extent_count; i++) {
		struct blob_extent e = blob_extent_get(value.extents, i);

		if (e.segment < check->image.segment_count &&
		    check->image.segments[e.segment].reused)
			return true;
	}
	return false;
}

void check_blob_add(struct check *check, const struct record *record)
{
	struct bytes key = record->key, value = record->value;
	struct check_blob *blob;

	if (blob_is_gone(check, record))
		return;

	if (check->blob_count == check->blob_max) {
		uint32_t max = check->blob_max == 0 ? CHECK_BLOBS_MAX : 2 * check->blob_max;
		struct check_blob *blobs = realloc(check->blobs, max * sizeof(*blobs));

		if (blobs == NULL) {
			check->failed = true;
			return;
		}
		check->blobs = blobs;
		check->blob_max = max;
	}
	blob = &check->blobs[check->blob_count];
	blob->value = malloc(value.size + 1);
	if (blob->value == NULL) {
		check->failed = true;
		return;
	}
	assert(!check->gathering);
	assert(check->blob_count < check->blob_max);
	assert(key.size <= sizeof(blob->key));
	memcpy(blob->value, value.data, value.size);
	blob->value_size = value.size;
	memcpy(blob->key, key.data, key.size);
	blob->key_size = (uint32_t)key.size;
	check->blob_count++;
}

static void blob_damaged(struct check *check, const struct check_blob *blob, const char *what,
                         struct blob_extent extent)
{
	char text[KEY_TEXT_SIZE];

	findings_add(&check->findings, FINDING_DAMAGE,
	             "segment %u, block %u: %u blocks of the value of key %s: %s", extent.segment,
	             extent.block, extent.blocks,
	             key_text(bytes_of(blob->key, blob->key_size), text), what);
}

/* Whether an extent is in a segment for blobs, of the right kind at the right time. */
static bool extent_is_sound(const struct check *check, struct blob_extent e)
{
	const struct store_image *image = &check->image;
	const struct image_segment *segment;

	if (e.blocks == 0 || e.blocks > READER_BLOCKS_MAX ||
	    !store_image_has(image, e.segment, (uint64_t)e.block << BLOCK_SHIFT,
	                     (uint64_t)e.blocks << BLOCK_SHIFT))
		return false;
	segment = &image->segments[e.segment];
	if (segment->listed)
		return segment->kind == SEGMENT_BLOB;
	/* Made after the checkpoint, so only the log can name it. */
	return !check->counting && segment->found && segment->header.kind == SEGMENT_BLOB;
}

static void blob_run(struct check *check, const struct check_blob *blob)
{
	struct store_reader *reader = check->image.reader;
	struct blob_value value;
	uint64_t left;

	if (blob_value_decode(bytes_of(blob->value, blob->value_size), &value) != STATUS_OK) {
		blob_damaged(check, blob, "the list of its places is damaged",
		             (struct blob_extent){ .segment = 0 });
		return;
	}
	left = value.size;
	for (uint32_t at = 0; at < value.extent_count;) {
		struct blob_extent extents[READER_READS_MAX];
		uint32_t count = 0;

		for (; count < READER_READS_MAX && at < value.extent_count; count++, at++) {
			struct blob_extent e = blob_extent_get(value.extents, at);

			extents[count] = e;
			if (!extent_is_sound(check, e)) {
				blob_damaged(check, blob, "no value can be there", e);
				store_reader_run(reader);
				return;
			}
			store_image_needs_header(&check->image, e.segment);
			if (check->counting)
				check->image.segments[e.segment].counted += (uint64_t)e.blocks
				                                            << BLOCK_SHIFT;
			store_reader_add(reader, store_reader_slot(reader, count),
			                 store_image_lba(&check->image, e.segment, e.block),
			                 e.blocks);
		}
		store_reader_run(reader);
		for (uint32_t i = 0; i < count; i++) {
			uint64_t most = (uint64_t)extents[i].blocks << BLOCK_SHIFT;
			uint64_t size = left < most ? left : most;

			if (reader->reads[i].status != STATUS_OK)
				blob_damaged(check, blob, "the device cannot read them",
				             extents[i]);
			else if (crc32c(0, store_reader_slot(reader, i), size) != extents[i].crc)
				blob_damaged(check, blob, "their checksum is wrong", extents[i]);
			left -= size;
			check->done += most;
		}
		check_progress(check);
	}
	if (left > 0)
		blob_damaged(check, blob, "the value is longer than its places",
		             (struct blob_extent){ .segment = 0 });
	check->result->blobs++;
}

void check_blobs_run(struct check *check)
{
	for (uint32_t i = 0; i < check->blob_count; i++) {
		blob_run(check, &check->blobs[i]);
		free(check->blobs[i].value);
	}
	check->blob_count = 0;
}

/* Logs. */

static void see_record(struct check *check, const struct frame_header *frame, uint32_t at,
                       const struct record *record)
{
	const char *fault = NULL;
	char text[KEY_TEXT_SIZE];
	uint32_t partition;

	check->result->records++;
	switch (record->type) {
	case RECORD_PUT:
	case RECORD_MOVED:
	case RECORD_PREPARED_PUT:
	case RECORD_PREPARED_DELETE:
	case RECORD_DELETE:
		partition = walk_partition_of(&check->image, record->key);
		if (partition == UINT32_MAX)
			fault = "a key of no possible size";
		else if (partition % check->image.super.stream_count != check->stream)
			fault = "a key of another stream";
		break;
	case RECORD_CLEAR:
	case RECORD_FREE:
	case RECORD_PREPARE:
	case RECORD_RESOLVE:
		break;
	default:
		fault = "of a type that this weir does not know";
	}
	if (fault != NULL)
		findings_add(&check->findings, FINDING_DAMAGE,
		             "segment %u, block %u, byte %u: record of frame %" PRIu64
		             " of stream %u, key %s: %s",
		             frame->segment, frame->block, at, frame->lsn, check->stream,
		             key_text(record->key, text), fault);
	else if (record->type == RECORD_PUT && (record->flags & RECORD_BLOB))
		check_blob_add(check, record);
}

/* A frame that frame_check() has found whole. */
static void see_frame(void *context, const struct frame_header *frame, const uint8_t *data)
{
	struct check *check = context;
	uint32_t seed = record_seed(frame->generation, frame->segment);
	uint32_t at = FRAME_HEADER_SIZE;

	check->result->frames++;
	while (at < frame->size) {
		struct record record;
		size_t used;
		uint32_t crc;

		if (record_decode(data + at, frame->size - at, seed,
		                  (frame->block << BLOCK_SHIFT) + at, &record, &used,
		                  &crc) != STATUS_OK)
			unreachable(); /* frame_check() has seen it */
		if (check->gathering)
			check_replaced_add(check, &record);
		else
			see_record(check, frame, at, &record);
		at += (uint32_t)used;
	}
	/* The blobs' reads use other memory than the log's. */
	check_blobs_run(check);
}

static bool is_of_log(const struct check *check, uint32_t number)
{
	const struct image_segment *s = &check->image.segments[number];

	return s->found && s->header.kind == SEGMENT_LOG &&
	       s->header.run == check->image.super.run && s->header.stream == check->stream;
}

static uint32_t segment_starting(const struct check *check, uint64_t lsn)
{
	for (uint32_t i = 0; i < check->image.segment_count; i++) {
		if (is_of_log(check, i) && check->image.segments[i].first_lsn == lsn)
			return i;
	}
	return UINT32_MAX;
}

/* Where a log goes on behind a frame that cannot be read. */
struct proof {
	uint64_t lsn; /* of the first frame behind it; 0: none */
	uint32_t segment, block;
	bool proven; /* it was durable: a later frame says so */
};

/* Looks at the rest of the segment for a frame that was written when `lsn` was durable. */
static enum status proof_in_segment(struct check *check, uint64_t lsn, struct proof *proof)
{
	const struct store_image *image = &check->image;
	uint32_t segment = check->log.segment;

	for (uint32_t block = check->log.block; block < image->super.segment_blocks;) {
		uint8_t *data = store_reader_slot(image->reader, 0);
		uint32_t left = image->super.segment_blocks - block;
		uint32_t blocks = left < READER_BLOCKS_MAX ? left : READER_BLOCKS_MAX;
		enum status status = store_reader_get(
		        image->reader, data, store_image_lba(image, segment, block), blocks);

		if (status != STATUS_OK)
			return status;
		for (uint32_t i = 0; i < blocks; i++) {
			struct frame_header frame;

			if (frame_header_decode(data + ((size_t)i << BLOCK_SHIFT), &frame) !=
			            STATUS_OK ||
			    frame.generation != image->segments[segment].generation ||
			    frame.block != block + i || frame.lsn <= lsn || frame.durable_lsn < lsn)
				continue;
			*proof = (struct proof){ frame.lsn, segment, block + i, true };
			return STATUS_OK;
		}
		block += blocks;
	}
	return STATUS_OK;
}

static void proof_in_later(const struct check *check, uint64_t lsn, struct proof *proof)
{
	for (uint32_t i = 0; i < check->image.segment_count; i++) {
		const struct image_segment *s = &check->image.segments[i];

		if (!is_of_log(check, i) || s->first_lsn <= lsn)
			continue;
		proof->proven = proof->proven || s->first_durable >= lsn;
		if (proof->lsn == 0 || s->first_lsn < proof->lsn) {
			proof->lsn = s->first_lsn;
			proof->segment = i;
			proof->block = 1;
		}
	}
}

/* Behind the last good frame: something that was begun and never finished. */
static void tell_torn(struct check *check)
{
	uint8_t *data = store_reader_slot(check->image.reader, 0);
	struct frame_header frame;

	if (check->log.block >= check->image.super.segment_blocks ||
	    store_reader_get(check->image.reader, data,
	                     store_image_lba(&check->image, check->log.segment, check->log.block),
	                     1) != STATUS_OK ||
	    frame_header_decode(data, &frame) != STATUS_OK ||
	    frame.generation != check->image.segments[check->log.segment].generation ||
	    frame.lsn < check->log.lsn)
		return;
	check->result->streams_torn++;
	findings_add(&check->findings, FINDING_NOTE,
	             "segment %u, block %u: the log of stream %u ends with a torn frame, %" PRIu64
	             ": its write was never finished, so nobody was told that it was durable",
	             check->log.segment, check->log.block, check->stream, frame.lsn);
}

/* No good frame where one might be. True: the log goes on behind it. */
static bool log_gap(struct check *check)
{
	uint32_t next = segment_starting(check, check->log.lsn);
	struct proof proof = { .lsn = 0 };
	enum status status;

	if (next != UINT32_MAX && next != check->log.segment) {
		check->log.segment = next;
		check->log.block = 1;
		return true;
	}
	status = proof_in_segment(check, check->log.lsn, &proof);
	if (status == STATUS_OK && !proof.proven)
		proof_in_later(check, check->log.lsn, &proof);
	if (status != STATUS_OK) {
		findings_add(&check->findings, FINDING_DAMAGE,
		             "segment %u, block %u or behind it: the device cannot read the log of "
		             "stream %u",
		             check->log.segment, check->log.block, check->stream);
		return false;
	}
	if (!proof.proven) {
		tell_torn(check);
		return false;
	}
	check->result->frames_lost += proof.lsn - check->log.lsn;
	findings_add(&check->findings, FINDING_DAMAGE,
	             "segment %u, block %u: the log of stream %u is damaged: frames %" PRIu64
	             " to %" PRIu64 " were durable and cannot be read; what they held is lost",
	             check->log.segment, check->log.block, check->stream, check->log.lsn,
	             proof.lsn - 1);
	assert(proof.lsn > check->log.lsn);
	assert(proof.segment < check->image.segment_count);
	check->log.lsn = proof.lsn;
	check->log.segment = proof.segment;
	check->log.block = proof.block;
	return true;
}

static void log_run(struct check *check)
{
	const struct root *root = &check->image.roots[check->stream];
	uint64_t last = 0;

	check->log.lsn = root->lsn + 1;
	check->log.segment = root->log_segment;
	check->log.block = root->log_block;
	if (root->log_segment >= check->image.segment_count ||
	    !check->image.segments[root->log_segment].found ||
	    root->log_block >= check->image.super.segment_blocks) {
		check->log.segment = segment_starting(check, check->log.lsn);
		check->log.block = 1;
		if (check->log.segment == UINT32_MAX)
			return;
	}
	do {
		/* Every gap is behind the one before it, so this ends. */
		assert(check->log.lsn > last);
		if (walk_log_run(&check->log) != STATUS_OK) {
			findings_add(&check->findings, FINDING_DAMAGE,
			             "segment %u, block %u or behind it: the device cannot read "
			             "the log of stream %u",
			             check->log.segment, check->log.block, check->stream);
			return;
		}
		last = check->log.lsn - 1;
	} while (log_gap(check));
}

void check_logs(struct check *check)
{
	assert(check->blob_count == 0);
	assert(!check->counting);
	check->log.frame = see_frame;
	check->log.context = check;
	for (check->stream = 0; check->stream < check->image.super.stream_count; check->stream++) {
		if (!check->image.super.clean && !check->image.roots[check->stream].clean)
			log_run(check);
	}
}
