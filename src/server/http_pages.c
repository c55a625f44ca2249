/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages for people and programs: what is part of the binary, and /metrics, every number of the
 * server in the words of Prometheus, a few rows at a time.
 */
#include "base/assert.h"
#include "server/http_face_internal.h"

enum { METRICS_PIECE = 64 << 10 };
_Static_assert(METRICS_PIECE >= 2 * METRIC_TEXT_MAX, "a piece has several series");

void face_answer_page(struct http_exchange *exchange, const struct http_page *page)
{
	http_answer(exchange, 200);
	http_answer_text(exchange, "Content-Type", page->type);
	http_answer_text(exchange, "Cache-Control", "no-cache");
	http_answer_text(exchange, "X-Content-Type-Options", "nosniff");
	if (page->policy[0] != '\0')
		http_answer_text(exchange, "Content-Security-Policy", page->policy);
	face_state(exchange)->page.text = page->data;
	http_answer_stream(exchange, page->data.size);
}

void face_page_pull(struct http_exchange *exchange)
{
	struct page_state *page = &face_state(exchange)->page;
	struct buf *buf = page->buf;

	assert(page->text.size > 0);
	page->buf = NULL;
	http_answer_give(exchange, page->text, buf);
}

static void metrics_begin(struct http_exchange *exchange)
{
	enum http_method method = http_request_of(exchange)->method;

	if (method != HTTP_GET && method != HTTP_HEAD) {
		face_refuse_method(exchange, "GET, HEAD");
		return;
	}
	http_answer(exchange, 200);
	http_answer_text(exchange, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
	http_answer_text(exchange, "Cache-Control", "no-store");
	http_answer_stream(exchange, HTTP_SIZE_UNKNOWN);
}

static void metrics_pull(struct http_exchange *exchange)
{
	const struct metrics *metrics = face_of(exchange)->options.metrics;
	struct page_state *page = &face_state(exchange)->page;
	struct buf *buf = buf_get(http_bufs(exchange), METRICS_PIECE);
	struct metric_series series;

	if (buf == NULL) {
		http_pull_later(exchange);
		return;
	}
	buf->used = 0;
	while (buf->used + METRIC_TEXT_MAX <= buf->size &&
	       metrics_next(metrics, &page->cursor, &series))
		buf->used += (uint32_t)metric_write(&series, (char *)buf->data + buf->used);
	if (buf->used > 0) {
		http_answer_give(exchange, bytes_of(buf->data, buf->used), buf);
		return;
	}
	buf_unref(buf);
	http_answer_finish(exchange);
}

const struct http_route face_metrics_route = {
	.path = "/metrics",
	.begin = metrics_begin,
	.pull = metrics_pull,
};
