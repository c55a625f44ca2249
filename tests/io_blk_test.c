/* SPDX-License-Identifier: Apache-2.0 */
/* Files as block devices: the same tests over every transport. */
#include "io_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { BLOCK = 4096, BLOCKS = 512, MANY = 512 };

static char path[64];

struct op {
	struct req req;
	bool done;
	enum status status;
};

struct op_frame {
	struct frame frame;
	struct op *op;
};

static void op_done(struct req *req)
{
	struct op *op = req_pop(req, struct op_frame)->op;

	op->done = true;
	op->status = req->status;
}

static void op_submit(struct op *op, struct blk *blk, const struct blk_cmd *cmd)
{
	req_init(&op->req, blk->worker);
	op->done = false;
	req_push(&op->req, struct op_frame, op_done)->op = op;
	blk_submit(blk, &op->req, cmd);
	assert_false(op->done); /* completion never runs inside a submit */
}

static enum status run(struct fixture *f, struct blk *blk, const struct blk_cmd *cmd)
{
	struct op op;

	op_submit(&op, blk, cmd);
	RUN_UNTIL(f, op.done);
	return op.status;
}

static enum status run_data(struct fixture *f, struct blk *blk, struct blk_cmd cmd, void *data)
{
	struct iovec v = { data, (size_t)cmd.block_count * blk->geometry.block_size };

	cmd.iov = &v;
	cmd.iov_count = 1;
	return run(f, blk, &cmd);
}

static struct blk *open_blk(struct fixture *f, const struct io_file_options *options)
{
	char error[IO_ERROR_SIZE];
	struct blk *blk;

	if (io_blk_open(f->io, path, options, &blk, error) != STATUS_OK)
		fail_msg("%s", error);
	return blk;
}

static uint8_t *blocks(unsigned count)
{
	uint8_t *data = aligned_alloc(BLOCK, (size_t)count * BLOCK);

	assert_non_null(data);
	return data;
}

static void fill(uint8_t *data, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		data[i] = (uint8_t)(seed >> 56);
	}
}

static const struct io_file_options fresh = {
	.create = true,
	.direct = true,
	.size = (uint64_t)BLOCK * BLOCKS,
};

static void test_write_read_flush(void **state)
{
	struct fixture f;
	struct blk *blk;
	uint8_t *out = blocks(8), *in = blocks(8);

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	blk = open_blk(&f, &fresh);
	assert_int_equal(blk->geometry.block_size, BLOCK);
	assert_int_equal(blk->geometry.block_count, BLOCKS);
	fill(out, 8 * BLOCK, 1);
	assert_int_equal(run_data(&f, blk,
	                          (struct blk_cmd){ .op = BLK_WRITE, .lba = 3, .block_count = 8 },
	                          out),
	                 STATUS_OK);
	assert_int_equal(run(&f, blk, &(struct blk_cmd){ .op = BLK_FLUSH }), STATUS_OK);
	memset(in, 0xee, 8 * BLOCK);
	assert_int_equal(run_data(&f, blk,
	                          (struct blk_cmd){ .op = BLK_READ, .lba = 3, .block_count = 8 },
	                          in),
	                 STATUS_OK);
	assert_memory_equal(in, out, 8 * BLOCK);
	blk->ops->close(blk);
	fixture_close(&f);
	free(out);
	free(in);
}

static void test_fua_both_ways(void **state)
{
	static const enum io_fua ways[] = { IO_FUA_DSYNC, IO_FUA_FLUSH };
	uint8_t *out = blocks(1), *in = blocks(1);

	(void)state;
	for (unsigned i = 0; i < array_count(ways); i++) {
		struct io_file_options options = fresh;
		struct fixture f;
		struct blk *blk;

		options.fua = ways[i];
		fixture_open(&f, &(struct io_options){ 0 });
		blk = open_blk(&f, &options);
		assert_true(blk->geometry.volatile_cache);
		assert_true(blk->geometry.fua_is_flush || ways[i] == IO_FUA_DSYNC);
		fill(out, BLOCK, 77 + i);
		assert_int_equal(run_data(&f, blk,
		                          (struct blk_cmd){ .op = BLK_WRITE,
		                                            .flags = BLK_FUA,
		                                            .lba = BLOCKS - 1,
		                                            .block_count = 1 },
		                          out),
		                 STATUS_OK);
		assert_int_equal(run_data(&f, blk,
		                          (struct blk_cmd){ .op = BLK_READ,
		                                            .lba = BLOCKS - 1,
		                                            .block_count = 1 },
		                          in),
		                 STATUS_OK);
		assert_memory_equal(in, out, BLOCK);
		blk->ops->close(blk);
		fixture_close(&f);
	}
	free(out);
	free(in);
}

