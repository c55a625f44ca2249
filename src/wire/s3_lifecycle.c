/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/s3_lifecycle.h"

#include "base/assert.h"
#include "base/hash.h"
#include "wire/s3_tags.h"
#include "wire/s3_time.h"

enum { DAY_S = 86400, DAYS_MAX = 1 << 30 };

void s3_lifecycle_init(struct s3_lifecycle *lifecycle, uint8_t *data, size_t size)
{
	*lifecycle = (struct s3_lifecycle){ 0 };
	xml_init(&lifecycle->xml, data, size);
}

static enum s3_error parse_days(struct bytes text, uint64_t least, uint64_t *ret_days)
{
	if (!bytes_parse_u64(text, DAYS_MAX, ret_days))
		return text.size > 0 && text.data[0] == '-' ? S3_INVALID_ARGUMENT
		                                            : S3_MALFORMED_XML;
	return *ret_days < least ? S3_INVALID_ARGUMENT : S3_NONE;
}

static enum s3_error parse_date(struct bytes text, uint64_t *ret_s)
{
	if (!s3_time_parse_iso(text, ret_s))
		return S3_MALFORMED_XML;
	return *ret_s % DAY_S != 0 ? S3_INVALID_ARGUMENT : S3_NONE;
}

static enum s3_error read_expiration(const struct xml *xml, struct s3_lifecycle_rule *rule)
{
	if (xml_name_is(xml, "Days")) {
		rule->has_days = true;
		return parse_days(xml->text, 1, &rule->expire_days);
	}
	if (xml_name_is(xml, "Date")) {
		rule->has_days = true;
		return parse_date(xml->text, &rule->expire_date_s);
	}
	if (xml_name_is(xml, "ExpiredObjectDeleteMarker")) {
		rule->has_delete_marker = true;
		rule->delete_marker = bytes_equal(xml->text, BYTES("true"));
		return S3_NONE;
	}
	return S3_MALFORMED_XML;
}

static enum s3_error read_noncurrent(const struct xml *xml, struct s3_lifecycle_rule *rule)
{
	if (xml_name_is(xml, "NoncurrentDays"))
		return parse_days(xml->text, 1, &rule->noncurrent_days);
	if (xml_name_is(xml, "NewerNoncurrentVersions"))
		return parse_days(xml->text, 1, &rule->noncurrent_keep);
	return S3_MALFORMED_XML;
}

static enum s3_error read_transition(const struct xml *xml, struct s3_lifecycle_rule *rule)
{
	uint32_t at = rule->transition_count - 1;

	assert(rule->transition_count > 0);
	if (xml_name_is(xml, "Days") || xml_name_is(xml, "NoncurrentDays"))
		return parse_days(xml->text, 0, &rule->transitions[at].days);
	if (xml_name_is(xml, "Date"))
		return parse_date(xml->text, &rule->transitions[at].date_s);
	if (xml_name_is(xml, "NewerNoncurrentVersions"))
		return parse_days(xml->text, 1, &rule->transitions[at].keep);
	if (xml_name_is(xml, "StorageClass")) {
		rule->transitions[at].storage_class = xml->text;
		return S3_NONE;
	}
	return S3_MALFORMED_XML;
}

/* Inside <Filter> or its <And>. */
static enum s3_error read_filter(const struct xml *xml, struct s3_lifecycle_rule *rule)
{
	uint32_t at = rule->tag_count;

