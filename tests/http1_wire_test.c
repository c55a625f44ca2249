/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "wire/http1.h"

enum { FIELDS = 8, LINE_MAX_TEST = 64, HEAD_MAX_TEST = 256, BODY_MAX_TEST = 1000 };

/* What comes of a stream, written down: "GET /x HTTP/1.1 host=h {host:h} <body> . !400". */
struct story {
	char text[8192];
	size_t used;
	bool in_body, failed;
	unsigned ended;
};

static void tell(struct story *story, const void *data, size_t size)
{
	assert_true(story->used + size < sizeof(story->text));
	if (size == 0)
		return;
	memcpy(story->text + story->used, data, size);
	story->used += size;
	story->text[story->used] = '\0';
}

static void tell_text(struct story *story, const char *text)
{
	tell(story, text, strlen(text));
}

static void tell_fields(struct story *story, const struct http1_head *head)
{
	tell_text(story, "{");
	for (uint32_t i = 0; i < head->field_count; i++) {
		tell(story, head->fields[i].name.data, head->fields[i].name.size);
		tell_text(story, ":");
		tell(story, head->fields[i].value.data, head->fields[i].value.size);
		tell_text(story, i + 1 < head->field_count ? "," : "");
	}
	tell_text(story, "}");
}

static void tell_head(struct story *story, const struct http1_head *head)
{
	char number[64];

	tell(story, head->method.data, head->method.size);
	tell_text(story, " ");
	tell(story, head->target.data, head->target.size);
	snprintf(number, sizeof(number), " 1.%u host=", head->minor_version);
	tell_text(story, number);
	tell(story, head->host.data, head->host.size);
	snprintf(number, sizeof(number), " %s%s%s",
	         head->framing == HTTP1_NO_BODY ? "none"
	         : head->framing == HTTP1_SIZED ? "sized"
	                                        : "chunked",
	         head->keep_alive ? " keep" : "", head->expects_continue ? " expects" : "");
	tell_text(story, number);
	tell_fields(story, head);
}

static void tell_event(struct story *story, const struct http1_event *event)
{
	char number[16];

	if (event->type == HTTP1_BODY) {
		tell_text(story, story->in_body ? "" : "<");
		tell(story, event->body.data, event->body.size);
		story->in_body = true;
		return;
	}
	if (event->type == HTTP1_NEED_MORE)
		return;
	tell_text(story, story->in_body ? ">" : "");
	story->in_body = false;
	if (event->type == HTTP1_HEAD)
		tell_head(story, &event->head);
	if (event->type == HTTP1_END) {
		story->ended++;
		if (event->head.field_count > 0)
			tell_fields(story, &event->head);
		tell_text(story, ".");
	}
	if (event->type == HTTP1_ERROR) {
		assert_non_null(event->reason);
		snprintf(number, sizeof(number), "!%u", event->status);
		tell_text(story, number);
		story->failed = true;
	}
}

/* Feeds `text` in pieces that end at `first` and then every `step` bytes. */
static void listen(struct story *story, struct bytes text, size_t first, size_t step)
{
	struct http_field fields[FIELDS];
	const struct http1_limits limits = {
		.line_max = LINE_MAX_TEST,
		.head_max = HEAD_MAX_TEST,
		.body_max = BODY_MAX_TEST,
		.fields = fields,
		.field_max = FIELDS,
	};
	struct http1_parser parser = { 0 };
	size_t from = 0, to = first;

	*story = (struct story){ .used = 0 };
	while (!story->failed) {
		uint8_t *copy = malloc(to - from + 1);
		struct bytes input = bytes_of(copy, to - from);
		struct http1_event event;

		assert_non_null(copy);
		memcpy(copy, text.data + from, to - from);
		do {
			http1_next(&parser, &limits, &input, &event);
			tell_event(story, &event);
		} while (event.type != HTTP1_NEED_MORE && event.type != HTTP1_ERROR);
		from = to - input.size;
		free(copy);
		if (to == text.size)
			break;
		to = text.size - to < step ? text.size : to + step;
	}
}

