/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns against subjects: first byte splits the input. Memory errors, and laws of matching. */
#include "base/assert.h"
#include "server/glob.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t split;
	struct bytes pattern, subject;

	if (size < 1)
		return 0;
	split = data[0] % size;
	pattern = bytes_of(data + 1, split);
	subject = bytes_of(data + 1 + split, size - 1 - split);
	(void)glob_match(pattern, subject, true);
	if (glob_is_literal(pattern))
		assert(glob_match(pattern, subject, false) == bytes_equal(pattern, subject));
	if (glob_covers(pattern, subject) && glob_is_literal(subject))
		assert(bytes_equal(pattern, subject) || glob_match(pattern, subject, false));
	return 0;
}
