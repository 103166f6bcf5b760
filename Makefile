# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make             the helper and the libraries, into build/
# make demo        the main job on a scratch root, as an ordinary user
# make check       all tests; PYTEST_ARGS='-k name' chooses
# make coverage    branch coverage of csrc/, with gcc; fails below 95 %
# make sanitized   tests of the core with ASan and UBSan in the library and the helper, with gcc
# make proof       all that is tried against the core, for hours; PARTS=ci is what CI has of it
# make install     PREFIX= SBINDIR= LIBDIR= INCLUDEDIR= MANDIR= UNITDIR= DESTDIR=
#                  BASHDIR= ZSHDIR= FISHDIR=: where these shells look for completions
#                  INIT='systemd sysv ...': whose boot files, see initscript/places
# make install-netcf-transaction DIR=   the name under which libnetcf looks for it
# make install-libvirt UNITDIR=         the adapter for libvirtd, in use when that restarts
# make fuzz        TIME=60: each fuzz target so many seconds, with clang's libFuzzer
# make test-lib    the core with its test seam, every symbol visible; the program of short memory
# make uninstall, make clean

include csrc/sources.mk

VERSION := $(shell cat VERSION)
BUILD ?= build

PREFIX ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
UNITDIR ?= $(PREFIX)/lib/systemd/system
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
INSTALL ?= install
OBJCOPY ?= objcopy

PYTHON ?= python3
VENV ?= .venv

CFLAGS ?= -O2
HELPER_CFLAGS ?= -Os
TEST_CFLAGS ?= -O1 -g

all: helper lib
helper: $(BUILD)/networking-config
lib: $(BUILD)/libncf.so $(BUILD)/libncf.a $(BUILD)/libnetcf-change.so
test-lib: $(BUILD)/test/libncf-test.so $(BUILD)/test/driver

.PHONY: all helper lib test-lib demo check coverage sanitized fuzz proof clean
.PHONY: install install-boot install-libvirt uninstall uninstall-boot install-netcf-transaction
.DELETE_ON_ERROR:
.SUFFIXES:

# --- the tool chain ---------------------------------------------------------

# $(call links,COMMAND): "yes" if COMMAND compiles and links a program.
links = $(shell d=$$(mktemp -d) && echo 'int main(void) { return 0; }' >$$d/t.c && \
	$(1) $$d/t.c -o $$d/t >$$d/log 2>&1 && echo yes; rm -rf $$d)

# musl makes a static helper of a sixth of the size.  Only the usual compiler
# is replaced: one that was asked for may be for another machine.
ifeq ($(filter-out cc gcc,$(CC)),)
HELPER_CC ?= $(if $(call links,musl-gcc -static),musl-gcc,$(CC))
endif
HELPER_CC ?= $(CC)
HELPER_CC := $(HELPER_CC)
HELPER_STATIC := $(if $(call links,$(HELPER_CC) -static),-static)
HELPER_LTO := $(if $(call links,$(HELPER_CC) -flto=auto),-flto=auto)
HELPER_HEAP := $(if $(findstring musl,$(HELPER_CC) $(shell $(HELPER_CC) -dumpmachine)),$(HEAP))

FORTIFY := $(if $(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS)),,\
	-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
BASE_CFLAGS := -std=c11 -Icsrc -D_GNU_SOURCE -DNCF_VERSION='"$(VERSION)"' $(FORTIFY) \
	-Wall -Wextra -Wpedantic -Wconversion -Wshadow -MMD -MP
BASE_LDFLAGS := -Wl,-z,relro -Wl,-z,now
GUARDED := -fstack-protector-strong
# The helper has to fit on a small boot medium: it guards what has a buffer, and its
# constants share pages with its code.
HELPER_GUARDED := -fstack-protector
HELPER_LDFLAGS := -Wl,--gc-sections -Wl,-z,noseparate-code

# --- what is built ----------------------------------------------------------

LIB_OBJECTS := $(CORE:%.c=$(BUILD)/lib/%.o)
HELPER_OBJECTS := $(patsubst %.c,$(BUILD)/helper/%.o,$(CORE) $(HELPER_HEAP) $(HELPER))
TEST_OBJECTS := $(CORE:%.c=$(BUILD)/test/%.o)

$(BUILD)/lib/%.o: csrc/%.c Makefile VERSION
	@mkdir -p $(@D)
	$(CC) $(BASE_CFLAGS) $(GUARDED) -fPIC $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(BUILD)/helper/%.o: csrc/%.c Makefile VERSION
	@mkdir -p $(@D)
	$(HELPER_CC) $(BASE_CFLAGS) $(HELPER_GUARDED) $(HELPER_LTO) -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables \
		$(CPPFLAGS) $(HELPER_CFLAGS) -c -o $@ $<