static void test_discard_reads_as_zeroes(void **state)
{
	uint8_t *out = blocks(4), *in = blocks(4), *zero = blocks(2);
	struct fixture f;
	struct blk *blk;

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	blk = open_blk(&f, &fresh);
	memset(zero, 0, 2 * BLOCK);
	fill(out, 4 * BLOCK, 5);
	assert_int_equal(
	        run_data(&f, blk, (struct blk_cmd){ .op = BLK_WRITE, .block_count = 4 }, out),
	        STATUS_OK);
	if (!(blk->geometry.ops & 1u << BLK_DISCARD)) {
		blk->ops->close(blk);
		fixture_close(&f);
		skip();
	}
	assert_true(blk->geometry.discard_zeroes);
	assert_int_equal(
	        run(&f, blk, &(struct blk_cmd){ .op = BLK_DISCARD, .lba = 1, .block_count = 2 }),
	        STATUS_OK);
	assert_int_equal(
	        run_data(&f, blk, (struct blk_cmd){ .op = BLK_READ, .block_count = 4 }, in),
	        STATUS_OK);
	assert_memory_equal(in, out, BLOCK);
	assert_memory_equal(in + BLOCK, zero, 2 * BLOCK);
	assert_memory_equal(in + 3 * BLOCK, out + 3 * BLOCK, BLOCK);
	blk->ops->close(blk);
	fixture_close(&f);
	free(out);
	free(in);
	free(zero);
}

/* Zeroes keep their room or give it back, and are durable when that is asked for. */
static void test_zeroes(void **state)
{
	static const uint32_t flags[] = { 0, BLK_FUA, BLK_UNMAP, BLK_UNMAP | BLK_FUA };
	uint8_t *out = blocks(8), *in = blocks(8), *zero = blocks(1);
	struct fixture f;
	struct blk *blk;

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	blk = open_blk(&f, &fresh);
	memset(zero, 0, BLOCK);
	fill(out, 8 * BLOCK, 6);
	assert_int_equal(
	        run_data(&f, blk, (struct blk_cmd){ .op = BLK_WRITE, .block_count = 8 }, out),
	        STATUS_OK);
	for (unsigned i = 0; i < 4 && (blk->geometry.ops & 1u << BLK_ZEROES); i++) {
		assert_int_equal(run(&f, blk,
		                     &(struct blk_cmd){ .op = BLK_ZEROES,
		                                        .flags = flags[i],
		                                        .lba = 2 * i + 1,
		                                        .block_count = 1 }),
		                 STATUS_OK);
		assert_int_equal(
		        run_data(&f, blk, (struct blk_cmd){ .op = BLK_READ, .block_count = 8 }, in),
		        STATUS_OK);
		assert_memory_equal(in + 2 * i * BLOCK, out + 2 * i * BLOCK, BLOCK);
		assert_memory_equal(in + (2 * i + 1) * BLOCK, zero, BLOCK);
	}
	blk->ops->close(blk);
	fixture_close(&f);
	free(out);
	free(in);
	free(zero);
}

