/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who answers which path of the HTTP face, and whom it does not talk to: web pages of others, that
 * a browser beside the server shows.
 */
#include "base/assert.h"
#include "base/macros.h"
#include "server/http_face_internal.h"

static void health_begin(struct http_exchange *exchange);
static void ready_begin(struct http_exchange *exchange);
static void keys_begin(struct http_exchange *exchange);
static void root_begin(struct http_exchange *exchange);

static const struct http_route health_route = { .path = "/healthz", .begin = health_begin };
static const struct http_route ready_route = { .path = "/readyz", .begin = ready_begin };
static const struct http_route keys_route = { .path = "/kv/", .begin = keys_begin };
static const struct http_route root_route = { .path = "/",
	                                      .begin = root_begin,
	                                      .pull = face_page_pull };

static const struct http_route *const routes[] = {
	&keys_route,         &face_list_route, &health_route, &ready_route,
	&face_metrics_route, &face_api_route,  &root_route,
};

struct http_face *face_of(const struct http_exchange *exchange)
{
	return http_owner(exchange);
}

struct face_state *face_state(struct http_exchange *exchange)
{
	return http_state(exchange);
}

/* Requests to the store. */

static void face_completed(struct req *req)
{
	struct face_state *state = container_of(req, struct face_state, req);
	struct http_exchange *exchange = http_exchange_of(state);
	face_next_fn *next = state->next;

	req_pop(req, struct frame);
	state->next = NULL;
	next(exchange);
	http_release(exchange);
}

void face_submit(struct http_exchange *exchange, const struct kv_cmd *cmd, face_next_fn *next)
{
	struct face_state *state = face_state(exchange);

	assert(state->next == NULL);
	state->next = next;
	http_hold(exchange);
	req_init(&state->req, http_worker(exchange));
	req_push(&state->req, struct frame, face_completed);
	kv_submit(face_of(exchange)->options.kv, &state->req, cmd);
}

void face_submit_obj(struct http_exchange *exchange, const struct obj_cmd *cmd, face_next_fn *next)
{
	struct face_state *state = face_state(exchange);

	assert(state->next == NULL);
	state->next = next;
	http_hold(exchange);
	req_init(&state->req, http_worker(exchange));
	req_push(&state->req, struct frame, face_completed);
	obj_submit(face_of(exchange)->options.obj, &state->req, cmd);
}

/* The pool of digests. */

enum status http_face_open(struct http_face *face, const struct http_face_options *options)
{
	*face = (struct http_face){ .options = *options };
	for (unsigned i = 0; i < HTTP_FACE_DIGESTS; i++) {
		if (digest_open(&face->digests[i], DIGEST_MD5))
			continue;
		while (i-- > 0)
			digest_close(&face->digests[i]);
		return STATUS_NO_SPACE;
	}
	return STATUS_OK;
}

void http_face_close(struct http_face *face)
{
	assert(face->digests_used == 0);
	for (unsigned i = 0; i < HTTP_FACE_DIGESTS; i++)
		digest_close(&face->digests[i]);
}

struct digest *face_digest_get(struct http_face *face)
{
	for (unsigned i = 0; i < HTTP_FACE_DIGESTS; i++) {
		if (face->digests_used & 1u << i)
			continue;
		face->digests_used |= 1u << i;
		digest_start(&face->digests[i]);
		return &face->digests[i];
	}
	return NULL;
}

void face_digest_unget(struct http_face *face, struct digest *digest)
{
	uint32_t bit = 1u << (unsigned)(digest - face->digests);

	assert(face->digests_used & bit);
	face->digests_used &= ~bit;
}

/* Answers. */

void face_refuse_method(struct http_exchange *exchange, const char *allowed)
{
	http_answer(exchange, 405);
	http_answer_text(exchange, "Allow", allowed);
	http_answer_end(exchange);
}

void face_fail(struct http_exchange *exchange, enum status status)
{
	assert(status != STATUS_OK);
	if (status_may_retry(status)) {
		http_answer(exchange, 503);
		http_answer_text(exchange, "Retry-After", "1");
		http_answer_end(exchange);
		return;
	}
	http_answer_reject(exchange, (unsigned)status_http(status), status_text(status));
}

static bool reads(const struct http_exchange *exchange)
{
	enum http_method method = http_request_of(exchange)->method;

	return method == HTTP_GET || method == HTTP_HEAD;
}

