/* SPDX-License-Identifier: Apache-2.0 */
/* Users, told in the words that make them. */
#include "base/assert.h"
#include "server/resp_acl.h"

static size_t put(char *out, size_t used, const char *text)
{
	size_t size = strlen(text);

	memcpy(out + used, text, size);
	return used + size;
}

size_t acl_describe_patterns(const struct acl_selector *selector, bool channels, char *out)
{
	static const char *const prefixes[] = { "", "%R~", "%W~", "~", "&" };
	size_t used = 0;

	if (channels ? selector->all_channels : selector->all_keys)
		return put(out, 0, channels ? "&*" : "~*");
	for (uint32_t i = 0; i < selector->pattern_count; i++) {
		const struct acl_pattern *pattern = &selector->patterns[i];

		if ((pattern->access == ACL_CHANNEL) != channels)
			continue;
		if (used > 0)
			out[used++] = ' ';
		used = put(out, used, prefixes[pattern->access]);
		memcpy(out + used, selector->text + pattern->start, pattern->size);
		used += pattern->size;
	}
	assert(used <= 2 * ACL_TEXT_MAX);
	return used;
}

static size_t describe_selector(const struct acl_selector *selector, char *out)
{
	size_t used = acl_describe_patterns(selector, false, out), size;

	used = put(out, used, used > 0 ? " " : "");
	used = put(out, used, selector->all_channels ? "" : "resetchannels ");
	size = acl_describe_patterns(selector, true, out + used);
	used += size;
	used = put(out, used, size > 0 ? " " : "");
	memcpy(out + used, selector->rules, selector->rules_used);
	return used + selector->rules_used;
}

size_t acl_describe_size(const struct resp_user *user)
{
	size_t size = 64 + user->password_count * (2 * SHA256_SIZE + 2);

	for (const struct acl_selector *s = &user->root; s != NULL;
	     s = s == &user->root ? user->others : s->next)
		size += 24 + s->text_used + 4u * s->pattern_count + s->rules_used;
	return size;
}

size_t acl_describe(const struct resp_user *user, char *out)
{
	size_t used = put(out, 0, user->enabled ? "on " : "off ");

	used = put(out, used, user->nopass ? "nopass " : "");
	if (user->sanitize != 0)
		used = put(out, used,
		           user->sanitize > 0 ? "sanitize-payload " : "skip-sanitize-payload ");
	for (uint32_t i = 0; i < user->password_count; i++) {
		out[used++] = '#';
		hex_format(bytes_of(user->passwords[i], SHA256_SIZE), out + used);
		used += 2 * SHA256_SIZE;
		out[used++] = ' ';
	}
	used += describe_selector(&user->root, out + used);
	for (const struct acl_selector *s = user->others; s != NULL; s = s->next) {
		used = put(out, used, " (");
		used += describe_selector(s, out + used);
		out[used++] = ')';
	}
	assert(used <= ACL_DESCRIPTION_MAX);
	return used;
}
