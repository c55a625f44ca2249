/* SPDX-License-Identifier: Apache-2.0 */
#include "app/store_image.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "core/buf.h"
#include "engine/body.h"

enum { HEADER_GAP = 64 }; /* segments without a header after which there are no more */

void findings_add(struct findings *findings, enum finding kind, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	findings->count[kind]++;
	findings->tell(findings->context, kind, text);
}

const char *segment_kind_name(uint8_t kind)
{
	static const char *const names[SEGMENT_KINDS] = { "free", "log", "index", "blob" };

	return kind < SEGMENT_KINDS ? names[kind] : "unknown";
}

bool store_image_has(const struct store_image *image, uint32_t segment, uint64_t offset,
                     uint64_t size)
{
	uint64_t end = (uint64_t)image->super.segment_blocks << BLOCK_SHIFT;

	return segment < image->segment_count && offset >= BLOCK_SIZE && size > 0 && offset < end &&
	       size <= end - offset;
}

static bool is_zero(const uint8_t *data, size_t size)
{
	return data[0] == 0 && memcmp(data, data + 1, size - 1) == 0;
}

/* Superblocks. */

static void supers_tell(struct store_image *image)
{
	for (uint32_t i = 0; i < SUPER_COPIES; i++) {
		const struct image_super *copy = &image->supers[i];
		bool pair = (image->super.epoch & 1) == (i & 1); /* of the newest */

		if (copy->status == STATUS_IO) {
			findings_add(image->findings, FINDING_DAMAGE,
			             "superblock copy %u, block %u: the device cannot read it", i,
			             i);
		} else if (copy->status != STATUS_OK && !copy->zero) {
			findings_add(image->findings, FINDING_DAMAGE,
			             "superblock copy %u, block %u: damaged (another copy is good)",
			             i, i);
		} else if (copy->zero && (pair || image->super.epoch > 1)) {
			findings_add(image->findings, FINDING_DAMAGE,
			             "superblock copy %u, block %u: erased (another copy is good)",
			             i, i);
		} else if (!copy->zero && memcmp(copy->super.uuid, image->super.uuid, 16) != 0) {
			findings_add(image->findings, FINDING_DAMAGE,
			             "superblock copy %u, block %u: of another store", i, i);
		} else if (pair && copy->super.epoch != image->super.epoch) {
			findings_add(image->findings, FINDING_NOTE,
			             "superblock copy %u, block %u: older than its twin; the power "
			             "went between the two writes",
			             i, i);
		}
	}
}

static enum status supers_read(struct store_image *image)
{
	uint8_t *data = store_reader_slot(image->reader, 0);
	bool found = false, all_zero = true, damaged = false;
	uint32_t newest_format = 0;

	for (uint32_t i = 0; i < SUPER_COPIES; i++) {
		struct image_super *copy = &image->supers[i];

		copy->status = store_reader_get(image->reader, data, i, 1);
		if (copy->status != STATUS_OK)
			copy->status = STATUS_IO;
		else
			copy->status = superblock_decode(data, i, &copy->super, &copy->format);
		copy->zero = copy->status == STATUS_NOT_FOUND && is_zero(data, BLOCK_SIZE);
		all_zero = all_zero && copy->zero;
		damaged = damaged || copy->status == STATUS_CORRUPT || copy->status == STATUS_IO;
		if (copy->status == STATUS_UNSUPPORTED && copy->format >= newest_format)
			newest_format = copy->format;
		if (copy->status == STATUS_OK && (!found || copy->super.epoch > image->super.epoch))
			image->super = copy->super;
		found = found || copy->status == STATUS_OK;
	}
	if (newest_format > 0) {
		findings_add(image->findings, FINDING_FATAL,
		             "the store has format %u, or features of it, that this weir does not "
		             "know (it knows format %u): use a newer weir",
		             newest_format, FORMAT_VERSION);
		return STATUS_UNSUPPORTED;
	}
	if (!found && damaged) {
		findings_add(image->findings, FINDING_FATAL,
		             "no copy of the superblock is good: this cannot be opened");
		return STATUS_CORRUPT;
	}
	if (!found)
		return all_zero ? STATUS_NOT_FOUND : STATUS_INVALID;
	supers_tell(image);
	return STATUS_OK;
}

/* Roots. */

static bool root_fits(const struct store_image *image, const struct root *root, uint32_t stream,
                      uint32_t slot)
{
	return root->run == image->super.run && root->stream == stream &&
	       (root->sequence & 1) == slot;
}

