/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/http1.h"

#include "base/assert.h"

enum parser_state {
	AT_REQUEST,   /* a request's head is next */
	IN_BODY,      /* `left` bytes of a body by Content-Length are next */
	AT_CHUNK,     /* the line with a chunk's size is next */
	IN_CHUNK,     /* `left` bytes of a chunk are next */
	AT_CHUNK_END, /* CR LF after a chunk is next */
	AT_TRAILERS,
	AT_END,
	FAILED,
};

enum {
	EXTENSIONS_MAX =
	        16 << 10, /* bytes of all chunk extensions of a body: they are work for us */
	CHUNK_LINE_MAX = 4096,
	CHUNK_DIGITS_MAX = 15, /* hexadecimal: less than 2^60 */
};

enum section { SECTION_PARTIAL, SECTION_COMPLETE, SECTION_FAILED };

bool http1_is_between(const struct http1_parser *parser)
{
	return parser->state == AT_REQUEST;
}

static void fail(struct http1_parser *parser, unsigned status, const char *reason)
{
	if (parser->state == FAILED)
		return; /* the first reason stands */
	parser->state = FAILED;
	parser->failure = (uint16_t)status;
	parser->reason = reason;
}

static void take(struct bytes *input, size_t size)
{
	assert(size <= input->size);
	input->data += size;
	input->size -= size;
}

/*
 * Finds the empty line that ends a section, without a look at what its lines say. Lines end in CR
 * LF and nowhere else. *size: of the section with the empty line.
 */
static enum section section_find(struct http1_parser *parser, const struct http1_limits *limits,
                                 struct bytes input, bool has_request_line, size_t *size)
{
	size_t known = parser->scanned;
	size_t end = input.size < limits->head_max ? input.size : limits->head_max;

	assert(known <= end);
	while (known < end) {
		const uint8_t *line = input.data + known;
		const uint8_t *lf = memchr(line, '\n', end - known);

		if (has_request_line && known == 0 &&
		    (lf == NULL ? end : (size_t)(lf - line)) > limits->line_max) {
			fail(parser, 414, "the request line is too long");
			return SECTION_FAILED;
		}
		if (lf == NULL)
			break;
		if (lf == line || lf[-1] != '\r') {
			fail(parser, 400, "a line ends without CR");
			return SECTION_FAILED;
		}
		known = (size_t)(lf - input.data) + 1;
		if (lf - line == 1) {
			parser->scanned = 0;
			*size = known;
			return SECTION_COMPLETE;
		}
		parser->scanned = (uint32_t)known;
	}
	if (input.size >= limits->head_max) {
		fail(parser, 431, "the header fields are too long");
		return SECTION_FAILED;
	}
	return SECTION_PARTIAL;
}

/* A line without its CR LF, taken from the front of a section that has whole lines. */
static struct bytes take_line(struct bytes *section)
{
	const uint8_t *lf = memchr(section->data, '\n', section->size);
	struct bytes line;

	assert(lf != NULL && lf > section->data && lf[-1] == '\r');
	line = bytes_of(section->data, (size_t)(lf - section->data) - 1);
	take(section, line.size + 2);
	return line;
}

static bool fields_parse(struct http1_parser *parser, const struct http1_limits *limits,
                         struct bytes section, struct http1_head *head)
{
	struct bytes line = take_line(&section);

	head->fields = limits->fields;
	head->field_count = 0;
	for (; line.size > 0; line = take_line(&section)) {
		struct bytes name = bytes_of(line.data, http_token_size(line)), value;

		if (line.data[0] == ' ' || line.data[0] == '\t') {
			fail(parser, 400, "a field is folded over several lines");
			return false;
		}
		if (name.size == 0 || name.size == line.size || line.data[name.size] != ':') {
			fail(parser, 400, "a field has no name, or no colon right behind it");
			return false;
		}
		value = bytes_of(line.data + name.size + 1, line.size - name.size - 1);
		if (http_value_size(value) != value.size) {
			fail(parser, 400, "a field's value has a control character");
			return false;
		}
		if (head->field_count == limits->field_max) {
			fail(parser, 431, "too many header fields");
			return false;
		}
		limits->fields[head->field_count++] = (struct http_field){
			.name = name,
			.value = http_trim(value),
		};
	}
	return true;
}

/* The request line. */

