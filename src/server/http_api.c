/* SPDX-License-Identifier: Apache-2.0 */
/* /api/: facts of the server, as JSON; http_openapi_table.c describes it. */
#include "base/assert.h"
#include "base/macros.h"
#include "core/topology.h"
#include "server/http_face_internal.h"

enum {
	PAGE_SIZE = 64 << 10,
	EVENT_SIZE_MAX = 2 * RECENT_TEXT_MAX + 128, /* of one, as JSON */
};
_Static_assert(PAGE_SIZE >= 2 * RECENT_MAX * EVENT_SIZE_MAX, "all messages, and slow requests");

/* A page that was written into a buffer. */
static void answer_buffer(struct http_exchange *exchange, struct http_json *json, struct buf *buf)
{
	struct page_state *page = &face_state(exchange)->page;

	http_json_line(json);
	if (json->full) {
		buf_unref(buf);
		http_answer_reject(exchange, 500, "the page does not fit its buffer");
		return;
	}
	buf->used = json->used;
	page->buf = buf;
	page->text = bytes_of(buf->data, buf->used);
	http_answer(exchange, 200);
	http_answer_text(exchange, "Content-Type", "application/json");
	http_answer_text(exchange, "Cache-Control", "no-store");
	http_answer_stream(exchange, buf->used);
}

static void api_ended(struct http_exchange *exchange)
{
	struct page_state *page = &face_state(exchange)->page;

	if (page->buf != NULL)
		buf_unref(page->buf);
}

static struct buf *page_open(struct http_exchange *exchange, struct http_json *json)
{
	struct buf *buf = buf_get(http_bufs(exchange), PAGE_SIZE);

	if (buf == NULL) {
		face_fail(exchange, STATUS_BUSY);
		return NULL;
	}
	http_json_init(json, buf->data, buf->size);
	return buf;
}

static void member_u64(struct http_json *json, const char *name, uint64_t value)
{
	http_json_name(json, name);
	http_json_u64(json, value);
}

static void member_text(struct http_json *json, const char *name, const char *text)
{
	http_json_name(json, name);
	http_json_text(json, text);
}

static void member_bool(struct http_json *json, const char *name, bool value)
{
	http_json_name(json, name);
	http_json_bool(json, value);
}

static void api_status(struct http_exchange *exchange)
{
	const struct http_face *face = face_of(exchange);
	struct http_facts facts = { .process_id = 0 };
	struct http_json json;
	struct buf *buf = page_open(exchange, &json);
	uint64_t now_ms = http_worker(exchange)->wall_ms;

	if (buf == NULL)
		return;
	face->options.facts(face->options.owner, &facts);
	http_json_open(&json, '{');
	member_text(&json, "version", face->options.version);
	member_u64(&json, "process_id", facts.process_id);
	member_u64(&json, "time_ms", now_ms);
	member_u64(&json, "uptime_s",
	           now_ms > facts.started_ms ? (now_ms - facts.started_ms) / 1000 : 0);
	member_text(&json, "state",
	            facts.read_only  ? "read_only"
	            : face->draining ? "draining"
	                             : "ready");
	member_u64(&json, "workers", face->options.plan->count);
	member_u64(&json, "memory_max_bytes", facts.memory_max);
	member_u64(&json, "memory_resident_bytes", facts.memory_resident);
	member_u64(&json, "store_size_bytes", facts.store_size);
	member_u64(&json, "store_used_bytes", facts.store_used);
	http_json_close(&json, '}');
	answer_buffer(exchange, &json, buf);
}

static bool is_secret(const char *name)
{
	return strstr(name, "password") != NULL || strstr(name, "secret") != NULL ||
	       strstr(name, "token") != NULL;
}

