/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of ACL SETUSER: applied to a user, and told again. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_acl.h"

static const char unknown_name[] = "Unknown command or category name in ACL";
static const char syntax[] = "Syntax error";
static const char key_after_all[] =
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not "
        "have any effect. Try 'resetkeys' to start with an empty list of patterns";
static const char channel_after_all[] =
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does "
        "not have any effect. Try 'resetchannels' to start with an empty list of channels";
static const char no_such_password[] =
        "The password you are trying to remove from the user does not exist";
static const char bad_hash[] = "The password hash must be exactly 64 characters and contain only "
                               "lowercase hexadecimal characters";
static const char too_many[] = "Too many rules for one user";

static bool has_space(struct bytes text)
{
	for (size_t i = 0; i < text.size; i++) {
		uint8_t c = text.data[i];

		if (c == 0 || c == ' ' || (c >= '\t' && c <= '\r'))
			return true;
	}
	return false;
}

static struct bytes skip(struct bytes text, size_t size)
{
	assert(size <= text.size);
	return bytes_of(text.data + size, text.size - size);
}

/* Drops all patterns of keys, or of channels; the text of the others moves together. */
static void drop_patterns(struct resp_user *user, bool channels)
{
	uint8_t kept = 0;
	uint16_t used = 0;

	for (uint32_t i = 0; i < user->pattern_count; i++) {
		struct acl_pattern pattern = user->patterns[i];

		if ((pattern.access == ACL_CHANNEL) == channels)
			continue;
		memmove(user->text + used, user->text + pattern.start, pattern.size);
		pattern.start = used;
		used = (uint16_t)(used + pattern.size);
		user->patterns[kept++] = pattern;
	}
	user->pattern_count = kept;
	user->text_used = used;
}

static const char *add_pattern(struct resp_user *user, struct bytes text, uint8_t access)
{
	struct acl_pattern *pattern;

	if (has_space(text) || access == 0)
		return syntax;
	for (uint32_t i = 0; i < user->pattern_count; i++) {
		pattern = &user->patterns[i];
		if ((pattern->access == ACL_CHANNEL) != (access == ACL_CHANNEL) ||
		    !bytes_equal(bytes_of(user->text + pattern->start, pattern->size), text))
			continue;
		pattern->access |= access;
		return NULL;
	}
	if (user->pattern_count == ACL_PATTERNS_MAX || text.size + user->text_used > ACL_TEXT_MAX)
		return too_many;
	pattern = &user->patterns[user->pattern_count++];
	*pattern = (struct acl_pattern){ user->text_used, (uint16_t)text.size, access };
	memcpy(user->text + user->text_used, text.data, text.size);
	user->text_used = (uint16_t)(user->text_used + text.size);
	return NULL;
}

/* "~pattern", "%R~pattern", "%W~", "%RW~". */
static const char *add_keys(struct resp_user *user, struct bytes rule)
{
	uint8_t access = 0;
	size_t i = 1;

	if (user->all_keys)
		return key_after_all;
	if (rule.data[0] == '~')
		return add_pattern(user, skip(rule, 1), ACL_READ | ACL_WRITE);
	for (; i < rule.size && rule.data[i] != '~'; i++) {
		uint8_t c = rule.data[i] & 0xdf;
		uint8_t more = c == 'R' ? ACL_READ : c == 'W' ? ACL_WRITE : 0;

		if (more == 0 || (access & more))
			return syntax;
		access |= more;
	}
	if (i == rule.size)
		return syntax;
	return add_pattern(user, skip(rule, i + 1), access);
}

static const char *change_password(struct resp_acl *acl, struct resp_user *user, struct bytes rule)
{
	uint8_t hash[SHA256_SIZE];
	bool adds = rule.data[0] == '>' || rule.data[0] == '#';
	struct bytes text = skip(rule, 1);
	uint32_t at = 0;

	if (rule.data[0] == '>' || rule.data[0] == '<') {
		digest_of(&acl->sha256, text, hash);
	} else {
		for (size_t i = 0; i < text.size; i++) {
			if (text.data[i] >= 'A' && text.data[i] <= 'F')
				return bad_hash;
		}
		if (text.size != 2 * SHA256_SIZE || !hex_parse(text, hash))
			return bad_hash;
	}
	while (at < user->password_count && memcmp(user->passwords[at], hash, SHA256_SIZE) != 0)
		at++;
	if (adds) {
		if (at == ACL_PASSWORDS_MAX)
			return too_many;
		memcpy(user->passwords[at], hash, SHA256_SIZE);
		if (at == user->password_count)
			user->password_count++;
		user->nopass = false;
		return NULL;
	}
	if (at == user->password_count)
		return no_such_password;
	user->password_count--;
	memmove(user->passwords[at], user->passwords[at + 1],
	        (size_t)(user->password_count - at) * SHA256_SIZE);
	return NULL;
}

