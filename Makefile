# SPDX-License-Identifier: Apache-2.0
# Thin: every line calls meson or a program of tools/. `make` leaves the release at build/weir.
#
#   make test [T=name]    unit tests, simulator, tree check under ASan and UBSan; or one test
#   make lint             format, tree, cppcheck
#   make format           clang-format in place
#   make tsan             the unit tests under ThreadSanitizer
#   make msan             what stays inside the tree under MemorySanitizer (clang)
#   make fuzz F=name [S=seconds]
#   make sim [SEED=n]     one seed of the simulator, with its trace
#   make faults           every call that can fail does, once: some minutes
#   make bench [B=names]  figures against peers: see bench/run.py --help
#   make lab              the kernel of a guest as judge: some minutes; see lab/README.md
#   make ci               everything, in the order of continuous integration
SHELL := /bin/sh
LIB := set -eu; . tools/lib.sh;
S ?= 60
PREFIX ?= /usr/local

all:
	@$(LIB) configure_release; ninja -C build

debug:
	@$(LIB) configure_debug; ninja -C build-debug

test: debug
ifdef T
	@meson test -C build-debug --no-rebuild --print-errorlogs --verbose $(T)
else
	@CMOCKA_MESSAGE_OUTPUT=TAP meson test -C build-debug --no-rebuild --print-errorlogs \
		--no-suite judges; status=$$?; \
	python3 tools/test_report.py build-debug/meson-logs/testlog.json && exit $$status
endif

lint: debug
	@tools/lint.sh

format:
	@tools/sources.sh src/* tests fuzz bench | xargs clang-format -i
	@tools/sources.sh -x h src/* include tests bench | xargs clang-format -i

tsan:
	@$(LIB) configure build-tsan --buildtype=debug -Db_lto=false -Db_sanitize=thread -Dtests=enabled; \
	ninja -C build-tsan; meson test -C build-tsan --no-rebuild --print-errorlogs --suite unit

msan:
	@$(LIB) export CC=clang; \
	configure build-msan --buildtype=debug -Db_lto=false -Db_sanitize=memory -Db_lundef=false -Dtests=enabled; \
	ninja -C build-msan; meson test -C build-msan --no-rebuild --print-errorlogs \
	--no-suite outside --no-suite tree --no-suite judges

fuzz:
	@$(LIB) [ -n "$(F)" ] || die 'which one? make fuzz F=name, of fuzz/name_fuzz.c'; \
	export CC=clang; configure build-fuzz --buildtype=debug -Db_lto=false -Db_sanitize=address,undefined \
		-Db_lundef=false -Dfuzz=true -Dtests=disabled; \
	ninja -C build-fuzz fuzz/$(F)_fuzz; mkdir -p build-fuzz/found/$(F) fuzz/corpus/$(F); \
	build-fuzz/fuzz/$(F)_fuzz -max_total_time=$(S) -artifact_prefix=build-fuzz/found/ \
		build-fuzz/found/$(F) fuzz/corpus/$(F)

sim: debug
	@for program in build-debug/tests/sim_*_test; do \
		if [ -x $$program ]; then SIM_SEED=$(SEED) $$program || exit 1; fi; \
	done

faults: debug
	@FAULT_STRIDE=1 build-debug/tests/fault_test
	@for workers in 1 3; do build-debug/tests/sim_engine_test sweep=1 seed=$$workers \
		workers=$$workers steps=600 trials=0 keys=200 value_max=40000 || exit 1; done

bench:
	@$(LIB) configure build --buildtype=release -Dtests=disabled; \
	meson configure build -Dbench=true; ninja -C build; bench/run.py $(B)

lab: all
	@lab/run

ci:
	@tools/ci.sh

install: all
	@meson configure build --prefix=$(PREFIX); meson install -C build

clean:
	@rm -rf build build-debug build-tsan build-msan build-fuzz

.PHONY: all debug test lint format tsan msan fuzz sim faults bench lab ci install clean
