/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/s3_form.h"

#include "base/assert.h"
#include "wire/s3_time.h"

enum state {
	PREAMBLE, /* zero: before the first delimiter */
	BOUNDARY, /* behind a delimiter: a line end, or "--" */
	HEAD,     /* of a part */
	VALUE,
	FILE_DATA,
	ENDED,
	FAILED,
};

/* A parameter such as boundary=x or name="x" of a header's value. */
static struct bytes parameter_of(struct bytes value, const char *name)
{
	struct bytes wanted = bytes_of(name, strlen(name));

	bytes_cut(&value, ';');
	while (value.size > 0) {
		struct bytes left, found;
		const uint8_t *end;

		value = bytes_trim(value);
		left = value;
		found = bytes_trim(bytes_cut(&left, '='));
		if (left.size > 0 && left.data[0] == '"') {
			end = memchr(left.data + 1, '"', left.size - 1);
			if (end == NULL)
				break;
			value = bytes_of(end + 1, left.size - (size_t)(end + 1 - left.data));
			left = bytes_of(left.data + 1, (size_t)(end - left.data - 1));
			bytes_cut(&value, ';');
		} else {
			bytes_cut(&value, ';');
			left = bytes_trim(bytes_cut(&left, ';'));
		}
		if (bytes_equal_ignoring_case(found, wanted))
			return left;
	}
	return (struct bytes){ 0 };
}

bool s3_form_init(struct s3_form *form, struct bytes content_type)
{
	struct bytes boundary = parameter_of(content_type, "boundary"), rest = content_type;

	if (!bytes_equal_ignoring_case(bytes_trim(bytes_cut(&rest, ';')),
	                               BYTES("multipart/form-data")))
		return false;
	if (boundary.size == 0 || boundary.size > S3_FORM_BOUNDARY_MAX ||
	    memchr(boundary.data, '\r', boundary.size) != NULL)
		return false;
	memcpy(form->delimiter, "\r\n--", 4);
	memcpy(form->delimiter + 4, boundary.data, boundary.size);
	form->delimiter_size = 4 + boundary.size;
	form->matched = 2; /* the first one needs no line before it */
	return true;
}

static enum s3_form_event fail(struct s3_form *form, enum s3_error error)
{
	form->state = FAILED;
	form->error = error;
	return S3_FORM_ERROR;
}

static bool keep(struct s3_form *form, const void *data, size_t size)
{
	if (size > S3_FORM_MEMORY - form->used)
		return false;
	if (size > 0)
		memcpy(form->memory + form->used, data, size);
	form->used += size;
	return true;
}

/* The value of a header of the part whose head is `head`. */
static struct bytes header_of(struct bytes head, const char *name)
{
	while (head.size > 0) {
		struct bytes value = bytes_cut(&head, '\n');
		struct bytes found = bytes_cut(&value, ':');

		if (value.size > 0 && value.data[value.size - 1] == '\r')
			value.size--;
		if (bytes_equal_ignoring_case(bytes_trim(found), bytes_of(name, strlen(name))))
			return bytes_trim(value);
	}
	return (struct bytes){ 0 };
}

/* The head is whole: it becomes the field's name, and the value will follow it. */
static enum s3_form_event end_head(struct s3_form *form)
{
	struct bytes head = bytes_of(form->memory + form->part, form->used - form->part);
	struct bytes disposition = header_of(head, "content-disposition");
	struct bytes name = parameter_of(disposition, "name");

	if (name.size == 0)
		return fail(form, S3_MALFORMED_POST);
	if (bytes_equal_ignoring_case(name, BYTES("file"))) {
		form->file_name = parameter_of(disposition, "filename");
		form->file_type = header_of(head, "content-type");
		form->state = FILE_DATA;
		return S3_FORM_FILE;
	}
	if (form->field_count == S3_FORM_FIELDS_MAX)
		return fail(form, S3_POST_TOO_LARGE_FIELDS);
	form->fields[form->field_count].name = name;
	form->part = form->used;
	form->state = VALUE;
	return S3_FORM_MORE;
}

static enum s3_form_event take_head(struct s3_form *form, struct bytes *input)
{
	while (input->size > 0) {
		uint8_t c = input->data[0];
		size_t size;

		*input = bytes_of(input->data + 1, input->size - 1);
		if (!keep(form, &c, 1))
			return fail(form, S3_POST_TOO_LARGE_FIELDS);
		size = form->used - form->part;
		if (size >= 4 && memcmp(form->memory + form->used - 4, "\r\n\r\n", 4) == 0)
			return end_head(form);
		if (size == 2 && memcmp(form->memory + form->part, "\r\n", 2) == 0)
			return fail(form, S3_MALFORMED_POST);
	}
	return S3_FORM_MORE;
}