/* Whether a word of the kept rules says nothing any more once `rule` is said. */
static bool is_overruled(struct bytes word, struct bytes rule)
{
	struct bytes name = skip(word, 1), other = skip(rule, 1);

	if (bytes_equal(name, other))
		return true;
	/* A subcommand, after its command. */
	return name.size > other.size && memcmp(name.data, other.data, other.size) == 0 &&
	       name.data[other.size] == '|';
}

/* Takes the rule, in lower case, to the end of the kept ones, of which the first is for all. */
static const char *keep_rule(struct resp_user *user, struct bytes rule)
{
	size_t used = 5, at = 5; /* "+@all" */

	assert(user->rules_used >= 5);
	while (at < user->rules_used) {
		const char *word = user->rules + at + 1;
		const char *end = memchr(word, ' ', user->rules_used - at - 1);
		size_t size = end ? (size_t)(end - word) : user->rules_used - at - 1;

		if (!is_overruled(bytes_of(word, size), rule)) {
			memmove(user->rules + used, user->rules + at, size + 1);
			used += size + 1;
		}
		at += size + 1;
	}
	user->rules_used = (uint16_t)used;
	if (rule.size + 1 > ACL_RULES_MAX - used)
		return too_many;
	user->rules[used] = ' ';
	for (size_t i = 0; i < rule.size; i++) {
		uint8_t c = rule.data[i];

		user->rules[used + 1 + i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
	}
	user->rules_used = (uint16_t)(used + 1 + rule.size);
	return NULL;
}

static void allow(struct resp_user *user, uint32_t id, bool allowed)
{
	uint64_t bit = 1ull << (id % 64);

	if (allowed)
		user->allowed[id / 64] |= bit;
	else
		user->allowed[id / 64] &= ~bit;
	user->all_commands &= allowed;
}

static void allow_all(struct resp_user *user, bool allowed)
{
	memset(user->allowed, allowed ? 0xff : 0, sizeof(user->allowed));
	user->all_commands = allowed;
	memcpy(user->rules, allowed ? "+@all" : "-@all", 5);
	user->rules_used = 5;
}

static const char *change_category(const struct resp_acl *acl, struct resp_user *user,
                                   struct bytes rule)
{
	uint32_t category = acl_category_find(skip(rule, 2));

	if (category == 0)
		return unknown_name;
	for (uint32_t id = 0; id < acl->command_count; id++) {
		if (acl_categories(acl->commands[id]) & category)
			allow(user, id, rule.data[0] == '+');
	}
	return keep_rule(user, rule);
}

static const char *change_command(const struct resp_acl *acl, struct resp_user *user,
                                  struct bytes rule)
{
	const struct resp_command *command;
	uint8_t lowered[ACL_COMMAND_NAME_MAX];
	uint32_t id;

	if (rule.size > sizeof(lowered))
		return unknown_name;
	for (size_t i = 0; i < rule.size; i++) /* is_overruled() compares bytes */
		lowered[i] = rule.data[i] >= 'A' && rule.data[i] <= 'Z'
		                     ? (uint8_t)(rule.data[i] | 0x20)
		                     : rule.data[i];
	rule = bytes_of(lowered, rule.size);
	if (rule.data[rule.size - 1] == '|')
		return syntax;
	command = acl_command_find(acl, skip(rule, 1), &id);
	if (command == NULL)
		return unknown_name;
	for (uint32_t i = 0; i <= command->subcommand_count; i++)
		allow(user, id + i, rule.data[0] == '+');
	return keep_rule(user, rule);
}

static void user_reset(struct resp_user *user)
{
	drop_patterns(user, true);
	drop_patterns(user, false);
	user->enabled = user->nopass = user->all_keys = user->all_channels = false;
	user->password_count = 0;
	user->sanitize = 1;
	allow_all(user, false);
}

/* The rules that are one word. False: it is none of them. */
static bool apply_word(struct resp_user *user, struct bytes rule)
{
	if (resp_word_is(rule, "on") || resp_word_is(rule, "off")) {
		user->enabled = rule.size == 2;
	} else if (resp_word_is(rule, "nopass") || resp_word_is(rule, "resetpass")) {
		user->nopass = rule.size == 6;
		user->password_count = 0;
	} else if (resp_word_is(rule, "allkeys") || resp_word_is(rule, "~*") ||
	           resp_word_is(rule, "resetkeys")) {
		drop_patterns(user, false);
		user->all_keys = rule.size != 9;
	} else if (resp_word_is(rule, "allchannels") || resp_word_is(rule, "&*") ||
	           resp_word_is(rule, "resetchannels")) {
		drop_patterns(user, true);
		user->all_channels = rule.size != 13;
	} else if (resp_word_is(rule, "allcommands") || resp_word_is(rule, "+@all")) {
		allow_all(user, true);
	} else if (resp_word_is(rule, "nocommands") || resp_word_is(rule, "-@all")) {
		allow_all(user, false);
	} else if (resp_word_is(rule, "sanitize-payload") ||
	           resp_word_is(rule, "skip-sanitize-payload")) {
		user->sanitize = rule.size == 16 ? 1 : -1;
	} else if (resp_word_is(rule, "reset")) {
		user_reset(user);
	} else {
		return resp_word_is(rule, "clearselectors"); /* there are none */
	}
	return true;
}

static const char *apply(struct resp_acl *acl, struct resp_user *user, struct bytes rule)
{
	if (rule.size == 0 || apply_word(user, rule))
		return NULL;
	switch (rule.data[0]) {
	case '>':
	case '<':
	case '#':
	case '!':
		return change_password(acl, user, rule);
	case '~':
	case '%':
		return add_keys(user, rule);
	case '&':
		if (user->all_channels)
			return channel_after_all;
		return add_pattern(user, skip(rule, 1), ACL_CHANNEL);
	case '+':
	case '-':
		if (rule.size > 1 && rule.data[1] == '@')
			return change_category(acl, user, rule);
		return change_command(acl, user, rule);
	case '(':
		return "Selectors are not supported";
	default:
		return syntax;
	}
}

static struct resp_user *user_add(struct resp_acl *acl, struct bytes name)
{
	struct resp_user *user = acl->users;
	uint32_t at = acl->user_count;

	if (acl->user_count == acl->user_max)
		return NULL;
	while (user->name_size > 0)
		user++;
	assert(user < acl->users + acl->user_max);
	for (; at > 0; at--) {
		const struct resp_user *before = acl->sorted[at - 1];

		if (bytes_compare(bytes_of(before->name, before->name_size), name) < 0)
			break;
		acl->sorted[at] = acl->sorted[at - 1];
	}
	acl->sorted[at] = user;
	acl->user_count++;
	return user;
}

const char *acl_user_set(struct resp_acl *acl, struct bytes name, const struct bytes *rules,
                         uint32_t rule_count, uint32_t *ret_bad)
{
	struct resp_user *user = acl_user_find(acl, name), *trial = &acl->users[acl->user_max];

	*ret_bad = rule_count;
	if (has_space(name))
		return "Usernames can't contain spaces or null characters";
	if (name.size == 0 || name.size > ACL_NAME_MAX)
		return "Usernames must have 1 to 128 bytes";
	if (user != NULL) {
		*trial = *user;
	} else {
		*trial = (struct resp_user){ .name_size = (uint8_t)name.size };
		memcpy(trial->name, name.data, name.size);
		allow_all(trial, false);
	}
	for (uint32_t i = 0; i < rule_count; i++) {
		const char *error = apply(acl, trial, rules[i]);

		if (error != NULL) {
			*ret_bad = i;
			return error;
		}
	}
	if (user == NULL)
		user = user_add(acl, name);
	if (user == NULL)
		return "Too many users";
	*user = *trial;
	return NULL;
}

static size_t put(char *out, size_t used, const char *text)
{
	size_t size = strlen(text);

	memcpy(out + used, text, size);
	return used + size;
}

size_t acl_describe_patterns(const struct resp_user *user, bool channels, char *out)
{
	static const char *const prefixes[] = { "", "%R~", "%W~", "~", "&" };
	size_t used = 0;

	if (channels ? user->all_channels : user->all_keys)
		return put(out, 0, channels ? "&*" : "~*");
	for (uint32_t i = 0; i < user->pattern_count; i++) {
		const struct acl_pattern *pattern = &user->patterns[i];

		if ((pattern->access == ACL_CHANNEL) != channels)
			continue;
		if (used > 0)
			out[used++] = ' ';
		used = put(out, used, prefixes[pattern->access]);
		memcpy(out + used, user->text + pattern->start, pattern->size);
		used += pattern->size;
	}
	assert(used <= 2 * ACL_TEXT_MAX);
	return used;
}

size_t acl_describe(const struct resp_user *user, char *out)
{
	size_t used = put(out, 0, user->enabled ? "on " : "off "), size;

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
	size = acl_describe_patterns(user, false, out + used);
	used += size;
	used = put(out, used, size > 0 ? " " : "");
	used = put(out, used, user->all_channels ? "" : "resetchannels ");
	size = acl_describe_patterns(user, true, out + used);
	used += size;
	used = put(out, used, size > 0 ? " " : "");
	memcpy(out + used, user->rules, user->rules_used);
	used += user->rules_used;
	assert(used <= ACL_DESCRIPTION_MAX);
	return used;
}