bool face_is_for_browser(struct http_exchange *exchange)
{
	struct bytes accept;

	return http_field_get(exchange, "accept", &accept) &&
	       memmem(accept.data, accept.size, "text/html", 9) != NULL;
}

/* Small pages. */

static void answer_page(struct http_exchange *exchange, unsigned status, const char *text)
{
	http_answer(exchange, status);
	http_answer_text(exchange, "Content-Type", "text/plain");
	http_answer_text(exchange, "Cache-Control", "no-store");
	http_answer_body(exchange, bytes_of(text, strlen(text)));
}

/* The process lives, and its worker turns. */
static void health_begin(struct http_exchange *exchange)
{
	if (!reads(exchange))
		face_refuse_method(exchange, "GET, HEAD");
	else
		answer_page(exchange, 200, "ok\n");
}

static void ready_begin(struct http_exchange *exchange)
{
	const struct http_face *face = face_of(exchange);
	struct http_facts facts = { .process_id = 0 };

	if (!reads(exchange)) {
		face_refuse_method(exchange, "GET, HEAD");
		return;
	}
	face->options.facts(face->options.owner, &facts);
	if (face->draining)
		answer_page(exchange, 503, "draining\n");
	else if (facts.read_only)
		answer_page(exchange, 503, "a device failed: read-only until restart\n");
	else
		answer_page(exchange, 200, "ready\n");
}

static void root_begin(struct http_exchange *exchange)
{
	static const char text[] = "weir\n\n"
	                           "/kv/NAMESPACE/KEY   values of keys\n"
	                           "/kv/NAMESPACE       keys, as lines of JSON\n"
	                           "/o/BUCKET/KEY       objects\n"
	                           "/o/BUCKET/          names of objects, as lines of JSON\n"
	                           "/metrics            for Prometheus\n"
	                           "/healthz, /readyz   for those who watch\n"
	                           "/api/               facts, as JSON; see /api/openapi.json\n"
	                           "/dashboard          all of that in a browser\n";
	struct bytes path = http_request_of(exchange)->path;
	bool is_dashboard = bytes_equal(path, BYTES("/dashboard"));

	if (!is_dashboard && !bytes_equal(path, BYTES("/")))
		http_answer_reject(exchange, 404, "nothing is here");
	else if (!reads(exchange))
		face_refuse_method(exchange, "GET, HEAD");
	else if (is_dashboard || face_is_for_browser(exchange))
		face_answer_page(exchange, &http_page_dashboard);
	else
		answer_page(exchange, 200, text);
}

/* "/kv/NAMESPACE/KEY": a slash belongs to the key. */

bool face_namespace(struct bytes name, uint8_t *ret_space)
{
	uint64_t number = 0;

	if (!bytes_equal(name, BYTES("default"))) {
		if (name.size > 2 || (name.size == 2 && name.data[0] == '0') ||
		    !http_parse_u64(name, &number) || number >= FACE_NAMESPACES)
			return false;
	}
	*ret_space = (uint8_t)(KV_SPACE_REDIS + number);
	return true;
}

static void keys_begin(struct http_exchange *exchange)
{
	struct bytes path = http_request_of(exchange)->path, name, key = { .size = 0 };
	struct face_state *state = face_state(exchange);
	const uint8_t *slash;

	path = bytes_of(path.data + 4, path.size - 4);
	slash = memchr(path.data, '/', path.size);
	name = bytes_of(path.data, slash == NULL ? path.size : (size_t)(slash - path.data));
	if (slash != NULL)
		key = bytes_of(slash + 1, path.size - name.size - 1);
	if (!face_namespace(name, &state->key[0])) {
		http_answer_reject(exchange, 404, "namespaces are default and 0 to 15");
		return;
	}
	if (key.size > FACE_KEY_MAX) {
		http_answer_reject(exchange, 400, "a key has at most 1023 bytes");
		return;
	}
	state->key_size = (uint16_t)(1 + key.size);
	if (key.size > 0)
		memcpy(state->key + 1, key.data, key.size);
	state->route = key.size > 0 ? &face_kv_route : &face_scan_route;
	state->route->begin(exchange);
}

/* Whom it talks to. */

/* The host without its port. */
static struct bytes host_name(struct bytes host)
{
	const uint8_t *end;

