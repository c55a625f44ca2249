/* SPDX-License-Identifier: Apache-2.0 */
#include "lib_place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct weir_options place_options(void)
{
	static const char *const two_workers[] = { "workers.count=2" };
	struct weir_options options;

	weir_options_init(&options);
	options.memory = 64 << 20;
	options.store_size = 256 << 20;
	options.settings = two_workers;
	options.setting_count = 1;
	return options;
}

void place_open(struct place *place, const struct weir_options *options)
{
	struct weir_options usual = place_options();
	char error[WEIR_ERROR_SIZE];
	enum weir_status status;

	status = weir_open(place->path, options != NULL ? options : &usual, &place->weir, error);
	if (status != WEIR_OK)
		print_error("%s\n", error);
	assert_int_equal(status, WEIR_OK);
}

void place_make(struct place *place)
{
	strcpy(place->path, "/tmp/weir_lib.XXXXXX");
	assert_non_null(mkdtemp(place->path));
	place->weir = NULL;
}

void place_remove(struct place *place)
{
	char file[64];

	snprintf(file, sizeof(file), "%s/store", place->path);
	unlink(file);
	rmdir(place->path);
}

int place_set_up(void **state)
{
	struct place *place = malloc(sizeof(*place));

	place_make(place);
	place_open(place, NULL);
	*state = place;
	return 0;
}

int place_tear_down(void **state)
{
	struct place *place = *state;

	if (place->weir != NULL)
		weir_close(place->weir);
	place_remove(place);
	free(place);
	return 0;
}
