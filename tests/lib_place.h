/* SPDX-License-Identifier: Apache-2.0 */
/* A directory for a test of the library, with a small store in it. */
#ifndef TESTS_LIB_PLACE_H
#define TESTS_LIB_PLACE_H

#include "weir.h"

struct place {
	char path[32];
	struct weir *weir; /* NULL: closed */
};

void place_make(struct place *place); /* closed */
void place_remove(struct place *place);

struct weir_options place_options(void);
void place_open(struct place *place, const struct weir_options *options); /* NULL: those */

/* For cmocka: *state is a place that is open; what is left of it is closed and removed. */
int place_set_up(void **state);
int place_tear_down(void **state);

#endif