	if (host.size > 0 && host.data[0] == '[') {
		end = memchr(host.data, ']', host.size);
		return end == NULL ? host : bytes_of(host.data, (size_t)(end + 1 - host.data));
	}
	end = memchr(host.data, ':', host.size);
	return end == NULL ? host : bytes_of(host.data, (size_t)(end - host.data));
}

static bool is_address(struct bytes name)
{
	bool digits = name.size > 0;

	if (name.size > 0 && name.data[0] == '[')
		return true;
	for (size_t i = 0; i < name.size; i++)
		digits &= (uint8_t)(name.data[i] - '0') <= 9 || name.data[i] == '.';
	return digits;
}

static bool names_match(struct bytes name, struct bytes other)
{
	if (name.size != other.size)
		return false;
	for (size_t i = 0; i < name.size; i++) {
		if ((name.data[i] | 0x20) != (other.data[i] | 0x20))
			return false;
	}
	return true;
}

/*
 * A page from elsewhere can give its own name the address of this machine (DNS rebinding); then its
 * browser says that name. An address, localhost, or a name that was configured is no such name.
 */
static bool host_is_ours(const struct http_face *face, struct bytes host)
{
	struct bytes name = host_name(host), list, wanted;

	if (name.size == 0 || is_address(name) || face->options.any_host ||
	    http_name_is(name, BYTES("localhost")))
		return true;
	list = bytes_of(face->options.hosts, strlen(face->options.hosts));
	while (http_list_next(&list, &wanted)) {
		if (names_match(name, wanted))
			return true;
	}
	return false;
}

/*
 * Browsers say of which site a page is that makes a request which may change something. Others do
 * not say it at all.
 */
static bool origin_is_ours(const struct http_exchange *exchange)
{
	struct bytes origin, host = http_request_of(exchange)->host;
	size_t skip = 0;

	if (reads(exchange) || !http_field_get(exchange, "origin", &origin))
		return true;
	if (origin.size > 7 && memcmp(origin.data, "http://", 7) == 0)
		skip = 7;
	else if (origin.size > 8 && memcmp(origin.data, "https://", 8) == 0)
		skip = 8;
	return skip > 0 && names_match(bytes_of(origin.data + skip, origin.size - skip), host);
}

/* The handler. */

static bool route_fits(const struct http_route *route, struct bytes path)
{
	struct bytes own = bytes_of(route->path, strlen(route->path));

	if (own.data[own.size - 1] != '/')
		return bytes_equal(path, own);
	return path.size >= own.size && memcmp(path.data, own.data, own.size) == 0;
}

static void face_begin(struct http_exchange *exchange)
{
	const struct http_request *request = http_request_of(exchange);
	struct face_state *state = face_state(exchange);

	if (!host_is_ours(face_of(exchange), request->host)) {
		http_answer_reject(exchange, 421, "Host is a name that http.hosts does not have");
		return;
	}
	if (!origin_is_ours(exchange)) {
		http_answer_reject(exchange, 403, "a page of another site may change nothing here");
		return;
	}
	for (size_t i = 0; i < array_count(routes); i++) {
		if (!route_fits(routes[i], request->path))
			continue;
		state->route = routes[i];
		state->route->begin(exchange);
		return;
	}
	http_answer_reject(exchange, 404, "nothing is here");
}

static size_t face_body(struct http_exchange *exchange, struct bytes piece)
{
	return face_state(exchange)->route->body(exchange, piece);
}

static void face_body_ended(struct http_exchange *exchange, enum status status, struct bytes body)
{
	face_state(exchange)->route->body_ended(exchange, status, body);
}

static void face_pull(struct http_exchange *exchange)
{
	face_state(exchange)->route->pull(exchange);
}

static void face_aborted(struct http_exchange *exchange)
{
	const struct http_route *route = face_state(exchange)->route;

	if (route->aborted != NULL)
		route->aborted(exchange);
	else
		http_abort(exchange);
}

static void face_ended(struct http_exchange *exchange)
{
	const struct face_state *state = face_state(exchange);

	assert(state->next == NULL); /* else: a request outlives its memory */
	if (state->route != NULL && state->route->ended != NULL)
		state->route->ended(exchange);
}

const struct http_handler http_face_handler = {
	.name = "http",
	.state_size = sizeof(struct face_state),
	.begin = face_begin,
	.body = face_body,
	.body_ended = face_body_ended,
	.pull = face_pull,
	.aborted = face_aborted,
	.ended = face_ended,
};
