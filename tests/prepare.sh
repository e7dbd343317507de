#!/bin/sh
# prepare.sh - install what the tests need, where it is missing

PATH=$PATH:/usr/sbin:/sbin
packages=

# need PROGRAM PACKAGE
need () {
	command -v "$1" >/dev/null || packages="$packages $2"
}

need cc gcc
need shellcheck shellcheck
need mandoc mandoc
need rsync rsync
need sshd openssh-server
need ssh openssh-client
need bash bash
need zsh zsh
need fish fish
need update-mime-database shared-mime-info
need strace strace
need faketime faketime
need setpriv util-linux
need script bsdutils
need sqlite3 sqlite3
need jq jq
need man man-db
need node nodejs
need npm npm
need curl curl
need openssl openssl
need ip iproute2
need mkfs.ext4 e2fsprogs
need mkfs.vfat dosfstools

if test -n "$packages"
then
	if test "$(id -u)" = 0
	then
		as_root=
	elif command -v sudo >/dev/null && sudo -n true 2>/dev/null
	then
		as_root='sudo -n'
	else
		printf 'prepare.sh: as root, please: apt-get install%s\n' "$packages" >&2
		exit 3
	fi
	if ! command -v apt-get >/dev/null
	then
		printf 'prepare.sh: no apt-get here; please install what Debian calls%s\n' "$packages" >&2
		exit 3
	fi
	printf 'prepare.sh: installing%s\n' "$packages"
	# shellcheck disable=SC2086 # both are words
	{
		$as_root apt-get -qq update
		$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $packages
	} || exit 3
fi

# what stands in for an Apache CouchDB
couch=$(cd -- "$(dirname -- "$0")/couch" >/dev/null && pwd -P) || exit 3
if ! test "$couch/node_modules/.package-lock.json" -nt "$couch/package-lock.json"
then
	printf 'prepare.sh: installing pouchdb-server\n'
	(cd -- "$couch" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) || exit 3
	touch -- "$couch/node_modules/.package-lock.json"
fi

for tool in fmt clippy
do
	if ! cargo "$tool" --version >/dev/null 2>&1
	then
		printf 'prepare.sh: no cargo %s: rustup component add rustfmt clippy\n' "$tool" >&2
		exit 3
	fi
done
