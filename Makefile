# make              builds for LUA (lua5.4, lua5.3, lua5.2, lua5.1 or luajit)
# make install      puts the built module for LUA under PREFIX
# make demo         labels 1,000 texts against a local server, and compares
# make test         runs all tests on all Luas; make check does so without installing anything
# make lint         luacheck, cppcheck, and the rockspec
# make asan         the tests once more, under AddressSanitizer and UBSan
# make bench-quick  CPU per request, against aiohttp
# make env          prints what puts the built tree on Lua's paths: eval "$(make -s env)"
# make clean        removes what was built

LUA      ?= lua5.4
CC       ?= gcc
CFLAGS   ?= -O2 -g
PREFIX   ?= /usr/local
BUILD    ?= build

WARNINGS := -Wall -Wextra -pedantic -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes -Werror
STANDARD := -std=c11 -D_GNU_SOURCE
LIBRARIES := -lcurl -lpthread -lm -ldl

# One object file serves PUC 5.1 and LuaJIT, but each is built and tested with its own headers.
LUA_VERSION := $(patsubst lua%,%,$(patsubst luajit%,5.1,$(LUA)))
LUA_HEADERS := $(if $(findstring luajit,$(LUA)),luajit-2.1,$(LUA))
LUA_INCDIR  ?= $(firstword $(wildcard /usr/include/$(LUA_HEADERS) /usr/local/include/$(LUA_HEADERS)) /usr/include)

