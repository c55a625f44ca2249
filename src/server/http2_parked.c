/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of HTTP/2 that wait for a free exchange: HTTP/1 leaves them unread, but here frames of
 * others lie behind them. They are small, and so many of them fit where few exchanges do.
 */
#include "base/assert.h"
#include "server/http2_internal.h"

static struct bytes keep(uint8_t **at, struct bytes bytes)
{
	struct bytes kept = bytes_of(*at, bytes.size);

	if (bytes.size > 0)
		memcpy(*at, bytes.data, bytes.size);
	*at += bytes.size;
	return kept;
}

static size_t head_size(const struct http2_head *head)
{
	size_t size = head->method.size + head->target.size + head->host.size +
	              head->field_count * sizeof(*head->fields);

	for (uint32_t i = 0; i < head->field_count; i++)
		size += head->fields[i].name.size + head->fields[i].value.size;
	return size;
}

bool http2_park(struct http2_connection *http2, struct http2_stream *stream,
                const struct http2_head *head)
{
	size_t size = sizeof(struct http2_parked) + head_size(head);
	struct http2_parked *parked;
	uint8_t *at;

	if (!head->ended || http2->parked_size + size > HTTP2_PARKED_MAX)
		return false;
	parked = http2_keep(http2->session, size);
	if (parked == NULL)
		return false;
	*parked = (struct http2_parked){ .stream = stream, .head = *head, .size = (uint32_t)size };
	parked->head.fields = (struct http_field *)(void *)(parked + 1);
	at = (uint8_t *)(parked->head.fields + head->field_count);
	parked->head.method = keep(&at, head->method);
	parked->head.target = keep(&at, head->target);
	parked->head.host = keep(&at, head->host);
	parked->head.scheme = bytes_of(NULL, 0);
	for (uint32_t i = 0; i < head->field_count; i++) {
		parked->head.fields[i].name = keep(&at, head->fields[i].name);
		parked->head.fields[i].value = keep(&at, head->fields[i].value);
	}
	assert(at == (uint8_t *)parked + size);
	http2_stream_bind(stream, parked);
	TAILQ_INSERT_TAIL(&http2->parked, parked, link);
	http2->parked_count++;
	http2->parked_size += (uint32_t)size;
	return true;
}

struct http2_parked *http2_parked_next(struct http2_connection *http2)
{
	return TAILQ_FIRST(&http2->parked);
}

void http2_parked_free(struct http2_connection *http2, struct http2_parked *parked)
{
	assert(http2->parked_count > 0 && http2->parked_size >= parked->size);
	TAILQ_REMOVE(&http2->parked, parked, link);
	http2->parked_count--;
	http2->parked_size -= parked->size;
	http2_unkeep(http2->session, parked);
}

bool http2_parked_gone(struct http2_connection *http2, const void *bound)
{
	struct http2_parked *parked;

	TAILQ_FOREACH (parked, &http2->parked, link) {
		if (parked == bound) {
			http2_parked_free(http2, parked);
			return true;
		}
	}
	return false;
}

void http2_parked_drop(struct http2_connection *http2)
{
	struct http2_parked *parked;

	while ((parked = TAILQ_FIRST(&http2->parked)) != NULL) {
		http2_stream_leave(parked->stream);
		http2_parked_free(http2, parked);
	}
}