/* Behind a delimiter: CR LF and the next part, or "--" and the end. */
static enum s3_form_event take_boundary(struct s3_form *form, struct bytes *input)
{
	while (input->size > 0 && form->used - form->part < 2) {
		if (!keep(form, input->data, 1))
			return fail(form, S3_POST_TOO_LARGE_FIELDS);
		*input = bytes_of(input->data + 1, input->size - 1);
	}
	if (form->used - form->part < 2)
		return S3_FORM_MORE;
	if (memcmp(form->memory + form->part, "\r\n", 2) != 0)
		return fail(form, S3_MALFORMED_POST); /* "--" too: there was no file */
	form->used = form->part;
	form->state = HEAD;
	return S3_FORM_MORE;
}

/*
 * The next run of content before a delimiter. Only its first byte is a CR, so that after a partial
 * match nothing has to be looked at twice.
 */
static bool take_content(struct s3_form *form, struct bytes *input, struct bytes *content)
{
	const uint8_t *start = input->data;
	size_t at = 0;

	if (form->matched == 0) {
		const uint8_t *found = memchr(start, '\r', input->size);

		at = found == NULL ? input->size : (size_t)(found - start);
		*content = bytes_of(start, at);
		*input = bytes_of(start + at, input->size - at);
		if (at > 0)
			return false;
	}
	*content = (struct bytes){ 0 };
	while (input->size > 0) {
		if (input->data[0] != (uint8_t)form->delimiter[form->matched]) {
			*content = bytes_of(form->delimiter, form->matched);
			form->matched = 0;
			return false;
		}
		*input = bytes_of(input->data + 1, input->size - 1);
		if (++form->matched == form->delimiter_size)
			return true;
	}
	return false;
}

static enum s3_form_event take_value(struct s3_form *form, struct bytes *input)
{
	bool ended = false;

	while (input->size > 0 && !ended) {
		struct bytes content;

		ended = take_content(form, input, &content);
		if (form->state == VALUE && !keep(form, content.data, content.size))
			return fail(form, S3_POST_TOO_LARGE_FIELDS);
	}
	if (!ended)
		return S3_FORM_MORE;
	if (form->state == VALUE)
		form->fields[form->field_count++].value =
		        bytes_of(form->memory + form->part, form->used - form->part);
	form->matched = 0;
	form->part = form->used;
	form->state = BOUNDARY;
	return S3_FORM_MORE;
}

static enum s3_form_event take_file(struct s3_form *form, struct bytes *input)
{
	while (input->size > 0) {
		if (take_content(form, input, &form->data)) {
			form->state = ENDED;
			return S3_FORM_END;
		}
		if (form->data.size > 0)
			return S3_FORM_DATA;
	}
	return S3_FORM_MORE;
}

enum s3_form_event s3_form_next(struct s3_form *form, struct bytes *input)
{
	enum s3_form_event event = S3_FORM_MORE;

	assert(form->delimiter_size > 0);
	while (event == S3_FORM_MORE && input->size > 0) {
		switch ((enum state)form->state) {
		case PREAMBLE:
		case VALUE:
			event = take_value(form, input);
			break;
		case BOUNDARY:
			event = take_boundary(form, input);
			break;
		case HEAD:
			event = take_head(form, input);
			break;
		case FILE_DATA:
			event = take_file(form, input);
			break;
		case ENDED:
			*input = (struct bytes){ 0 };
			break;
		case FAILED:
			return S3_FORM_ERROR;
		}
	}
	return event;
}

static const struct s3_form_field *find(const struct s3_form *form, struct bytes name)
{
	for (uint32_t i = 0; i < form->field_count; i++) {
		if (bytes_equal_ignoring_case(form->fields[i].name, name))
			return &form->fields[i];
	}
	return NULL;
}

bool s3_form_has(const struct s3_form *form, const char *name)
{
	return find(form, bytes_of(name, strlen(name))) != NULL;
}

struct bytes s3_form_value(const struct s3_form *form, const char *name)
{
	const struct s3_form_field *field = find(form, bytes_of(name, strlen(name)));

	return field == NULL ? (struct bytes){ 0 } : field->value;
}

/* Checks one condition; `seen` marks the fields that it speaks of. */
struct checking {
	const struct s3_form_policy *policy;
	struct s3_form_limits *limits;
	uint64_t seen; /* bit by field */
	bool bucket_seen;
};

