/* SPDX-License-Identifier: Apache-2.0 */
/* The counters of all workers, added up. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_admin_internal.h"
#include "server/resp_internal.h"

struct admin_sum *admin_sum(struct resp_call *call)
{
	return (struct admin_sum *)(void *)admin_tour(call)->pages->data;
}

static void add_stats(struct resp_stats *sum, const struct resp_stats *more)
{
	enum { FIELDS = sizeof(*sum) / sizeof(uint64_t) };
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)more;

	_Static_assert(sizeof(*sum) % sizeof(uint64_t) == 0, "nothing but counters");
	for (unsigned i = 0; i < FIELDS; i++)
		to[i] += from[i];
}

static void take_larger(uint64_t *to, uint64_t other)
{
	if (*to < other)
		*to = other;
}

static void add_facts(struct resp_facts *sum, const struct resp_facts *more)
{
	sum->records_acknowledged += more->records_acknowledged;
	sum->records_durable += more->records_durable;
	sum->commits += more->commits;
	sum->expired += more->expired;
	sum->commit_bytes += more->commit_bytes;
	sum->written_bytes += more->written_bytes;
	sum->moved_bytes += more->moved_bytes;
	sum->index_bytes += more->index_bytes;
	sum->checkpoints += more->checkpoints;
	sum->store_live += more->store_live;
	take_larger(&sum->last_commit_ms, more->last_commit_ms);
	take_larger(&sum->memory_resident, more->memory_resident);
	take_larger(&sum->memory_peak, more->memory_peak);
	take_larger(&sum->memory_total, more->memory_total);
	take_larger(&sum->store_size, more->store_size);
	take_larger(&sum->store_used, more->store_used);
	take_larger(&sum->store_free, more->store_free);
	take_larger(&sum->cpu_user_us, more->cpu_user_us);
	take_larger(&sum->cpu_system_us, more->cpu_system_us);
	sum->relaxed |= more->relaxed;
	sum->read_only |= more->read_only;
}

static void add_rates(struct admin_sum *sum, const struct resp_admin *admin)
{
	const struct admin_sample *newest, *oldest;
	uint64_t time_ns;

	if (admin->sample_next < 2)
		return;
	newest = &admin->samples[(admin->sample_next - 1) % ADMIN_SAMPLES];
	oldest = admin->sample_next < ADMIN_SAMPLES
	                 ? &admin->samples[0]
	                 : &admin->samples[admin->sample_next % ADMIN_SAMPLES];
	time_ns = newest->at_ns - oldest->at_ns;
	if (time_ns == 0 || newest->commands < oldest->commands)
		return; /* counters went back to zero in between */
	sum->commands_per_s += (newest->commands - oldest->commands) * 1000000000 / time_ns;
	sum->bytes_in_per_s += (newest->bytes_in - oldest->bytes_in) * 1000000000 / time_ns;
	sum->bytes_out_per_s += (newest->bytes_out - oldest->bytes_out) * 1000000000 / time_ns;
}

static void add_errors(struct admin_sum *sum, const struct resp_admin *admin)
{
	for (uint32_t i = 0; i < ADMIN_ERRORS_MAX && admin->errors[i].count > 0; i++) {
		uint32_t to = 0;

		while (to < ADMIN_ERRORS_MAX && sum->errors[to].count > 0 &&
		       strcmp(sum->errors[to].code, admin->errors[i].code) != 0)
			to++;
		if (to == ADMIN_ERRORS_MAX)
			return;
		memcpy(sum->errors[to].code, admin->errors[i].code, ADMIN_ERROR_CODE);
		sum->errors[to].count += admin->errors[i].count;
	}
}

static void add_command(struct admin_command_sum *to, const struct admin_command_sum *from)
{
	to->stats.calls += from->stats.calls;
	to->stats.usec += from->stats.usec;
	to->stats.rejected += from->stats.rejected;
	to->stats.failed += from->stats.failed;
	for (uint32_t b = 0; b < ADMIN_BUCKETS; b++)
		to->buckets[b] += from->buckets[b];
}

/* Connections whose next call waits for the end of CLIENT PAUSE. */
static uint64_t count_paused(const struct resp_server *server)
{
	const struct resp_connection *connection;
	uint64_t count = 0;

	if (server->pause == RESP_PAUSE_NONE)
		return 0;
	TAILQ_FOREACH (connection, &server->connections, link) {
		count += connection->waiting != NULL;
	}
	return count;
}

static void add_topics(struct admin_sum *sum, const struct resp_server *server)
{
	struct resp_topic_facts facts;

	for (uint32_t i = 0; resp_topic_at(server, i, &facts); i++) {
		if (facts.kind < RESP_TOPIC_KINDS)
			sum->topics[facts.kind]++;
	}
}

static void gather_step(struct resp_call *call, struct resp_admin *admin)
{
	const struct resp_server *server = admin->server;
	struct admin_sum *sum = admin_sum(call);
	struct resp_facts facts = admin_facts(admin);

	add_stats(&sum->stats, &server->stats);
	add_facts(&sum->facts, &facts);
	add_rates(sum, admin);
	add_errors(sum, admin);
	sum->connections += server->connection_count;
	sum->connections_max += server->settings.connections_max;
	sum->paused += count_paused(server);
	sum->calls_used += server->calls_used;
	sum->buffers_used += server->bufs->used_size;
	sum->denied_auth += admin->acl.denied_auth;
	sum->denied_command += admin->acl.denied_command;
	sum->denied_key += admin->acl.denied_key;
	sum->denied_channel += admin->acl.denied_channel;
	add_topics(sum, server);
	for (uint32_t id = 0; id < admin->acl.command_count; id++)
		add_command(&sum->commands[id], &admin->commands[id]);
}

bool admin_gather(struct resp_call *call, resp_run_fn *home)
{
	size_t size = sizeof(struct admin_sum) +
	              admin_of(call)->acl.command_count * sizeof(struct admin_command_sum);

	if (!admin_tour_pages(call, sizeof(struct admin_page) + size))
		return false;
	memset(admin_tour(call)->pages->data, 0, size);
	admin_tour_start(call, gather_step, home);
	return true;
}

uint64_t admin_percentile_us(const struct admin_command_sum *command, double percentile)
{
	uint64_t total = 0, seen = 0;

	for (uint32_t b = 0; b < ADMIN_BUCKETS; b++)
		total += command->buckets[b];
	for (uint32_t b = 0; b < ADMIN_BUCKETS; b++) {
		seen += command->buckets[b];
		if (seen > 0 && (double)seen * 100 >= (double)total * percentile)
			return 1ull << b;
	}
	return 0;
}
