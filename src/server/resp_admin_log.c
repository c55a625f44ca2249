/* SPDX-License-Identifier: Apache-2.0 */
/* SLOWLOG and LATENCY, and what they keep of each call that ends. */
#include <stdio.h>
#include <strings.h>

#include "base/assert.h"
#include "base/macros.h"
#include "core/recent.h"
#include "server/number.h"
#include "server/resp_admin_internal.h"

enum { SLOW_COUNT_DEFAULT = 10 };

static void put_word(struct admin_slow *slow, uint32_t word, struct bytes text)
{
	size_t used = 0, size = text.size < ADMIN_SLOW_WORD ? text.size : ADMIN_SLOW_WORD;
	char cut[48];
	int more = 0;

	for (uint32_t i = 0; i < word; i++)
		used += slow->word_sizes[i];
	if (size > ADMIN_SLOW_TEXT - used)
		size = ADMIN_SLOW_TEXT - used;
	memcpy(slow->text + used, text.data, size);
	used += size;
	if (size < text.size)
		more = snprintf(cut, sizeof(cut), "... (%zu more bytes)", text.size - size);
	if ((size_t)more <= ADMIN_SLOW_TEXT - used)
		memcpy(slow->text + used, cut, (size_t)more);
	else
		more = 0;
	slow->word_sizes[word] = (uint16_t)(size + (size_t)more);
}

/* Whether a word of a call may not be told: passwords, and all about users. */
static bool is_secret(const struct resp_call *call, uint32_t word)
{
	static const char *const settings[] = { "requirepass", "masterauth", "masteruser" };
	const struct bytes *argv = call->argv;

	if (resp_word_is(argv[0], "auth"))
		return word >= 1;
	if (resp_word_is(argv[0], "acl"))
		return word >= 2 && resp_word_is(argv[1], "setuser");
	if (resp_word_is(argv[0], "hello"))
		return (word >= 3 && resp_word_is(argv[word - 1], "auth")) ||
		       (word >= 4 && resp_word_is(argv[word - 2], "auth"));
	for (uint32_t i = 0; i < array_count(settings); i++) {
		if (word >= 3 && resp_word_is(argv[0], "config") &&
		    resp_word_is(argv[word - 1], settings[i]))
			return true;
	}
	return false;
}

/* Two workers' clocks are read at different times: never less than nothing. */
static uint64_t span_us(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? (to_ns - from_ns) / 1000 : 0;
}

/* For those who look at all faces: the command and its first word, which is a key as a rule. */
static void tell_slow(const struct resp_call *call, const struct admin_slow *slow)
{
	struct worker *worker = call->server->worker;
	char text[RECENT_TEXT_MAX + 1];
	int size;

	if (worker->slow == NULL)
		return;
	size = snprintf(text, sizeof(text), "resp %.*s", slow->word_sizes[0], slow->text);
	if (slow->word_count > 1)
		snprintf(text + size, sizeof(text) - (size_t)size, " %.*s", slow->word_sizes[1],
		         slow->text + slow->word_sizes[0]);
	recent_put(worker->slow, slow->wall_ms, slow->duration_us,
	           bytes_of(text, strnlen(text, sizeof(text))));
}

