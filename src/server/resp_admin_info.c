/* SPDX-License-Identifier: Apache-2.0 */
/* INFO: what the server tells of itself, by section, with the names that tools of Redis look for.
 */
#include <stdio.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/number.h"
#include "server/resp_admin_internal.h"
#include "server/resp_internal.h"

enum { METRICS_MAX_SIZE = 1 << 20 }; /* bytes: about 400 histograms */
enum { TEXT_MAX = 256 << 10 }; /* bytes of an INFO: a quarter of that with all commands used */

/* All that a section is written from. */
struct info {
	struct resp_admin *admin;
	const struct resp_server *server;
	struct admin_sum *sum;
	struct admin_text text;
};

#define PUT(info, ...) admin_put(&(info)->text, __VA_ARGS__)
typedef unsigned long long ull;

static void put_size(struct info *info, const char *name, uint64_t size)
{
	char human[NUMBER_SIZE_MAX];

	number_format_size(size, human);
	PUT(info, "%s:%llu\r\n%s_human:%s\r\n", name, (ull)size, name, human);
}

static void put_server(struct info *info)
{
	const struct resp_admin *admin = info->admin;
	uint64_t uptime_s = (info->server->worker->now_ns - admin->started_ns) / 1000000000;

	PUT(info, "redis_version:7.0.15\r\nweir_version:%s\r\n", admin->version);
	PUT(info, "redis_git_sha1:00000000\r\nredis_git_dirty:0\r\nredis_build_id:0\r\n"
	          "redis_mode:standalone\r\nos:Linux\r\narch_bits:64\r\n");
	PUT(info, "multiplexing_api:io_uring\r\ngcc_version:%d.%d.%d\r\n", __GNUC__, __GNUC_MINOR__,
	    __GNUC_PATCHLEVEL__);
	PUT(info, "process_id:%u\r\nprocess_supervised:no\r\nrun_id:%.*s\r\ntcp_port:%u\r\n",
	    admin->process_id, RESP_RUN_ID_SIZE, admin->run_id, admin->port);
	PUT(info, "server_time_usec:%llu\r\nuptime_in_seconds:%llu\r\nuptime_in_days:%llu\r\n",
	    (ull)info->server->worker->wall_ms * 1000, (ull)uptime_s, (ull)uptime_s / 86400);
	PUT(info,
	    "hz:%lld\r\nconfigured_hz:%lld\r\nlru_clock:0\r\nexecutable:%s\r\n"
	    "config_file:\r\nio_threads_active:%d\r\nweir_workers:%u\r\n",
	    (long long)admin_number(admin, "hz"), (long long)admin_number(admin, "hz"),
	    admin->executable, admin->workers > 1, admin->workers);
}

static void put_clients(struct info *info)
{
	PUT(info, "connected_clients:%llu\r\ncluster_connections:0\r\nmaxclients:%llu\r\n",
	    (ull)info->sum->connections, (ull)info->sum->connections_max);
	PUT(info,
	    "client_recent_max_input_buffer:0\r\nclient_recent_max_output_buffer:0\r\n"
	    "blocked_clients:%llu\r\ntracking_clients:0\r\nclients_in_timeout_table:0\r\n"
	    "weir_calls_running:%llu\r\n",
	    (ull)info->sum->paused, (ull)info->sum->calls_used);
}

static void put_memory(struct info *info)
{
	const struct resp_facts *facts = &info->sum->facts;
	uint64_t used =
	        facts->memory_resident > 0 ? facts->memory_resident : info->sum->buffers_used;
	uint64_t max = (uint64_t)admin_number(info->admin, "maxmemory");

	put_size(info, "used_memory", used);
	put_size(info, "used_memory_rss", facts->memory_resident);
	put_size(info, "used_memory_peak", facts->memory_peak > used ? facts->memory_peak : used);
	put_size(info, "total_system_memory", facts->memory_total);
	put_size(info, "maxmemory", max);
	put_size(info, "used_memory_startup", admin_pools_memory(info->admin));
	PUT(info, "used_memory_overhead:0\r\nused_memory_dataset:0\r\n"
	          "used_memory_lua:0\r\nnumber_of_cached_scripts:0\r\nnumber_of_functions:0\r\n"
	          "maxmemory_policy:noeviction\r\nmem_fragmentation_ratio:1.00\r\n"
	          "mem_allocator:libc\r\nactive_defrag_running:0\r\n"
	          "lazyfree_pending_objects:0\r\n");
	PUT(info, "weir_buffers_used:%llu\r\n", (ull)info->sum->buffers_used);
}