SOURCES := $(wildcard src/*.c)
POLICY  := src/heap.c src/histogram.c src/headers.c src/retry.c src/limiter.c
ENGINE  := $(filter-out src/lua_%.c,$(SOURCES))
HEADERS := $(wildcard src/*.h)
OBJECTS := $(SOURCES:src/%.c=$(BUILD)/$(LUA)/%.o)
MODULE  := $(BUILD)/$(LUA)/sheaf/core.so
C_TESTS := $(patsubst spec/c/%_test.c,$(BUILD)/c/%_test,$(wildcard spec/c/*_test.c))

ALL_LUAS := lua5.4 lua5.3 lua5.2 lua5.1 luajit
LUAS     ?= $(ALL_LUAS)

.DELETE_ON_ERROR:
.PHONY: all
all: $(MODULE)

$(BUILD)/$(LUA)/%.o: src/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(STANDARD) $(WARNINGS) $(CFLAGS) -fPIC -fvisibility=hidden -I$(LUA_INCDIR) -c $< -o $@

$(MODULE): $(OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -shared $^ -o $@ $(LDFLAGS) $(LIBRARIES)

# Puts the built tree on Lua's paths: eval "$(make -s env LUA=lua5.4)"
.PHONY: env
env:
	@echo 'export LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;$${LUA_PATH:-;;}"'
	@echo 'export LUA_CPATH="$(abspath $(BUILD))/$(LUA)/?.so;$${LUA_CPATH:-;;}"'

# For LuaJIT that is 5.1's folders, where it looks, too.
SHARE_DIR := $(DESTDIR)$(PREFIX)/share/lua/$(LUA_VERSION)/sheaf
LIB_DIR   := $(DESTDIR)$(PREFIX)/lib/lua/$(LUA_VERSION)/sheaf

.PHONY: install
install: $(MODULE)
	install -d $(SHARE_DIR)/host $(LIB_DIR)
	install -m 644 lua/sheaf/*.lua $(SHARE_DIR)
	install -m 644 lua/sheaf/host/*.lua $(SHARE_DIR)/host
	install -m 755 $(MODULE) $(LIB_DIR)

# --- What the two commands need ---------------------------------------------------------------------

BUILD_PACKAGES := gcc libc6-dev libcurl4-openssl-dev lua-cjson
DEMO_PACKAGES := $(BUILD_PACKAGES) lua5.4 liblua5.4-dev nginx-light libnginx-mod-http-lua openssl curl \
                 procps
TEST_PACKAGES := $(DEMO_PACKAGES) lua5.3 liblua5.3-dev lua5.2 liblua5.2-dev lua5.1 liblua5.1-0-dev \
                 luajit2 libluajit2-5.1-dev lua-busted libcmocka-dev luarocks binutils
LINT_PACKAGES := lua-check cppcheck luarocks
BENCH_PACKAGES := $(DEMO_PACKAGES) python3-aiohttp util-linux

# What LUA itself comes in.
LUA_PACKAGES  := $(if $(findstring luajit,$(LUA)),luajit2 libluajit2-5.1-dev,$(LUA) \
                   $(if $(findstring 5.1,$(LUA)),liblua5.1-0-dev,lib$(LUA)-dev))

# Installs what is missing of the packages named. nginx is wanted as a program, not as a service that
# starts with the machine: the policy file keeps it from being started.
define install_missing
	@command -v dpkg-query >/dev/null || { echo 'This is no Debian: install $(1) or what they are called here, then run make again.'; exit 1; }; \
	missing=$$(for p in $(1); do dpkg-query -W -f '$${Status}\n' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	[ -n "$$missing" ] || exit 0; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	[ -z "$$sudo" ] || command -v sudo >/dev/null || { echo "Needed, and not installed: $$missing"; exit 1; }; \
	echo "Installing" $$missing; \
	policy=/usr/sbin/policy-rc.d; made=; \
	[ -e $$policy ] || { made=1; printf '#!/bin/sh\nexit 101\n' | $$sudo tee $$policy >/dev/null; $$sudo chmod 755 $$policy; }; \
	log=$$(mktemp); \
	{ $$sudo apt-get update -q && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends $$missing; } >$$log 2>&1 || failed=1; \
	[ -z "$$made" ] || $$sudo rm -f $$policy; \
	[ -z "$$failed" ] || { tail -n 20 $$log; exit 1; }; \
	rm -f $$log
endef

.PHONY: deps deps-demo deps-test deps-lint deps-bench
deps:
	$(call install_missing,$(BUILD_PACKAGES) $(LUA_PACKAGES))
deps-demo:
	$(call install_missing,$(DEMO_PACKAGES))
deps-test:
	$(call install_missing,$(TEST_PACKAGES))
deps-lint:
	$(call install_missing,$(LINT_PACKAGES))
deps-bench:
	$(call install_missing,$(BENCH_PACKAGES))

# --- Demo and bench -----------------------------------------------------------------------------------

# Runs a Lua 5.4 script on the built tree.
RUN_LUA = eval "$$($(MAKE) --no-print-directory -s env LUA=lua5.4)" && exec lua5.4

.PHONY: demo
demo: deps-demo
	@$(MAKE) --no-print-directory -s LUA=lua5.4 all
	@$(RUN_LUA) examples/demo.lua $(BUILD)/demo.jsonl

.PHONY: bench-quick
bench-quick: deps-bench
	@$(MAKE) --no-print-directory -s LUA=lua5.4 all
	@$(RUN_LUA) bench/quick

# --- Tests ------------------------------------------------------------------------------------------

$(BUILD)/c/%_test: spec/c/%_test.c $(ENGINE) $(HEADERS) $(wildcard spec/c/*.h)
	@mkdir -p $(@D)
	$(CC) $(STANDARD) $(WARNINGS) $(CFLAGS) -Isrc $< $(ENGINE) -o $@ $(LDFLAGS) -lcmocka $(LIBRARIES)

.PHONY: test
test: deps-test
	@$(MAKE) --no-print-directory -s check

.PHONY: check
check: $(C_TESTS)
	@for lua in $(LUAS); do $(MAKE) --no-print-directory -s LUA=$$lua all || exit 1; done
	@BUILD=$(BUILD) spec/run $(LUAS)

# The sanitizers' runtime has to come before the interpreter, which isn't built with it. Leaks are looked
# for in the C tests only: an interpreter that ends by os.exit leaves its memory to the kernel.
SANITIZE := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

.PHONY: asan
asan: deps-test
	@ASAN=1 $(MAKE) --no-print-directory -s BUILD=$(BUILD)/asan LUAS=lua5.4 CFLAGS='$(SANITIZE)' check

# --- Looking at the source --------------------------------------------------------------------------

LUA_SCRIPTS := bench/quick

.PHONY: lint
lint: deps-lint
	luacheck --quiet lua spec examples bench $(LUA_SCRIPTS) *.rockspec
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
	  --error-exitcode=1 -Isrc src
	luarocks lint *.rockspec

.PHONY: help
help:
	@sed -n 's/^# make /make /p' Makefile

.PHONY: clean
clean:
	rm -rf $(BUILD)