static void slow_add(struct resp_admin *admin, const struct resp_call *call, uint64_t duration_us)
{
	struct admin_slow *slow = &admin->slow[admin->slow_next++ % ADMIN_SLOW_MAX];
	const struct resp_connection *connection = call->connection;
	uint32_t words = call->argc < ADMIN_SLOW_WORDS ? call->argc : ADMIN_SLOW_WORDS;
	uint64_t now_ns = call->server->worker->now_ns;
	char more[48];

	*slow = (struct admin_slow){ .id = admin->slow_id++,
		                     .wall_ms = call->server->worker->wall_ms,
		                     .duration_us = duration_us,
		                     .waited_us = span_us(call->arrived_ns, call->started_ns),
		                     .read_us = span_us(call->started_ns, call->visited_ns),
		                     .commit_us = span_us(call->visited_ns, now_ns),
		                     .client_id = connection->id,
		                     .db = call->db,
		                     .user_size = connection->user->name_size,
		                     .word_count = words,
		                     .name_size = connection->name_size };
	memcpy(slow->name, connection->name, connection->name_size);
	memcpy(slow->user, connection->user->name, slow->user_size);
	if (connection->stream != NULL)
		snprintf(slow->peer, sizeof(slow->peer), "%s", connection->stream->peer);
	for (uint32_t i = 0; i < words; i++)
		put_word(slow, i, is_secret(call, i) ? BYTES("(redacted)") : call->argv[i]);
	if (call->argc > words) {
		int size = snprintf(more, sizeof(more), "... (%u more arguments)",
		                    call->argc - words + 1);

		slow->word_sizes[words - 1] = 0;
		put_word(slow, words - 1, bytes_of(more, (size_t)size));
	}
	if (admin->slow_count < ADMIN_SLOW_MAX)
		admin->slow_count++;
	tell_slow(call, slow);
}

void admin_latency_add(struct resp_admin *admin, const char *name, uint32_t ms)
{
	struct admin_latency *latency = admin->latencies;
	uint64_t wall_s = admin->server->worker->wall_ms / 1000;

	while (latency->name != NULL && strcmp(latency->name, name) != 0) {
		if (++latency == admin->latencies + ADMIN_LATENCY_EVENTS)
			return;
	}
	latency->name = name;
	if (latency->max_ms < ms)
		latency->max_ms = ms;
	if (latency->count > 0) {
		uint32_t last = (latency->next + ADMIN_LATENCY_SAMPLES - 1) % ADMIN_LATENCY_SAMPLES;

		if (latency->samples[last].wall_s == wall_s) { /* one a second: the worst */
			if (latency->samples[last].ms < ms)
				latency->samples[last].ms = ms;
			return;
		}
	}
	latency->samples[latency->next].wall_s = wall_s;
	latency->samples[latency->next].ms = ms;
	latency->next = (latency->next + 1) % ADMIN_LATENCY_SAMPLES;
	if (latency->count < ADMIN_LATENCY_SAMPLES)
		latency->count++;
}

static void count_error(struct resp_admin *admin, const char *code)
{
	for (uint32_t i = 0; i < ADMIN_ERRORS_MAX; i++) {
		struct admin_error *error = &admin->errors[i];

		if (error->count > 0 && strcmp(error->code, code) != 0)
			continue;
		snprintf(error->code, sizeof(error->code), "%s", code);
		error->count++;
		return;
	}
}

static void count_call(struct resp_admin *admin, const struct resp_call *call, uint64_t duration_us)
{
	uint32_t id = acl_command_id(&admin->acl, call->command_index, call->command);
	unsigned bucket = duration_us > 1 ? 64 - (unsigned)__builtin_clzll(duration_us - 1) : 0;
	struct admin_command_sum *command = &admin->commands[id];

	if (call->phase != RESP_CALL_RUNNING) {
		command->stats.rejected++;
		return;
	}
	command->stats.calls++;
	command->stats.usec += duration_us;
	command->stats.failed += call->failed;
	if (admin->latency_tracked)
		command->buckets[bucket < ADMIN_BUCKETS ? bucket : ADMIN_BUCKETS - 1]++;
}

void admin_observe(struct resp_call *call, uint64_t duration_ns)
{
	struct resp_admin *admin = admin_of(call);
	uint64_t duration_us = duration_ns / 1000;

	if (call->failed)
		count_error(admin, call->error_code);
	if (call->command == NULL)
		return;
	count_call(admin, call, duration_us);
	if (call->phase != RESP_CALL_RUNNING)
		return;
	if (admin->slow_after_us >= 0 && duration_us >= (uint64_t)admin->slow_after_us &&
	    !(call->command->flags & RESP_SKIP_SLOWLOG) && admin->slow_max > 0)
		slow_add(admin, call, duration_us);
	if (admin->latency_after_ms > 0 && duration_us >= (uint64_t)admin->latency_after_ms * 1000)
		admin_latency_add(admin,
		                  call->command->flags & RESP_FAST ? "fast-command" : "command",
		                  (uint32_t)(duration_us / 1000));
}

