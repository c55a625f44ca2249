/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/s3_policy.h"

#include <stdlib.h>

#include "base/assert.h"
#include "wire/s3_time.h"

enum rule_kind {
	STRING_EQUALS,
	STRING_EQUALS_IGNORE_CASE,
	STRING_LIKE,
	NUMERIC_EQUALS,
	NUMERIC_LESS,
	NUMERIC_LESS_EQUALS,
	NUMERIC_GREATER,
	NUMERIC_GREATER_EQUALS,
	DATE_EQUALS,
	DATE_LESS,
	DATE_LESS_EQUALS,
	DATE_GREATER,
	DATE_GREATER_EQUALS,
	BOOL,
	IP_ADDRESS,
	IS_NULL,
};

struct rule {
	const char *name;
	enum rule_kind kind;
	bool negated; /* true unless a value matches */
};

static const struct rule rules[] = {
	{ "StringEquals", STRING_EQUALS, false },
	{ "StringNotEquals", STRING_EQUALS, true },
	{ "StringEqualsIgnoreCase", STRING_EQUALS_IGNORE_CASE, false },
	{ "StringNotEqualsIgnoreCase", STRING_EQUALS_IGNORE_CASE, true },
	{ "StringLike", STRING_LIKE, false },
	{ "StringNotLike", STRING_LIKE, true },
	{ "ArnEquals", STRING_LIKE, false },
	{ "ArnNotEquals", STRING_LIKE, true },
	{ "ArnLike", STRING_LIKE, false },
	{ "ArnNotLike", STRING_LIKE, true },
	{ "NumericEquals", NUMERIC_EQUALS, false },
	{ "NumericNotEquals", NUMERIC_EQUALS, true },
	{ "NumericLessThan", NUMERIC_LESS, false },
	{ "NumericLessThanEquals", NUMERIC_LESS_EQUALS, false },
	{ "NumericGreaterThan", NUMERIC_GREATER, false },
	{ "NumericGreaterThanEquals", NUMERIC_GREATER_EQUALS, false },
	{ "DateEquals", DATE_EQUALS, false },
	{ "DateNotEquals", DATE_EQUALS, true },
	{ "DateLessThan", DATE_LESS, false },
	{ "DateLessThanEquals", DATE_LESS_EQUALS, false },
	{ "DateGreaterThan", DATE_GREATER, false },
	{ "DateGreaterThanEquals", DATE_GREATER_EQUALS, false },
	{ "Bool", BOOL, false },
	{ "IpAddress", IP_ADDRESS, false },
	{ "NotIpAddress", IP_ADDRESS, true },
	{ "Null", IS_NULL, false },
};

static uint8_t fold(uint8_t c, bool ignore_case)
{
	return ignore_case && c >= 'A' && c <= 'Z' ? c | 32 : c;
}

bool s3_wildcard_match(struct bytes pattern, struct bytes text, bool ignore_case)
{
	size_t p = 0, t = 0, star = SIZE_MAX, star_text = 0;

	while (t < text.size) {
		if (p < pattern.size && pattern.data[p] == '*') {
			star = p++;
			star_text = t;
		} else if (p < pattern.size &&
		           (pattern.data[p] == '?' || fold(pattern.data[p], ignore_case) ==
		                                              fold(text.data[t], ignore_case))) {
			p++;
			t++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			t = ++star_text;
		} else {
			return false;
		}
	}
	while (p < pattern.size && pattern.data[p] == '*')
		p++;
	return p == pattern.size;
}

/* A string or an array of them: the first, then the next; 0: no more. */
static uint32_t first_of(const struct json_value *values, uint32_t index)
{
	if (values[index].type != JSON_ARRAY)
		return index;
	return values[index].next > index + 1 ? index + 1 : 0;
}

static uint32_t next_of(const struct json_value *values, uint32_t index, uint32_t at)
{
	if (values[index].type != JSON_ARRAY || values[at].next >= values[index].next)
		return 0;
	return values[at].next;
}

