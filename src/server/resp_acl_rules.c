/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of ACL SETUSER, applied to a user. */
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
static void drop_patterns(struct acl_selector *selector, bool channels)
{
	uint8_t kept = 0;
	uint16_t used = 0;

	for (uint32_t i = 0; i < selector->pattern_count; i++) {
		struct acl_pattern pattern = selector->patterns[i];

		if ((pattern.access == ACL_CHANNEL) == channels)
			continue;
		memmove(selector->text + used, selector->text + pattern.start, pattern.size);
		pattern.start = used;
		used = (uint16_t)(used + pattern.size);
		selector->patterns[kept++] = pattern;
	}
	selector->pattern_count = kept;
	selector->text_used = used;
}

static const char *add_pattern(struct acl_selector *selector, struct bytes text, uint8_t access)
{
	struct acl_pattern *pattern;

	if (has_space(text) || access == 0)
		return syntax;
	for (uint32_t i = 0; i < selector->pattern_count; i++) {
		pattern = &selector->patterns[i];
		if ((pattern->access == ACL_CHANNEL) != (access == ACL_CHANNEL) ||
		    !bytes_equal(bytes_of(selector->text + pattern->start, pattern->size), text))
			continue;
		pattern->access |= access;
		return NULL;
	}
	if (selector->pattern_count == ACL_PATTERNS_MAX ||
	    text.size + selector->text_used > ACL_TEXT_MAX)
		return too_many;
	pattern = &selector->patterns[selector->pattern_count++];
	*pattern = (struct acl_pattern){ selector->text_used, (uint16_t)text.size, access };
	memcpy(selector->text + selector->text_used, text.data, text.size);
	selector->text_used = (uint16_t)(selector->text_used + text.size);
	return NULL;
}

