/* SPDX-License-Identifier: Apache-2.0 */
/* weir check: whether a store that is not served is what was written, and what can be mended. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/store_check.h"
#include "base/assert.h"
#include "cli/offline.h"
#include "transport/clock.h"

enum { KEY_REPAIR = 256, KEY_YES };

struct check_command {
	struct cli_conf conf;
	const char *path;
	bool repair, yes, quiet;
	struct offline *offline;
	uint64_t started_ns, shown_ns;
	bool progress; /* stderr is a terminal */
};

static const struct argp_option options[] = {
	{ "repair", KEY_REPAIR, NULL, 0, "Mend what can be mended without guessing", 0 },
	{ "yes", KEY_YES, NULL, 0, "With --repair: do not ask", 0 },
	{ "quiet", 'q', NULL, 0, "Damage only, no notes and no summary", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct check_command *c = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &c->conf;
		return 0;
	case KEY_REPAIR:
		c->repair = true;
		return 0;
	case KEY_YES:
		c->yes = true;
		return 0;
	case 'q':
		c->quiet = true;
		return 0;
	default:
		return cli_take_word(key, arg, state, &c->path, "directory or device");
	}
}

static void hide_progress(struct check_command *c)
{
	if (c->shown_ns > c->started_ns)
		fprintf(stderr, "\r\033[K");
}

static void tell(void *context, enum finding kind, const char *text)
{
	struct check_command *c = context;

	if (kind == FINDING_NOTE && c->quiet)
		return;
	hide_progress(c);
	printf("%s: %s\n", kind == FINDING_NOTE ? "note" : "damage", text);
}

/* Only of what takes longer than a second, and not more often than four times in one. */
static void progress(void *context, uint64_t done, uint64_t total)
{
	struct check_command *c = context;
	uint64_t now_ns = clock_system()->now_ns(clock_system());
	uint64_t took_s = (now_ns - c->started_ns) / 1000000000;
	char size_done[CLI_SIZE_MAX], size_total[CLI_SIZE_MAX];

	if (!c->progress || took_s < 1 || now_ns - c->shown_ns < 250000000 || total == 0)
		return;
	done = done < total ? done : total;
	c->shown_ns = now_ns;
	fprintf(stderr, "\r\033[K%s of %s", cli_size(done, size_done), cli_size(total, size_total));
	if (done > 0)
		fprintf(stderr, ", %" PRIu64 " s left",
		        (uint64_t)((double)took_s * (double)(total - done) / (double)done));
	fflush(stderr);
}

static void summarize(const struct check_command *c, const struct store_check_result *r)
{
	uint64_t ms = (clock_system()->now_ns(clock_system()) - c->started_ns) / 1000000;
	char size[CLI_SIZE_MAX];

	printf("%s: %s, %s; %" PRIu64 " keys, %" PRIu64 " blobs, %" PRIu64 " expiries, %" PRIu64
	       " index pages; log tail %" PRIu64 " frames, %" PRIu64 " records; read %s in %" PRIu64
	       ".%03" PRIu64 " s; damage: %" PRIu64 "\n",
	       c->offline->file,
	       r->found[FINDING_DAMAGE] + r->found[FINDING_FATAL] == 0 ? "good" : "DAMAGED",
	       r->clean ? "closed cleanly" : "not closed cleanly (a server will recover it)",
	       r->keys, r->blobs, r->expiries, r->pages, r->frames, r->records,
	       cli_size(r->bytes, size), ms / 1000, ms % 1000,
	       r->found[FINDING_DAMAGE] + r->found[FINDING_FATAL]);
}

static enum cli_exit look(struct check_command *c, struct store_check_result *result)
{
	const struct store_check_options with = { .tell = tell,
		                                  .progress = progress,
		                                  .context = c };
	enum status status;

	c->started_ns = c->shown_ns = clock_system()->now_ns(clock_system());
	status = store_check_run(&c->offline->reader, &with, result);
	hide_progress(c);
	if (status != STATUS_OK)
		return offline_explain(c->offline, status);
	if (!c->quiet)
		summarize(c, result);
	fflush(stdout);
	if (result->found[FINDING_FATAL] > 0)
		return CLI_STORE;
	return result->found[FINDING_DAMAGE] > 0 ? CLI_NOT_SO : CLI_DONE;
}