	if (xml_name_is(xml, "Prefix")) {
		rule->prefix = xml->text;
		rule->has_prefix = true;
		return S3_NONE;
	}
	if (xml_name_is(xml, "ObjectSizeGreaterThan"))
		return bytes_parse_u64(xml->text, UINT64_MAX, &rule->size_above) ? S3_NONE
		                                                                 : S3_MALFORMED_XML;
	if (xml_name_is(xml, "ObjectSizeLessThan"))
		return bytes_parse_u64(xml->text, UINT64_MAX, &rule->size_below) ? S3_NONE
		                                                                 : S3_MALFORMED_XML;
	if (xml_name_is(xml, "Key") && at < S3_LIFECYCLE_TAGS_MAX) {
		rule->tags[at].key = xml->text;
		return S3_NONE;
	}
	if (xml_name_is(xml, "Value") && at < S3_LIFECYCLE_TAGS_MAX) {
		rule->tags[at].value = xml->text;
		return S3_NONE;
	}
	if (xml_name_is(xml, "Tag")) {
		rule->tag_count++;
		return at < S3_LIFECYCLE_TAGS_MAX ? S3_NONE : S3_MALFORMED_XML;
	}
	return xml_name_is(xml, "And") || xml_name_is(xml, "Filter") ? S3_NONE : S3_MALFORMED_XML;
}

/* The element of depth 3, directly in <Rule>, that the last event is inside of. */
static struct bytes section_of(const struct xml *xml)
{
	return xml->depth <= 2 ? xml->name : xml_parent(xml, xml->depth - 2);
}

static bool is(struct bytes text, const char *word)
{
	return bytes_equal(text, bytes_of(word, strlen(word)));
}

/* A direct child of <Rule> that has ended. */
static enum s3_error read_child(const struct xml *xml, struct s3_lifecycle_rule *rule)
{
	if (xml_name_is(xml, "ID")) {
		rule->id = xml->text;
		return xml->text.size > S3_LIFECYCLE_ID_MAX ? S3_INVALID_ARGUMENT : S3_NONE;
	}
	if (xml_name_is(xml, "Prefix")) {
		rule->prefix = xml->text;
		rule->has_prefix = true;
		return S3_NONE;
	}
	if (xml_name_is(xml, "Status")) {
		rule->has_status = true;
		rule->enabled = bytes_equal(xml->text, BYTES("Enabled"));
		return rule->enabled || bytes_equal(xml->text, BYTES("Disabled"))
		               ? S3_NONE
		               : S3_MALFORMED_XML;
	}
	return S3_NONE; /* a group: its elements were read */
}

static enum s3_error read_close(const struct xml *xml, struct s3_lifecycle_rule *rule)
{
	struct bytes section = section_of(xml);

	if (xml->depth == 2)
		return read_child(xml, rule);
	if (is(section, "Filter"))
		return read_filter(xml, rule);
	if (is(section, "Expiration"))
		return read_expiration(xml, rule);
	if (is(section, "NoncurrentVersionExpiration"))
		return read_noncurrent(xml, rule);
	if (is(section, "Transition") || is(section, "NoncurrentVersionTransition"))
		return read_transition(xml, rule);
	if (is(section, "AbortIncompleteMultipartUpload") &&
	    xml_name_is(xml, "DaysAfterInitiation"))
		return parse_days(xml->text, 1, &rule->abort_days);
	return S3_MALFORMED_XML;
}

static enum s3_error read_open(const struct xml *xml, struct s3_lifecycle_rule *rule)
{
	bool noncurrent = xml_name_is(xml, "NoncurrentVersionTransition");

	if (xml->depth == 4 && xml_name_is(xml, "And"))
		rule->has_and = true;
	if (xml->depth != 3)
		return S3_NONE;
	rule->has_filter |= xml_name_is(xml, "Filter");
	rule->has_expiration |= xml_name_is(xml, "Expiration");
	rule->has_noncurrent |= xml_name_is(xml, "NoncurrentVersionExpiration");
	rule->has_abort |= xml_name_is(xml, "AbortIncompleteMultipartUpload");
	if (!noncurrent && !xml_name_is(xml, "Transition"))
		return S3_NONE;
	if (rule->transition_count == S3_LIFECYCLE_TRANSITIONS_MAX)
		return S3_MALFORMED_XML;
	rule->transitions[rule->transition_count++].noncurrent = noncurrent;
	return S3_NONE;
}