static void put_persistence(struct info *info)
{
	const struct resp_facts *facts = &info->sum->facts;

	PUT(info,
	    "loading:0\r\nasync_loading:0\r\nrdb_changes_since_last_save:%llu\r\n"
	    "rdb_bgsave_in_progress:0\r\nrdb_last_save_time:%llu\r\n"
	    "rdb_last_bgsave_status:ok\r\nrdb_last_bgsave_time_sec:0\r\n"
	    "rdb_current_bgsave_time_sec:-1\r\n",
	    (ull)info->sum->stats.changes, (ull)facts->last_commit_ms / 1000);
	PUT(info,
	    "aof_enabled:%d\r\naof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0\r\n"
	    "aof_last_rewrite_time_sec:-1\r\naof_current_rewrite_time_sec:-1\r\n"
	    "aof_last_bgrewrite_status:ok\r\naof_last_write_status:%s\r\n",
	    !facts->relaxed, facts->read_only ? "err" : "ok");
	PUT(info,
	    "weir_durable:%s\r\nweir_read_only:%d\r\nweir_records_acknowledged:%llu\r\n"
	    "weir_records_durable:%llu\r\n",
	    facts->relaxed ? "no" : "yes", facts->read_only, (ull)facts->records_acknowledged,
	    (ull)facts->records_durable);
	PUT(info,
	    "weir_commits:%llu\r\nweir_commit_bytes:%llu\r\nweir_records_per_commit:%.2f\r\n"
	    "weir_store_size:%llu\r\nweir_store_used:%llu\r\n"
	    "weir_store_live:%llu\r\nweir_store_free:%llu\r\n"
	    "weir_written_bytes:%llu\r\nweir_moved_bytes:%llu\r\nweir_index_bytes:%llu\r\n"
	    "weir_checkpoints:%llu\r\n",
	    (ull)facts->commits, (ull)facts->commit_bytes,
	    facts->commits > 0 ? (double)facts->records_durable / (double)facts->commits : 0.0,
	    (ull)facts->store_size, (ull)facts->store_used, (ull)facts->store_live,
	    (ull)facts->store_free, (ull)facts->written_bytes, (ull)facts->moved_bytes,
	    (ull)facts->index_bytes, (ull)facts->checkpoints);
}

static void put_stats(struct info *info)
{
	const struct admin_sum *sum = info->sum;
	const struct resp_stats *stats = &sum->stats;

	PUT(info,
	    "total_connections_received:%llu\r\ntotal_commands_processed:%llu\r\n"
	    "instantaneous_ops_per_sec:%llu\r\ntotal_net_input_bytes:%llu\r\n"
	    "total_net_output_bytes:%llu\r\n",
	    (ull)stats->connections_received, (ull)stats->commands, (ull)sum->commands_per_s,
	    (ull)stats->bytes_in, (ull)stats->bytes_out);
	PUT(info,
	    "instantaneous_input_kbps:%.2f\r\ninstantaneous_output_kbps:%.2f\r\n"
	    "rejected_connections:%llu\r\nsync_full:0\r\nsync_partial_ok:0\r\n"
	    "sync_partial_err:0\r\n",
	    (double)sum->bytes_in_per_s / 1024, (double)sum->bytes_out_per_s / 1024,
	    (ull)stats->connections_refused);
	PUT(info,
	    "expired_keys:%llu\r\nexpired_stale_perc:0.00\r\n"
	    "expired_time_cap_reached_count:0\r\nevicted_keys:0\r\nevicted_clients:0\r\n"
	    "keyspace_hits:%llu\r\nkeyspace_misses:%llu\r\n",
	    (ull)sum->facts.expired, (ull)stats->hits, (ull)stats->misses);
	PUT(info,
	    "pubsub_channels:%llu\r\npubsub_patterns:%llu\r\npubsubshard_channels:%llu\r\n"
	    "latest_fork_usec:0\r\ntotal_forks:0\r\nmigrate_cached_sockets:0\r\n"
	    "tracking_total_keys:0\r\ntotal_error_replies:%llu\r\n",
	    (ull)sum->topics[RESP_CHANNEL], (ull)sum->topics[RESP_PATTERN],
	    (ull)sum->topics[RESP_SHARD_CHANNEL], (ull)stats->errors);
	PUT(info,
	    "total_reads_processed:0\r\ntotal_writes_processed:0\r\n"
	    "acl_access_denied_auth:%llu\r\nacl_access_denied_cmd:%llu\r\n"
	    "acl_access_denied_key:%llu\r\nacl_access_denied_channel:%llu\r\n",
	    (ull)sum->denied_auth, (ull)sum->denied_command, (ull)sum->denied_key,
	    (ull)sum->denied_channel);
	PUT(info,
	    "weir_protocol_errors:%llu\r\nweir_conflicts:%llu\r\nweir_output_closed:%llu\r\n"
	    "weir_idle_closed:%llu\r\nweir_messages_published:%llu\r\n"
	    "weir_messages_delivered:%llu\r\nweir_listeners_closed:%llu\r\n"
	    "weir_events_dropped:%llu\r\n",
	    (ull)stats->protocol_errors, (ull)stats->conflicts, (ull)stats->output_closed,
	    (ull)stats->idle_closed, (ull)stats->published, (ull)stats->delivered,
	    (ull)stats->pubsub_closed, (ull)stats->events_dropped);
}