static bool is_strings(const struct json_value *values, uint32_t index)
{
	if (first_of(values, index) == 0)
		return false;
	for (uint32_t i = first_of(values, index); i != 0; i = next_of(values, index, i)) {
		if (values[i].type != JSON_STRING)
			return false;
	}
	return true;
}

static struct bytes skip(struct bytes bytes, size_t size)
{
	return bytes_of(bytes.data + size, bytes.size - size);
}

static bool resource_is_of(struct bytes resource, struct bytes bucket)
{
	struct bytes prefix = BYTES("arn:aws:s3:::"), name;

	if (bytes_equal(resource, BYTES("*")))
		return true;
	if (!bytes_starts_with(resource, prefix))
		return false;
	name = skip(resource, prefix.size);
	return s3_wildcard_match(bytes_cut(&name, '/'), bucket, false);
}

static bool check_resources(const struct json_value *values, uint32_t index, struct bytes bucket)
{
	if (!is_strings(values, index))
		return false;
	for (uint32_t i = first_of(values, index); i != 0; i = next_of(values, index, i)) {
		if (!resource_is_of(values[i].text, bucket))
			return false;
	}
	return true;
}

static bool check_actions(const struct json_value *values, uint32_t index)
{
	if (!is_strings(values, index))
		return false;
	for (uint32_t i = first_of(values, index); i != 0; i = next_of(values, index, i)) {
		if (!bytes_equal(values[i].text, BYTES("*")) &&
		    !(values[i].text.size >= 3 &&
		      bytes_equal_ignoring_case(bytes_of(values[i].text.data, 3), BYTES("s3:"))))
			return false;
	}
	return true;
}

static bool check_principal(const struct json_value *values, uint32_t index)
{
	if (values[index].type == JSON_STRING)
		return bytes_equal(values[index].text, BYTES("*"));
	if (values[index].type != JSON_OBJECT || values[index].next == index + 1)
		return false;
	for (uint32_t i = index + 1; i < values[index].next; i = values[i + 1].next) {
		struct bytes name = values[i].text;

		if (!bytes_equal(name, BYTES("AWS")) &&
		    !bytes_equal(name, BYTES("CanonicalUser")) &&
		    !bytes_equal(name, BYTES("Service")) && !bytes_equal(name, BYTES("Federated")))
			return false;
		if (!is_strings(values, i + 1))
			return false;
	}
	return true;
}

/* An operator with "ForAllValues:", "ForAnyValue:" and "IfExists". */
struct how {
	const struct rule *rule;
	bool of_all, of_any, if_exists;
};

static bool find_rule(struct bytes name, struct how *how)
{
	static const char *const prefixes[] = { "ForAllValues:", "ForAnyValue:" };
	struct bytes suffix = BYTES("IfExists");

	*how = (struct how){ 0 };
	for (size_t i = 0; i < 2; i++) {
		struct bytes prefix = bytes_of(prefixes[i], strlen(prefixes[i]));

		if (bytes_starts_with(name, prefix)) {
			name = skip(name, prefix.size);
			how->of_all = i == 0;
			how->of_any = i == 1;
			break;
		}
	}
	if (name.size > suffix.size && bytes_equal(skip(name, name.size - suffix.size), suffix)) {
		name.size -= suffix.size;
		how->if_exists = true;
	}
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (bytes_equal(name, bytes_of(rules[i].name, strlen(rules[i].name)))) {
			how->rule = &rules[i];
			return true;
		}
	}
	return false;
}

static bool check_conditions(const struct json_value *values, uint32_t index)
{
	struct how how;

	if (values[index].type != JSON_OBJECT)
		return false;
	for (uint32_t i = index + 1; i < values[index].next; i = values[i + 1].next) {
		uint32_t keys = i + 1;

		if (!find_rule(values[i].text, &how) || values[keys].type != JSON_OBJECT)
			return false;
		for (uint32_t k = keys + 1; k < values[keys].next; k = values[k + 1].next) {
			if (values[k + 1].type == JSON_OBJECT || first_of(values, k + 1) == 0)
				return false;
		}
	}
	return true;
}

