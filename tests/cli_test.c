/* SPDX-License-Identifier: Apache-2.0 */
/* The program as a user runs it: exit codes, messages, and what a kill -9 leaves. Needs $WEIR. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[64];
static char output[1 << 16];
static const char *weir;

/* Runs a shell command line; its stdout and stderr are in output. Returns the exit code. */
__attribute__((format(printf, 1, 2))) static int run(const char *format, ...)
{
	char line[2048], command[4096];
	va_list args;
	FILE *pipe;
	size_t size;
	int status;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	snprintf(command, sizeof(command), "exec timeout -s KILL 30 '%s' %s 2>&1", weir, line);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	size = fread(output, 1, sizeof(output) - 1, pipe);
	output[size] = '\0';
	status = pclose(pipe);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* A server in the background, listening at DIRECTORY/socket; returns when it does. */
static pid_t serve(const char *more)
{
	char command[4096], byte;
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	snprintf(command, sizeof(command),
	         "exec '%s' serve '%s/data' -s resp.listen=unix:%s/socket -s storage.size=256M "
	         "-s storage.segment_size=4M -s log.level=error %s",
	         weir, directory, directory, more);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	/* Its first line on stdout, or its end. */
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	return pid;
}

static int end(pid_t pid, int signal_number)
{
	int status;

	assert_int_equal(kill(pid, signal_number), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int kv(const char *words)
{
	return run("kv -a unix:%s/socket %s", directory, words);
}

static int setup(void **state)
{
	char command[128];

	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/weir_cli_test.XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(command, sizeof(command), "chmod 700 %s", directory);
	return system(command);
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

static void test_usage(void **state)
{
	static const char *const commands[] = { "serve", "kv",      "top",
		                                "bench", "inspect", "check-config" };

	(void)state;
	assert_int_equal(run("--help"), 0);
	assert_int_equal(run("--version"), 0);
	assert_ptr_equal(strstr(output, "weir "), output);
	assert_int_equal(run("%s", ""), 2);
	assert_int_equal(run("nonsense"), 2);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		assert_int_equal(run("%s --help", commands[i]), 0);
		assert_non_null(strstr(output, commands[i]));
		assert_int_equal(run("%s --nonsense", commands[i]), 2);
	}
	assert_int_equal(run("serve --help-config"), 0);
	assert_non_null(strstr(output, "resp.listen = 127.0.0.1:6379"));
}

static void test_configuration(void **state)
{
	(void)state;
	assert_int_equal(run("check-config"), 0);
	assert_int_equal(run("check-config -s memory=1M"), 2);
	assert_int_equal(run("check-config -s memory=16M -s workers.count=8 -s resp.listen=off"),
	                 2);
	assert_non_null(strstr(output, "at least 79.0 MiB"));
	assert_int_equal(run("serve -s memroy=1G"), 2);
	assert_non_null(strstr(output, "did you mean memory?"));
	assert_int_equal(run("check-config /nonexistent"), 3);
	assert_int_equal(run("inspect -t 'node:2 core:32 pu:1' -s workers.network=4 "
	                     "-s workers.storage=4"),
	                 0);
	assert_non_null(strstr(output, "cores 36-37, node 1: storage, an engine each\n"));
	assert_non_null(strstr(output, "memory      of its own node for each worker"));
}

/* Writes DIRECTORY/conf. */
static void write_conf(const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/conf", directory);
	file = fopen(path, "w");
	assert_non_null(file);
	fprintf(file, text, directory);
	assert_int_equal(fclose(file), 0);
}

static void test_stacks(void **state)
{
	pid_t pid;
	char more[256];

	(void)state;
	write_conf("[stack a]\nlayers = offset first=1M | file path=%s/disk size=8M create=yes\n"
	           "export = yes\n[stack b]\nlayers = mem size=1M\nread_only = yes\n"
	           "[workers]\ncount = 3\n");
	assert_int_equal(run("check-config %s/conf", directory), 0);
	snprintf(more, sizeof(more), "-c %s/conf", directory);
	pid = serve(more);
	assert_int_equal(run("inspect stack 'file path=%s/disk'", directory), 0);
	assert_non_null(strstr(output, "8.0 MiB, 2048 blocks of 4096 bytes"));
	assert_int_equal(kv("put x 1"), 0);
	assert_int_equal(end(pid, SIGTERM), 0);
	write_conf("[stack a]\nlayers = offset | fiel path=%s/disk\n");
	assert_int_equal(run("check-config %s/conf", directory), 2);
	assert_non_null(strstr(output, "stack a: there is no layer or device fiel"));
	assert_int_equal(run("serve %s/data -c %s/conf -s resp.listen=off", directory, directory),
	                 2);
	write_conf("[stack a]\nlayers = file path=%s/nothing\n");
	assert_int_equal(run("serve %s/data -c %s/conf -s resp.listen=off", directory, directory),
	                 3);
	assert_non_null(strstr(output, "No such file"));
	assert_int_equal(run("inspect stack 'offset first=1 | null'"), 2);
	assert_non_null(strstr(output, "\n               ^\n"));
}

static void test_refusals_of_the_environment(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(run("serve /dev/null/data"), 3);
	assert_int_equal(run("serve %s/a -s resp.listen=0.0.0.0:0 -s storage.size=256M "
	                     "-s storage.segment_size=4M",
	                     directory),
	                 2);
	assert_non_null(strstr(output, "--insecure-i-know"));
	assert_int_equal(kv("get x"), 3);
	pid = serve("");
	assert_int_equal(run("serve %s/data -s resp.listen=off", directory), 3);
	assert_non_null(strstr(output, "another weir serves it"));
	assert_int_equal(run("serve %s/b -s resp.listen=unix:%s/socket -s storage.size=256M "
	                     "-s storage.segment_size=4M",
	                     directory, directory),
	                 3);
	assert_int_equal(end(pid, SIGTERM), 0);
}

static void test_keys_survive_kill_and_restart(void **state)
{
	pid_t pid = serve("");

	(void)state;
	assert_int_equal(kv("get greeting"), 1);
	assert_int_equal(kv("put greeting hello"), 0);
	assert_int_equal(kv("put other there"), 0);
	assert_int_equal(kv("incr n 41"), 0);
	assert_int_equal(kv("incr n"), 0);
	assert_string_equal(output, "42\n");
	assert_int_equal(end(pid, SIGKILL), -SIGKILL);
	pid = serve("");
	assert_int_equal(kv("get greeting"), 0);
	assert_string_equal(output, "hello\n");
	assert_int_equal(kv("get n"), 0);
	assert_string_equal(output, "42\n");
	assert_int_equal(kv("cas greeting nope x"), 1);
	assert_string_equal(output, "hello\n");
	assert_int_equal(kv("cas greeting hello bye"), 0);
	assert_int_equal(kv("del other missing"), 1);
	assert_int_equal(end(pid, SIGINT), 0);
	pid = serve("-s transport.kind=plain");
	assert_int_equal(kv("scan --values g"), 0);
	assert_string_equal(output, "greeting\tbye\n");
	assert_int_equal(kv("get other"), 1);
	assert_int_equal(run("kv --store %s/data get greeting", directory), 3); /* it is served */
	assert_int_equal(end(pid, SIGTERM), 0);
	assert_int_equal(run("kv --store %s/data incr n", directory), 0);
	assert_string_equal(output, "43\n");
	assert_int_equal(run("kv --store %s/data get n", directory), 0);
	assert_string_equal(output, "43\n");
	assert_int_equal(run("kv --store %s/missing get n", directory), 3);
}

static void test_password(void **state)
{
	pid_t pid = serve("-s resp.password=secret");

	(void)state;
	assert_int_equal(kv("put a b"), 1);
	assert_non_null(strstr(output, "NOAUTH"));
	assert_int_equal(kv("-p wrong put a b"), 3);
	assert_int_equal(kv("-p secret put a b"), 0);
	assert_int_equal(end(pid, SIGTERM), 0);
}

static void test_load(void **state)
{
	pid_t pid = serve("");

	(void)state;
	assert_int_equal(
	        run("bench -a unix:%s/socket -c 8 -P 8 -d 1 --keys 500 set get --json", directory),
	        0);
	assert_non_null(strstr(output, "\"work\":\"get\""));
	assert_int_equal(run("top -a unix:%s/socket -n 1", directory), 0);
	assert_non_null(strstr(output, "commands/s"));
	assert_int_equal(end(pid, SIGTERM), 0);
	/* More commands in flight than a small server has memory for: they wait their turn. */
	pid = serve("-s workers.count=1 -s memory=35M");
	assert_int_equal(
	        run("bench -a unix:%s/socket -c 40 -P 16 -d 1 --keys 500 set get", directory), 0);
	assert_int_equal(end(pid, SIGTERM), 0);
}

/* The flight recorder, and the end of a server that has a client which stays. */
static void test_signals(void **state)
{
	pid_t pid = serve("-s serve.drain=100ms");

	(void)state;
	assert_int_equal(kill(pid, SIGUSR1), 0);
	assert_int_equal(kv("put a b"), 0);
	assert_int_equal(end(pid, SIGTERM), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_configuration),
		cmocka_unit_test_setup_teardown(test_stacks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals_of_the_environment, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keys_survive_kill_and_restart, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(test_password, setup, teardown),
		cmocka_unit_test_setup_teardown(test_load, setup, teardown),
		cmocka_unit_test_setup_teardown(test_signals, setup, teardown),
	};

	weir = getenv("WEIR");
	if (weir == NULL || access(weir, X_OK) != 0)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
