/* SPDX-License-Identifier: Apache-2.0 */
/* Users as lines of text: what ACL LOAD reads and ACL SAVE writes. */
#include <stdio.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_acl_internal.h"

/* A line, cut into words, of which those of a selector are one. */
struct line {
	struct bytes name;
	struct bytes rules[ACL_LINE_WORDS];
	uint32_t rule_count;
	char text[ACL_DESCRIPTION_MAX + 4 * ACL_LINE_WORDS];
};

/* Takes the next line off `text`. */
static struct bytes take_line(struct bytes *text)
{
	const uint8_t *end = memchr(text->data, '\n', text->size);
	size_t size = end != NULL ? (size_t)(end - text->data) : text->size;
	struct bytes line = bytes_of(text->data, size);

	size += end != NULL;
	*text = bytes_of(text->data + size, text->size - size);
	if (line.size > 0 && line.data[line.size - 1] == '\r')
		line.size--;
	return line;
}

static uint32_t split(struct bytes line, struct bytes *words, uint32_t words_max)
{
	uint32_t count = 0;

	while (line.size > 0) {
		const uint8_t *end = memchr(line.data, ' ', line.size);
		size_t size = end != NULL ? (size_t)(end - line.data) : line.size;

		if (size > 0 && count == words_max)
			return UINT32_MAX;
		if (size > 0)
			words[count++] = bytes_of(line.data, size);
		size += end != NULL;
		line = bytes_of(line.data + size, line.size - size);
	}
	return count;
}

/* NULL: done; a line that says nothing has no name. Else what is wrong with it. */
static const char *parse_line(struct bytes text, struct line *line)
{
	struct bytes words[ACL_LINE_WORDS];
	uint32_t count = split(text, words, ACL_LINE_WORDS), bad;

	line->name = bytes_of(NULL, 0);
	line->rule_count = 0;
	if (count == UINT32_MAX || text.size > ACL_DESCRIPTION_MAX)
		return "line has too many words";
	if (count == 0 || words[0].data[0] == '#')
		return NULL;
	if (count < 2 || !resp_word_is(words[0], "user"))
		return "line should start with user keyword";
	line->name = words[1];
	line->rule_count = acl_merge_words(words + 2, count - 2, line->rules, line->text, &bad);
	return line->rule_count != UINT32_MAX ? NULL : "Unmatched parenthesis in selector";
}

static bool is_repeated(struct bytes before, struct bytes name)
{
	return acl_file_has(before, name);
}

/* Calls for each user, in order, until one is refused. */
typedef const char *line_fn(struct resp_acl *acl, struct line *line);

static bool each_line(struct resp_acl *acl, struct bytes text, line_fn *use, char *error)
{
	const uint8_t *start = text.data;
	struct line line;

	for (unsigned number = 1; text.size > 0; number++) {
		struct bytes before = bytes_of(start, (size_t)(text.data - start));
		const char *why = parse_line(take_line(&text), &line);

		if (why == NULL && line.name.size > 0)
			why = is_repeated(before, line.name) ? "Duplicate user found"
			                                     : use(acl, &line);
		if (why != NULL) {
			snprintf(error, RESP_FILE_ERROR, "line %u: %s", number, why);
			return false;
		}
	}
	return true;
}

static const char *try_line(struct resp_acl *acl, struct line *line)
{
	struct acl_rules rules = { line->rules, line->rule_count, .fresh = true };
	char text[ACL_DESCRIPTION_MAX];
	size_t size;

	return acl_user_try(acl, line->name, &rules, text, &size);
}

static const char *set_line(struct resp_acl *acl, struct line *line)
{
	struct acl_rules rules = { line->rules, line->rule_count, .fresh = true };

	return acl_user_set(acl, line->name, &rules);
}

bool acl_file_add(struct resp_acl *acl, struct bytes text, char *error)
{
	return each_line(acl, text, set_line, error);
}

bool acl_file_has(struct bytes text, struct bytes name)
{
	struct bytes words[2];

	while (text.size > 0) {
		struct bytes line = take_line(&text);

		/* Only the first two words matter: the rest is cut off. */
		for (size_t i = 0, blanks = 0; i < line.size && blanks < 2; i++) {
			blanks += line.data[i] == ' ' && i > 0 && line.data[i - 1] != ' ';
			if (blanks == 2)
				line.size = i;
		}
		if (split(line, words, 2) == 2 && resp_word_is(words[0], "user") &&
		    bytes_equal(words[1], name))
			return true;
	}
	return false;
}

/* How many lines of users there are, and selectors on them. */
static void count_users(struct bytes text, uint32_t *users, uint32_t *selectors)
{
	struct bytes rest = text;
	struct line line;

	*users = *selectors = 0;
	while (rest.size > 0) {
		if (parse_line(take_line(&rest), &line) != NULL || line.name.size == 0)
			continue;
		++*users;
		for (uint32_t i = 0; i < line.rule_count; i++)
			*selectors += line.rules[i].data[0] == '(';
	}
}

bool acl_file_check(struct resp_acl *acl, struct bytes text, char *error)
{
	uint32_t users, selectors;

	count_users(text, &users, &selectors);
	/* One for the default user. */
	if (users + 1 > acl->user_max || selectors > ACL_SELECTORS_MAX) {
		snprintf(error, RESP_FILE_ERROR, "Too many users or selectors");
		return false;
	}
	return each_line(acl, text, try_line, error);
}

bool acl_file_read(struct resp_acl *acl, struct bytes text, char *error)
{
	static const char preset[] = "user default on nopass ~* &* +@all";

	acl_selectors_drop(acl); /* so that all there can be are free for those that come */
	if (!acl_file_has(text, BYTES("default")) &&
	    !acl_file_add(acl, bytes_of(preset, sizeof(preset) - 1), error))
		return false;
	return each_line(acl, text, set_line, error);
}

size_t acl_file_write(const struct resp_acl *acl, char *out, size_t size_max)
{
	size_t used = 0;

	for (uint32_t i = 0; i < acl->user_count; i++) {
		const struct resp_user *user = acl->sorted[i];

		if (acl_describe_size(user) + ACL_NAME_MAX + 8 > size_max - used)
			return 0;
		used += (size_t)snprintf(out + used, size_max - used, "user %.*s ", user->name_size,
		                         user->name);
		used += acl_describe(user, out + used);
		out[used++] = '\n';
	}
	return used;
}