static bool version_parse(struct http1_parser *parser, struct bytes version,
                          struct http1_head *head)
{
	if (version.size != 8 || memcmp(version.data, "HTTP/", 5) != 0 || version.data[6] != '.' ||
	    (uint8_t)(version.data[5] - '0') > 9 || (uint8_t)(version.data[7] - '0') > 9) {
		fail(parser, 400, "the request line is malformed");
		return false;
	}
	if (version.data[5] != '1') {
		fail(parser, 505, "only HTTP/1 is spoken here");
		return false;
	}
	/* A later minor version is answered as the highest known one: RFC 9110 section 2.5. */
	head->minor_version = version.data[7] == '0' ? 0 : 1;
	return true;
}

/* "http://host/path": cuts the target at the path, and keeps the host. */
static bool absolute_parse(struct http1_head *head)
{
	struct bytes rest = head->target;
	size_t scheme = rest.size >= 7 && http_name_is(bytes_of(rest.data, 7), BYTES("http://")) ? 7
	                : rest.size >= 8 && http_name_is(bytes_of(rest.data, 8), BYTES("https://"))
	                        ? 8
	                        : 0;
	size_t size = 0;

	if (scheme == 0)
		return false;
	take(&rest, scheme);
	while (size < rest.size && rest.data[size] != '/' && rest.data[size] != '?')
		size++;
	head->host = bytes_of(rest.data, size);
	take(&rest, size);
	head->target = rest.size > 0 ? rest : BYTES("/");
	return size > 0 && http_is_authority(head->host) && head->target.data[0] == '/';
}

static bool target_parse(struct http1_parser *parser, struct http1_head *head)
{
	if (!http_is_target(head->target)) {
		fail(parser, 400, "the target has a character that no target may have");
		return false;
	}
	if (bytes_equal(head->method, BYTES("CONNECT"))) {
		fail(parser, 501, "this is no proxy");
		return false;
	}
	if (head->target.size > 0 && head->target.data[0] == '/')
		return true;
	if (bytes_equal(head->target, BYTES("*")) && bytes_equal(head->method, BYTES("OPTIONS")))
		return true;
	if (!absolute_parse(head)) {
		fail(parser, 400, "the target is malformed");
		return false;
	}
	return true;
}

/* One space between the parts, and none elsewhere. */
static bool request_line_parse(struct http1_parser *parser, struct bytes line,
                               struct http1_head *head)
{
	const uint8_t *end;

	head->method = bytes_of(line.data, http_token_size(line));
	if (head->method.size == 0 || head->method.size == line.size ||
	    line.data[head->method.size] != ' ') {
		fail(parser, 400, "the request line is malformed");
		return false;
	}
	take(&line, head->method.size + 1);
	end = memchr(line.data, ' ', line.size);
	if (end == NULL || end == line.data) {
		fail(parser, 400, "the request line is malformed");
		return false;
	}
	head->target = bytes_of(line.data, (size_t)(end - line.data));
	take(&line, head->target.size + 1);
	return version_parse(parser, line, head) && target_parse(parser, head);
}

/* Fields that say how the message goes on. */

struct framing {
	unsigned hosts, sizes, codings;
	bool chunked, close, keep_alive;
};

static void connection_parse(struct bytes value, struct framing *framing)
{
	struct bytes option;

	while (http_list_next(&value, &option)) {
		framing->close |= http_name_is(option, BYTES("close"));
		framing->keep_alive |= http_name_is(option, BYTES("keep-alive"));
	}
}

static bool length_parse(struct http1_parser *parser, struct bytes value, struct http1_head *head,
                         struct framing *framing)
{
	uint64_t size = 0;

	if (!http_parse_u64(value, &size)) {
		fail(parser, 400, "Content-Length is not a number");
		return false;
	}
	if (framing->sizes++ > 0 && size != head->body_size) {
		fail(parser, 400, "two values of Content-Length differ");
		return false;
	}
	head->body_size = size;
	return true;
}

static bool field_heed(struct http1_parser *parser, const struct http_field *field,
                       struct http1_head *head, struct framing *framing)
{
	switch (field->name.size) {
	case 4:
		if (!http_name_is(field->name, BYTES("host")))
			return true;
		if (framing->hosts++ > 0 || !http_is_authority(field->value)) {
			fail(parser, 400, "Host is there twice, or malformed");
			return false;
		}
		if (head->host.size == 0)
			head->host = field->value;
		return true;
	case 6:
		if (!http_name_is(field->name, BYTES("expect")) || head->minor_version == 0)
			return true;
		head->expects_continue = http_name_is(field->value, BYTES("100-continue"));
		return true; /* what else is expected may be ignored (RFC 9110 10.1.1) */
	case 10:
		if (http_name_is(field->name, BYTES("connection")))
			connection_parse(field->value, framing);
		return true;
	case 14:
		return !http_name_is(field->name, BYTES("content-length")) ||
		       length_parse(parser, field->value, head, framing);
	case 17:
		if (http_name_is(field->name, BYTES("transfer-encoding"))) {
			framing->codings++;
			framing->chunked = http_name_is(field->value, BYTES("chunked"));
		}
		return true;
	default:
		return true;
	}
}