/* More segments than one system call takes, of odd sizes where the device allows it. */
static void test_vectored(void **state)
{
	enum { SEGMENTS = 1500, UNIT = 512 };
	static struct iovec v[SEGMENTS];
	uint8_t *out = blocks(BLOCKS), *in = blocks(BLOCKS);
	struct io_file_options options = fresh;
	struct fixture f;
	struct blk *blk;

	(void)state;
	options.direct = false;
	fixture_open(&f, &(struct io_options){ 0 });
	blk = open_blk(&f, &options);
	fill(out, (size_t)BLOCKS * BLOCK, 9);
	for (unsigned i = 0; i < SEGMENTS; i++) {
		size_t size = i % 2 == 0 ? UNIT - 100 : UNIT + 100;

		v[i] = (struct iovec){ out + (size_t)i * UNIT - (i % 2 == 0 ? 0 : 100), size };
	}
	v[SEGMENTS - 1].iov_len += (size_t)BLOCK * 188 - (size_t)SEGMENTS * UNIT;
	assert_int_equal(run(&f, blk,
	                     &(struct blk_cmd){ .op = BLK_WRITE,
	                                        .lba = 7,
	                                        .block_count = 188,
	                                        .iov = v,
	                                        .iov_count = SEGMENTS }),
	                 STATUS_OK);
	for (unsigned i = 0; i < SEGMENTS; i++)
		v[i].iov_base = in + ((uint8_t *)v[i].iov_base - out);
	assert_int_equal(run(&f, blk,
	                     &(struct blk_cmd){ .op = BLK_READ,
	                                        .lba = 7,
	                                        .block_count = 188,
	                                        .iov = v,
	                                        .iov_count = SEGMENTS }),
	                 STATUS_OK);
	assert_memory_equal(in, out, (size_t)188 * BLOCK);
	blk->ops->close(blk);
	fixture_close(&f);
	free(out);
	free(in);
}

/* A file that somebody has cut short, in the middle of a block, reads as zeroes from there. */
static void test_end_of_file_reads_as_zeroes(void **state)
{
	static const bool direct[] = { true, false };
	uint8_t *out = blocks(4), *in = blocks(4), *want = blocks(4);

	(void)state;
	for (unsigned i = 0; i < array_count(direct); i++) {
		struct io_file_options options = fresh;
		struct fixture f;
		struct blk *blk;

		options.direct = direct[i];
		fixture_open(&f, &(struct io_options){ 0 });
		blk = open_blk(&f, &options);
		fill(out, 4 * BLOCK, 3);
		assert_int_equal(run_data(&f, blk,
		                          (struct blk_cmd){ .op = BLK_WRITE, .block_count = 4 },
		                          out),
		                 STATUS_OK);
		assert_int_equal(run(&f, blk, &(struct blk_cmd){ .op = BLK_FLUSH }), STATUS_OK);
		assert_int_equal(truncate(path, BLOCK + 777), 0);
		memset(in, 0xee, 4 * BLOCK);
		memset(want, 0, 4 * BLOCK);
		memcpy(want, out, BLOCK + 777);
		assert_int_equal(
		        run_data(&f, blk, (struct blk_cmd){ .op = BLK_READ, .block_count = 4 }, in),
		        STATUS_OK);
		assert_memory_equal(in, want, 4 * BLOCK);
		memset(in, 0xee, 4 * BLOCK);
		memset(want, 0, 4 * BLOCK);
		assert_int_equal(
		        run_data(&f, blk,
		                 (struct blk_cmd){ .op = BLK_READ, .lba = 100, .block_count = 4 },
		                 in),
		        STATUS_OK);
		assert_memory_equal(in, want, 4 * BLOCK);
		blk->ops->close(blk);
		fixture_close(&f);
	}
	free(out);
	free(in);
	free(want);
}

