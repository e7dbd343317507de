#!/bin/sh
# install.sh - what `make install` puts in place works from there, with only its bin folder in PATH

tree=$(cd -- "$(dirname -- "$0")/.." >/dev/null && pwd -P) || exit 3
temp=$(mktemp -d "${TMPDIR:-/tmp}/ltr-install.XXXXXX") || exit 3
trap 'rm -rf -- "$temp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail () {
	printf 'install.sh: %s\n' "$1" >&2
	sed -e 's/^/	/' "$temp/log" >&2
	exit 1
}

# try COMMAND... - its output is in log
try () {
	"$@" >"$temp/log" 2>&1 || fail "exit status $?: $*"
}

# says TEXT - the last output has it
says () {
	grep -q -F -e "$1" "$temp/log" || fail "does not say $1"
}

# a prefix that needs quoting, staged and then moved to its place, as packagers do
prefix="$temp/a prefix"
: >"$temp/log"
try make -C "$tree" install PROFILE=debug PREFIX="$prefix" DESTDIR="$temp/stage"
mv -- "$temp/stage$prefix" "$prefix" || exit 3
test ! -e "$prefix/bin/ltr-sh-setup" || fail 'the scripts are in PATH'

# none of the tree's
PATH="$prefix/bin:/usr/local/bin:/usr/bin:/bin"
export PATH
mkdir -- "$temp/work" "$temp/work/sub" "$temp/other" || exit 3
cd -- "$temp/work" || exit 3
printf 'text\n' >sub/file
try ltr --version
says 'ltr '
try ltr init ../space
try ltr create ../space here .
try ltr commit
says 'N  /sub/file'
try ltr mark --want sub
says 'want  /sub'
try ltr status --help
says 'usage: ltr status'
cd -- "$temp/other" || exit 3
try ltr create ../space there .
try ltr pull
try cmp sub/file ../work/sub/file

# no PATH at all but the system's, and by a symlink from elsewhere
ln -s -- "$prefix/bin/ltr" "$temp/elsewhere"
try env PATH=/usr/bin:/bin "$temp/elsewhere" -C "$temp/work" status
try env PATH=/usr/bin:/bin "$prefix/bin/ltr" ls
says sub

# a program installed elsewhere is not preferred
mkdir -- "$temp/old" || exit 3
printf '#!/bin/sh\necho old; exit 3\n' >"$temp/old/ltr-locate"
chmod +x "$temp/old/ltr-locate"
try env PATH="$temp/old:$PATH" ltr status

if test -e "$tree/man/ltr-pull.1"
then
	try env MANPAGER=cat PAGER=cat ltr help pull
	says 'ltr-pull'
fi
try env MANPAGER=cat PAGER=cat ltr help fmt
says 'ltr-fmt'
for name in bash-completion/completions/ltr-scan zsh/site-functions/_ltr-scan fish/vendor_completions.d/ltr-scan.fish
do
	test -s "$prefix/share/$name" || fail "no $name"
done

PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
try make -C "$tree" uninstall PREFIX="$prefix"
find "$prefix" ! -type d >"$temp/log"
test ! -s "$temp/log" || fail 'uninstall leaves something'