static bool check_statement(const struct json_value *values, uint32_t index, struct bytes bucket)
{
	uint32_t effect = json_member(values, index, "Effect");
	uint32_t action = json_member(values, index, "Action");
	uint32_t not_action = json_member(values, index, "NotAction");
	uint32_t resource = json_member(values, index, "Resource");
	uint32_t not_resource = json_member(values, index, "NotResource");
	uint32_t principal = json_member(values, index, "Principal");
	uint32_t not_principal = json_member(values, index, "NotPrincipal");
	uint32_t condition = json_member(values, index, "Condition");

	if (values[index].type != JSON_OBJECT || effect == 0)
		return false;
	if (!bytes_equal(values[effect].text, BYTES("Allow")) &&
	    !bytes_equal(values[effect].text, BYTES("Deny")))
		return false;
	if ((action == 0) == (not_action == 0) || (resource == 0) == (not_resource == 0) ||
	    (principal == 0) == (not_principal == 0))
		return false;
	/* Everybody but those that are named, strangers too: S3 does not take it. */
	if (not_principal != 0 && bytes_equal(values[effect].text, BYTES("Allow")))
		return false;
	return check_actions(values, action + not_action) &&
	       check_resources(values, resource + not_resource, bucket) &&
	       check_principal(values, principal + not_principal) &&
	       (condition == 0 || check_conditions(values, condition));
}

bool s3_policy_parse(struct s3_policy *policy, struct bytes bucket, uint8_t *data, size_t size,
                     struct json_value *values)
{
	uint32_t count, version, statement;

	if (size > S3_POLICY_SIZE_MAX ||
	    !json_parse(data, size, values, S3_POLICY_VALUES_MAX, &count))
		return false;
	version = json_member(values, 0, "Version");
	statement = json_member(values, 0, "Statement");
	if (version != 0 && !bytes_equal(values[version].text, BYTES("2012-10-17")) &&
	    !bytes_equal(values[version].text, BYTES("2008-10-17")))
		return false;
	if (statement == 0 || first_of(values, statement) == 0)
		return false;
	for (uint32_t i = first_of(values, statement); i != 0; i = next_of(values, statement, i)) {
		if (!check_statement(values, i, bucket))
			return false;
	}
	*policy = (struct s3_policy){ .values = values, .statements = statement };
	return true;
}

/* "arn:aws:iam::ACCOUNT:root", "arn:aws:iam::ACCOUNT:user/NAME", or the user's id. */
static bool is_user(struct bytes principal, const struct s3_policy_request *request)
{
	struct bytes rest = principal, account;

	if (request->user.size == 0)
		return false;
	if (bytes_equal(principal, request->user))
		return true;
	if (!bytes_starts_with(principal, BYTES("arn:aws:iam:")))
		return false;
	for (unsigned i = 0; i < 4; i++)
		bytes_cut(&rest, ':');
	account = bytes_cut(&rest, ':');
	if (bytes_equal(rest, BYTES("root")))
		return bytes_equal(account, request->user);
	if (!bytes_starts_with(rest, BYTES("user/")))
		return false;
	rest = skip(rest, strlen("user/"));
	return bytes_equal(rest, request->user) || bytes_equal(rest, request->user_name);
}

static bool matches_principal(const struct json_value *values, uint32_t index,
                              const struct s3_policy_request *request)
{
	if (values[index].type == JSON_STRING)
		return true; /* "*" */
	for (uint32_t i = index + 1; i < values[index].next; i = values[i + 1].next) {
		bool aws = bytes_equal(values[i].text, BYTES("AWS"));

		if (!aws && !bytes_equal(values[i].text, BYTES("CanonicalUser")))
			continue;
		for (uint32_t v = first_of(values, i + 1); v != 0; v = next_of(values, i + 1, v)) {
			if (aws && bytes_equal(values[v].text, BYTES("*")))
				return true;
			if (is_user(values[v].text, request))
				return true;
		}
	}
	return false;
}

