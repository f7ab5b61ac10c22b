# make              builds for LUA (lua5.4, lua5.3, lua5.2, lua5.1 or luajit)
# make demo, test   what README says; they install what is missing
# make help         lists all targets

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
	@echo 'export LUA_CPATH="$(CURDIR)/$(BUILD)/$(LUA)/?.so;$${LUA_CPATH:-;;}"'

# --- What the two commands need ---------------------------------------------------------------------

DEMO_PACKAGES := gcc libc6-dev lua5.4 liblua5.4-dev libcurl4-openssl-dev lua-cjson nginx-light \
                 libnginx-mod-http-lua openssl curl procps
TEST_PACKAGES := $(DEMO_PACKAGES) lua5.3 liblua5.3-dev lua5.2 liblua5.2-dev lua5.1 liblua5.1-0-dev \
                 luajit2 libluajit2-5.1-dev lua-busted libcmocka-dev
LINT_PACKAGES := lua-check cppcheck clang-tidy-14 clang-format-14 luarocks

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

.PHONY: deps-demo deps-test deps-lint deps
deps-demo:
	$(call install_missing,$(DEMO_PACKAGES))
deps-test:
	$(call install_missing,$(TEST_PACKAGES))
deps-lint:
	$(call install_missing,$(TEST_PACKAGES) $(LINT_PACKAGES))
deps: deps-test

# --- Tests ------------------------------------------------------------------------------------------

$(BUILD)/c/%_test: spec/c/%_test.c $(ENGINE) $(HEADERS) $(wildcard spec/c/*.h)
	@mkdir -p $(@D)
	$(CC) $(STANDARD) $(WARNINGS) $(CFLAGS) -Isrc $< $(ENGINE) -o $@ $(LDFLAGS) -lcmocka $(LIBRARIES)

.PHONY: test
test: deps-test
	@$(MAKE) --no-print-directory -s check

.PHONY: check
check: $(C_TESTS)
	@for lua in $(ALL_LUAS); do $(MAKE) --no-print-directory -s LUA=$$lua all || exit 1; done
	@BUILD=$(BUILD) spec/run $(ALL_LUAS)

.PHONY: help
help:
	@sed -n 's/^# make/make/p' Makefile; grep -o '^\.PHONY: .*' Makefile | cut -d' ' -f2-

.PHONY: clean
clean:
	rm -rf $(BUILD)
