/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A value of 64 MiB in pieces of 100 KB: written while it is made, read while it is looked at.
 * Neither the program nor the store has it in memory.
 *
 *     cc large.c $(pkg-config --cflags --libs weir) -o large && ./large ./data
 */
#include <stdio.h>

#include <weir.h>

enum { SIZE = 64 << 20, PIECE = 100000 };

static unsigned char piece[PIECE];

/* Something that is not the same everywhere. */
static size_t make_piece(size_t at)
{
	size_t size = SIZE - at < PIECE ? SIZE - at : PIECE;

	for (size_t i = 0; i < size; i++)
		piece[i] = (unsigned char)((at + i) * 2654435761u >> 24);
	return size;
}

static unsigned long sum_piece(size_t size)
{
	unsigned long sum = 0;

	for (size_t i = 0; i < size; i++)
		sum += piece[i];
	return sum;
}

static enum weir_status write_it(struct weir *weir, unsigned long *sum)
{
	struct weir_writer *writer;
	enum weir_status status = weir_writer_open(weir, weir_key(0, "film"), &writer);

	for (size_t at = 0; at < SIZE && status == WEIR_OK; at += PIECE) {
		size_t size = make_piece(at);

		*sum += sum_piece(size);
		status = weir_writer_append(writer, (struct weir_bytes){ piece, size });
	}
	if (status == WEIR_OK)
		return weir_writer_commit(writer, NULL); /* now it is there, and on disk */
	weir_writer_abort(writer);
	return status;
}

static enum weir_status read_it(struct weir *weir, unsigned long *sum)
{
	struct weir_reader *reader;
	enum weir_status status = weir_reader_open(weir, weir_key(0, "film"), &reader);
	size_t size = 1;

	for (uint64_t at = 0; status == WEIR_OK && size > 0; at += size) {
		status = weir_reader_read(reader, at, piece, PIECE, &size);
		*sum += sum_piece(size);
	}
	weir_reader_close(reader);
	return status;
}

int main(int argc, char **argv)
{
	unsigned long written = 0, read = 0;
	char error[WEIR_ERROR_SIZE];
	enum weir_status status;
	struct weir *weir;

	if (weir_open(argc > 1 ? argv[1] : "./data", NULL, &weir, error) != WEIR_OK) {
		fprintf(stderr, "large: %s\n", error);
		return 1;
	}
	status = write_it(weir, &written);
	if (status == WEIR_OK)
		status = read_it(weir, &read);
	if (status == WEIR_OK)
		printf("%d bytes, %s\n", SIZE, written == read ? "the same" : "not the same");
	else
		fprintf(stderr, "large: %s\n", weir_status_text(status));
	weir_close(weir);
	return status == WEIR_OK && written == read ? 0 : 1;
}