static void put_replication(struct info *info)
{
	PUT(info,
	    "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n"
	    "master_replid:%.*s\r\nmaster_repl_offset:0\r\nsecond_repl_offset:-1\r\n"
	    "repl_backlog_active:0\r\n",
	    RESP_RUN_ID_SIZE, info->admin->run_id);
}

static void put_cpu(struct info *info)
{
	PUT(info, "used_cpu_sys:%.6f\r\nused_cpu_user:%.6f\r\n",
	    (double)info->sum->facts.cpu_system_us / 1e6,
	    (double)info->sum->facts.cpu_user_us / 1e6);
}

static void put_modules(struct info *info)
{
	(void)info; /* there are none */
}

static void put_commandstats(struct info *info)
{
	const struct resp_acl *acl = &info->admin->acl;

	for (uint32_t id = 0; id < acl->command_count; id++) {
		const struct resp_command_stats *stats = &info->sum->commands[id].stats;

		if (stats->calls + stats->rejected == 0)
			continue;
		PUT(info,
		    "cmdstat_%s:calls=%llu,usec=%llu,usec_per_call=%.2f,rejected_calls=%llu,"
		    "failed_calls=%llu\r\n",
		    acl->commands[id]->name, (ull)stats->calls, (ull)stats->usec,
		    stats->calls > 0 ? (double)stats->usec / (double)stats->calls : 0.0,
		    (ull)stats->rejected, (ull)stats->failed);
	}
}

static void put_errorstats(struct info *info)
{
	for (uint32_t i = 0; i < ADMIN_ERRORS_MAX && info->sum->errors[i].count > 0; i++)
		PUT(info, "errorstat_%s:count=%llu\r\n", info->sum->errors[i].code,
		    (ull)info->sum->errors[i].count);
}

static void put_percentiles(struct info *info, const struct admin_command_sum *command)
{
	const char *at = admin_text_setting(info->admin, "latency-tracking-info-percentiles");
	double percentile;

	for (bool first = true; *at != '\0'; first = false) {
		size_t size = strcspn(at, " ");

		if (number_parse_double(bytes_of(at, size), &percentile))
			PUT(info, "%sp%g=%llu.000", first ? "" : ",", percentile,
			    (ull)admin_percentile_us(command, percentile));
		at += size + (at[size] == ' ');
	}
}

static void put_latencystats(struct info *info)
{
	const struct resp_acl *acl = &info->admin->acl;

	if (!info->admin->latency_tracked)
		return;
	for (uint32_t id = 0; id < acl->command_count; id++) {
		if (info->sum->commands[id].stats.calls == 0)
			continue;
		PUT(info, "latency_percentiles_usec_%s:", acl->commands[id]->name);
		put_percentiles(info, &info->sum->commands[id]);
		PUT(info, "\r\n");
	}
}

static void put_cluster(struct info *info)
{
	PUT(info, "cluster_enabled:0\r\n");
}

static void put_keyspace(struct info *info)
{
	for (unsigned db = 0; db < RESP_DATABASES; db++) {
		if (info->sum->keys[db] > 0)
			PUT(info, "db%u:keys=%llu,expires=0,avg_ttl=0\r\n", db,
			    (ull)info->sum->keys[db]);
	}
}

enum { IN_DEFAULT = 1 << 0, IN_ALL = 1 << 1, IN_EVERYTHING = 1 << 2, ALWAYS = 7, KEYSPACE = 11 };

static const struct section {
	const char *name, *title;
	unsigned in;
	void (*put)(struct info *info);
} sections[] = {
	{ "server", "Server", ALWAYS, put_server },
	{ "clients", "Clients", ALWAYS, put_clients },
	{ "memory", "Memory", ALWAYS, put_memory },
	{ "persistence", "Persistence", ALWAYS, put_persistence },
	{ "stats", "Stats", ALWAYS, put_stats },
	{ "replication", "Replication", ALWAYS, put_replication },
	{ "cpu", "CPU", ALWAYS, put_cpu },
	{ "modules", "Modules", IN_DEFAULT | IN_EVERYTHING, put_modules },
	{ "commandstats", "Commandstats", IN_ALL | IN_EVERYTHING, put_commandstats },
	{ "errorstats", "Errorstats", ALWAYS, put_errorstats },
	{ "latencystats", "Latencystats", IN_ALL | IN_EVERYTHING, put_latencystats },
	{ "keyspace", "Keyspace", ALWAYS, put_keyspace },
	{ "cluster", "Cluster", ALWAYS, put_cluster },
};