static void expect_bytes(struct bytes text, const char *wanted)
{
	static struct story story;

	listen(&story, text, text.size, 1);
	assert_string_equal(story.text, wanted);
	listen(&story, text, 1, 1);
	assert_string_equal(story.text, wanted);
	for (size_t cut = 1; cut < text.size; cut++) {
		listen(&story, text, cut, text.size);
		assert_string_equal(story.text, wanted);
	}
}

static void expect(const char *text, const char *wanted)
{
	expect_bytes(bytes_of(text, strlen(text)), wanted);
}

static void requests_are_read(void **state)
{
	(void)state;
	expect("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / 1.1 host=h none keep{Host:h}.");
	expect("GET /a?b=c HTTP/1.1\r\nHost:h:80\r\nX-A: \t b c \t\r\nEmpty:\r\n\r\n",
	       "GET /a?b=c 1.1 host=h:80 none keep{Host:h:80,X-A:b c,Empty:}.");
	expect("GET / HTTP/1.0\r\n\r\n", "GET / 1.0 host= none{}.");
	expect("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
	       "GET / 1.0 host= none keep{Connection:Keep-Alive}.");
	expect("GET / HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\n\r\n",
	       "GET / 1.1 host=h none keep{Host:h,Expect:200-ok}.");
	expect("GET / HTTP/1.1\r\nHost: h\r\nConnection: foo , CLOSE\r\n\r\n",
	       "GET / 1.1 host=h none{Host:h,Connection:foo , CLOSE}.");
	expect("GET / HTTP/1.7\r\nHost: h\r\n\r\n", "GET / 1.1 host=h none keep{Host:h}.");
	expect("OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", "OPTIONS * 1.1 host= none keep{Host:}.");
	expect("GET http://a:1/b HTTP/1.1\r\nHost: h\r\n\r\n",
	       "GET /b 1.1 host=a:1 none keep{Host:h}.");
	expect("GET HTTP://a HTTP/1.1\r\nHost: h\r\n\r\n", "GET / 1.1 host=a none keep{Host:h}.");
	expect("PROPFIND /\xc3\xa9 HTTP/1.1\r\nHost: [::1]:9\r\nA: \xff\r\n\r\n",
	       "PROPFIND /\xc3\xa9 1.1 host=[::1]:9 none keep{Host:[::1]:9,A:\xff}.");
	expect("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / 1.1 host=h none keep{Host:h}.");
	/* An upgrade is not heard of. */
	expect("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\n\r\n",
	       "GET / 1.1 host=h none keep{Host:h,Upgrade:h2c}.");
}

