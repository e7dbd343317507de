# Litter - build, try, test, install. `make help` lists the targets.

PREFIX ?= /usr/local
# what is built and installed: release or debug
PROFILE ?= release

bindir = $(DESTDIR)$(PREFIX)/bin
libexecdir = $(DESTDIR)$(PREFIX)/libexec/ltr
sharedir = $(DESTDIR)$(PREFIX)/share
bashdir = $(sharedir)/bash-completion/completions
zshdir = $(sharedir)/zsh/site-functions
fishdir = $(sharedir)/fish/vendor_completions.d

CARGO ?= cargo
INSTALL ?= install
export CARGO_TARGET_DIR := $(CURDIR)/target

built = target/$(PROFILE)
binaries := $(patsubst src/bin/%.rs,%,$(wildcard src/bin/*.rs))
scripts := $(wildcard porcelain/*)
pages := $(wildcard man/*.[157])
shell := $(wildcard porcelain/* demo/run tests/*.sh tests/run bench/*.sh) .ci/run
sources := Cargo.toml Cargo.lock $(shell find src -name '*.rs')

# of ltr itself; those of the programs are made from their options
completion = $(if $(wildcard completions/$(1)),$(INSTALL) -m 644 completions/$(1) '$(2)')

.PHONY: all help demo prepare lint test soak bench bench-pull bench-couch install uninstall clean

all: $(built)/.built

# Nobody but cargo knows what is out of date; the stamp is for `sudo make install`, where there is no cargo.
$(built)/.built: $(sources)
	$(CARGO) build --locked --bins $(if $(filter release,$(PROFILE)),--release)
	touch $@

help:
	@echo 'make [all]                 build the programs (PROFILE=debug: quickly)'
	@echo 'make demo [DIR=/a/folder]  the main job, on real files in a temporary folder'
	@echo 'make test                  install what the tests need, and run them all'
	@echo 'make soak                  the same by the hour: simulated worlds, random histories, a fault at every step'
	@echo '                           (LTR_WORLDS=, LTR_HISTORIES=, LTR_SEED=, LTR_SOAK=)'
	@echo 'make lint                  format, clippy, shellcheck, manual pages'
	@echo 'make bench                 measure'
	@echo 'make bench-pull            measure pulls over ssh'
	@echo 'make bench-couch           measure spaces in CouchDB'
	@echo 'make install [PREFIX=$(PREFIX)] [DESTDIR=]'
	@echo 'make uninstall, make clean'

demo: all
	PROFILE='$(PROFILE)' demo/run $(if $(DIR),'$(DIR)')

prepare:
	tests/prepare.sh

lint: prepare
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	shellcheck $(shell)
	mandoc -T lint -W warning $(pages)

test: prepare
	tests/run

# Whatever fails is printed with its seed; tests/world/main.rs says how to replay it.
soak: prepare
	LTR_WORLDS=$${LTR_WORLDS-100000} $(CARGO) test --locked --profile soak --test world models -- --nocapture
	LTR_HISTORIES=$${LTR_HISTORIES-2000} $(CARGO) test --locked --profile soak --test world folders -- --nocapture
	LTR_SOAK=1 $(CARGO) test --locked --profile soak --test pull_ssh_trouble
	LTR_SOAK=1 TMPDIR=$$(test -w /dev/shm && echo /dev/shm || echo /tmp) $(CARGO) test --locked --profile soak --test pull_ssh_crowd -- --nocapture
	LTR_SOAK=1 $(CARGO) test --locked --profile soak --lib dropping
	LTR_SOAK=$${LTR_SOAK-12} $(CARGO) test --locked --profile soak --test faults -- --nocapture --test-threads=1

bench: all
	bench/run

bench-pull: all
	bench/pull

bench-couch: all prepare
	bench/couch

install: all
	$(INSTALL) -d '$(bindir)' '$(libexecdir)' '$(bashdir)' '$(zshdir)' '$(fishdir)'
	$(INSTALL) -m 755 $(if $(filter release,$(PROFILE)),-s) $(addprefix $(built)/,$(binaries)) '$(bindir)'
	$(INSTALL) -m 755 $(scripts) '$(libexecdir)'
	ln -sf ../libexec/ltr/ltr '$(bindir)/ltr'
	for section in 1 5 7; do \
		$(INSTALL) -d '$(sharedir)'/man/man$$section || exit; \
	done
	for page in $(pages); do \
		$(INSTALL) -m 644 $$page '$(sharedir)'/man/man$${page##*.} || exit; \
	done
	for binary in $(binaries); do \
		$(built)/$$binary --generate-completions bash >'$(bashdir)'/$$binary && \
		$(built)/$$binary --generate-completions zsh >'$(zshdir)'/_$$binary && \
		$(built)/$$binary --generate-completions fish >'$(fishdir)'/$$binary.fish || exit; \
	done
	$(call completion,ltr.bash,$(bashdir)/ltr)
	$(call completion,_ltr,$(zshdir)/_ltr)
	$(call completion,ltr.fish,$(fishdir)/ltr.fish)

uninstall:
	rm -f '$(bindir)/ltr' $(patsubst %,'$(bindir)/%',$(binaries))
	rm -f $(patsubst porcelain/%,'$(libexecdir)/%',$(scripts))
	rm -f $(foreach page,$(pages),'$(sharedir)/man/man$(subst .,,$(suffix $(page)))/$(notdir $(page))')
	rm -f $(patsubst %,'$(bashdir)/%',ltr $(binaries)) $(patsubst %,'$(zshdir)/_%',ltr $(binaries))
	rm -f $(patsubst %,'$(fishdir)/%.fish',ltr $(binaries))
	if test -d '$(libexecdir)'; then rmdir '$(libexecdir)'; fi

clean:
	$(CARGO) clean
