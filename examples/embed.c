/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shortest program with a store of its own: put, get, scan.
 *
 *     cc embed.c $(pkg-config --cflags --libs weir) -o embed && ./embed ./data
 */
#include <stdio.h>

#include <weir.h>

static bool print(void *context, const struct weir_entry *entry)
{
	(void)context;
	printf("%.*s = %.*s\n", (int)entry->key.size, (const char *)entry->key.data,
	       (int)entry->value.size, (const char *)entry->value.data);
	return true;
}

int main(int argc, char **argv)
{
	const struct weir_range all = { .space = 0 };
	char error[WEIR_ERROR_SIZE], room[64];
	struct weir_value value = { .data = room, .size_max = sizeof(room) };
	enum weir_status status;
	struct weir *weir;

	if (weir_open(argc > 1 ? argv[1] : "./data", NULL, &weir, error) != WEIR_OK) {
		fprintf(stderr, "embed: %s\n", error);
		return 1;
	}
	/* Each OK means: it is on disk. */
	status = weir_put(weir, weir_key(0, "river"), weir_text("Wear"));
	if (status == WEIR_OK)
		status = weir_put(weir, weir_key(0, "city"), weir_text("Durham"));
	if (status == WEIR_OK)
		status = weir_get(weir, weir_key(0, "river"), &value);
	if (status == WEIR_OK)
		printf("the river is the %.*s\n", (int)value.size, room);
	if (status == WEIR_OK)
		status = weir_scan(weir, &all, print, NULL);
	if (status != WEIR_OK)
		fprintf(stderr, "embed: %s\n", weir_status_text(status));
	weir_close(weir);
	return status == WEIR_OK ? 0 : 1;
}