static enum s3_error check_rule(const struct s3_lifecycle_rule *rule)
{
	if (!rule->has_status || (!rule->has_filter && !rule->has_prefix))
		return S3_MALFORMED_XML;
	if (!rule->has_expiration && !rule->has_noncurrent && !rule->has_abort &&
	    rule->transition_count == 0)
		return S3_INVALID_ARGUMENT;
	if (rule->has_expiration &&
	    (rule->expire_days > 0) + (rule->expire_date_s > 0) + rule->has_delete_marker != 1)
		return S3_MALFORMED_XML;
	if (rule->has_noncurrent && rule->noncurrent_days == 0)
		return S3_MALFORMED_XML;
	return rule->has_abort && rule->abort_days == 0 ? S3_MALFORMED_XML : S3_NONE;
}

static bool fail(struct s3_lifecycle *lifecycle, enum s3_error error)
{
	lifecycle->ended = true;
	lifecycle->error = error;
	return false;
}

bool s3_lifecycle_next(struct s3_lifecycle *lifecycle, struct s3_lifecycle_rule *rule)
{
	struct xml *xml = &lifecycle->xml;
	enum xml_event event;

	if (lifecycle->ended)
		return false;
	*rule = (struct s3_lifecycle_rule){ .size_below = UINT64_MAX };
	while ((event = xml_next(xml)) == XML_OPEN || event == XML_CLOSE) {
		enum s3_error error = S3_NONE;

		if (event == XML_OPEN && xml->depth == 1 &&
		    !xml_name_is(xml, "LifecycleConfiguration"))
			return fail(lifecycle, S3_MALFORMED_XML);
		if (event == XML_OPEN && xml->depth == 2 && !xml_name_is(xml, "Rule"))
			return fail(lifecycle, S3_MALFORMED_XML);
		if (event == XML_CLOSE && xml->depth == 1) {
			error = check_rule(rule);
			if (error == S3_NONE && lifecycle->count++ == S3_LIFECYCLE_RULES_MAX)
				error = S3_MALFORMED_XML;
			return error == S3_NONE || fail(lifecycle, error);
		}
		if (event == XML_OPEN)
			error = read_open(xml, rule);
		else if (xml->depth >= 2)
			error = read_close(xml, rule);
		if (error != S3_NONE)
			return fail(lifecycle, error);
	}
	return fail(lifecycle,
	            event == XML_END && lifecycle->count > 0 ? S3_NONE : S3_MALFORMED_XML);
}

static void write_date(struct text *out, uint64_t s)
{
	xml_time(out, "Date", s * 1000);
}

static void write_filter(struct text *out, const struct s3_lifecycle_rule *rule)
{
	if (!rule->has_filter) {
		xml_bytes(out, "Prefix", rule->prefix);
		return;
	}
	xml_open(out, "Filter");
	if (rule->has_and)
		xml_open(out, "And");
	if (rule->has_prefix)
		xml_bytes(out, "Prefix", rule->prefix);
	for (uint32_t i = 0; i < rule->tag_count; i++) {
		xml_open(out, "Tag");
		xml_bytes(out, "Key", rule->tags[i].key);
		xml_bytes(out, "Value", rule->tags[i].value);
		xml_close(out, "Tag");
	}
	if (rule->size_above > 0)
		xml_u64(out, "ObjectSizeGreaterThan", rule->size_above);
	if (rule->size_below != UINT64_MAX)
		xml_u64(out, "ObjectSizeLessThan", rule->size_below);
	if (rule->has_and)
		xml_close(out, "And");
	xml_close(out, "Filter");
}

static void write_transitions(struct text *out, const struct s3_lifecycle_rule *rule)
{
	for (uint32_t i = 0; i < rule->transition_count; i++) {
		bool noncurrent = rule->transitions[i].noncurrent;
		const char *name = noncurrent ? "NoncurrentVersionTransition" : "Transition";

		xml_open(out, name);
		if (rule->transitions[i].date_s > 0)
			write_date(out, rule->transitions[i].date_s);
		else
			xml_u64(out, noncurrent ? "NoncurrentDays" : "Days",
			        rule->transitions[i].days);
		if (rule->transitions[i].keep > 0)
			xml_u64(out, "NewerNoncurrentVersions", rule->transitions[i].keep);
		xml_bytes(out, "StorageClass", rule->transitions[i].storage_class);
		xml_close(out, name);
	}
}