static bool check_field(struct checking *checking, struct bytes name, struct bytes wanted,
                        bool prefix)
{
	const struct s3_form *form = checking->policy->form;
	const struct s3_form_field *field = find(form, name);
	struct bytes value = { 0 };

	if (bytes_equal_ignoring_case(name, BYTES("bucket"))) {
		checking->bucket_seen = true;
		value = checking->policy->bucket;
	} else if (field != NULL) {
		checking->seen |= 1ull << (field - form->fields);
		value = field->value;
	} else if (wanted.size > 0 || !prefix) {
		return false;
	}
	return prefix ? bytes_starts_with(value, wanted) : bytes_equal(value, wanted);
}

static enum s3_error check_pairs(struct checking *checking, uint32_t index)
{
	const struct json_value *values = checking->policy->values;

	if (values[index].next == index + 1)
		return S3_INVALID_POLICY_DOCUMENT;
	for (uint32_t i = index + 1; i < values[index].next; i = values[i + 1].next) {
		if (values[i + 1].type != JSON_STRING)
			return S3_INVALID_POLICY_DOCUMENT;
		if (!check_field(checking, values[i].text, values[i + 1].text, false))
			return S3_ACCESS_DENIED_POLICY;
	}
	return S3_NONE;
}

static enum s3_error check_list(struct checking *checking, uint32_t index)
{
	const struct json_value *values = checking->policy->values;
	const struct json_value *word = &values[index + 1], *name = word + 1, *wanted = word + 2;
	bool prefix;

	if (values[index].next != index + 4 || word->type != JSON_STRING)
		return S3_INVALID_POLICY_DOCUMENT;
	if (bytes_equal_ignoring_case(word->text, BYTES("content-length-range"))) {
		struct s3_form_limits *limits = checking->limits;

		return bytes_parse_u64(name->text, UINT64_MAX, &limits->size_min) &&
		                       bytes_parse_u64(wanted->text, UINT64_MAX, &limits->size_max)
		               ? S3_NONE
		               : S3_INVALID_POLICY_DOCUMENT;
	}
	prefix = bytes_equal_ignoring_case(word->text, BYTES("starts-with"));
	if (!prefix && !bytes_equal_ignoring_case(word->text, BYTES("eq")))
		return S3_INVALID_POLICY_DOCUMENT;
	if (name->type != JSON_STRING || wanted->type != JSON_STRING || name->text.size < 2 ||
	    name->text.data[0] != '$')
		return S3_INVALID_POLICY_DOCUMENT;
	return check_field(checking, bytes_of(name->text.data + 1, name->text.size - 1),
	                   wanted->text, prefix)
	               ? S3_NONE
	               : S3_ACCESS_DENIED_POLICY;
}

/* What a policy need not speak of. */
static bool is_exempt(struct bytes name)
{
	static const char *const names[] = { "policy",           "signature",  "awsaccesskeyid",
		                             "x-amz-signature",  "file",       "x-amz-algorithm",
		                             "x-amz-credential", "x-amz-date", "submit" };

	if (name.size >= 9 && bytes_equal_ignoring_case(bytes_of(name.data, 9), BYTES("x-ignore-")))
		return true;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (bytes_equal_ignoring_case(name, bytes_of(names[i], strlen(names[i]))))
			return true;
	}
	return false;
}

enum s3_error s3_form_check_policy(const struct s3_form_policy *policy,
                                   struct s3_form_limits *limits)
{
	const struct json_value *values = policy->values;
	struct checking checking = { .policy = policy, .limits = limits };
	uint32_t count, expiration, conditions;
	uint64_t expires_s;

	*limits = (struct s3_form_limits){ .size_max = UINT64_MAX };
	if (!json_parse(policy->data, policy->size, policy->values, S3_FORM_VALUES_MAX, &count))
		return S3_INVALID_POLICY_DOCUMENT;
	expiration = json_member(values, 0, "expiration");
	conditions = json_member(values, 0, "conditions");
	if (expiration == 0 || conditions == 0 || values[conditions].type != JSON_ARRAY ||
	    !s3_time_parse_iso(values[expiration].text, &expires_s))
		return S3_INVALID_POLICY_DOCUMENT;
	if (policy->now_s >= expires_s)
		return S3_ACCESS_DENIED_POLICY_EXPIRED;
	for (uint32_t i = conditions + 1; i < values[conditions].next; i = values[i].next) {
		enum s3_error error = values[i].type == JSON_OBJECT  ? check_pairs(&checking, i)
		                      : values[i].type == JSON_ARRAY ? check_list(&checking, i)
		                                                     : S3_INVALID_POLICY_DOCUMENT;

		if (error != S3_NONE)
			return error;
	}
	if (!checking.bucket_seen)
		return S3_ACCESS_DENIED_POLICY;
	for (uint32_t i = 0; i < policy->form->field_count; i++) {
		if (!(checking.seen >> i & 1) && !is_exempt(policy->form->fields[i].name))
			return S3_ACCESS_DENIED_POLICY;
	}
	return S3_NONE;
}