/* What the four copies say, when `newest` is the one that counts. */
static void roots_tell(struct store_image *image, uint32_t stream)
{
	const struct root *newest = &image->roots[stream];

	for (uint32_t i = 0; i < IMAGE_SLOTS * ROOT_COPIES; i++) {
		uint32_t slot = i / ROOT_COPIES, copy = i % ROOT_COPIES;
		const struct image_root *seen = &image->root_copies[stream][slot][copy];
		const struct image_root *twin = &image->root_copies[stream][slot][1 - copy];
		bool is_newest = slot == (newest->sequence & 1);
		bool earlier =
		        !is_newest && twin->status == STATUS_OK && twin->root.run != newest->run;
		uint64_t block = root_block(newest->run, stream, slot, copy);
		bool good =
		        seen->status == STATUS_OK && root_fits(image, &seen->root, stream, slot);

		if (good && is_newest && seen->root.sequence != newest->sequence) {
			findings_add(image->findings, FINDING_NOTE,
			             "root of stream %u, copy %u, block %" PRIu64
			             ": older than its twin; the power went between the two writes",
			             stream, copy, block);
			continue;
		}
		if (good || seen->zero || (seen->status == STATUS_OK && !is_newest))
			continue; /* the other slot may be of an earlier run */
		/* Of a crash, of this run or of that other one, only what was being written. */
		findings_add(image->findings,
		             earlier || (!image->super.clean && (is_newest ? copy == 1 : copy == 0))
		                     ? FINDING_NOTE
		                     : FINDING_DAMAGE,
		             "root of stream %u, %s, copy %u, block %" PRIu64
		             ": damaged, or torn by a power cut (another is good)",
		             stream, is_newest ? "newest" : "the one before", copy, block);
	}
	if (image->root_copies[stream][newest->sequence & 1][1].zero)
		findings_add(image->findings, image->super.clean ? FINDING_DAMAGE : FINDING_NOTE,
		             "root of stream %u: its second copy was never written", stream);
}

static enum status roots_read(struct store_image *image, uint32_t stream)
{
	uint8_t *data = store_reader_slot(image->reader, 0);
	struct root *best = &image->roots[stream];
	bool found = false;

	for (uint32_t i = 0; i < IMAGE_SLOTS * ROOT_COPIES; i++) {
		uint32_t slot = i / ROOT_COPIES, copy = i % ROOT_COPIES;
		struct image_root *seen = &image->root_copies[stream][slot][copy];

		seen->status = store_reader_get(
		        image->reader, data, root_block(image->super.run, stream, slot, copy), 1);
		if (seen->status != STATUS_OK) {
			seen->status = STATUS_IO;
			continue;
		}
		seen->status = root_decode(data, copy, &seen->root);
		seen->zero = seen->status == STATUS_NOT_FOUND && is_zero(data, BLOCK_SIZE);
		if (seen->status != STATUS_OK || !root_fits(image, &seen->root, stream, slot))
			continue;
		if (!found || seen->root.sequence > best->sequence)
			*best = seen->root;
		found = true;
	}
	if (!found) {
		findings_add(image->findings, FINDING_FATAL,
		             "root of stream %u: no copy is good: this cannot be opened", stream);
		return STATUS_CORRUPT;
	}
	roots_tell(image, stream);
	if (image->super.clean && !best->clean)
		findings_add(image->findings, FINDING_DAMAGE,
		             "root of stream %u: the superblock says that the store was closed "
		             "cleanly, and the root does not",
		             stream);
	return STATUS_OK;
}

/* Bodies. */

static enum status body_read(struct store_image *image, const struct root *root, uint8_t *data)
{
	uint32_t at = 0;

	if (root->body_count == 0 || root->body_size > BUF_SIZE_MAX)
		return STATUS_CORRUPT;
	for (uint32_t i = 0; i < root->body_count; i++) {
		const struct root_extent *e = &root->body[i];
		enum status status;

		if (e->blocks > image->super.segment_blocks ||
		    at + e->blocks > BUF_SIZE_MAX >> BLOCK_SHIFT ||
		    !store_image_has(image, e->segment, (uint64_t)e->block << BLOCK_SHIFT,
		                     (uint64_t)e->blocks << BLOCK_SHIFT))
			return STATUS_CORRUPT;
		status = store_reader_get(image->reader, data + ((size_t)at << BLOCK_SHIFT),
		                          store_image_lba(image, e->segment, e->block), e->blocks);
		if (status != STATUS_OK)
			return status;
		image->segments[e->segment].counted += (uint64_t)e->blocks << BLOCK_SHIFT;
		at += e->blocks;
	}
	if (root->body_size > (uint64_t)at << BLOCK_SHIFT ||
	    crc32c(0, data, root->body_size) != root->body_crc)
		return STATUS_CORRUPT;
	return STATUS_OK;
}