static bool matches_action(const struct json_value *values, uint32_t index, const char *action)
{
	struct bytes text = bytes_of(action, strlen(action));

	for (uint32_t i = first_of(values, index); i != 0; i = next_of(values, index, i)) {
		if (s3_wildcard_match(values[i].text, text, true))
			return true;
	}
	return false;
}

static bool matches_resource(const struct json_value *values, uint32_t index,
                             const struct s3_policy_request *request)
{
	char memory[1400];
	struct text text;

	text_init(&text, memory, sizeof(memory));
	text_string(&text, "arn:aws:s3:::");
	text_add(&text, request->bucket);
	if (request->key.size > 0) {
		text_put(&text, '/');
		text_add(&text, request->key);
	}
	assert(!text.overflowed); /* names have maxima */
	for (uint32_t i = first_of(values, index); i != 0; i = next_of(values, index, i)) {
		if (s3_wildcard_match(values[i].text, text_bytes(&text), false))
			return true;
	}
	return false;
}

static bool parse_number(struct bytes text, double *ret_value)
{
	char memory[40], *end;

	if (text.size == 0 || text.size >= sizeof(memory))
		return false;
	memcpy(memory, text.data, text.size);
	memory[text.size] = '\0';
	*ret_value = strtod(memory, &end);
	return *end == '\0';
}

static bool parse_date(struct bytes text, double *ret_value)
{
	uint64_t s;

	if (!s3_time_parse_iso(text, &s) && !bytes_parse_u64(text, UINT64_MAX, &s))
		return false;
	*ret_value = (double)s;
	return true;
}

static bool compare(enum rule_kind kind, double actual, double wanted)
{
	switch (kind) {
	case NUMERIC_EQUALS:
	case DATE_EQUALS:
		return actual <= wanted && actual >= wanted;
	case NUMERIC_LESS:
	case DATE_LESS:
		return actual < wanted;
	case NUMERIC_LESS_EQUALS:
	case DATE_LESS_EQUALS:
		return actual <= wanted;
	case NUMERIC_GREATER:
	case DATE_GREATER:
		return actual > wanted;
	case NUMERIC_GREATER_EQUALS:
	case DATE_GREATER_EQUALS:
		return actual >= wanted;
	default:
		unreachable();
	}
}

/* An address of 16 bytes, IPv4 as ::ffff:a.b.c.d. */
static bool parse_v4(struct bytes text, uint8_t *out)
{
	for (unsigned i = 0; i < 4; i++) {
		uint64_t value;

		if (!bytes_parse_u64(bytes_cut(&text, '.'), 255, &value))
			return false;
		out[i] = (uint8_t)value;
	}
	return text.size == 0;
}

static bool parse_group(struct bytes text, uint8_t *out)
{
	unsigned value = 0;

	if (text.size == 0 || text.size > 4)
		return false;
	for (size_t i = 0; i < text.size; i++) {
		uint8_t c = text.data[i], low = c | 32;

		if (c >= '0' && c <= '9')
			value = value << 4 | (unsigned)(c - '0');
		else if (low >= 'a' && low <= 'f')
			value = value << 4 | (unsigned)(low - 'a' + 10);
		else
			return false;
	}
	out[0] = (uint8_t)(value >> 8);
	out[1] = (uint8_t)value;
	return true;
}

