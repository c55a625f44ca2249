# SPDX-License-Identifier: Apache-2.0
all:
	@test -d build || meson setup build >/dev/null
	@ninja -C build
.PHONY: all
