/* SPDX-License-Identifier: Apache-2.0 */
/* weir dump: what is on the device of a store that is not served, for people or as JSON lines. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/store_check.h"
#include "app/store_walk.h"
#include "base/assert.h"
#include "base/macros.h"
#include "cli/offline.h"

enum { KEY_KEYS = 256, KEY_LOG, KEY_SUPER, KEY_SEGMENTS, KEY_JSON };

struct dump {
	struct cli_conf conf;
	const char *path;
	int what; /* one of the keys above */
	bool json;
	struct store_image image;
	struct walk_records records;
	struct store_replaced *replaced; /* by the logs */
	uint64_t damaged;
};

static const struct argp_option options[] = {
	{ "super", KEY_SUPER, NULL, 0, "Superblocks and roots (this is the default)", 0 },
	{ "segments", KEY_SEGMENTS, NULL, 0, "Segments: kind, generation, live bytes", 0 },
	{ "log", KEY_LOG, NULL, 0, "Frames and records of the logs, old ones too", 0 },
	{ "keys", KEY_KEYS, NULL, 0, "Keys of the last checkpoint, by partition", 0 },
	{ "json", KEY_JSON, NULL, 0, "A line of JSON for each; bytes of keys as code points", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct dump *d = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &d->conf;
		return 0;
	case KEY_SUPER:
	case KEY_SEGMENTS:
	case KEY_LOG:
	case KEY_KEYS:
		if (d->what != 0 && d->what != key)
			argp_error(state, "one thing at a time");
		d->what = key;
		return 0;
	case KEY_JSON:
		d->json = true;
		return 0;
	default:
		return cli_take_word(key, arg, state, &d->path, "directory or device");
	}
}

/*
 * A line is a list of fields: name=value, or a JSON object. Names are ours, so that only keys and
 * words need escapes.
 */
struct line {
	const struct dump *dump;
	bool begun;
};

static struct line line_begin(const struct dump *dump, const char *type)
{
	if (dump->json)
		printf("{\"type\":\"%s\"", type);
	else
		printf("%-9s", type);
	return (struct line){ .dump = dump, .begun = true };
}

static void line_number(struct line *line, const char *name, uint64_t value)
{
	printf(line->dump->json ? ",\"%s\":%" PRIu64 : " %s=%" PRIu64, name, value);
}

static void line_word(struct line *line, const char *name, const char *value)
{
	printf(line->dump->json ? ",\"%s\":\"%s\"" : " %s=%s", name, value);
}

static void line_bytes(struct line *line, const char *name, struct bytes bytes)
{
	bool json = line->dump->json;

	printf(json ? ",\"%s\":\"" : " %s=\"", name);
	for (size_t i = 0; i < bytes.size; i++) {
		uint8_t c = bytes.data[i];

		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
			putchar(c);
		else
			printf(json ? "\\u%04x" : "\\x%02x", c);
	}
	putchar('"');
}

static void line_end(struct line *line)
{
	assert(line->begun);
	printf(line->dump->json ? "}\n" : "\n");
}

/* Superblocks and roots. */

static const char *copy_state(enum status status, bool zero)
{
	if (zero)
		return "empty";
	return status == STATUS_OK            ? "good"
	       : status == STATUS_UNSUPPORTED ? "newer"
	       : status == STATUS_IO          ? "unreadable"
	                                      : "damaged";
}

static void dump_super(const struct dump *d, uint32_t copy)
{
	const struct image_super *seen = &d->image.supers[copy];
	const struct superblock *s = &seen->super;
	struct line line = line_begin(d, "super");
	char uuid[33];

	line_number(&line, "copy", copy);
	line_word(&line, "state", copy_state(seen->status, seen->zero));
	if (seen->status == STATUS_OK) {
		for (size_t i = 0; i < sizeof(s->uuid); i++)
			snprintf(uuid + 2 * i, 3, "%02x", s->uuid[i]);
		line_number(&line, "format", seen->format);
		line_word(&line, "uuid", uuid);
		line_number(&line, "epoch", s->epoch);
		line_number(&line, "run", s->run);
		line_number(&line, "clean", s->clean);
		line_number(&line, "streams", s->stream_count);
		line_number(&line, "partitions", s->partition_count);
		line_number(&line, "segment_blocks", s->segment_blocks);
		line_number(&line, "created_ms", s->created_ms);
		line_number(&line, "compatible", s->features.compatible);
		line_number(&line, "read_only", s->features.read_only);
		line_number(&line, "incompatible", s->features.incompatible);
	}
	line_end(&line);
}