static bool parse_v6(struct bytes text, uint8_t *out)
{
	size_t at = 0, gap = SIZE_MAX;

	memset(out, 0, 16);
	if (bytes_starts_with(text, BYTES("::"))) {
		gap = 0;
		text = skip(text, 2);
	}
	while (text.size > 0) {
		struct bytes group = bytes_cut(&text, ':');

		if (group.size == 0) {
			if (gap != SIZE_MAX)
				return false;
			gap = at;
			continue;
		}
		if (at == 16 || !parse_group(group, out + at))
			return false;
		at += 2;
	}
	if (gap == SIZE_MAX)
		return at == 16;
	memmove(out + 16 - (at - gap), out + gap, at - gap);
	memset(out + gap, 0, 16 - at);
	return at < 16;
}

static bool parse_address(struct bytes text, uint8_t *out, uint64_t *bits_max)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

	if (text.size > 0 && memchr(text.data, ':', text.size) != NULL) {
		*bits_max = 128;
		return parse_v6(text, out);
	}
	*bits_max = 32;
	memcpy(out, mapped, sizeof(mapped));
	return parse_v4(text, out + 12);
}

static bool matches_address(struct bytes actual, struct bytes wanted)
{
	struct bytes network = bytes_cut(&wanted, '/');
	uint8_t address[16], base[16];
	uint64_t bits_max, actual_bits, bits;

	if (!parse_address(actual, address, &actual_bits) ||
	    !parse_address(network, base, &bits_max))
		return false;
	bits = bits_max;
	if (wanted.size > 0 && !bytes_parse_u64(wanted, bits_max, &bits))
		return false;
	bits += 128 - bits_max;
	for (uint64_t i = 0; i < bits; i++) {
		if ((address[i / 8] ^ base[i / 8]) >> (7 - i % 8) & 1)
			return false;
	}
	return true;
}

static struct bytes text_of(const struct json_value *value)
{
	if (value->type == JSON_TRUE)
		return BYTES("true");
	return value->type == JSON_FALSE ? BYTES("false") : value->text;
}

static bool matches_value(enum rule_kind kind, struct bytes actual, struct bytes wanted)
{
	double a, b;

	switch (kind) {
	case STRING_EQUALS:
		return bytes_equal(actual, wanted);
	case STRING_EQUALS_IGNORE_CASE:
	case BOOL:
		return bytes_equal_ignoring_case(actual, wanted);
	case STRING_LIKE:
		return s3_wildcard_match(wanted, actual, false);
	case IP_ADDRESS:
		return matches_address(actual, wanted);
	case DATE_EQUALS:
	case DATE_LESS:
	case DATE_LESS_EQUALS:
	case DATE_GREATER:
	case DATE_GREATER_EQUALS:
		return parse_date(actual, &a) && parse_date(wanted, &b) && compare(kind, a, b);
	case NUMERIC_EQUALS:
	case NUMERIC_LESS:
	case NUMERIC_LESS_EQUALS:
	case NUMERIC_GREATER:
	case NUMERIC_GREATER_EQUALS:
		return parse_number(actual, &a) && parse_number(wanted, &b) && compare(kind, a, b);
	case IS_NULL:
		break;
	}
	unreachable();
}

static bool matches_any(const struct json_value *values, uint32_t wanted, enum rule_kind kind,
                        struct bytes actual)
{
	for (uint32_t i = first_of(values, wanted); i != 0; i = next_of(values, wanted, i)) {
		if (matches_value(kind, actual, text_of(&values[i])))
			return true;
	}
	return false;
}

static bool matches_key(const struct json_value *values, uint32_t key, const struct how *how,
                        const struct s3_policy_request *request)
{
	bool any = false, all = true;
	uint32_t count = 0;
	struct bytes actual;

	if (how->rule->kind == IS_NULL)
		return bytes_equal(text_of(&values[first_of(values, key + 1)]), BYTES("true")) !=
		       request->value(request->owner, values[key].text, 0, &actual);
	for (; request->value(request->owner, values[key].text, count, &actual); count++) {
		bool matched =
		        matches_any(values, key + 1, how->rule->kind, actual) != how->rule->negated;

		any |= matched;
		all &= matched;
	}
	if (count == 0)
		return how->if_exists || how->of_all || (how->rule->negated && !how->of_any);
	return how->of_all ? all : any;
}