static void write_rule(struct text *out, const struct s3_lifecycle_rule *rule, uint32_t index)
{
	xml_open(out, "Rule");
	if (rule->id.size > 0) {
		xml_bytes(out, "ID", rule->id);
	} else {
		uint64_t hash = hash64(rule->prefix) + index;

		xml_open(out, "ID");
		text_string(out, "rule-");
		text_hex(out, bytes_of(&hash, sizeof(hash)));
		xml_close(out, "ID");
	}
	write_filter(out, rule);
	xml_string(out, "Status", rule->enabled ? "Enabled" : "Disabled");
	if (rule->has_expiration) {
		xml_open(out, "Expiration");
		if (rule->expire_days > 0)
			xml_u64(out, "Days", rule->expire_days);
		if (rule->expire_date_s > 0)
			write_date(out, rule->expire_date_s);
		if (rule->has_delete_marker)
			xml_bool(out, "ExpiredObjectDeleteMarker", rule->delete_marker);
		xml_close(out, "Expiration");
	}
	write_transitions(out, rule);
	if (rule->has_noncurrent) {
		xml_open(out, "NoncurrentVersionExpiration");
		xml_u64(out, "NoncurrentDays", rule->noncurrent_days);
		if (rule->noncurrent_keep > 0)
			xml_u64(out, "NewerNoncurrentVersions", rule->noncurrent_keep);
		xml_close(out, "NoncurrentVersionExpiration");
	}
	if (rule->has_abort) {
		xml_open(out, "AbortIncompleteMultipartUpload");
		xml_u64(out, "DaysAfterInitiation", rule->abort_days);
		xml_close(out, "AbortIncompleteMultipartUpload");
	}
	xml_close(out, "Rule");
}

enum s3_error s3_lifecycle_normalize(uint8_t *data, size_t size, struct text *out)
{
	uint64_t seen[S3_LIFECYCLE_RULES_MAX];
	struct s3_lifecycle_rule rule;
	struct s3_lifecycle lifecycle;

	s3_lifecycle_init(&lifecycle, data, size);
	xml_start(out);
	xml_open_in(out, "LifecycleConfiguration");
	while (s3_lifecycle_next(&lifecycle, &rule)) {
		uint32_t index = lifecycle.count - 1;

		seen[index] = rule.id.size == 0 ? 0 : hash64(rule.id);
		for (uint32_t i = 0; rule.id.size > 0 && i < index; i++) {
			if (seen[i] == seen[index])
				return S3_INVALID_ARGUMENT;
		}
		write_rule(out, &rule, index);
	}
	xml_close(out, "LifecycleConfiguration");
	if (lifecycle.error != S3_NONE)
		return lifecycle.error;
	return out->overflowed ? S3_MAX_MESSAGE : S3_NONE;
}

bool s3_lifecycle_applies(const struct s3_lifecycle_rule *rule,
                          const struct s3_lifecycle_object *object)
{
	uint8_t memory[S3_TAG_MEMORY];
	struct bytes value;

	if (!rule->enabled || !bytes_starts_with(object->name, rule->prefix))
		return false;
	if (rule->size_above > 0 && object->size <= rule->size_above)
		return false;
	if (object->size >= rule->size_below)
		return false;
	for (uint32_t i = 0; i < rule->tag_count; i++) {
		if (!s3_tags_find(object->tags, rule->tags[i].key, memory, &value) ||
		    !bytes_equal(value, rule->tags[i].value))
			return false;
	}
	return true;
}

uint64_t s3_lifecycle_due_ms(uint64_t age_from_ms, uint64_t days, uint64_t day_ms)
{
	uint64_t due = age_from_ms + days * day_ms;

	assert(day_ms > 0);
	return day_ms < DAY_S * 1000ull ? due : (due + day_ms - 1) / day_ms * day_ms;
}