# Where the time goes with thousands of files: speed before size.
$(addprefix $(BUILD)/helper/,digest.o memory.o): HELPER_CFLAGS := $(HELPER_CFLAGS:-Os=-O2)

# What a compiler knows of malloc() does not hold inside it.
$(BUILD)/helper/heap.o: HELPER_LTO := -fno-lto -fno-builtin

$(BUILD)/test/%.o: csrc/%.c Makefile VERSION
	@mkdir -p $(@D)
	$(CC) $(BASE_CFLAGS) $(GUARDED) -fPIC -DNCF_SEAM $(CPPFLAGS) $(TEST_CFLAGS) -c -o $@ $<

$(BUILD)/networking-config: $(HELPER_OBJECTS)
	$(HELPER_CC) $(HELPER_CFLAGS) $(HELPER_LTO) $(HELPER_STATIC) -s $(HELPER_LDFLAGS) $(BASE_LDFLAGS) \
		$(LDFLAGS) -o $@ $^

# A process may hold libnetcf too, which defines some of the same names: calls
# inside the library must not end up there.
$(BUILD)/libncf.so.0: $(LIB_OBJECTS) csrc/ncf.map
	$(CC) -shared -Wl,-soname,libncf.so.0 -Wl,--version-script=csrc/ncf.map \
		-Wl,-Bsymbolic-functions -Wl,-z,defs $(BASE_LDFLAGS) $(LDFLAGS) \
		-o $@ $(LIB_OBJECTS)

$(BUILD)/libncf.so: $(BUILD)/libncf.so.0
	ln -sf libncf.so.0 $@

# One object with only the public names global, so that a program's own
# functions never meet ours.
$(BUILD)/libncf.a: $(LIB_OBJECTS) csrc/ncf.map
	$(CC) -r -nostdlib -o $(BUILD)/lib/libncf.o $(LIB_OBJECTS)
	sed -n 's/^[[:space:]]*\(ncf_[a-z_]*\);.*/\1/p' csrc/ncf.map >$(BUILD)/lib/public
	$(OBJCOPY) --keep-global-symbols=$(BUILD)/lib/public $(BUILD)/lib/libncf.o
	rm -f $@
	$(AR) rcs $@ $(BUILD)/lib/libncf.o

# The adapter serves some of the core's own names: in it the core has others.
SERVED := error change_begin change_commit change_rollback

$(BUILD)/libvirt/core.o: $(LIB_OBJECTS)
	@mkdir -p $(@D)
	$(CC) -r -nostdlib -o $@ $^
	$(OBJCOPY) $(foreach name,$(SERVED),--redefine-sym ncf_$(name)=core_$(name)) $@

$(BUILD)/libnetcf-change.so: $(BUILD)/lib/libvirt/adapter.o $(BUILD)/libvirt/core.o \
		csrc/libvirt/adapter.map
	$(CC) -shared -Wl,-soname,libnetcf-change.so -Wl,-z,defs $(BASE_LDFLAGS) $(LDFLAGS) \
		-Wl,--version-script=csrc/libvirt/adapter.map -o $@ $(filter %.o,$^) -ldl

$(BUILD)/test/units.o: tests/lib/units.c Makefile
	@mkdir -p $(@D)
	$(CC) $(BASE_CFLAGS) -fPIC $(TEST_CFLAGS) -c -o $@ $<

# Not below test/: what links those objects otherwise wraps nothing.
$(BUILD)/faults.o: tests/lib/faults.c Makefile
	@mkdir -p $(@D)
	$(CC) $(BASE_CFLAGS) -fPIC $(TEST_CFLAGS) -c -o $@ $<

FAULTS := malloc calloc realloc free socket sendto recv
$(BUILD)/test/libncf-test.so: $(TEST_OBJECTS) $(BUILD)/test/units.o $(BUILD)/faults.o
	$(CC) -shared $(LDFLAGS) -o $@ $^ $(FAULTS:%=-Wl,--wrap=%)

# What it deals in fails beneath the library as it is shipped.
WRAPPED := malloc calloc realloc read pread write pwrite open openat ftruncate fallocate flock
$(BUILD)/test/driver: tests/lib/driver.c $(BUILD)/libncf.a
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE $(TEST_CFLAGS) -Icsrc $(LDFLAGS) -o $@ $^ $(WRAPPED:%=-Wl,--wrap=%)