static bool matches_conditions(const struct json_value *values, uint32_t index,
                               const struct s3_policy_request *request)
{
	struct how how;

	for (uint32_t i = index + 1; i < values[index].next; i = values[i + 1].next) {
		uint32_t keys = i + 1;
		bool known = find_rule(values[i].text, &how);

		assert(known); /* check_conditions() has seen it */
		for (uint32_t k = keys + 1; k < values[keys].next; k = values[k + 1].next) {
			if (!matches_key(values, k, &how, request))
				return false;
		}
	}
	return true;
}

static bool matches(const struct json_value *values, uint32_t index,
                    const struct s3_policy_request *request)
{
	uint32_t member = json_member(values, index, "Principal");
	bool wanted = member != 0;

	if (matches_principal(values, wanted ? member : json_member(values, index, "NotPrincipal"),
	                      request) != wanted)
		return false;
	member = json_member(values, index, "Action");
	wanted = member != 0;
	if (matches_action(values, wanted ? member : json_member(values, index, "NotAction"),
	                   request->action) != wanted)
		return false;
	member = json_member(values, index, "Resource");
	wanted = member != 0;
	if (matches_resource(values, wanted ? member : json_member(values, index, "NotResource"),
	                     request) != wanted)
		return false;
	member = json_member(values, index, "Condition");
	return member == 0 || matches_conditions(values, member, request);
}

enum s3_policy_effect s3_policy_evaluate(const struct s3_policy *policy,
                                         const struct s3_policy_request *request)
{
	const struct json_value *values = policy->values;
	enum s3_policy_effect effect = S3_POLICY_SILENT;
	uint32_t all = policy->statements;

	assert(request->value != NULL && request->action != NULL);
	for (uint32_t i = first_of(values, all); i != 0; i = next_of(values, all, i)) {
		if (!matches(values, i, request))
			continue;
		if (bytes_equal(values[json_member(values, i, "Effect")].text, BYTES("Deny")))
			return S3_POLICY_DENIES;
		effect = S3_POLICY_ALLOWS;
	}
	return effect;
}

static bool is_everybody(const struct json_value *values, uint32_t principal)
{
	const struct s3_policy_request nobody = { 0 };

	return principal != 0 && matches_principal(values, principal, &nobody);
}

/* Conditions on where from or who; others do not make a policy less public. */
static bool narrows(const struct json_value *values, uint32_t index)
{
	static const char *const keys[] = { "aws:SourceIp",
		                            "aws:SourceArn",
		                            "aws:SourceVpc",
		                            "aws:SourceVpce",
		                            "aws:SourceOwner",
		                            "aws:SourceAccount",
		                            "aws:userid",
		                            "aws:PrincipalOrgID",
		                            "aws:PrincipalArn",
		                            "aws:PrincipalAccount",
		                            "s3:DataAccessPointAccount" };

	if (index == 0)
		return false;
	for (uint32_t i = index + 1; i < values[index].next; i = values[i + 1].next) {
		for (uint32_t k = i + 2; k < values[i + 1].next; k = values[k + 1].next) {
			for (size_t n = 0; n < sizeof(keys) / sizeof(keys[0]); n++) {
				if (bytes_equal_ignoring_case(values[k].text,
				                              bytes_of(keys[n], strlen(keys[n]))))
					return true;
			}
		}
	}
	return false;
}

bool s3_policy_is_public(const struct s3_policy *policy)
{
	const struct json_value *values = policy->values;
	uint32_t all = policy->statements;

	for (uint32_t i = first_of(values, all); i != 0; i = next_of(values, all, i)) {
		if (bytes_equal(values[json_member(values, i, "Effect")].text, BYTES("Allow")) &&
		    is_everybody(values, json_member(values, i, "Principal")) &&
		    !narrows(values, json_member(values, i, "Condition")))
			return true;
	}
	return false;
}