static void bodies_are_read(void **state)
{
	(void)state;
	expect("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
	       "PUT / 1.1 host=h sized keep{Host:h,Content-Length:5}<hello>.");
	expect("PUT / HTTP/1.1\r\nHost: h\r\ncontent-length: 0\r\n\r\n",
	       "PUT / 1.1 host=h sized keep{Host:h,content-length:0}.");
	expect("PUT / HTTP/1.1\r\nHost:h\r\nContent-Length: 2\r\nContent-Length: 02\r\n\r\nab",
	       "PUT / 1.1 host=h sized keep{Host:h,Content-Length:2,Content-Length:02}<ab>.");
	expect("PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
	       "PUT / 1.1 host=h sized keep expects{Host:h,Expect:100-Continue,Content-Length:1}"
	       "<x>.");
	expect("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n"
	       "5\r\nhello\r\n0a;x=\"y z\";q\r\n, world !!\r\n0\r\n\r\n",
	       "PUT / 1.1 host=h chunked keep{Host:h,Transfer-Encoding:Chunked}"
	       "<hello, world !!>.");
	expect("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	       "000001\r\nx\r\n0;last\r\nA: 1\r\nb:2\r\n\r\n",
	       "PUT / 1.1 host=h chunked keep{Host:h,Transfer-Encoding:chunked}<x>{A:1,b:2}.");
	expect("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	       "PUT / 1.1 host=h chunked keep{Host:h,Transfer-Encoding:chunked}.");
}

static void requests_follow_each_other(void **state)
{
	(void)state;
	expect("PUT /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab\r\n"
	       "PUT /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
	       "GET /3 HTTP/1.1\r\nHost: h\r\n\r\nGET /4 HTTP/1.1\r\nHost: h\r\n\r\n",
	       "PUT /1 1.1 host=h sized keep{Host:h,Content-Length:2}<ab>."
	       "PUT /2 1.1 host=h chunked keep{Host:h,Transfer-Encoding:chunked}<x>."
	       "GET /3 1.1 host=h none keep{Host:h}.GET /4 1.1 host=h none keep{Host:h}.");
	/* What comes behind an error is not looked at. */
	expect("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2\r\n\r\nGET /3 HTTP/1.1\r\nHost: h\r\n\r\n",
	       "GET /1 1.1 host=h none keep{Host:h}.!400");
}

#define HEAD "GET / HTTP/1.1\r\nHost: h\r\n"
#define CHUNKED "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

static const struct {
	const char *text, *wanted;
} malformed[] = {
	{ "GET / HTTP/1.1\nHost: h\n\n", "!400" },
	{ "GET / HTTP/1.1\r\nHost: h\n\r\n", "!400" },
	{ "GET / HTTP/1.1\r\nHost: h\r\n\n", "!400" },
	{ "GET / HTTP/1.1\r\nHost: h\rX: 1\r\n\r\n", "!400" },
	{ "\x16\x03\x01", "!400" },
	{ "\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "!400" },
	{ " GET / HTTP/1.1\r\nHost: h\r\n\r\n", "!400" },
	{ "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "!400" },
	{ "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", "!400" },
	{ "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", "!400" },
	{ "GET /  HTTP/1.1\r\nHost: h\r\n\r\n", "!400" },
	{ "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", "!400" },
	{ "GET / http/1.1\r\nHost: h\r\n\r\n", "!400" },
	{ "GET / HTTP/1.10\r\nHost: h\r\n\r\n", "!400" },
	{ "GET / HTTP/11\r\nHost: h\r\n\r\n", "!400" },
	{ "GET /\r\n\r\n", "!400" },
	{ "GET\r\n\r\n", "!400" },
	{ "GET / \r\n\r\n", "!400" },
	{ "G\x01T / HTTP/1.1\r\nHost: h\r\n\r\n", "!400" },
	{ "GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n", "!400" },
	{ "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", "!400" },
	{ "GET a HTTP/1.1\r\nHost: h\r\n\r\n", "!400" },
	{ "GET * HTTP/1.1\r\nHost: h\r\n\r\n", "!400" },
	{ "GET http:// HTTP/1.1\r\nHost: h\r\n\r\n", "!400" },
	{ "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", "!400" },
	{ "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "!400" },
	{ "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", "!501" },
	{ "GET / HTTP/2.0\r\nHost: h\r\n\r\n", "!505" },
	{ "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "!505" },
	{ "GET / HTTP/0.9\r\n\r\n", "!505" },
	{ "GET / HTTP/1.1\r\n\r\n", "!400" },
	{ HEAD "Host: h\r\n\r\n", "!400" },
	{ HEAD "Host: i\r\n\r\n", "!400" },
	{ "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "!400" },
	{ "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "!400" },
	{ "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "!400" },
	{ HEAD "X : 1\r\n\r\n", "!400" },
	{ HEAD "X\t: 1\r\n\r\n", "!400" },
	{ HEAD " X: 1\r\n\r\n", "!400" },
	{ HEAD "X: 1\r\n 2\r\n\r\n", "!400" },
	{ HEAD "X: 1\r\n\t\r\n\r\n", "!400" },
	{ "GET / HTTP/1.1\r\n Host: h\r\n\r\n", "!400" },
	{ HEAD "X\r\n\r\n", "!400" },
	{ HEAD ": 1\r\n\r\n", "!400" },
	{ HEAD "X(: 1\r\n\r\n", "!400" },
	{ HEAD "X: \x01\r\n\r\n", "!400" },
	{ HEAD "X: \x7f\r\n\r\n", "!400" },
	{ HEAD "Content-Length: \r\n\r\n", "!400" },
	{ HEAD "Content-Length: +1\r\n\r\n", "!400" },
	{ HEAD "Content-Length: -1\r\n\r\n", "!400" },
	{ HEAD "Content-Length: 1 2\r\n\r\n", "!400" },
	{ HEAD "Content-Length: 1,1\r\n\r\n", "!400" },
	{ HEAD "Content-Length: 0x1\r\n\r\n", "!400" },
	{ HEAD "Content-Length: 18446744073709551616\r\n\r\n", "!400" },
	{ HEAD "Content-Length: 1001\r\n\r\n", "!413" },
	{ HEAD "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "!400" },
	{ HEAD "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "!400" },
	{ HEAD "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", "!400" },
	{ "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "!400" },
	{ HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n", "!501" },
	{ HEAD "Transfer-Encoding: chunked, gzip\r\n\r\n", "!501" },
	{ HEAD "Transfer-Encoding: xchunked\r\n\r\n", "!501" },
	{ HEAD "Transfer-Encoding: \"chunked\"\r\n\r\n", "!501" },
	{ HEAD "Transfer-Encoding:\r\n\r\n", "!501" },
	{ HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "!501" },
	{ HEAD "A:1\r\nA:1\r\nA:1\r\nA:1\r\nA:1\r\nA:1\r\nA:1\r\nA:1\r\n\r\n", "!431" },
};

static void malformed_heads_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_count(malformed); i++)
		expect(malformed[i].text, malformed[i].wanted);
	expect_bytes(BYTES(HEAD "X: a\0b\r\n\r\n"), "!400");
	expect_bytes(BYTES("GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n"), "!400");
}

static void malformed_chunks_are_refused(void **state)
{
	static const char *const rows[] = {
		"\r\n",         "g\r\n",
		"-1\r\n",       "0x5\r\nhello\r\n",
		" 5\r\nhello",  "5 \r\nhello",
		"5\nhello\r\n", "5\r\nhello!\r\n",
		"5\r\nhello\n", "5\r\nhello\r\r",
		"5;\x01\r\n",   "5;a\rb\r\n",
		"5;a\n\r\n",    "1000000000000000\r\n",
	};
	static const char head[] =
	        "PUT / 1.1 host=h chunked keep{Host:h,Transfer-Encoding:chunked}";
	static char text[HEAD_MAX_TEST + 64], wanted[256], extension[5000];
	static struct story story;
	struct bytes all;

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		bool has_data = strstr(rows[i], "5\r\nhello") == rows[i];

		snprintf(text, sizeof(text), CHUNKED "%s", rows[i]);
		snprintf(wanted, sizeof(wanted), "%s%s!400", head, has_data ? "<hello>" : "");
		expect(text, wanted);
	}
	snprintf(wanted, sizeof(wanted), "%s!413", head);
	expect(CHUNKED "3e9\r\n", wanted);
	snprintf(wanted, sizeof(wanted), "%s<1>!413", head);
	expect(CHUNKED "1\r\n1\r\n3e8\r\n", wanted);
	snprintf(wanted, sizeof(wanted), "%s!400", head);
	expect(CHUNKED "0\r\nA : 1\r\n\r\n", wanted);
	expect(CHUNKED "0\r\nA: 1\n\r\n", wanted);
	expect(CHUNKED "0\r\n A: 1\r\n\r\n", wanted);
	snprintf(wanted, sizeof(wanted), "%s!431", head);
	expect(CHUNKED "0\r\nA:1\r\nA:1\r\nA:1\r\nA:1\r\nA:1\r\nA:1\r\nA:1\r\nA:1\r\nA:1\r\n\r\n",
	       wanted);
	memcpy(extension, CHUNKED, strlen(CHUNKED));
	memset(extension + strlen(CHUNKED), 'a', sizeof(extension) - strlen(CHUNKED));
	memcpy(extension + strlen(CHUNKED), "1;", 2);
	all = bytes_of(extension, sizeof(extension));
	snprintf(wanted, sizeof(wanted), "%s!400", head);
	listen(&story, all, all.size, 1);
	assert_string_equal(story.text, wanted);
	listen(&story, all, 7, 13);
	assert_string_equal(story.text, wanted);
}

/* One byte of data for 100 of extension, again and again. */
static void chunk_extensions_are_bounded(void **state)
{
	static char text[40000];
	static struct story story;
	size_t used = strlen(CHUNKED);

	(void)state;
	memcpy(text, CHUNKED, used);
	while (used + 106 < sizeof(text)) {
		memcpy(text + used, "1;", 2);
		memset(text + used + 2, 'e', 99);
		memcpy(text + used + 101, "\r\nx\r\n", 5);
		used += 106;
	}
	listen(&story, bytes_of(text, used), used, 1);
	assert_true(story.failed);
	assert_string_equal(story.text + story.used - 4, "!400");
}

static void sizes_of_heads_are_bounded(void **state)
{
	char text[2 * HEAD_MAX_TEST], wanted[2 * HEAD_MAX_TEST];
	int used;

	(void)state;
	/* LINE_MAX_TEST bytes with CR, and one more. */
	used = snprintf(text, sizeof(text), "GET /%049d HTTP/1.1\r\nHost: h\r\n\r\n", 0);
	assert_true(used > 0 && strchr(text, '\r') - text == LINE_MAX_TEST - 1);
	expect(text, "GET /0000000000000000000000000000000000000000000000000 1.1 host=h none "
	             "keep{Host:h}.");
	snprintf(text, sizeof(text), "GET /%050d HTTP/1.1\r\nHost: h\r\n\r\n", 0);
	expect(text, "!414");
	snprintf(text, sizeof(text), "GET /%0200d", 0);
	expect(text, "!414");
	/* A head of HEAD_MAX_TEST bytes; one byte more. */
	snprintf(text, sizeof(text), HEAD "X: %0224d\r\n\r\n", 0);
	assert_int_equal(strlen(text), HEAD_MAX_TEST);
	snprintf(wanted, sizeof(wanted), "GET / 1.1 host=h none keep{Host:h,X:%0224d}.", 0);
	expect(text, wanted);
	snprintf(text, sizeof(text), HEAD "X: %0225d\r\n\r\n", 0);
	expect(text, "!431");
	snprintf(text, sizeof(text), HEAD "X: %0300d", 0);
	expect(text, "!431");
}

static void writers_write(void **state)
{
	uint8_t out[HTTP1_STATUS_LINE_MAX];
	size_t size;

	(void)state;
	size = http1_write_status(200, out);
	assert_true(bytes_equal(bytes_of(out, size), BYTES("HTTP/1.1 200 OK\r\n")));
	size = http1_write_status(599, out);
	assert_true(bytes_equal(bytes_of(out, size), BYTES("HTTP/1.1 599 Unknown\r\n")));
	size = http1_write_status(431, out);
	assert_true(size <= HTTP1_STATUS_LINE_MAX);
	size = http1_write_chunk(0, out);
	assert_true(bytes_equal(bytes_of(out, size), BYTES("0\r\n")));
	size = http1_write_chunk(0x10, out);
	assert_true(bytes_equal(bytes_of(out, size), BYTES("10\r\n")));
	size = http1_write_chunk(UINT64_MAX, out);
	assert_int_equal(size, HTTP1_CHUNK_HEADER_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_read),
		cmocka_unit_test(bodies_are_read),
		cmocka_unit_test(requests_follow_each_other),
		cmocka_unit_test(malformed_heads_are_refused),
		cmocka_unit_test(malformed_chunks_are_refused),
		cmocka_unit_test(chunk_extensions_are_bounded),
		cmocka_unit_test(sizes_of_heads_are_bounded),
		cmocka_unit_test(writers_write),
	};

	return cmocka_run_group_tests_name("http1 wire", tests, NULL, NULL);
}
