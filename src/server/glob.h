/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns with * ? [a-z] [^a] and \x, as KEYS, SCAN, CONFIG GET and ACLs of Redis take them. */
#ifndef SERVER_GLOB_H
#define SERVER_GLOB_H

#include <stdbool.h>

#include "base/bytes.h"

/*
 * Whether `subject` as a whole matches `pattern`. At most pattern.size * subject.size steps, no
 * memory. A class without its ] ends with the pattern; a \ at the end stands for itself; with
 * `nocase`, an escaped byte inside a class still matches exactly. All as Redis 7.0, except that
 * classes compare bytes without sign, and that a pattern of stars matches the empty subject.
 */
bool glob_match(struct bytes pattern, struct bytes subject, bool nocase);

/* Whether `pattern` can match one subject only: no special byte in it. */
bool glob_is_literal(struct bytes pattern);

/*
 * Whether all that `inner` matches, `outer` matches too; false when not sure. For comparing rules
 * of ACLs: pattern against pattern, a star of `inner` being met by a star of `outer` only.
 */
bool glob_covers(struct bytes outer, struct bytes inner);

#endif