/* SLOWLOG: of all workers, newest first. */
struct slow_get {
	struct admin_tour tour;
	uint32_t count;
	bool detailed; /* WEIR.SLOWLOG */
};

static uint32_t slow_kept(const struct resp_admin *admin)
{
	return admin->slow_count < admin->slow_max ? admin->slow_count : admin->slow_max;
}

static void get_step(struct resp_call *call, struct resp_admin *admin)
{
	struct slow_get *get = RESP_STATE(call, struct slow_get);
	uint64_t *at = &get->tour.cursor;

	while (*at < slow_kept(admin) && *at < get->count) {
		uint32_t slot = (uint32_t)(admin->slow_next - 1 - *at) % ADMIN_SLOW_MAX;

		if (!admin_tour_text(&get->tour, &admin->slow[slot], sizeof(struct admin_slow))) {
			get->tour.again = true;
			return;
		}
		++*at;
		get->tour.count++;
	}
	*at = 0;
}

static void reply_slow(struct resp_call *call, const struct admin_slow *slow)
{
	const char *text = slow->text;

	resp_reply_array(call, 6);
	resp_reply_i64(call, (int64_t)slow->id);
	resp_reply_i64(call, (int64_t)slow->wall_ms / 1000);
	resp_reply_i64(call, (int64_t)slow->duration_us);
	resp_reply_array(call, slow->word_count);
	for (uint32_t i = 0; i < slow->word_count; i++) {
		resp_reply_bulk(call, bytes_of(text, slow->word_sizes[i]));
		text += slow->word_sizes[i];
	}
	resp_reply_text(call, slow->peer);
	resp_reply_bulk(call, bytes_of(slow->name, slow->name_size));
}

static void reply_number(struct resp_call *call, const char *name, uint64_t value)
{
	resp_reply_text(call, name);
	resp_reply_i64(call, (int64_t)value);
}

static void reply_words(struct resp_call *call, const struct admin_slow *slow)
{
	const char *text = slow->text;

	resp_reply_text(call, "words");
	resp_reply_array(call, slow->word_count);
	for (uint32_t i = 0; i < slow->word_count; i++) {
		resp_reply_bulk(call, bytes_of(text, slow->word_sizes[i]));
		text += slow->word_sizes[i];
	}
}

static void reply_detailed(struct resp_call *call, const struct admin_slow *slow)
{
	resp_reply_map(call, 12);
	reply_number(call, "id", slow->id);
	reply_number(call, "time_ms", slow->wall_ms);
	reply_number(call, "waited_us", slow->waited_us);
	reply_number(call, "duration_us", slow->duration_us);
	reply_number(call, "read_us", slow->read_us);
	reply_number(call, "commit_us", slow->commit_us);
	reply_number(call, "db", slow->db);
	reply_words(call, slow);
	reply_number(call, "client_id", slow->client_id);
	resp_reply_text(call, "client");
	resp_reply_text(call, slow->peer);
	resp_reply_text(call, "client_name");
	resp_reply_bulk(call, bytes_of(slow->name, slow->name_size));
	resp_reply_text(call, "user");
	resp_reply_bulk(call, bytes_of(slow->user, slow->user_size));
}

static struct admin_slow *newest(struct admin_tour *tour)
{
	struct admin_slow *slow, *best = NULL;
	struct admin_page *page = NULL;
	uint32_t at;

	while ((slow = admin_tour_record(tour, sizeof(*slow), &page, &at)) != NULL) {
		if (slow->wall_ms > 0 && (best == NULL || slow->wall_ms > best->wall_ms ||
		                          (slow->wall_ms == best->wall_ms && slow->id > best->id)))
			best = slow;
	}
	return best;
}

