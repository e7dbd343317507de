#!/bin/sh
# transcripts.sh [FILE...] - run the transcripts in README.md, or FILEs, and compare what they print
#
# A transcript is a ```sh block whose first line begins with `$ `. All transcripts of a file are one
# session: it starts in an empty HOME, with TZ=UTC and a C.UTF-8 locale. A line `> ...` continues a
# command. What is printed, on stderr as well, must be what the file shows, where
#
#	...          as a line stands for any number of lines
#	/home/me     is HOME
#	maytag:/     is this machine's name, a colon and a slash

tree=$(cd -- "$(dirname -- "$0")/.." >/dev/null && pwd -P) || exit 3
temp=$(mktemp -d "${TMPDIR:-/tmp}/ltr-transcripts.XXXXXX") || exit 3
temp=$(cd -- "$temp" && pwd -P) || exit 3
trap 'rm -rf -- "$temp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
test $# -gt 0 || set -- "$tree/README.md"

mkdir -- "$temp/bin" || exit 3
ln -s -- "$tree/porcelain/ltr" "$temp/bin/ltr"
PATH=$temp/bin:$tree/target/debug:$PATH
LC_ALL=C.UTF-8
TZ=UTC
export PATH LC_ALL TZ
unset LTR_EXEC_PATH LTR_DRYRUN LTR_LOCK_FD LTR_SSH NO_COLOR XDG_STATE_HOME XDG_CONFIG_HOME

# The lines of the transcripts of a file.
transcripts () {
	awk '
		/^```/ { inside = !inside && $0 == "```sh"; first = inside; next }
		inside && first { running = /^\$ /; first = 0 }
		inside && running { print }
	' "$1"
}

# Turns the commands of a transcript into a script that prints each before it runs it.
script () {
	awk -v quote="'" '
		function quoted(text) {
			gsub(quote, quote "\\" quote quote, text)
			return quote text quote
		}
		function flush() {
			if (command != "") {
				print "printf " quote "%s\\n" quote " " quoted(shown)
				print command
			}
			command = ""
		}
		/^\$ / { flush(); command = substr($0, 3); shown = $0; more = 1; next }
		/^> / && more { command = command "\n" substr($0, 3); shown = shown "\n" $0; next }
		{ more = 0 }
		END { flush() }
	' "$1"
}

# match EXPECTED ACTUAL - compares line by line; `...` is any number of lines up to one that fits again
match () {
	awk '
		NR == FNR { want[++wants] = $0; next }
		{ have[++haves] = $0 }
		END {
			w = h = 1
			while (w <= wants || h <= haves) {
				if (want[w] == "..." && w <= wants) {
					skip = 1
					w++
				} else if (w <= wants && h <= haves && want[w] == have[h]) {
					skip = 0
					w++
					h++
				} else if (skip && h <= haves) {
					h++
				} else {
					exit 1
				}
			}
		}
	' "$1" "$2"
}

failed=0
for file
do
	name=$(basename -- "$file")
	transcripts "$file" >"$temp/$name.expected"
	if ! test -s "$temp/$name.expected"
	then
		printf '%s: no transcript\n' "$file" >&2
		failed=1
		continue
	fi
	script "$temp/$name.expected" >"$temp/$name.sh"
	mkdir -p -- "$temp/$name.home" || exit 3
	(
		HOME=$temp/$name.home
		export HOME
		cd -- "$HOME" || exit 3
		exec sh "$temp/$name.sh"
	) </dev/null 2>&1 |
	sed -e "s|$temp/$name.home|/home/me|g" -e "s|$(uname -n):/|maytag:/|g" >"$temp/$name.actual"
	if ! match "$temp/$name.expected" "$temp/$name.actual"
	then
		printf '%s: not what is printed:\n' "$file"
		diff -U 9999 -- "$temp/$name.expected" "$temp/$name.actual"
		failed=1
	fi
done
exit "$failed"
