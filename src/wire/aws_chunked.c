/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/aws_chunked.h"

#include "base/assert.h"
#include "wire/text.h"

enum state {
	SIZE_LINE, /* zero: a chunk's first line */
	DATA,
	DATA_END, /* the line end behind the data */
	TRAILERS,
	ENDED,
	FAILED,
};

/* A whole line, without its end; false: more input is needed, or it is too long. */
static bool take_line(struct aws_chunked *chunked, struct bytes *input, struct bytes *line)
{
	while (input->size > 0) {
		uint8_t c = input->data[0];

		*input = bytes_of(input->data + 1, input->size - 1);
		if (c == '\n') {
			size_t size = chunked->line_size;

			if (size > 0 && chunked->line[size - 1] == '\r')
				size--;
			*line = bytes_of(chunked->line, size);
			chunked->line_size = 0;
			return true;
		}
		if (chunked->line_size == AWS_CHUNKED_LINE_MAX) {
			chunked->state = FAILED;
			return false;
		}
		chunked->line[chunked->line_size++] = c;
	}
	return false;
}

static bool parse_hex(struct bytes text, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (text.size == 0 || text.size > 15)
		return false;
	for (size_t i = 0; i < text.size; i++) {
		uint8_t c = text.data[i] | 32;
		bool digit = text.data[i] >= '0' && text.data[i] <= '9';

		if (!digit && (c < 'a' || c > 'f'))
			return false;
		value = value << 4 | (uint64_t)(digit ? text.data[i] - '0' : c - 'a' + 10);
	}
	*ret_value = value;
	return true;
}

/* "10000;chunk-signature=HEX", or the size alone. */
static enum aws_chunked_event parse_size(struct aws_chunked *chunked, struct bytes line)
{
	struct bytes size = bytes_cut(&line, ';');

	chunked->value = (struct bytes){ 0 };
	if (line.size > 0) {
		struct bytes name = bytes_cut(&line, '=');

		if (!bytes_equal(name, BYTES("chunk-signature")) || line.size != 64)
			return AWS_CHUNKED_ERROR;
		chunked->value = line;
	}
	if (!parse_hex(size, &chunked->size) || chunked->size > AWS_CHUNKED_CHUNK_MAX)
		return AWS_CHUNKED_ERROR;
	chunked->left = chunked->size;
	chunked->state = DATA;
	return AWS_CHUNKED_CHUNK;
}

static enum aws_chunked_event parse_trailer(struct aws_chunked *chunked, struct bytes line)
{
	struct bytes name;

	if (line.size == 0) {
		chunked->state = ENDED;
		return AWS_CHUNKED_MORE;
	}
	if (memchr(line.data, ':', line.size) == NULL ||
	    chunked->trailer_count++ == AWS_CHUNKED_TRAILERS_MAX)
		return AWS_CHUNKED_ERROR;
	name = bytes_trim(bytes_cut(&line, ':'));
	for (size_t i = 0; i < name.size; i++) {
		uint8_t *c = chunked->line + (name.data - chunked->line) + i;

		if (*c >= 'A' && *c <= 'Z')
			*c |= 32;
	}
	chunked->name = name;
	chunked->value = bytes_trim(line);
	return AWS_CHUNKED_TRAILER;
}

static enum aws_chunked_event take_data(struct aws_chunked *chunked, struct bytes *input)
{
	size_t size = input->size < chunked->left ? input->size : (size_t)chunked->left;

	if (chunked->left == 0) {
		chunked->state = chunked->size == 0 ? TRAILERS : DATA_END;
		return AWS_CHUNKED_CHUNK_END;
	}
	if (size == 0)
		return AWS_CHUNKED_MORE;
	chunked->value = bytes_of(input->data, size);
	*input = bytes_of(input->data + size, input->size - size);
	chunked->left -= size;
	return AWS_CHUNKED_DATA;
}

static enum aws_chunked_event step(struct aws_chunked *chunked, struct bytes *input)
{
	struct bytes line;

	switch ((enum state)chunked->state) {
	case DATA:
		return take_data(chunked, input);
	case DATA_END:
		if (!take_line(chunked, input, &line))
			break;
		if (line.size > 0)
			return AWS_CHUNKED_ERROR;
		chunked->state = SIZE_LINE;
		/* fall through */
	case SIZE_LINE:
		if (!take_line(chunked, input, &line))
			break;
		return parse_size(chunked, line);
	case TRAILERS:
		if (!take_line(chunked, input, &line))
			break;
		return parse_trailer(chunked, line);
	case ENDED:
		return input->size == 0 ? AWS_CHUNKED_MORE : AWS_CHUNKED_ERROR;
	case FAILED:
		break;
	}
	return chunked->state == FAILED ? AWS_CHUNKED_ERROR : AWS_CHUNKED_MORE;
}

enum aws_chunked_event aws_chunked_next(struct aws_chunked *chunked, struct bytes *input)
{
	enum aws_chunked_event event = step(chunked, input);

	if (event == AWS_CHUNKED_MORE && chunked->state == ENDED && input->size > 0)
		event = AWS_CHUNKED_ERROR;
	if (event == AWS_CHUNKED_ERROR)
		chunked->state = FAILED;
	assert(event != AWS_CHUNKED_MORE || input->size == 0);
	return event;
}

bool aws_chunked_is_ended(const struct aws_chunked *chunked)
{
	return chunked->state == ENDED || (chunked->state == TRAILERS && chunked->line_size == 0);
}