static bool framing_judge(struct http1_parser *parser, const struct http1_limits *limits,
                          struct http1_head *head, const struct framing *framing)
{
	if (framing->hosts == 0 && head->minor_version > 0) {
		fail(parser, 400, "Host is missing");
		return false;
	}
	if (framing->codings > 0 && (framing->sizes > 0 || head->minor_version == 0)) {
		fail(parser, 400, "Transfer-Encoding with Content-Length, or in HTTP/1.0");
		return false;
	}
	if (framing->codings > 1 || (framing->codings > 0 && !framing->chunked)) {
		fail(parser, 501, "no transfer coding but chunked is known");
		return false;
	}
	if (head->body_size > limits->body_max) {
		fail(parser, 413, "the body is too large");
		return false;
	}
	head->framing = framing->codings > 0 ? HTTP1_CHUNKED
	                : framing->sizes > 0 ? HTTP1_SIZED
	                                     : HTTP1_NO_BODY;
	head->keep_alive = !framing->close && (head->minor_version > 0 || framing->keep_alive);
	return true;
}

static bool head_parse(struct http1_parser *parser, const struct http1_limits *limits,
                       struct bytes section, struct http1_head *head)
{
	struct framing framing = { .hosts = 0 };

	*head = (struct http1_head){ .minor_version = 0 };
	if (!request_line_parse(parser, take_line(&section), head) ||
	    !fields_parse(parser, limits, section, head))
		return false;
	for (uint32_t i = 0; i < head->field_count; i++) {
		if (!field_heed(parser, &head->fields[i], head, &framing))
			return false;
	}
	return framing_judge(parser, limits, head, &framing);
}

/* States. */

static bool next_request(struct http1_parser *parser, const struct http1_limits *limits,
                         struct bytes *input, struct http1_event *event)
{
	size_t size = 0;

	/* An old client's CR LF after a body is no request: RFC 9112 section 2.2. */
	while (parser->scanned == 0 && input->size >= 2 && memcmp(input->data, "\r\n", 2) == 0) {
		if (++parser->extension_size > 2) {
			fail(parser, 400, "empty lines instead of a request");
			return false;
		}
		take(input, 2);
	}
	if (input->size == 0 || (input->size == 1 && input->data[0] == '\r'))
		return false;
	if (http_token_size(bytes_of(input->data, 1)) == 0) {
		fail(parser, 400, "this is not HTTP");
		return false;
	}
	if (section_find(parser, limits, *input, true, &size) != SECTION_COMPLETE ||
	    !head_parse(parser, limits, bytes_of(input->data, size), &event->head))
		return false;
	take(input, size);
	event->type = HTTP1_HEAD;
	parser->left = event->head.body_size;
	parser->size = 0;
	parser->extension_size = 0;
	parser->state = event->head.framing == HTTP1_CHUNKED ? AT_CHUNK
	                : parser->left > 0                   ? IN_BODY
	                                                     : AT_END;
	return true;
}