static void api_configuration(struct http_exchange *exchange)
{
	const struct conf *conf = face_of(exchange)->options.conf;
	static const char *const sources[] = { "default", "file", "environment", "set" };
	struct http_json json;
	struct buf *buf = page_open(exchange, &json);

	if (buf == NULL)
		return;
	http_json_open(&json, '{');
	for (unsigned i = 0; i < CONF_COUNT; i++) {
		const char *name = conf_name((enum conf_id)i);
		const char *text = conf_text(conf, (enum conf_id)i);

		http_json_name(&json, name);
		http_json_open(&json, '{');
		member_text(&json, "value", is_secret(name) && text[0] != '\0' ? "***" : text);
		member_text(&json, "source", sources[conf->values[i].source]);
		http_json_close(&json, '}');
	}
	http_json_close(&json, '}');
	answer_buffer(exchange, &json, buf);
}

static void write_roles(struct http_json *json, unsigned roles)
{
	static const struct {
		unsigned role;
		const char *name;
	} names[] = { { ROLE_NETWORK, "network" },
		      { ROLE_STORAGE, "storage" },
		      { ROLE_APPLICATION, "application" },
		      { ROLE_BACKGROUND, "background" } };

	http_json_name(json, "roles");
	http_json_open(json, '[');
	for (unsigned i = 0; i < array_count(names); i++) {
		if (roles & names[i].role)
			http_json_text(json, names[i].name);
	}
	http_json_close(json, ']');
}

static void write_devices(struct http_json *json, const struct topology *t)
{
	static const char *const kinds[] = { "network", "storage" };

	http_json_name(json, "devices");
	http_json_open(json, '[');
	for (unsigned i = 0; i < t->device_count; i++) {
		const struct topology_device *d = &t->devices[i];

		http_json_open(json, '{');
		member_text(json, "name", d->name);
		member_text(json, "kind", kinds[d->kind]);
		http_json_name(json, "node");
		if (d->node < 0)
			http_json_null(json);
		else
			http_json_u64(json, t->nodes[d->node]);
		http_json_close(json, '}');
	}
	http_json_close(json, ']');
}

static void api_topology(struct http_exchange *exchange)
{
	const struct http_face *face = face_of(exchange);
	const struct topology *t = face->options.topology;
	const struct plan *plan = face->options.plan;
	struct http_json json;
	struct buf *buf = page_open(exchange, &json);

	if (buf == NULL)
		return;
	http_json_open(&json, '{');
	member_u64(&json, "processors", t->cpu_count);
	member_u64(&json, "nodes", t->node_count);
	write_devices(&json, t);
	member_text(&json, "notice", plan->notice);
	http_json_name(&json, "workers");
	http_json_open(&json, '[');
	for (unsigned i = 0; i < plan->count; i++) {
		const struct plan_worker *w = &plan->workers[i];

		http_json_open(&json, '{');
		member_u64(&json, "worker", i);
		member_u64(&json, "core", w->cpu);
		member_u64(&json, "node", t->nodes[w->node]);
		write_roles(&json, w->roles);
		member_bool(&json, "engine", w->engine);
		http_json_close(&json, '}');
	}
	http_json_close(&json, ']');
	http_json_close(&json, '}');
	answer_buffer(exchange, &json, buf);
}

/* How many keys each namespace has: one question to the store after another. */

static void keys_counted(struct http_exchange *exchange);

static void keys_count(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);
	const struct kv_cmd cmd = { .op = KV_COUNT, .key = bytes_of(state->key, 1) };

	state->key[0] = (uint8_t)(KV_SPACE_REDIS + state->page.step);
	face_submit(exchange, &cmd, keys_counted);
}

static void answer_counts(struct http_exchange *exchange)
{
	const struct page_state *page = &face_state(exchange)->page;
	struct http_json json;
	struct buf *buf = page_open(exchange, &json);

	if (buf == NULL)
		return;
	http_json_open(&json, '{');
	http_json_name(&json, "namespaces");
	http_json_open(&json, '[');
	for (unsigned i = 0; i < FACE_NAMESPACES; i++) {
		http_json_open(&json, '{');
		member_u64(&json, "namespace", i);
		member_u64(&json, "keys", page->counts[i]);
		http_json_close(&json, '}');
	}
	http_json_close(&json, ']');
	http_json_close(&json, '}');
	answer_buffer(exchange, &json, buf);
}

