/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies with Content-Encoding aws-chunked ("Signature Calculations for the Authorization Header:
 * Transferring Payload in Multiple Chunks" and "... with Trailing Headers" of the S3 API
 * reference): chunks of a stated size, perhaps signed, and trailers behind the last. Pure.
 */
#ifndef WIRE_AWS_CHUNKED_H
#define WIRE_AWS_CHUNKED_H

#include <stdbool.h>

#include "base/bytes.h"

enum {
	AWS_CHUNKED_LINE_MAX = 512,
	AWS_CHUNKED_TRAILERS_MAX = 8,
};
#define AWS_CHUNKED_CHUNK_MAX (5ull << 30)

enum aws_chunked_event {
	AWS_CHUNKED_MORE,  /* all input is taken */
	AWS_CHUNKED_CHUNK, /* a chunk of `size` bytes starts; `value`: its signature, or empty */
	AWS_CHUNKED_DATA,  /* `value` is its next piece */
	AWS_CHUNKED_CHUNK_END, /* all its data has come; after the last one, of size 0, too */
	AWS_CHUNKED_TRAILER,   /* `name` in lower case, `value` */
	AWS_CHUNKED_ERROR,     /* malformed; nothing more is taken */
};

/*
 * Memory: the caller's, zeroed at the start. Input may be cut anywhere. `name` and `value` lie in
 * the input or here, and die with the next call.
 */
struct aws_chunked {
	uint8_t state;
	uint8_t trailer_count;
	uint16_t line_size;
	uint64_t size, left; /* of the chunk */
	struct bytes name, value;
	uint8_t line[AWS_CHUNKED_LINE_MAX];
};

enum aws_chunked_event aws_chunked_next(struct aws_chunked *chunked, struct bytes *input);

/* Whether the body may end here: the last chunk was seen, and no line is cut. */
bool aws_chunked_is_ended(const struct aws_chunked *chunked);

#endif