/* "~pattern", "%R~pattern", "%W~", "%RW~". */
static const char *add_keys(struct acl_selector *selector, struct bytes rule)
{
	uint8_t access = 0;
	size_t i = 1;

	if (selector->all_keys)
		return key_after_all;
	if (rule.data[0] == '~')
		return add_pattern(selector, skip(rule, 1), ACL_READ | ACL_WRITE);
	for (; i < rule.size && rule.data[i] != '~'; i++) {
		uint8_t c = rule.data[i] & 0xdf;
		uint8_t more = c == 'R' ? ACL_READ : c == 'W' ? ACL_WRITE : 0;

		if (more == 0 || (access & more))
			return syntax;
		access |= more;
	}
	if (i == rule.size)
		return syntax;
	return add_pattern(selector, skip(rule, i + 1), access);
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
static const char *keep_rule(struct acl_selector *selector, struct bytes rule)
{
	size_t used = 5, at = 5; /* "+@all" */

	assert(selector->rules_used >= 5);
	while (at < selector->rules_used) {
		const char *word = selector->rules + at + 1;
		const char *end = memchr(word, ' ', selector->rules_used - at - 1);
		size_t size = end ? (size_t)(end - word) : selector->rules_used - at - 1;

		if (!is_overruled(bytes_of(word, size), rule)) {
			memmove(selector->rules + used, selector->rules + at, size + 1);
			used += size + 1;
		}
		at += size + 1;
	}
	selector->rules_used = (uint16_t)used;
	if (rule.size + 1 > ACL_RULES_MAX - used)
		return too_many;
	selector->rules[used] = ' ';
	for (size_t i = 0; i < rule.size; i++) {
		uint8_t c = rule.data[i];

		selector->rules[used + 1 + i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
	}
	selector->rules_used = (uint16_t)(used + 1 + rule.size);
	return NULL;
}

static void allow(struct acl_selector *selector, uint32_t id, bool allowed)
{
	uint64_t bit = 1ull << (id % 64);

	if (allowed)
		selector->allowed[id / 64] |= bit;
	else
		selector->allowed[id / 64] &= ~bit;
	selector->by_first[id / 64] &= ~bit;
	selector->all_commands &= allowed;
}

static void allow_all(struct acl_selector *selector, bool allowed)
{
	memset(selector->allowed, allowed ? 0xff : 0, sizeof(selector->allowed));
	memset(selector->by_first, 0, sizeof(selector->by_first));
	selector->all_commands = allowed;
	memcpy(selector->rules, allowed ? "+@all" : "-@all", 5);
	selector->rules_used = 5;
}

static const char *change_category(const struct resp_acl *acl, struct acl_selector *selector,
                                   struct bytes rule)
{
	uint32_t category = acl_category_find(skip(rule, 2));

	if (category == 0)
		return unknown_name;
	for (uint32_t id = 0; id < acl->command_count; id++) {
		if (acl_categories(acl->commands[id]) & category)
			allow(selector, id, rule.data[0] == '+');
	}
	return keep_rule(selector, rule);
}

/* "+select|0": of a command without subcommands, with that word as its first argument. */
static const char *allow_first(const struct resp_acl *acl, struct acl_selector *selector,
                               struct bytes rule)
{
	const uint8_t *bar = memrchr(rule.data, '|', rule.size);
	const struct resp_command *command;
	uint32_t id;

	if (bar == NULL || rule.data[0] != '+')
		return unknown_name;
	command =
	        acl_command_find(acl, bytes_of(rule.data + 1, (size_t)(bar - rule.data) - 1), &id);
	if (command == NULL)
		return unknown_name;
	if (strchr(command->name, '|') != NULL)
		return "Allowing first-arg of a subcommand is not supported";
	if (command->subcommand_count > 0)
		return unknown_name;
	selector->by_first[id / 64] |= 1ull << (id % 64);
	return keep_rule(selector, rule);
}

static const char *change_command(const struct resp_acl *acl, struct acl_selector *selector,
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
		return allow_first(acl, selector, rule);
	for (uint32_t i = 0; i <= command->subcommand_count; i++)
		allow(selector, id + i, rule.data[0] == '+');
	return keep_rule(selector, rule);
}

/* The rules about rights that are one word. False: it is none of them. */
static bool apply_word(struct acl_selector *selector, struct bytes rule)
{
	if (resp_word_is(rule, "allkeys") || resp_word_is(rule, "~*") ||
	    resp_word_is(rule, "resetkeys")) {
		drop_patterns(selector, false);
		selector->all_keys = rule.size != 9;
	} else if (resp_word_is(rule, "allchannels") || resp_word_is(rule, "&*") ||
	           resp_word_is(rule, "resetchannels")) {
		drop_patterns(selector, true);
		selector->all_channels = rule.size != 13;
	} else if (resp_word_is(rule, "allcommands") || resp_word_is(rule, "+@all")) {
		allow_all(selector, true);
	} else if (resp_word_is(rule, "nocommands") || resp_word_is(rule, "-@all")) {
		allow_all(selector, false);
	} else {
		return false;
	}
	return true;
}

/* What may stand inside parentheses, too. */
static const char *apply_right(const struct resp_acl *acl, struct acl_selector *selector,
                               struct bytes rule)
{
	if (rule.size == 0 || apply_word(selector, rule))
		return NULL;
	switch (rule.data[0]) {
	case '~':
	case '%':
		return add_keys(selector, rule);
	case '&':
		if (selector->all_channels)
			return channel_after_all;
		return add_pattern(selector, skip(rule, 1), ACL_CHANNEL);
	case '+':
	case '-':
		if (rule.size > 1 && rule.data[1] == '@')
			return change_category(acl, selector, rule);
		return change_command(acl, selector, rule);
	default:
		return syntax;
	}
}

/* Selectors. */

static void selector_init(struct acl_selector *selector)
{
	selector->next = NULL;
	selector->all_keys = selector->all_channels = false;
	selector->pattern_count = 0;
	selector->text_used = 0;
	allow_all(selector, false);
}

/* The words between the parentheses are its rules. */
static const char *add_selector(struct resp_acl *acl, struct resp_user *user, struct bytes rule)
{
	struct acl_selector *selector = acl->selectors_free, **end = &user->others;
	const char *error = NULL;

	assert(rule.size >= 2);
	if (selector == NULL)
		return "Too many selectors";
	acl->selectors_free = selector->next;
	selector_init(selector);
	while (*end != NULL)
		end = &(*end)->next;
	*end = selector;
	rule = bytes_of(rule.data + 1, rule.size - 2);
	while (rule.size > 0 && error == NULL) {
		const uint8_t *space = memchr(rule.data, ' ', rule.size);
		size_t size = space != NULL ? (size_t)(space - rule.data) : rule.size;

		error = apply_right(acl, selector, bytes_of(rule.data, size));
		rule = skip(rule, size + (space != NULL));
	}
	return error;
}

/* Gives `first` and all after it back to the pool. */
static void selectors_free(struct resp_acl *acl, struct acl_selector *first)
{
	struct acl_selector *next;

	for (; first != NULL; first = next) {
		next = first->next;
		first->next = acl->selectors_free;
		acl->selectors_free = first;
	}
}

uint32_t acl_merge_words(const struct bytes *words, uint32_t count, struct bytes *out, char *text,
                         uint32_t *ret_bad)
{
	uint32_t merged = 0;
	char *open = NULL;

	for (uint32_t i = 0; i < count; i++) {
		struct bytes word = words[i];
		bool closes = word.size > 0 && word.data[word.size - 1] == ')';

		if (open == NULL && (word.size == 0 || word.data[0] != '(' || closes)) {
			out[merged++] = word;
			continue;
		}
		if (open == NULL) {
			*ret_bad = i;
			open = text;
		} else {
			*text++ = ' ';
		}
		memcpy(text, word.data, word.size);
		text += word.size;
		if (!closes)
			continue;
		out[merged++] = bytes_of(open, (size_t)(text - open));
		open = NULL;
	}
	return open == NULL ? merged : UINT32_MAX;
}

/* Users. */

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

static void user_reset(struct resp_acl *acl, struct resp_user *user)
{
	selector_init(&user->root);
	selectors_free(acl, user->others);
	user->others = NULL;
	user->enabled = user->nopass = false;
	user->password_count = 0;
	user->sanitize = 1;
}

static const char *apply(struct resp_acl *acl, struct resp_user *user, struct bytes rule)
{
	if (rule.size == 0)
		return NULL;
	if (resp_word_is(rule, "on") || resp_word_is(rule, "off")) {
		user->enabled = rule.size == 2;
	} else if (resp_word_is(rule, "nopass") || resp_word_is(rule, "resetpass")) {
		user->nopass = rule.size == 6;
		user->password_count = 0;
	} else if (resp_word_is(rule, "sanitize-payload") ||
	           resp_word_is(rule, "skip-sanitize-payload")) {
		user->sanitize = rule.size == 16 ? 1 : -1;
	} else if (resp_word_is(rule, "reset")) {
		user_reset(acl, user);
	} else if (resp_word_is(rule, "clearselectors")) {
		selectors_free(acl, user->others);
		user->others = NULL;
	} else if (memchr("><#!", rule.data[0], 4) != NULL) {
		return change_password(acl, user, rule);
	} else if (rule.data[0] == '(' && rule.size >= 2 && rule.data[rule.size - 1] == ')') {
		return add_selector(acl, user, rule);
	} else {
		return apply_right(acl, &user->root, rule);
	}
	return NULL;
}

static struct resp_user *user_add(struct resp_acl *acl, struct bytes name)
{
	struct resp_user *user = acl->users;
	uint32_t at = acl->user_count;

	assert(acl->user_count < acl->user_max); /* try_rules() has seen it */
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

static uint32_t count_selectors(const struct resp_user *user)
{
	uint32_t count = 0;

	for (const struct acl_selector *s = user->others; s != NULL; s = s->next)
		count++;
	return count;
}

/* With the trial user in the place of `old`, or beside the others. */
static bool too_many_selectors(const struct resp_acl *acl, const struct resp_user *old)
{
	uint32_t count = count_selectors(&acl->users[acl->user_max]);

	for (uint32_t i = 0; i < acl->user_count; i++)
		count += acl->sorted[i] != old ? count_selectors(acl->sorted[i]) : 0;
	return count > ACL_SELECTORS_MAX;
}

/*
 * Makes the trial user what the named one would be. Its selectors are of the pool: the caller keeps
 * them or gives them back.
 */
static const char *try_rules(struct resp_acl *acl, struct bytes name, struct acl_rules *rules)
{
	const struct resp_user *old = acl_user_find(acl, name), *user = rules->fresh ? NULL : old;
	struct resp_user *trial = &acl->users[acl->user_max];
	struct acl_selector *from, **end = &trial->others;

	rules->bad = rules->count;
	*trial = (struct resp_user){ .name_size = (uint8_t)name.size };
	allow_all(&trial->root, false);
	if (has_space(name))
		return "Usernames can't contain spaces or null characters";
	if (name.size == 0 || name.size > ACL_NAME_MAX)
		return "Usernames must have 1 to 128 bytes";
	memcpy(trial->name, name.data, name.size);
	if (user != NULL)
		*trial = *user;
	trial->others = NULL;
	for (from = user != NULL ? user->others : NULL; from != NULL; from = from->next) {
		struct acl_selector *copy = acl->selectors_free;

		assert(copy != NULL); /* users have at most half of them */
		acl->selectors_free = copy->next;
		*copy = *from;
		copy->next = NULL;
		*end = copy;
		end = &copy->next;
	}
	for (uint32_t i = 0; i < rules->count; i++) {
		const char *error = apply(acl, trial, rules->words[i]);

		if (error != NULL) {
			rules->bad = i;
			return error;
		}
	}
	if (old == NULL && acl->user_count == acl->user_max)
		return "Too many users";
	if (too_many_selectors(acl, old))
		return "Too many selectors";
	if (acl_describe_size(trial) > ACL_DESCRIPTION_MAX)
		return too_many;
	return NULL;
}

void acl_selectors_drop(struct resp_acl *acl)
{
	for (uint32_t i = 0; i < acl->user_count; i++) {
		selectors_free(acl, acl->sorted[i]->others);
		acl->sorted[i]->others = NULL;
	}
}

const char *acl_user_set(struct resp_acl *acl, struct bytes name, struct acl_rules *rules)
{
	struct resp_user *user, *trial = &acl->users[acl->user_max];
	const char *error = try_rules(acl, name, rules);

	if (error != NULL) {
		selectors_free(acl, trial->others);
		return error;
	}
	user = acl_user_find(acl, name);
	if (user == NULL)
		user = user_add(acl, name);
	selectors_free(acl, user->others);
	*user = *trial;
	return NULL;
}

const char *acl_user_try(struct resp_acl *acl, struct bytes name, struct acl_rules *rules,
                         char *out, size_t *ret_size)
{
	struct resp_user *trial = &acl->users[acl->user_max];
	const char *error = try_rules(acl, name, rules);

	if (error == NULL)
		*ret_size = acl_describe(trial, out);
	selectors_free(acl, trial->others);
	trial->others = NULL;
	return error;
}

void acl_user_delete(struct resp_acl *acl, struct resp_user *user)
{
	uint32_t i = 0;

	assert(user != acl->default_user && user->name_size > 0);
	while (i < acl->user_count && acl->sorted[i] != user)
		i++;
	assert(i < acl->user_count);
	acl->user_count--;
	memmove(&acl->sorted[i], &acl->sorted[i + 1],
	        (acl->user_count - i) * sizeof(struct resp_user *));
	selectors_free(acl, user->others);
	*user = (struct resp_user){ 0 };
}