static uint32_t stream_count(struct check_command *c)
{
	uint8_t *data = store_reader_slot(&c->offline->reader, 0);
	struct superblock super;
	uint32_t count = 1, format;
	uint64_t epoch = 0;

	for (uint32_t i = 0; i < SUPER_COPIES; i++) {
		if (store_reader_get(&c->offline->reader, data, i, 1) == STATUS_OK &&
		    superblock_decode(data, i, &super, &format) == STATUS_OK &&
		    super.epoch >= epoch) {
			epoch = super.epoch;
			count = super.stream_count;
		}
	}
	return count;
}

static bool agrees(const struct check_command *c, const char *question)
{
	return c->yes || offline_agrees(question);
}

static enum cli_exit mend_copies(struct check_command *c)
{
	const struct store_check_options with = { .tell = tell, .context = c };
	uint32_t repaired;
	enum status status;

	printf("repair: bad copies of superblocks and roots will be written again from good ones; "
	       "nothing is lost by that\n");
	if (!agrees(c, "write the copies"))
		return CLI_NOT_SO;
	status = store_repair_copies(&c->offline->reader, &with, &repaired);
	printf("repair: %u copies written\n", repaired);
	return status == STATUS_OK ? CLI_DONE : offline_explain(c->offline, status);
}

static enum cli_exit mend_logs(struct check_command *c, const struct store_check_result *found)
{
	struct store_recovery did;
	enum cli_exit exit;

	printf("repair: the store will be opened without %" PRIu64
	       " frames of its logs, which cannot be read: the writes in them, acknowledged as "
	       "they were, are lost, and keys have the values from before them. Then it is closed "
	       "cleanly, after which the frames are gone for good\n",
	       found->frames_lost);
	if (!agrees(c, "go on without them"))
		return CLI_NOT_SO;
	exit = offline_recover(c->offline, stream_count(c), &did);
	if (exit == CLI_DONE)
		printf("repair: replayed %" PRIu64 " frames, lost %" PRIu64 "; closed cleanly\n",
		       did.frames, did.frames_lost);
	return exit;
}

static enum cli_exit mend(struct check_command *c, const struct store_check_result *found)
{
	enum cli_exit exit = CLI_DONE;

	if (found->copies_bad > 0)
		exit = mend_copies(c);
	if (exit == CLI_DONE && found->frames_lost > 0)
		exit = mend_logs(c, found);
	return exit;
}

static enum cli_exit run(struct check_command *c)
{
	struct store_check_result result;
	enum cli_exit exit = offline_open(c->offline, c->path, !c->repair);

	if (exit != CLI_DONE)
		return exit;
	exit = look(c, &result);
	if (!c->repair || exit == CLI_ENVIRONMENT || exit == CLI_STORE)
		return exit;
	if (result.copies_bad == 0 && result.frames_lost == 0) {
		printf("repair: nothing to do%s\n",
		       exit == CLI_DONE ? ""
		                        : " that is safe: values that cannot be read stay as they "
		                          "are until they are written again or deleted");
		return exit;
	}
	exit = mend(c, &result);
	if (exit != CLI_DONE)
		return exit;
	offline_close(c->offline);
	exit = offline_open(c->offline, c->path, /* read_only= */ true);
	return exit == CLI_DONE ? look(c, &result) : exit;
}

enum cli_exit check_main(int argc, char **argv)
{
	static const struct argp_child children[] = { { &cli_conf_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.children = children,
		.args_doc = "[DIRECTORY|DEVICE]",
		.doc = "Reads everything that the store in DIRECTORY or on DEVICE (./data) refers "
		       "to and says what is not as it was written. Writes nothing without "
		       "--repair. "
		       "No server may have the store meanwhile.\vExit code: 0 good, 1 damage "
		       "found, "
		       "3 it could not be looked at, 4 damaged beyond opening, or of a newer weir.",
	};
	static struct conf conf;
	static struct offline offline;
	struct check_command c = { .offline = &offline };
	enum cli_exit exit;

	cli_parse(&argp, argc, argv, &c);
	exit = cli_conf_load(&c.conf, &conf);
	if (exit != CLI_DONE)
		return exit;
	c.path = c.path != NULL ? c.path : conf_text(&conf, CONF_STORAGE_PATH);
	c.progress = isatty(STDERR_FILENO) != 0;
	exit = run(&c);
	offline_close(&offline);
	return exit;
}