static void keys_counted(struct http_exchange *exchange)
{
	struct face_state *state = face_state(exchange);

	if (http_is_aborted(exchange)) {
		http_abort(exchange);
		return;
	}
	if (state->req.status != STATUS_OK) {
		face_fail(exchange, state->req.status);
		return;
	}
	state->page.counts[state->page.step++] = state->req.result;
	if (state->page.step < FACE_NAMESPACES)
		keys_count(exchange);
	else
		answer_counts(exchange);
}

/* The events of one list, the last one first, as far as there is room on the page. */
static void write_recent(struct http_json *json, const struct recent *recent, int worker)
{
	uint64_t count = recent_count(recent);
	struct recent_event event;

	for (unsigned i = 1; i <= RECENT_MAX && i <= count; i++) {
		if (json->size - json->used < 2 * EVENT_SIZE_MAX)
			return;
		if (!recent_get(recent, count - i, &event))
			continue;
		http_json_open(json, '{');
		member_u64(json, "time_ms", event.wall_ms);
		if (worker >= 0) {
			member_u64(json, "worker", (uint64_t)worker);
			member_u64(json, "duration_us", event.duration_us);
		}
		http_json_name(json, "text");
		http_json_string(json, bytes_of(event.text, event.size));
		http_json_close(json, '}');
	}
}

static void api_recent(struct http_exchange *exchange)
{
	const struct http_face_options *options = &face_of(exchange)->options;
	const struct recent *recent;
	struct http_json json;
	struct buf *buf = page_open(exchange, &json);

	if (buf == NULL)
		return;
	http_json_open(&json, '{');
	http_json_name(&json, "messages");
	http_json_open(&json, '[');
	write_recent(&json, options->recent(options->owner, -1), -1);
	http_json_close(&json, ']');
	http_json_name(&json, "slow");
	http_json_open(&json, '[');
	for (int i = 0; (recent = options->recent(options->owner, i)) != NULL; i++)
		write_recent(&json, recent, i);
	http_json_close(&json, ']');
	http_json_close(&json, '}');
	answer_buffer(exchange, &json, buf);
}

static void api_openapi(struct http_exchange *exchange)
{
	face_answer_page(exchange, &http_page_openapi);
}

static void api_index(struct http_exchange *exchange)
{
	http_answer(exchange, 200);
	http_answer_text(exchange, "Content-Type", "application/json");
	http_answer_body(exchange, BYTES("[\"/api/status\",\"/api/configuration\","
	                                 "\"/api/topology\",\"/api/keys\",\"/api/recent\","
	                                 "\"/api/openapi.json\"]\n"));
}

static const struct {
	const char *path;
	void (*begin)(struct http_exchange *exchange);
} pages[] = {
	{ "/api/", api_index },
	{ "/api/status", api_status },
	{ "/api/configuration", api_configuration },
	{ "/api/topology", api_topology },
	{ "/api/keys", keys_count },
	{ "/api/recent", api_recent },
	{ "/api/openapi.json", api_openapi },
};

static void api_begin(struct http_exchange *exchange)
{
	const struct http_request *request = http_request_of(exchange);

	for (size_t i = 0; i < array_count(pages); i++) {
		if (!bytes_equal(request->path, bytes_of(pages[i].path, strlen(pages[i].path))))
			continue;
		if (request->method == HTTP_GET || request->method == HTTP_HEAD)
			pages[i].begin(exchange);
		else
			face_refuse_method(exchange, "GET, HEAD");
		return;
	}
	http_answer_reject(exchange, 404, "nothing is here: /api/ lists what there is");
}

static void api_aborted(struct http_exchange *exchange)
{
	if (face_state(exchange)->next == NULL)
		http_abort(exchange);
}

const struct http_route face_api_route = {
	.path = "/api/",
	.begin = api_begin,
	.pull = face_page_pull,
	.aborted = api_aborted,
	.ended = api_ended,
};
