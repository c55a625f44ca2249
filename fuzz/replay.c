/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A main() for a fuzz target where there is no fuzzer: replay DIRECTORY runs it on each file there
 * and on changes of each, drawn from a fixed seed, so that it is a test like any other.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 1 << 16, CHANGES = 500 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t seed = 0x9e3779b97f4a7c15ull;

static uint64_t draw(uint64_t limit) /* 0..limit-1; xorshift64 */
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % limit;
}

/* The target sees memory of exactly its size, so that the sanitizer sees a step past it. */
static void run(const uint8_t *data, size_t size)
{
	uint8_t *exact = calloc(1, size > 0 ? size : 1);

	if (exact == NULL)
		exit(3);
	memcpy(exact, data, size);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
}

static void run_changed(const uint8_t *data, size_t size)
{
	static uint8_t changed[INPUT_MAX];
	size_t from, left = size;

	memcpy(changed, data, size);
	for (uint64_t times = 1 + draw(4); times > 0 && left > 0; times--) {
		from = draw(left);
		switch (draw(4)) {
		case 0: /* a bit */
			changed[from] = (uint8_t)(changed[from] ^ (1u << draw(8)));
			break;
		case 1: /* a byte */
			changed[from] = (uint8_t)draw(256);
			break;
		case 2: /* the end is missing */
			left = from;
			break;
		default: /* a byte is missing */
			memmove(changed + from, changed + from + 1, left - from - 1);
			left--;
		}
	}
	run(changed, left);
}

static void replay_file(const char *path)
{
	static uint8_t input[INPUT_MAX];
	FILE *file = fopen(path, "rb");
	size_t size;

	if (file == NULL) {
		perror(path);
		exit(3);
	}
	size = fread(input, 1, sizeof(input), file);
	fclose(file);
	run(input, size);
	for (unsigned i = 0; i < CHANGES && size > 0; i++)
		run_changed(input, size);
}

int main(int argc, char **argv)
{
	static uint8_t noise[256];
	struct dirent **files = NULL;
	char path[4096];
	int count;

	run(noise, 0);
	for (unsigned i = 0; i < CHANGES; i++) {
		for (size_t at = 0; at < sizeof(noise); at++)
			noise[at] = (uint8_t)draw(256);
		run(noise, draw(sizeof(noise)));
	}
	count = argc > 1 ? scandir(argv[1], &files, NULL, alphasort) : 0;
	for (int i = 0; i < count; i++) {
		if (files[i]->d_name[0] != '.') {
			snprintf(path, sizeof(path), "%s/%s", argv[1], files[i]->d_name);
			replay_file(path);
		}
		free(files[i]);
	}
	free(files);
	printf("%d corpus files replayed\n", count > 2 ? count - 2 : 0);
	return 0;
}