static void test_no_space(void **state)
{
	struct rlimit old, low = { (rlim_t)16 * BLOCK, RLIM_INFINITY };
	uint8_t *out = blocks(32);
	struct fixture f;
	struct blk *blk;

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	blk = open_blk(&f, &fresh);
	fill(out, 32 * BLOCK, 4);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	/* Begins below the limit and cannot go on; then wholly beyond it. */
	assert_int_equal(
	        run_data(&f, blk, (struct blk_cmd){ .op = BLK_WRITE, .block_count = 32 }, out),
	        STATUS_NO_SPACE);
	assert_int_equal(run_data(&f, blk,
	                          (struct blk_cmd){ .op = BLK_WRITE, .lba = 64, .block_count = 1 },
	                          out),
	                 STATUS_NO_SPACE);
	assert_int_equal(run_data(&f, blk,
	                          (struct blk_cmd){ .op = BLK_WRITE, .lba = 1, .block_count = 1 },
	                          out),
	                 STATUS_OK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	blk->ops->close(blk);
	fixture_close(&f);
	free(out);
}

/* More than the queue has room for, in one turn; each block is its own. */
static void test_many_in_flight(void **state)
{
	static struct op ops[MANY];
	static struct iovec v[MANY];
	uint8_t *out = blocks(MANY), *in = blocks(MANY);
	struct fixture f;
	struct blk *blk;

	(void)state;
	fixture_open(&f, &(struct io_options){ .queue_depth = 16 });
	io_register(f.io, in, (size_t)MANY * BLOCK);
	blk = open_blk(&f, &fresh);
	fill(out, (size_t)MANY * BLOCK, 6);
	for (unsigned pass = 0; pass < 2; pass++) {
		for (unsigned i = 0; i < MANY; i++) {
			v[i] = (struct iovec){ (pass == 0 ? out : in) + (size_t)i * BLOCK, BLOCK };
			op_submit(&ops[i], blk,
			          &(struct blk_cmd){ .op = pass == 0 ? BLK_WRITE : BLK_READ,
			                             .lba = (i * 37) % BLOCKS,
			                             .block_count = 1,
			                             .iov = &v[i],
			                             .iov_count = 1 });
		}
		for (unsigned i = 0; i < MANY; i++) {
			RUN_UNTIL(&f, ops[i].done);
			assert_int_equal(ops[i].status, STATUS_OK);
		}
	}
	assert_memory_equal(in, out, (size_t)MANY * BLOCK);
	blk->ops->close(blk);
	fixture_close(&f);
	free(out);
	free(in);
}

static void test_open_says_why(void **state)
{
	struct fixture f;
	struct blk *blk;
	char error[IO_ERROR_SIZE] = "";

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	assert_int_equal(io_blk_open(f.io, "/nowhere/at/all", &fresh, &blk, error),
	                 STATUS_NOT_FOUND);
	assert_non_null(strstr(error, "/nowhere/at/all"));
	assert_int_equal(
	        io_blk_open(f.io, "/dev/null", &(struct io_file_options){ 0 }, &blk, error),
	        STATUS_INVALID);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(io_blk_open(f.io, path, &(struct io_file_options){ 0 }, &blk, error),
	                 STATUS_INVALID);
	assert_non_null(strstr(error, "empty"));
	fixture_close(&f);
}

static struct io_file_options locked(enum io_lock lock)
{
	struct io_file_options options = fresh;

	options.lock = lock;
	options.lock_wait_ms = lock == IO_LOCK_FIRST ? 20 : 0;
	return options;
}

static enum status try_lock(struct fixture *f, enum io_lock lock, bool read_only, struct blk **blk)
{
	struct io_file_options options = locked(lock);
	char error[IO_ERROR_SIZE] = "";
	enum status status;

	options.read_only = read_only;
	status = io_blk_open(f->io, path, &options, blk, error);
	assert_int_equal(status == STATUS_BUSY, strstr(error, "still writes") != NULL);
	return status;
}

/* It is the open file's: whoever still has that has the lock, here a child that inherited it. */
static void test_lock(void **state)
{
	struct fixture f;
	struct blk *first, *next, *other;
	int pipes[2], status;
	pid_t child;

	(void)state;
	fixture_open(&f, &(struct io_options){ 0 });
	assert_int_equal(try_lock(&f, IO_LOCK_FIRST, false, &first), STATUS_OK);
	assert_int_equal(try_lock(&f, IO_LOCK_NEXT, false, &next), STATUS_OK);
	assert_int_equal(try_lock(&f, IO_LOCK_FIRST, false, &other), STATUS_BUSY);
	assert_int_equal(try_lock(&f, IO_LOCK_FIRST, true, &other), STATUS_BUSY);
	first->ops->close(first);
	assert_int_equal(try_lock(&f, IO_LOCK_FIRST, false, &other), STATUS_BUSY);
	assert_int_equal(pipe(pipes), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		char byte;

		close(pipes[1]);
		_exit(read(pipes[0], &byte, 1) == 0 ? 0 : 1);
	}
	next->ops->close(next);
	assert_int_equal(try_lock(&f, IO_LOCK_FIRST, false, &other), STATUS_BUSY);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(try_lock(&f, IO_LOCK_FIRST, true, &other), STATUS_OK);
	other->ops->close(other);
	assert_int_equal(try_lock(&f, IO_LOCK_FIRST, false, &other), STATUS_OK);
	other->ops->close(other);
	fixture_close(&f);
}

/* Writes the whole file again and again, much at a time, until it is killed. */
static void write_for_ever(int ready)
{
	static struct op ops[BLOCKS / 16];
	struct io_file_options options = locked(IO_LOCK_FIRST);
	struct iovec v = { blocks(16), (size_t)16 * BLOCK };
	struct fixture f;
	struct blk *blk;

	memset(v.iov_base, 0xaa, v.iov_len);
	fixture_open(&f, &(struct io_options){ 0 });
	blk = open_blk(&f, &options);
	for (;;) {
		for (unsigned i = 0; i < array_count(ops); i++)
			op_submit(&ops[i], blk,
			          &(struct blk_cmd){ .op = BLK_WRITE,
			                             .flags = i % 2 == 0 ? BLK_FUA : 0,
			                             .lba = (uint64_t)16 * i,
			                             .block_count = 16,
			                             .iov = &v,
			                             .iov_count = 1 });
		for (unsigned i = 0; i < array_count(ops); i++)
			RUN_UNTIL(&f, ops[i].done);
		if (write(ready, "", 1) != 1)
			_exit(1);
	}
}

/* Who gets the lock after a kill writes last: nothing of the dead process comes afterwards. */
static void test_lock_outlives_kill(void **state)
{
	struct io_file_options options = fresh;
	uint8_t *in = blocks(BLOCKS), *out = blocks(BLOCKS);

	(void)state;
	options.lock = IO_LOCK_FIRST;
	memset(out, 0xbb, (size_t)BLOCKS * BLOCK);
	for (unsigned round = 0; round < 5; round++) {
		struct blk_cmd cmd = { .op = BLK_WRITE, .block_count = BLOCKS };
		struct fixture f;
		struct blk *blk;
		int pipes[2], status;
		pid_t child;
		char byte;

		assert_int_equal(pipe(pipes), 0);
		child = fork();
		assert_true(child >= 0);
		if (child == 0)
			write_for_ever(pipes[1]);
		assert_int_equal(read(pipes[0], &byte, 1), 1);
		assert_int_equal(kill(child, SIGKILL), 0);
		assert_int_equal(waitpid(child, &status, 0), child);
		fixture_open(&f, &(struct io_options){ 0 });
		blk = open_blk(&f, &options);
		assert_int_equal(run_data(&f, blk, cmd, out), STATUS_OK);
		fixture_idle(&f, 20);
		cmd.op = BLK_READ;
		assert_int_equal(run_data(&f, blk, cmd, in), STATUS_OK);
		assert_memory_equal(in, out, (size_t)BLOCKS * BLOCK);
		blk->ops->close(blk);
		fixture_close(&f);
		close(pipes[0]);
		close(pipes[1]);
	}
	free(in);
	free(out);
}

static int make_file(void **state)
{
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "io_blk_test.XXXXXX");
	fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_write_read_flush, make_file, remove_file),
		cmocka_unit_test_setup_teardown(test_fua_both_ways, make_file, remove_file),
		cmocka_unit_test_setup_teardown(test_discard_reads_as_zeroes, make_file,
		                                remove_file),
		cmocka_unit_test_setup_teardown(test_zeroes, make_file, remove_file),
		cmocka_unit_test_setup_teardown(test_vectored, make_file, remove_file),
		cmocka_unit_test_setup_teardown(test_end_of_file_reads_as_zeroes, make_file,
		                                remove_file),
		cmocka_unit_test_setup_teardown(test_no_space, make_file, remove_file),
		cmocka_unit_test_setup_teardown(test_many_in_flight, make_file, remove_file),
		cmocka_unit_test_setup_teardown(test_open_says_why, make_file, remove_file),
		cmocka_unit_test_setup_teardown(test_lock, make_file, remove_file),
		cmocka_unit_test_setup_teardown(test_lock_outlives_kill, make_file, remove_file),
	};

	return run_all_kinds(tests, array_count(tests));
}