static void dump_root(const struct dump *d, uint32_t stream, uint32_t slot, uint32_t copy)
{
	const struct image_root *seen = &d->image.root_copies[stream][slot][copy];
	const struct root *root = &seen->root;
	struct line line = line_begin(d, "root");

	line_number(&line, "stream", stream);
	line_number(&line, "slot", slot);
	line_number(&line, "copy", copy);
	line_number(&line, "block", root_block(d->image.super.run, stream, slot, copy));
	line_word(&line, "state", copy_state(seen->status, seen->zero));
	if (seen->status == STATUS_OK) {
		line_number(&line, "run", root->run);
		line_number(&line, "sequence", root->sequence);
		line_number(&line, "clean", root->clean);
		line_number(&line, "lsn", root->lsn);
		line_number(&line, "version_next", root->version_next);
		line_number(&line, "generation_next", root->generation_next);
		line_number(&line, "touched", root->touched);
		if (root->log_segment != UINT32_MAX) {
			line_number(&line, "log_segment", root->log_segment);
			line_number(&line, "log_block", root->log_block);
		}
		line_number(&line, "body_size", root->body_size);
		line_number(&line, "body_segment", root->body[0].segment);
		line_number(&line, "body_block", root->body[0].block);
		line_number(&line, "body_extents", root->body_count);
	}
	line_end(&line);
}

static void dump_supers(const struct dump *d)
{
	for (uint32_t i = 0; i < SUPER_COPIES; i++)
		dump_super(d, i);
	for (uint32_t s = 0; s < d->image.super.stream_count; s++) {
		for (uint32_t i = 0; i < IMAGE_SLOTS * ROOT_COPIES; i++)
			dump_root(d, s, i / ROOT_COPIES, i % ROOT_COPIES);
	}
}

/* Segments. */

static void dump_segments(const struct dump *d)
{
	for (uint32_t i = 0; i < d->image.segments_seen; i++) {
		const struct image_segment *s = &d->image.segments[i];
		struct line line;

		if (!s->found && !s->listed)
			continue;
		line = line_begin(d, "segment");
		line_number(&line, "segment", i);
		line_word(&line, "kind", segment_kind_name(s->listed ? s->kind : s->header.kind));
		line_number(&line, "generation", s->generation);
		if (s->found) {
			line_number(&line, "run", s->header.run);
			line_number(&line, "stream", s->header.stream);
		}
		line_number(&line, "listed", s->listed);
		line_number(&line, "live", s->live);
		if (s->first_lsn != 0)
			line_number(&line, "first_lsn", s->first_lsn);
		line_end(&line);
	}
}

/* Log. */

static const char *record_name(uint8_t type)
{
	static const char *const names[] = {
		"?",       "put",     "delete", "clear",        "free",
		"prepare", "resolve", "moved",  "prepared-put", "prepared-delete",
	};

	_Static_assert(array_count(names) == RECORD_PREPARED_DELETE + 1, "a name for each");
	return type < array_count(names) ? names[type] : "?";
}

static void dump_record(const struct dump *d, const struct frame_header *frame, uint32_t at,
                        const struct record *record)
{
	struct line line = line_begin(d, "record");

	line_number(&line, "lsn", frame->lsn);
	line_number(&line, "segment", frame->segment);
	line_number(&line, "offset", ((uint64_t)frame->block << BLOCK_SHIFT) + at);
	line_word(&line, "does", record_name(record->type));
	if (record->type == RECORD_FREE && record->key.size == sizeof(uint64_t))
		line_number(&line, "of_location", get64(record->key.data));
	else
		line_bytes(&line, "key", record->key);
	line_number(&line, "version", record->version);
	if (record->expires_ms != 0)
		line_number(&line, "expires_ms", record->expires_ms);
	line_number(&line, "kind", record->flags & RECORD_KIND_MASK);
	line_number(&line, "blob", (record->flags & RECORD_BLOB) != 0);
	line_number(&line, "value_size", record->value.size);
	line_end(&line);
}

static void see_frame(void *context, const struct frame_header *frame, const uint8_t *data)
{
	const struct dump *d = context;
	uint32_t seed = record_seed(frame->generation, frame->segment);
	uint32_t at = FRAME_HEADER_SIZE;
	struct line line = line_begin(d, "frame");

	line_number(&line, "lsn", frame->lsn);
	line_number(&line, "durable_lsn", frame->durable_lsn);
	line_number(&line, "segment", frame->segment);
	line_number(&line, "block", frame->block);
	line_number(&line, "size", frame->size);
	line_number(&line, "records", frame->record_count);
	line_end(&line);
	while (at < frame->size) {
		struct record record;
		size_t used;
		uint32_t crc;

		if (record_decode(data + at, frame->size - at, seed,
		                  (frame->block << BLOCK_SHIFT) + at, &record, &used,
		                  &crc) != STATUS_OK)
			unreachable(); /* the walk has checked the frame */
		dump_record(d, frame, at, &record);
		at += (uint32_t)used;
	}
}

static enum status dump_log(struct dump *d)
{
	struct walk_log walk;
	enum status status = walk_log_open(&walk, &d->image);

	walk.context = d;
	walk.frame = see_frame;
	for (uint32_t i = 0; status == STATUS_OK && i < d->image.segments_seen; i++) {
		if (!d->image.segments[i].found || d->image.segments[i].header.kind != SEGMENT_LOG)
			continue;
		walk.segment = i;
		walk.block = 1;
		walk.lsn = 0;
		status = walk_log_run(&walk);
	}
	walk_log_close(&walk);
	return status;
}