static void body_segments(struct store_image *image, const struct body *body, uint32_t stream)
{
	for (uint32_t i = 0; i < body->segment_count; i++) {
		struct body_segment listed = body_segment_get(body, i);
		struct image_segment *segment = &image->segments[listed.segment];

		/* Given back by one stream and taken by another: the checkpoints are of two times.
		 */
		bool given_back = segment->listed && segment->generation > listed.generation;
		bool replaced = segment->listed && segment->generation != listed.generation &&
		                (given_back ? listed.live : segment->live) > 0;

		if (segment->listed && segment->generation == listed.generation &&
		    segment->kind != listed.kind && segment->live > 0 && listed.live > 0)
			findings_add(image->findings, FINDING_DAMAGE,
			             "segment %u: the checkpoint of stream %u says %s, another "
			             "says %s",
			             listed.segment, stream, segment_kind_name(listed.kind),
			             segment_kind_name(segment->kind));
		segment->reused = segment->reused || replaced;
		if (replaced && (given_back ? listed.kind : segment->kind) == SEGMENT_INDEX)
			findings_add(image->findings, FINDING_DAMAGE,
			             "segment %u: the checkpoint of stream %u uses it in another "
			             "life than that of another stream",
			             listed.segment, stream);
		if (given_back || (segment->listed && segment->live > 0 && listed.live == 0))
			continue;
		if (segment->listed && segment->generation < listed.generation)
			segment->live = 0;
		segment->listed = true;
		segment->generation = listed.generation;
		segment->kind = listed.kind;
		segment->live += listed.live;
	}
}

static void body_partitions(struct store_image *image, struct body *body, uint32_t stream)
{
	struct body_partition listed;

	while (body_partition_next(body, &listed)) {
		struct image_partition *partition = &image->partitions[listed.partition];

		if (listed.partition % image->super.stream_count != stream || partition->listed) {
			findings_add(
			        image->findings, FINDING_DAMAGE,
			        "partition %u: in the checkpoint of stream %u, whose it is not",
			        listed.partition, stream);
			continue;
		}
		partition->listed = true;
		partition->root = listed.root;
		partition->key_count = listed.key_count;
		for (uint32_t i = 0; i < listed.space_count; i++) {
			uint64_t count;
			uint8_t space;

			body_space_get(&listed, i, &space, &count);
			partition->counts[space] = count;
		}
	}
}

static enum status bodies_read(struct store_image *image)
{
	const struct body_limits limits = { image->segment_count, image->super.segment_blocks,
		                            image->super.partition_count };
	uint8_t *data = aligned_alloc(BLOCK_SIZE, BUF_SIZE_MAX);
	enum status status = data == NULL ? STATUS_NO_SPACE : STATUS_OK;

	for (uint32_t s = 0; status == STATUS_OK && s < image->super.stream_count; s++) {
		const struct root *root = &image->roots[s];
		struct body body;

		status = body_read(image, root, data);
		if (status == STATUS_OK)
			status = body_open(&body, data, root->body_size, &limits);
		if (status != STATUS_OK) {
			findings_add(image->findings, FINDING_FATAL,
			             "checkpoint of stream %u, segment %u, block %u: its list of "
			             "segments and partitions is damaged: this cannot be opened",
			             s, root->body[0].segment, root->body[0].block);
			break;
		}
		body_segments(image, &body, s);
		body_partitions(image, &body, s);
	}
	free(data);
	return status;
}

/* Headers. */

void store_image_needs_header(struct store_image *image, uint32_t number)
{
	struct image_segment *segment = &image->segments[number];

	if (segment->headless)
		findings_add(image->findings, FINDING_DAMAGE,
		             "segment %u (%s): its header is damaged", number,
		             segment_kind_name(segment->kind));
	segment->headless = false; /* it has been told */
}

