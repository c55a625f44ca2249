#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Everything that reads the tree without running it. A tool that is not installed is said and left
# out; exits 1 if any found something.
set -u
cd "$(dirname "$0")/.." || exit 3
failed=0

step() { # step TOOL COMMAND...
	tool=$1
	shift
	if ! command -v "$tool" >/dev/null; then
		echo "$tool: not installed, left out"
	elif "$@"; then
		echo "$tool: clean"
	else
		echo "$tool: see above"
		failed=1
	fi
}

c_files=$(tools/sources.sh src/* tests fuzz bench; tools/sources.sh -x h src/* include tests bench)
shell_files='run test .ci/run lab/setup lab/boot lab/run'
python_files=$(tools/sources.sh -x py tools bench tests tests/judges lab)
for file in tools/*.sh tests/judges/*.sh lab/*.sh; do
	[ ! -f "$file" ] || shell_files="$shell_files $file"
done

# shellcheck disable=SC2086 # one word a file
{
	step clang-format clang-format --dry-run -Werror $c_files
	step shellcheck shellcheck -x $shell_files
	step python3 tools/check_tree.py --objects build-debug/libweir_all.a.p
	step cppcheck cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr \
		--suppress=missingInclude --suppress=unknownMacro \
		--suppress=varFuncNullUB --error-exitcode=1 \
		--include="/usr/include/$(cc -print-multiarch)/sys/queue.h" -Isrc \
		-D_GNU_SOURCE -D__x86_64__ src
	step pyflakes3 pyflakes3 $python_files
}
exit "$failed"