/* Keys. */

/* Its record is not there any more, and need not be: the log has something newer of the key. */
static void dump_replaced(struct dump *d, uint32_t partition, struct bytes key, struct location l)
{
	struct line line;

	walk_records_run(&d->records); /* those before it */
	line = line_begin(d, "key");
	line_number(&line, "partition", partition);
	line_bytes(&line, "key", key);
	line_number(&line, "segment", l.segment);
	line_number(&line, "offset", l.offset);
	line_word(&line, "state", "replaced");
	line_end(&line);
}

static void see_entry(void *context, uint32_t partition, struct bytes key, uint64_t value)
{
	struct dump *d = context;
	struct location l = location_unpack(value);

	if (key.size == 0 || key.data[0] == KV_SPACE_ENGINE)
		return;
	if (store_replaced_has(d->replaced, key, l.segment))
		dump_replaced(d, partition, key, l);
	else if (walk_location_is_sound(&d->image, l))
		walk_records_add(&d->records, partition, key, value);
	else
		d->damaged++;
}

static void see_refs(void *context, const struct walk_ref *refs, uint32_t count)
{
	const struct dump *d = context;

	for (uint32_t i = 0; i < count; i++) {
		const struct walk_ref *ref = &refs[i];
		struct location l = location_unpack(ref->location);
		struct line line = line_begin(d, "key");

		line_number(&line, "partition", ref->partition);
		line_bytes(&line, "key", bytes_of(d->records.keys + ref->key, ref->key_size));
		line_number(&line, "segment", l.segment);
		line_number(&line, "offset", l.offset);
		if (ref->good) {
			line_number(&line, "version", ref->version);
			if (ref->expires_ms != 0)
				line_number(&line, "expires_ms", ref->expires_ms);
			line_number(&line, "kind", ref->flags & RECORD_KIND_MASK);
			line_number(&line, "blob", (ref->flags & RECORD_BLOB) != 0);
			line_number(&line, "value_size", ref->value_size);
		} else {
			line_word(&line, "state", "damaged");
		}
		line_end(&line);
	}
}

static enum status dump_keys(struct dump *d)
{
	struct walk_index index;
	enum status status = walk_index_open(&index, &d->image);

	if (status == STATUS_OK)
		status = walk_records_open(&d->records, &d->image);
	if (status == STATUS_OK)
		status = store_replaced_open(&d->replaced, &d->image);
	index.context = d->records.context = d;
	index.entry = see_entry;
	d->records.refs = see_refs;
	for (uint32_t i = 0; status == STATUS_OK && i < d->image.super.partition_count; i++) {
		if (!d->image.partitions[i].listed)
			continue;
		walk_index_run(&index, i);
		walk_records_run(&d->records);
	}
	store_replaced_close(d->replaced);
	walk_records_close(&d->records);
	walk_index_close(&index);
	return status;
}

static void hear(void *context, enum finding kind, const char *text)
{
	struct dump *d = context;

	if (kind == FINDING_NOTE)
		return;
	d->damaged++;
	cli_error("%s", text);
}

static enum cli_exit run(struct dump *d, struct offline *offline)
{
	struct findings findings = { .tell = hear, .context = d };
	enum cli_exit exit = offline_open(offline, d->path, /* read_only= */ true);
	enum status status;

	if (exit != CLI_DONE)
		return exit;
	status = store_image_open(&d->image, &offline->reader, &findings);
	if (d->what == KEY_SUPER &&
	    (status == STATUS_OK || status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED))
		dump_supers(d);
	else if (status == STATUS_OK && d->what == KEY_SEGMENTS)
		dump_segments(d);
	else if (status == STATUS_OK && d->what == KEY_LOG)
		status = dump_log(d);
	else if (status == STATUS_OK && d->what == KEY_KEYS)
		status = dump_keys(d);
	store_image_close(&d->image);
	if (status != STATUS_OK)
		return offline_explain(offline, status);
	return d->damaged > 0 ? CLI_NOT_SO : CLI_DONE;
}

enum cli_exit dump_main(int argc, char **argv)
{
	static const struct argp_child children[] = { { &cli_conf_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.children = children,
		.args_doc = "[DIRECTORY|DEVICE]",
		.doc = "Lists what is on the device of a store (./data) that no server has. Writes "
		       "nothing.\vWhat is damaged is said on stderr, and left out; exit code 1.",
	};
	static struct conf conf;
	static struct dump dump;
	static struct offline offline;
	enum cli_exit exit;

	cli_parse(&argp, argc, argv, &dump);
	exit = cli_conf_load(&dump.conf, &conf);
	if (exit != CLI_DONE)
		return exit;
	dump.path = dump.path != NULL ? dump.path : conf_text(&conf, CONF_STORAGE_PATH);
	if (dump.what == 0)
		dump.what = KEY_SUPER;
	exit = run(&dump, &offline);
	offline_close(&offline);
	return exit;
}