static void get_home(struct resp_call *call)
{
	struct slow_get *get = RESP_STATE(call, struct slow_get);
	uint64_t count = get->tour.count < get->count ? get->tour.count : get->count;

	resp_reply_array(call, count);
	for (; count > 0; count--) {
		struct admin_slow *slow = newest(&get->tour);

		assert(slow != NULL);
		if (get->detailed)
			reply_detailed(call, slow);
		else
			reply_slow(call, slow);
		slow->wall_ms = 0;
	}
	admin_tour_pages_free(&get->tour);
}

/* The count, if any, is the word at `index`. */
static void slow_tell(struct resp_call *call, uint32_t index, bool detailed)
{
	struct slow_get *get = RESP_STATE(call, struct slow_get);
	int64_t count = SLOW_COUNT_DEFAULT;

	if (call->argc > index && (!number_parse_int64(call->argv[index], &count) || count < -1)) {
		resp_reply_error(call, "ERR count should be greater than or equal to -1");
	} else {
		get->detailed = detailed;
		get->count = count < 0 || count > ADMIN_SLOW_MAX ? ADMIN_SLOW_MAX : (uint32_t)count;
		if (admin_tour_pages(call, 0)) {
			admin_tour_start(call, get_step, get_home);
			return;
		}
	}
	resp_call_done(call);
}

static void slow_get_start(struct resp_call *call)
{
	if (call->argc <= 3) {
		slow_tell(call, 2, false);
		return;
	}
	resp_reply_error(call, "ERR unknown subcommand or wrong number of arguments for 'get'. Try "
	                       "SLOWLOG HELP.");
	resp_call_done(call);
}

static void weir_slowlog_start(struct resp_call *call)
{
	if (call->argc <= 2) {
		slow_tell(call, 1, true);
		return;
	}
	resp_reply_syntax_error(call);
	resp_call_done(call);
}

static void count_step(struct resp_call *call, struct resp_admin *admin)
{
	admin_tour(call)->count += slow_kept(admin);
}

static void count_home(struct resp_call *call)
{
	resp_reply_i64(call, (int64_t)admin_tour(call)->count);
}

static void slow_count_start(struct resp_call *call)
{
	admin_tour_start(call, count_step, count_home);
}

static void slow_reset_step(struct resp_call *call, struct resp_admin *admin)
{
	(void)call;
	admin->slow_count = 0;
}

static void ok_home(struct resp_call *call)
{
	resp_reply_ok(call);
}

static void slow_reset_start(struct resp_call *call)
{
	admin_tour_start(call, slow_reset_step, ok_home);
}

static void slow_help_run(struct resp_call *call)
{
	static const char *const lines[] = {
		"GET [<count>]",
		"    Tells the newest slow calls (10; -1: all): id, time, microseconds, words,",
		"    address and name of the client.",
		"LEN",
		"    Counts the slow calls that are kept.",
		"RESET",
		"    Forgets them.",
	};

	admin_reply_help(call, "SLOWLOG", lines, array_count(lines));
}

/* LATENCY: of this worker. */

static const struct admin_latency *latency_find(const struct resp_admin *admin, struct bytes name)
{
	for (uint32_t i = 0; i < ADMIN_LATENCY_EVENTS; i++) {
		const struct admin_latency *latency = &admin->latencies[i];

		if (latency->name != NULL && resp_word_is(name, latency->name))
			return latency;
	}
	return NULL;
}