static bool is_asked(const struct resp_call *call, const struct section *section)
{
	if (call->argc == 1)
		return section->in & IN_DEFAULT;
	for (uint32_t i = 1; i < call->argc; i++) {
		if (resp_word_is(call->argv[i], section->name) ||
		    ((section->in & IN_DEFAULT) && resp_word_is(call->argv[i], "default")) ||
		    ((section->in & IN_ALL) && resp_word_is(call->argv[i], "all")) ||
		    ((section->in & IN_EVERYTHING) && resp_word_is(call->argv[i], "everything")))
			return true;
	}
	return false;
}

static void put_sections(struct resp_call *call, struct info *info)
{
	for (uint32_t i = 0; i < array_count(sections); i++) {
		if (!is_asked(call, &sections[i]))
			continue;
		if (info->text.used > 0)
			PUT(info, "\r\n");
		PUT(info, "# %s\r\n", sections[i].title);
		sections[i].put(info);
	}
}

static void info_reply(struct resp_call *call)
{
	struct buf *buf = buf_get(call->server->bufs, TEXT_MAX);
	struct info info = {
		.admin = admin_of(call),
		.server = call->server,
		.sum = admin_sum(call),
	};

	if (buf == NULL) {
		resp_reply_error(call, "OOM no memory for the reply");
	} else {
		info.text.data = (char *)buf->data;
		info.text.size = buf->size;
		put_sections(call, &info);
		assert(!info.text.full);
		resp_reply_verbatim(call, "txt", bytes_of(info.text.data, info.text.used));
		buf_unref(buf);
	}
	admin_tour_pages_free(admin_tour(call));
}

/* The sizes of the databases, one after the other, before the reply. */
static void count_keys(struct resp_call *call);

static void keys_counted(struct resp_call *call)
{
	struct admin_sum *sum = admin_sum(call);

	if (call->req.status == STATUS_OK)
		sum->keys[sum->db] = call->req.result;
	sum->db++;
	count_keys(call);
}

static void count_keys(struct resp_call *call)
{
	struct admin_sum *sum = admin_sum(call);
	struct kv_cmd cmd = { .op = KV_COUNT };

	if (sum->db == RESP_DATABASES) {
		info_reply(call);
		resp_call_done(call);
		return;
	}
	sum->space = (uint8_t)(KV_SPACE_REDIS + sum->db);
	cmd.key = bytes_of(&sum->space, 1);
	resp_call_submit(call, &cmd, keys_counted);
}

static void info_home(struct resp_call *call)
{
	if (is_asked(call, &sections[KEYSPACE])) {
		admin_tour(call)->stays = true;
		count_keys(call);
	} else {
		info_reply(call);
	}
}

static void info_start(struct resp_call *call)
{
	if (!admin_gather(call, info_home))
		resp_call_done(call);
}

/* WEIR.METRICS: as a Prometheus scrape would have it. */
static void metrics_run(struct resp_call *call)
{
	const struct resp_admin *admin = admin_of(call);
	struct buf *buf = buf_get(call->server->bufs, METRICS_MAX_SIZE);
	size_t size;

	if (admin->hooks == NULL || admin->hooks->metrics == NULL || buf == NULL) {
		resp_reply_error(call, buf == NULL ? "OOM no memory for the reply"
		                                   : "ERR nothing is measured here");
	} else {
		size = metrics_render(admin->hooks->metrics(admin->hooks_owner), (char *)buf->data,
		                      buf->size);
		if (size <= buf->size)
			resp_reply_verbatim(call, "txt", bytes_of(buf->data, size));
		else
			resp_reply_error(call, "ERR more is measured than a reply has room for");
	}
	if (buf != NULL)
		buf_unref(buf);
}

static const struct resp_command commands[] = {
	{ .name = "weir.metrics",
	  .arity = 1,
	  .flags = RESP_LOADING | RESP_STALE | RESP_NEEDS_ADMIN,
	  .acl = RESP_ACL_DANGEROUS,
	  .run = metrics_run },
	{ .name = "info",
	  .arity = -1,
	  .flags = RESP_LOADING | RESP_STALE | RESP_NEEDS_ADMIN,
	  .acl = RESP_ACL_DANGEROUS,
	  .start = info_start },
};

const struct resp_table resp_info_table = { commands, array_count(commands) };