-include $(BUILD)/lib/libvirt/adapter.d $(LIB_OBJECTS:.o=.d) $(HELPER_OBJECTS:.o=.d) $(TEST_OBJECTS:.o=.d) $(BUILD)/test/units.d $(BUILD)/faults.d

# --- installed --------------------------------------------------------------

DROP_INS := $(foreach daemon,libvirtd virtinterfaced,\
	$(UNITDIR)/$(daemon).service.d/netcf-change.conf)
PAGES := $(wildcard docs/man/*.8)
COMPLETION_BASH := $(wildcard completion/bash/*)
COMPLETION_ZSH := $(wildcard completion/zsh/*)
COMPLETION_FISH := $(wildcard completion/fish/*)
INSTALLED := $(SBINDIR)/networking-config $(LIBDIR)/libncf.so.0 $(LIBDIR)/libncf.so \
	$(LIBDIR)/libncf.a $(LIBDIR)/libnetcf-change.so $(LIBDIR)/pkgconfig/ncf.pc \
	$(INCLUDEDIR)/ncf.h $(DROP_INS) $(patsubst docs/man/%,$(MANDIR)/man8/%,$(PAGES)) \
	$(foreach shell,BASH ZSH FISH,$(addprefix $($(shell)DIR)/,$(notdir $(COMPLETION_$(shell)))))

# The init systems that this host has.  Where PREFIX is nobody's but the user's,
# nothing outside it is written.
ifneq ($(filter /usr /usr/local,$(PREFIX)),)
INIT ?= $(sort $(shell sed -n 's/^\([a-z0-9-]*\) if /\1 /p' initscript/places | \
	while read -r init path; do [ ! -e "$$path" ] || echo "$$init"; done))
endif

# $(call each_boot_file,COMMANDS): for each $$file of INIT, its $$mode and $$place.
each_boot_file = sed -e '/^\#/d' -e '/^[a-z0-9-]* if /d' -e 's|@UNITDIR@|$(UNITDIR)|' \
	initscript/places | while read -r init mode file place; do \
	case ' $(strip $(INIT)) ' in *" $$init "*) place='$(DESTDIR)'$$place; $(1) ;; esac; done

install: all install-boot
	$(INSTALL) -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)
	$(INSTALL) -m 755 $(BUILD)/networking-config $(DESTDIR)$(SBINDIR)
	$(INSTALL) -m 755 $(BUILD)/libncf.so.0 $(BUILD)/libnetcf-change.so $(DESTDIR)$(LIBDIR)
	ln -sf libncf.so.0 $(DESTDIR)$(LIBDIR)/libncf.so
	$(INSTALL) -m 644 $(BUILD)/libncf.a $(DESTDIR)$(LIBDIR)
	$(INSTALL) -m 644 csrc/ncf.h $(DESTDIR)$(INCLUDEDIR)
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
		-e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' \
		ncf.pc.in >$(BUILD)/ncf.pc
	$(INSTALL) -m 644 $(BUILD)/ncf.pc $(DESTDIR)$(LIBDIR)/pkgconfig
	$(INSTALL) -d $(addprefix $(DESTDIR),$(MANDIR)/man8 $(BASHDIR) $(ZSHDIR) $(FISHDIR))
	$(INSTALL) -m 644 $(PAGES) $(DESTDIR)$(MANDIR)/man8
	$(INSTALL) -m 644 $(COMPLETION_BASH) $(DESTDIR)$(BASHDIR)
	$(INSTALL) -m 644 $(COMPLETION_ZSH) $(DESTDIR)$(ZSHDIR)
	$(INSTALL) -m 644 $(COMPLETION_FISH) $(DESTDIR)$(FISHDIR)

# systemd and OpenRC need the link, sysvinit its own program.
install-boot:
	@mkdir -p $(BUILD)
	@$(call each_boot_file,$(INSTALL) -d "$${place%/*}" && \
		if [ "$$mode" = link ]; then ln -sf "$$file" "$$place"; else \
		sed 's|@SBINDIR@|$(SBINDIR)|' "initscript/$$file" >$(BUILD)/boot-file && \
		$(INSTALL) -m "$$mode" $(BUILD)/boot-file "$$place"; fi || exit 1)
ifeq ($(DESTDIR),)
	$(if $(filter sysv,$(INIT)),if [ -e /usr/sbin/update-rc.d ]; then \
		update-rc.d networking-config defaults; else chkconfig --add networking-config; fi)
endif

# Where libnetcf looks is compiled into it, so DIR has no default.
install-netcf-transaction:
	$(if $(DIR),,$(error say where, e.g. make $@ DIR=/usr/libexec))
	$(INSTALL) -d $(DESTDIR)$(DIR)
	ln -sf $(SBINDIR)/networking-config $(DESTDIR)$(DIR)/netcf-transaction.sh

# Only on request: it changes what an installed libvirtd does.
install-libvirt: install
	sed 's|@LIBDIR@|$(LIBDIR)|' csrc/libvirt/netcf-change.conf.in >$(BUILD)/netcf-change.conf
	for file in $(addprefix $(DESTDIR),$(DROP_INS)); do \
		$(INSTALL) -D -m 644 $(BUILD)/netcf-change.conf $$file || exit; \
	done

uninstall: uninstall-boot
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))

uninstall-boot:
	@$(call each_boot_file,rm -f "$$place")
ifeq ($(DESTDIR),)
	$(if $(filter sysv,$(INIT)),if [ -e /usr/sbin/update-rc.d ]; then \
		update-rc.d networking-config remove; else chkconfig --del networking-config; fi)
endif

clean:
	rm -rf $(BUILD)

# --- demo and check ---------------------------------------------------------

# Say what a fresh machine lacks before anything is downloaded or compiled.
ifneq ($(filter demo check,$(MAKECMDGOALS)),)
LACKING := $(shell $(PYTHON) -c 'import os, sys, sysconfig; \
from importlib.util import find_spec; \
header = os.path.join(sysconfig.get_path("include"), "Python.h"); \
print("; ".join(["Python 3.9 or newer"] * (sys.version_info < (3, 9)) + \
["venv with ensurepip"] * (not (find_spec("venv") and find_spec("ensurepip"))) + \
["Python.h"] * (not os.path.exists(header))))' 2>/dev/null || echo 'Python 3.9 or newer')
ifeq ($(call links,$(CC)),)
LACKING := $(if $(LACKING),$(LACKING); )a C compiler
endif
ifneq ($(LACKING),)
$(error This machine lacks: $(LACKING). Install it with one of: \
apt install build-essential python3-venv python3-dev (Debian), \
dnf install gcc make python3-devel (Fedora), \
apk add gcc musl-dev make python3-dev (Alpine))
endif
MAKEFLAGS += --silent
endif

# The virtual environment is the only Python that counts here, and the flags
# of this make are not for the one that builds the wheel.
unexport PYTHONPATH PYTHONHOME
IN_VENV := MAKEFLAGS= $(VENV)/bin

PACKAGE := pyproject.toml setup.py build_ffi.py MANIFEST.in Makefile VERSION \
	$(wildcard netcf_py/*.py netcf_py/command/*.py netcf_py/*.pyi csrc/*.c csrc/*.h csrc/interface/* csrc/ncf.map csrc/sources.mk) \
	$(PAGES) $(COMPLETION_BASH) $(COMPLETION_ZSH) $(COMPLETION_FISH) $(shell find initscript -type f)

PIP_INSTALL := $(IN_VENV)/pip install --quiet --disable-pip-version-check

# The pip of Debian 11 is minutes in choosing versions that fit together.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) 'pip>=23'

# setuptools would pack what an earlier build left there.
$(VENV)/installed: $(VENV)/bin/python $(PACKAGE)
	@echo "Installing netcf_py into $(VENV) ..."
	rm -rf build/python
	$(PIP_INSTALL) .
	touch $@

$(VENV)/installed-test: $(VENV)/bin/python $(PACKAGE)
	@echo "Installing netcf_py and what its tests need into $(VENV) ..."
	rm -rf build/python
	$(PIP_INSTALL) '.[test]'
	touch $@ $(VENV)/installed

demo: all $(VENV)/installed
	$(IN_VENV)/python demo/demo.py

check: all test-lib $(VENV)/installed-test
	NCF_BUILD_DIR=$(abspath $(BUILD)) $(IN_VENV)/pytest $(PYTEST_ARGS)

coverage: $(VENV)/installed-test
	$(IN_VENV)/python tests/proof/coverage.py

# PYTEST_ARGS= are the tests, usually all that are about the core.
sanitized: $(VENV)/installed-test
	$(IN_VENV)/python tests/proof/sanitized.py $(BUILD)/asan $(PYTEST_ARGS)

# TARGETS= and FUZZ_ARGS= are for it, too.
fuzz:
	$(MAKE) -f tests/fuzz/Makefile fuzz BUILD=$(BUILD)

# PARTS= are some of it, see tests/proof/everything.py.
proof: all test-lib $(VENV)/installed-test
	NCF_BUILD_DIR=$(abspath $(BUILD)) $(IN_VENV)/python tests/proof/everything.py $(PARTS)