static void latest_run(struct resp_call *call)
{
	const struct resp_admin *admin = admin_of(call);
	uint32_t count = 0;

	while (count < ADMIN_LATENCY_EVENTS && admin->latencies[count].name != NULL)
		count++;
	resp_reply_array(call, count);
	for (uint32_t i = 0; i < count; i++) {
		const struct admin_latency *latency = &admin->latencies[i];
		uint32_t last = (latency->next + ADMIN_LATENCY_SAMPLES - 1) % ADMIN_LATENCY_SAMPLES;

		resp_reply_array(call, 4);
		resp_reply_text(call, latency->name);
		resp_reply_i64(call, (int64_t)latency->samples[last].wall_s);
		resp_reply_i64(call, latency->samples[last].ms);
		resp_reply_i64(call, latency->max_ms);
	}
}

static void history_run(struct resp_call *call)
{
	const struct admin_latency *latency = latency_find(admin_of(call), call->argv[2]);
	uint32_t count = latency != NULL ? latency->count : 0;

	resp_reply_array(call, count);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t at =
		        (latency->next + ADMIN_LATENCY_SAMPLES - count + i) % ADMIN_LATENCY_SAMPLES;

		resp_reply_array(call, 2);
		resp_reply_i64(call, (int64_t)latency->samples[at].wall_s);
		resp_reply_i64(call, latency->samples[at].ms);
	}
}

static bool is_reset(const struct resp_call *call, const char *name)
{
	for (uint32_t i = 2; i < call->argc; i++) {
		if (resp_word_is(call->argv[i], name))
			return true;
	}
	return call->argc == 2;
}

/* The free ones are behind those in use. */
static void latency_reset_step(struct resp_call *call, struct resp_admin *admin)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < ADMIN_LATENCY_EVENTS && admin->latencies[i].name; i++) {
		if (is_reset(call, admin->latencies[i].name))
			admin_tour(call)->count++;
		else
			admin->latencies[kept++] = admin->latencies[i];
	}
	memset(&admin->latencies[kept], 0,
	       (ADMIN_LATENCY_EVENTS - kept) * sizeof(admin->latencies[0]));
}

static void latency_reset_start(struct resp_call *call)
{
	admin_tour_start(call, latency_reset_step, count_home);
}

static void doctor_run(struct resp_call *call)
{
	const struct resp_admin *admin = admin_of(call);
	char text[1024];
	struct admin_text report = { text, sizeof(text), 0, false };

	if (admin->latency_after_ms == 0) {
		admin_put(&report, "Latency is not watched. CONFIG SET latency-monitor-threshold "
		                   "<milliseconds> watches it.\n");
	} else if (admin->latencies[0].name == NULL) {
		admin_put(&report, "No call has taken %lld ms or more.\n",
		          (long long)admin->latency_after_ms);
	}
	for (uint32_t i = 0; i < ADMIN_LATENCY_EVENTS && admin->latencies[i].name; i++)
		admin_put(&report, "%s: %u seconds with slow calls, the worst of %u ms\n",
		          admin->latencies[i].name, admin->latencies[i].count,
		          admin->latencies[i].max_ms);
	resp_reply_verbatim(call, "txt", bytes_of(text, report.used));
}

static void graph_run(struct resp_call *call)
{
	resp_reply_error(call, "ERR LATENCY GRAPH is not supported; use LATENCY HISTORY");
}

/* A command stands for its subcommands, too. */
static bool is_shown(const struct resp_call *call, const struct admin_sum *sum, uint32_t id)
{
	const char *name = admin_of(call)->acl.commands[id]->name;

	if (sum->commands[id].stats.calls == 0)
		return false;
	for (uint32_t i = 2; i < call->argc; i++) {
		if (resp_word_is(call->argv[i], name) ||
		    (call->argv[i].size == strcspn(name, "|") &&
		     strncasecmp((const char *)call->argv[i].data, name, call->argv[i].size) == 0))
			return true;
	}
	return call->argc == 2;
}

