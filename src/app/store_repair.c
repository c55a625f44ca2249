/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of superblocks and roots written again; nothing that is the only one of its kind. */
#include <inttypes.h>
#include <stdlib.h>

#include "app/store_check.h"
#include "base/assert.h"

struct repair {
	struct store_reader *reader;
	struct findings findings;
	uint32_t repaired;
	enum status status;
};

static void put(struct repair *repair, uint64_t block, const char *what)
{
	if (repair->status != STATUS_OK)
		return;
	repair->status =
	        store_reader_put(repair->reader, store_reader_slot(repair->reader, 0), block, 1);
	if (repair->status != STATUS_OK)
		return;
	repair->repaired++;
	findings_add(&repair->findings, FINDING_NOTE, "block %" PRIu64 ": wrote %s again", block,
	             what);
}

static void repair_supers(struct repair *repair, const struct store_image *image)
{
	for (uint32_t i = 0; i < SUPER_COPIES; i++) {
		const struct image_super *copy = &image->supers[i];
		bool pair = (image->super.epoch & 1) == (i & 1);

		if (copy->status == STATUS_OK && (!pair || copy->super.epoch == image->super.epoch))
			continue;
		if (copy->zero && !pair && image->super.epoch <= 1)
			continue;
		superblock_encode(&image->super, i, store_reader_slot(repair->reader, 0));
		put(repair, i, "a copy of the superblock");
	}
}

static void repair_roots(struct repair *repair, const struct store_image *image, uint32_t stream)
{
	const struct root *newest = &image->roots[stream];

	for (uint32_t i = 0; i < IMAGE_SLOTS * ROOT_COPIES; i++) {
		uint32_t slot = i / ROOT_COPIES, copy = i % ROOT_COPIES;
		const struct image_root *seen = &image->root_copies[stream][slot][copy];
		const struct image_root *twin = &image->root_copies[stream][slot][!copy];
		const struct root *from = newest;

		if (slot != (newest->sequence & 1)) {
			if (seen->status == STATUS_OK || seen->zero || twin->status != STATUS_OK)
				continue;
			from = &twin->root;
		} else if (seen->status == STATUS_OK && seen->root.run == newest->run &&
		           seen->root.sequence == newest->sequence) {
			continue;
		}
		root_encode(from, copy, store_reader_slot(repair->reader, 0));
		put(repair, root_block(newest->run, stream, slot, copy), "a copy of a root");
	}
}

static void tell_nothing(void *context, enum finding kind, const char *text)
{
	(void)context, (void)kind, (void)text;
}

enum status store_repair_copies(struct store_reader *reader,
                                const struct store_check_options *options, uint32_t *repaired)
{
	struct findings nothing = { .tell = tell_nothing };
	struct store_image *image = malloc(sizeof(*image));
	struct repair repair = {
		.reader = reader,
		.findings = { .tell = options->tell, .context = options->context },
	};

	*repaired = 0;
	if (image == NULL)
		return STATUS_NO_SPACE;
	repair.status = store_image_open(image, reader, &nothing);
	if (repair.status == STATUS_OK) {
		repair_supers(&repair, image);
		for (uint32_t s = 0; s < image->super.stream_count; s++)
			repair_roots(&repair, image, s);
	}
	*repaired = repair.repaired;
	store_image_close(image);
	free(image);
	return repair.status;
}
