/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a form: cut anywhere, its fields and its file are the same; then as its policy. */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "wire/s3_form.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct said {
	uint32_t file_crc, fields_crc, count;
	uint64_t file_size;
	bool failed, ended;
};

static void listen(struct s3_form *form, const uint8_t *data, size_t size, size_t step,
                   struct said *said)
{
	bool taken = s3_form_init(form, BYTES("multipart/form-data; boundary=b"));

	assert(taken);
	*said = (struct said){ 0 };
	for (size_t at = 0; at < size && !said->failed; at += step) {
		struct bytes piece = bytes_of(data + at, size - at < step ? size - at : step);

		while (piece.size > 0 && !said->failed) {
			enum s3_form_event event = s3_form_next(form, &piece);

			said->failed = event == S3_FORM_ERROR;
			said->ended |= event == S3_FORM_END;
			if (event != S3_FORM_DATA)
				continue;
			assert(form->data.size > 0);
			said->file_size += form->data.size;
			said->file_crc = crc32c(said->file_crc, form->data.data, form->data.size);
		}
	}
	said->count = form->field_count;
	for (uint32_t i = 0; i < form->field_count; i++) {
		struct bytes value = form->fields[i].value;

		said->fields_crc = crc32c(said->fields_crc, value.data, value.size);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct json_value values[S3_FORM_VALUES_MAX];
	struct s3_form *form = calloc(1, sizeof(*form)), *again;
	struct s3_form_limits limits;
	struct said whole, cut;

	assert(form != NULL);
	listen(form, data, size, size == 0 ? 1 : size, &whole);
	for (size_t step = 1; step < 8; step += 3) {
		again = calloc(1, sizeof(*again));
		assert(again != NULL);
		listen(again, data, size, step, &cut);
		assert(whole.failed == cut.failed && whole.ended == cut.ended);
		assert(whole.file_size == cut.file_size && whole.file_crc == cut.file_crc);
		assert(whole.count == cut.count && whole.fields_crc == cut.fields_crc);
		free(again);
	}
	{
		uint8_t *copy = malloc(size == 0 ? 1 : size);
		const struct s3_form_policy policy = { form, BYTES("b"), 1000, copy, size, values };

		assert(copy != NULL);
		if (size > 0)
			memcpy(copy, data, size);
		(void)s3_form_check_policy(&policy, &limits);
		free(copy);
	}
	free(form);
	return 0;
}