/* As Redis: how many calls took at most so long, where that number grows. */
static void reply_histogram(struct resp_call *call, const struct admin_command_sum *command)
{
	uint64_t seen = 0, steps = 0;

	for (uint32_t b = 0; b < ADMIN_BUCKETS; b++)
		steps += command->buckets[b] > 0;
	resp_reply_map(call, 2);
	resp_reply_text(call, "calls");
	resp_reply_i64(call, (int64_t)command->stats.calls);
	resp_reply_text(call, "histogram_usec");
	resp_reply_map(call, steps);
	for (uint32_t b = 0; b < ADMIN_BUCKETS; b++) {
		if (command->buckets[b] == 0)
			continue;
		seen += command->buckets[b];
		resp_reply_i64(call, (int64_t)(1ull << b));
		resp_reply_i64(call, (int64_t)seen);
	}
}

static void histogram_home(struct resp_call *call)
{
	const struct resp_acl *acl = &admin_of(call)->acl;
	const struct admin_sum *sum = admin_sum(call);
	uint64_t count = 0;

	for (uint32_t id = 0; id < acl->command_count; id++)
		count += is_shown(call, sum, id);
	resp_reply_map(call, count);
	for (uint32_t id = 0; id < acl->command_count; id++) {
		if (!is_shown(call, sum, id))
			continue;
		resp_reply_text(call, acl->commands[id]->name);
		reply_histogram(call, &sum->commands[id]);
	}
	admin_tour_pages_free(admin_tour(call));
}

static void histogram_start(struct resp_call *call)
{
	if (!admin_gather(call, histogram_home))
		resp_call_done(call);
}

static void latency_help_run(struct resp_call *call)
{
	static const char *const lines[] = {
		"DOCTOR",
		"    Judges the latency.",
		"HISTOGRAM [COMMAND ...]",
		"    Tells how long commands took, in microseconds.",
		"HISTORY <event>",
		"    Tells the slow calls of an event over time.",
		"LATEST",
		"    Tells the last slow call of each event.",
		"RESET [<event> ...]",
		"    Forgets events.",
	};

	admin_reply_help(call, "LATENCY", lines, array_count(lines));
}

enum {
	ADMIN = RESP_ADMIN | RESP_NOSCRIPT | RESP_LOADING | RESP_STALE | RESP_NEEDS_ADMIN,
	SLOW = RESP_ADMIN | RESP_LOADING | RESP_STALE | RESP_NEEDS_ADMIN,
	HELP = RESP_LOADING | RESP_STALE,
};

// clang-format off
static const struct resp_command slowlog_rows[] = {
	{ .name = "slowlog|get", .arity = -2, .flags = SLOW, .start = slow_get_start },
	{ .name = "slowlog|help", .arity = 2, .flags = HELP, .run = slow_help_run },
	{ .name = "slowlog|len", .arity = 2, .flags = SLOW, .start = slow_count_start },
	{ .name = "slowlog|reset", .arity = 2, .flags = SLOW, .start = slow_reset_start },
};

static const struct resp_command latency_rows[] = {
	{ .name = "latency|doctor", .arity = 2, .flags = ADMIN, .run = doctor_run },
	{ .name = "latency|graph", .arity = 3, .flags = ADMIN, .run = graph_run },
	{ .name = "latency|help", .arity = 2, .flags = HELP, .run = latency_help_run },
	{ .name = "latency|histogram", .arity = -2, .flags = ADMIN, .start = histogram_start },
	{ .name = "latency|history", .arity = 3, .flags = ADMIN, .run = history_run },
	{ .name = "latency|latest", .arity = 2, .flags = ADMIN, .run = latest_run },
	{ .name = "latency|reset", .arity = -2, .flags = ADMIN, .start = latency_reset_start },
};

static const struct resp_command commands[] = {
	{ .name = "slowlog", .arity = -2, .subcommands = slowlog_rows,
	  .subcommand_count = array_count(slowlog_rows) },
	{ .name = "latency", .arity = -2, .subcommands = latency_rows,
	  .subcommand_count = array_count(latency_rows) },
	{ .name = "weir.slowlog", .arity = -1, .flags = SLOW, .start = weir_slowlog_start },
};
// clang-format on

const struct resp_table resp_log_table = { commands, array_count(commands) };