static void header_seen(struct store_image *image, uint32_t number, const uint8_t *data)
{
	struct image_segment *segment = &image->segments[number];
	enum status status = segment_header_decode(data, number, &segment->header);
	const struct segment_header *header = &segment->header;
	struct frame_header frame;

	if (status != STATUS_OK) {
		if (segment->listed && segment->live > 0) {
			segment->headless = true;
			segment->reused = segment->kind != SEGMENT_INDEX && !image->super.clean;
			if (!segment->reused)
				store_image_needs_header(image, number);
		} else if (status == STATUS_CORRUPT)
			findings_add(image->findings, FINDING_NOTE,
			             "segment %u, not in use: its header is torn or damaged",
			             number);
		return;
	}
	if (segment->listed && header->generation != segment->generation) {
		bool older = header->generation < segment->generation;

		if (segment->live > 0 && segment->kind != SEGMENT_INDEX && !older &&
		    !image->super.clean) {
			segment->reused = true;
		} else if (segment->live > 0 || older) {
			findings_add(image->findings, FINDING_DAMAGE,
			             "segment %u (%s): its header is of generation %" PRIu64
			             ", and the checkpoint knows generation %" PRIu64,
			             number, segment_kind_name(segment->kind), header->generation,
			             segment->generation);
			return;
		}
		segment->listed = false; /* given back since, and used again */
	} else if (segment->listed && segment->live > 0 && header->kind != segment->kind) {
		findings_add(image->findings, FINDING_DAMAGE,
		             "segment %u: its header says %s, and the checkpoint %s", number,
		             segment_kind_name(header->kind), segment_kind_name(segment->kind));
	}
	segment->found = true;
	if (!segment->listed)
		segment->generation = header->generation;
	if (header->kind == SEGMENT_LOG &&
	    frame_header_decode(data + BLOCK_SIZE, &frame) == STATUS_OK &&
	    frame.generation == header->generation && frame.segment == number && frame.block == 1) {
		segment->first_lsn = frame.lsn;
		segment->first_durable = frame.durable_lsn;
	}
}

static void headers_read(struct store_image *image)
{
	uint32_t end = 0, at = 0;

	for (uint32_t s = 0; s < image->super.stream_count; s++)
		end = image->roots[s].touched > end ? image->roots[s].touched : end;
	for (uint32_t i = 0; i < image->segment_count; i++)
		end = image->segments[i].listed && i >= end ? i + 1 : end;
	while (at < image->segment_count && at < end + HEADER_GAP) {
		unsigned count = 0;

		for (; count < READER_READS_MAX && at + count < image->segment_count; count++)
			store_reader_add(image->reader, store_reader_slot(image->reader, count),
			                 store_image_lba(image, at + count, 0), 2);
		store_reader_run(image->reader);
		for (unsigned i = 0; i < count; i++) {
			if (image->reader->reads[i].status != STATUS_OK)
				findings_add(image->findings,
				             image->segments[at + i].listed ? FINDING_DAMAGE
				                                            : FINDING_NOTE,
				             "segment %u: the device cannot read its header",
				             at + i);
			else
				header_seen(image, at + i, store_reader_slot(image->reader, i));
			if (image->segments[at + i].found && at + i >= end)
				end = at + i + 1;
		}
		at += count;
	}
	image->segments_seen = at;
}

enum status store_image_open(struct store_image *image, struct store_reader *reader,
                             struct findings *findings)
{
	uint64_t blocks = reader->blk->geometry.block_count, segments;
	enum status status;

	*image = (struct store_image){ .reader = reader, .findings = findings };
	if (blocks < SEGMENT_FIRST_BLOCK)
		return STATUS_NO_SPACE;
	status = supers_read(image);
	if (status != STATUS_OK)
		return status;
	segments = (blocks - SEGMENT_FIRST_BLOCK) / image->super.segment_blocks;
	image->segment_count = (uint32_t)(segments < SEGMENTS_MAX ? segments : SEGMENTS_MAX);
	image->segments = calloc((size_t)image->segment_count + 1, sizeof(*image->segments));
	image->partitions = calloc(image->super.partition_count, sizeof(*image->partitions));
	if (image->segments == NULL || image->partitions == NULL)
		return STATUS_NO_SPACE;
	for (uint32_t s = 0; s < image->super.stream_count; s++) {
		enum status root_status = roots_read(image, s);

		status = status == STATUS_OK ? root_status : status;
	}
	if (status == STATUS_OK)
		status = bodies_read(image);
	if (status == STATUS_OK)
		headers_read(image);
	return status;
}

void store_image_close(struct store_image *image)
{
	free(image->segments);
	free(image->partitions);
	image->segments = NULL;
	image->partitions = NULL;
}