static bool next_body(struct http1_parser *parser, struct bytes *input, struct http1_event *event)
{
	size_t size = input->size < parser->left ? input->size : (size_t)parser->left;

	if (size == 0)
		return false;
	event->type = HTTP1_BODY;
	event->body = bytes_of(input->data, size);
	take(input, size);
	parser->left -= size;
	if (parser->left == 0)
		parser->state = parser->state == IN_CHUNK ? AT_CHUNK_END : AT_END;
	return true;
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "SIZE" and maybe ";extensions", which mean nothing to us. */
static bool chunk_parse(struct http1_parser *parser, const struct http1_limits *limits,
                        struct bytes line)
{
	uint64_t size = 0;
	size_t digits = 0;

	while (digits < line.size && digits <= CHUNK_DIGITS_MAX &&
	       hex_value(line.data[digits]) >= 0)
		size = size << 4 | (uint64_t)hex_value(line.data[digits++]);
	if (digits == 0 || digits > CHUNK_DIGITS_MAX ||
	    (digits < line.size && line.data[digits] != ';') ||
	    http_value_size(line) != line.size) {
		fail(parser, 400, "the size of a chunk is malformed");
		return false;
	}
	parser->extension_size += (uint32_t)(line.size - digits);
	if (parser->extension_size > EXTENSIONS_MAX) {
		fail(parser, 400, "too many chunk extensions");
		return false;
	}
	if (size > limits->body_max || parser->size > limits->body_max - size) {
		fail(parser, 413, "the body is too large");
		return false;
	}
	parser->size += size;
	parser->left = size;
	parser->state = size > 0 ? IN_CHUNK : AT_TRAILERS;
	return true;
}

/* These two give no event; false: more input is needed, or it failed. */
static bool next_chunk(struct http1_parser *parser, const struct http1_limits *limits,
                       struct bytes *input)
{
	size_t end = input->size < CHUNK_LINE_MAX ? input->size : CHUNK_LINE_MAX;
	const uint8_t *lf = NULL;

	if (end > parser->scanned)
		lf = memchr(input->data + parser->scanned, '\n', end - parser->scanned);
	if (lf == NULL) {
		parser->scanned = (uint32_t)end;
		if (end == CHUNK_LINE_MAX)
			fail(parser, 400, "the line of a chunk is too long");
		return false;
	}
	parser->scanned = 0;
	if (lf == input->data || lf[-1] != '\r') {
		fail(parser, 400, "a line ends without CR");
		return false;
	}
	if (!chunk_parse(parser, limits, bytes_of(input->data, (size_t)(lf - input->data) - 1)))
		return false;
	take(input, (size_t)(lf - input->data) + 1);
	return true;
}

static bool next_chunk_end(struct http1_parser *parser, struct bytes *input)
{
	size_t size = input->size < 2 ? input->size : 2;

	if (memcmp(input->data, "\r\n", size) != 0) {
		fail(parser, 400, "no CR LF behind a chunk");
		return false;
	}
	if (size < 2)
		return false;
	take(input, 2);
	parser->state = AT_CHUNK;
	return true;
}

static bool next_trailers(struct http1_parser *parser, const struct http1_limits *limits,
                          struct bytes *input, struct http1_event *event)
{
	size_t size = 0;

	if (input->size == 0 ||
	    section_find(parser, limits, *input, false, &size) != SECTION_COMPLETE)
		return false;
	event->head = (struct http1_head){ .minor_version = 0 };
	if (!fields_parse(parser, limits, bytes_of(input->data, size), &event->head))
		return false;
	take(input, size);
	event->type = HTTP1_END;
	parser->state = AT_REQUEST;
	parser->extension_size = 0;
	return true;
}

static void next_end(struct http1_parser *parser, struct http1_event *event)
{
	event->type = HTTP1_END;
	event->head = (struct http1_head){ .minor_version = 0 };
	parser->state = AT_REQUEST;
}

void http1_next(struct http1_parser *parser, const struct http1_limits *limits, struct bytes *input,
                struct http1_event *event)
{
	event->type = HTTP1_NEED_MORE;
	for (;;) {
		switch ((enum parser_state)parser->state) {
		case AT_REQUEST:
			if (next_request(parser, limits, input, event))
				return;
			break;
		case IN_BODY:
		case IN_CHUNK:
			next_body(parser, input, event);
			return;
		case AT_CHUNK:
			if (next_chunk(parser, limits, input))
				continue;
			break;
		case AT_CHUNK_END:
			if (input->size > 0 && next_chunk_end(parser, input))
				continue;
			break;
		case AT_TRAILERS:
			if (next_trailers(parser, limits, input, event))
				return;
			break;
		case AT_END:
			next_end(parser, event);
			return;
		case FAILED:
			break;
		}
		if (parser->state == FAILED) {
			event->type = HTTP1_ERROR;
			event->status = parser->failure;
			event->reason = parser->reason;
		}
		return;
	}
}

size_t http1_write_status(unsigned status, uint8_t *out)
{
	const char *reason = http_reason(status);
	size_t size = strlen(reason);

	assert(status >= 100 && status <= 599);
	assert(15 + size <= HTTP1_STATUS_LINE_MAX);
	memcpy(out, "HTTP/1.1 ", 9);
	out[9] = (uint8_t)('0' + status / 100);
	out[10] = (uint8_t)('0' + status / 10 % 10);
	out[11] = (uint8_t)('0' + status % 10);
	out[12] = ' ';
	memcpy(out + 13, reason, size);
	memcpy(out + 13 + size, "\r\n", 2);
	return 15 + size;
}

size_t http1_write_chunk(uint64_t size, uint8_t *out)
{
	static const char digits[] = "0123456789abcdef";
	unsigned shift = 60;
	size_t used = 0;

	while (shift > 0 && (size >> shift) == 0)
		shift -= 4;
	for (;; shift -= 4) {
		out[used++] = (uint8_t)digits[size >> shift & 15];
		if (shift == 0)
			break;
	}
	memcpy(out + used, "\r\n", 2);
	return used + 2;
}
