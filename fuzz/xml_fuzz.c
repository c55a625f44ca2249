/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as XML, and as each document that S3 reads: nothing grows, nothing is read past an end.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "wire/s3_acl.h"
#include "wire/s3_cors.h"
#include "wire/s3_lifecycle.h"
#include "wire/s3_tags.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(uint8_t *data, size_t size)
{
	size_t told = 0;
	enum xml_event event;
	struct xml xml;

	xml_init(&xml, data, size);
	while ((event = xml_next(&xml)) == XML_OPEN || event == XML_CLOSE) {
		assert(xml.depth <= XML_DEPTH_MAX);
		assert(xml.name.size > 0);
		if (event == XML_OPEN)
			xml_attribute(&xml, "type");
		else
			told += xml.text.size;
		xml_parent(&xml, 1);
		assert(told <= size);
	}
	assert(event == XML_ERROR || xml.depth == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char out[1 << 20], methods_memory[4096];
	const struct s3_cors_request request = { BYTES("http://a"), BYTES("GET"), BYTES("x-a, b") };
	struct s3_cors_answer answer;
	struct text text, methods;
	struct s3_acl acl;
	uint32_t count;

	for (unsigned what = 0; what < 6; what++) {
		uint8_t *copy = malloc(size == 0 ? 1 : size);

		assert(copy != NULL);
		if (size > 0)
			memcpy(copy, data, size);
		text_init(&text, out, sizeof(out));
		text_init(&methods, methods_memory, sizeof(methods_memory));
		if (what == 0)
			walk(copy, size);
		else if (what == 1)
			(void)s3_acl_parse_xml(&acl, copy, size);
		else if (what == 2)
			(void)s3_tags_parse_xml(copy, size, S3_TAGS_OBJECT_MAX, &text, &count);
		else if (what == 3)
			(void)s3_cors_check(copy, size);
		else if (what == 4)
			(void)s3_cors_match(copy, size, &request, &answer, &text, &methods);
		else if (s3_lifecycle_normalize(copy, size, &text) == S3_NONE)
			walk((uint8_t *)out, text.size); /* what is written can be read */
		free(copy);
	}
	return 0;
}
