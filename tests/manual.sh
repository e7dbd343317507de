#!/bin/sh
# manual.sh [--scene DIR] [PAGE...] - every tool has a manual page that is whole, and whose examples run
#
# Binaries are looked up in $PATH. The examples of a page run one after the other in the folder
# ~/laptop of a scene of three boxes, that no other page has touched; each has to exit 0.
# --scene only makes the scene below DIR, and tells how to step into it.

top=$(cd -- "$(dirname -- "$0")/.." >/dev/null && pwd -P) || exit 3
failures=0

fail () {
	printf 'not ok: %s\n' "$1"
	failures=$((failures + 1))
}

# ssh to the machine maytag, which is the folder $SCENE/maytag and has neither rsync nor sftp.
fake_ssh () {
	cat <<-'END'
	#!/bin/sh
	while test $# -gt 0
	do
		case $1 in
		-l|-p|-F)
			shift
			;;
		--)
			shift
			break
			;;
		-*)
			;;
		*)
			break
			;;
		esac
		shift
	done
	shift
	case $* in
	rsync*)
		echo 'sh: rsync: not found' >&2
		exit 127
		;;
	sftp)
		echo 'subsystem request failed on channel 0' >&2
		exit 255
		;;
	esac
	exec sh -c "$(printf '%s\n' "$*" | sed -e "s,/home/thomas,$SCENE/maytag,g")"
	END
}

# The boxes laptop, stick (which carries its index) and maytag (on another machine) of the space
# testspace. In the laptop a file is new, one is modified and one is gone; maytag has news of its own.
scene () {
	SCENE=$1
	HOME=$SCENE/home
	LTR_SSH=$SCENE/bin/ssh
	PATH=$SCENE/bin:$PATH
	TZ=UTC
	unset XDG_STATE_HOME XDG_CONFIG_HOME LTR_DRYRUN LTR_LOCK_FD
	export SCENE HOME LTR_SSH PATH TZ
	mkdir -p "$HOME/laptop/subdir1" "$HOME/laptop/films" "$HOME/stick" "$SCENE/bin" "$SCENE/maytag" || exit 3
	fake_ssh >"$LTR_SSH"
	# not all of porcelain: ltr-mark is a binary of that name too
	printf '#!/bin/sh\nexec %s/porcelain/ltr "$@"\n' "$top" >"$SCENE/bin/ltr"
	chmod +x "$LTR_SSH" "$SCENE/bin/ltr"
	# a shell of its own, as -e is ignored in a function whose status is asked for
	sh -e <<-'END'
		cd "$HOME/laptop"
		mkdir -p "$HOME/index"
		echo notes >subdir1/notes.html
		echo archive >subdir1/a.tgz
		echo film >films/metropolis.mkv
		echo old >old.txt
		touch -d 2026-11-20T22:10:00Z subdir1/notes.html subdir1/a.tgz films/metropolis.mkv old.txt
		ltr init "$HOME/index/testspace"
		ltr create "$HOME/index/testspace" laptop .
		ltr commit
		ltr create --carry "$HOME/index/testspace" stick "$HOME/stick"
		ltr -C "$HOME/stick" pull "$HOME/laptop"
		ltr-index-init "$SCENE/maytag/testspace"
		ltr-index-sync "$HOME/index/testspace" "$SCENE/maytag/testspace"
		mkdir "$SCENE/maytag/xyz"
		ltr-box-create --url thomas@maytag:/home/thomas/xyz "$SCENE/maytag/testspace" maytag "$SCENE/maytag/xyz"
		ltr -C "$SCENE/maytag/xyz" pull "$HOME/laptop"
		echo from maytag >"$SCENE/maytag/xyz/new.txt"
		echo more archive >>"$SCENE/maytag/xyz/subdir1/a.tgz"
		ltr -C "$SCENE/maytag/xyz" commit
		ltr-index-sync "$SCENE/maytag/testspace" "$HOME/index/testspace"
		echo draft >draft.txt
		echo more notes >>subdir1/notes.html
		rm old.txt
	END
}

# The commands of a page's examples, a script.
examples () {
	awk '
	function goes_on(line) { return line ~ /(\||\\e?)$/ }
	/^\.Sh / { in_examples = ($2 == "EXAMPLES") }
	/^\.Ed/ { literal = 0 }
	in_examples && literal && /^\$ / { sub(/^\$ /, ""); print; more = goes_on($0); next }
	in_examples && literal && more && /^> / { sub(/^> /, ""); print; more = goes_on($0); next }
	{ more = 0 }
	/^\.Bd -literal/ { literal = 1 }
	' "$1" | sed -e 's/\\e/\\/g' -e 's/\\-/-/g' -e 's/\\(aq/'"'"'/g' -e 's/\\&//g'
}

# page FILE SECTIONS... - lint, and the sections that it must have
page () {
	file=$1
	shift
	mandoc -T lint -W warning "$file" >"$temp/lint" 2>&1 || fail "$file: $(cat "$temp/lint")"
	for section
	do
		grep -q "^\.Sh $section\$" "$file" || fail "$file: no section $section"
	done
}

# options FILE PROGRAM - every long option that PROGRAM --help tells of is in the page
options () {
	mandoc -T ascii "$1" | col -b >"$temp/page"
	"$2" --help >"$temp/help" || fail "$2 --help fails"
	# shellcheck disable=SC2013 # options are words
	for option in $(grep -oE -e '(^|[[:space:],[|])--[a-z][a-z0-9-]*' "$temp/help" | grep -oE -e '--[a-z0-9-]+' | sort -u)
	do
		grep -qE -e "(^|[^a-z0-9-])$option([^a-z0-9-]|\$)" "$temp/page" || fail "$1: no word on $option"
	done
}

# run FILE - the examples of a page
run () {
	examples "$1" >"$temp/examples"
	test -s "$temp/examples" || fail "$1: no examples"
	rm -rf "$temp/scene"
	tar -C "$temp" -xf "$temp/scene.tar"
	(
		cd "$HOME/laptop" || exit 3
		awk '
		{ print }
		!/[|\\]$/ { print "status=$?; test $status -eq 0 || { echo \"exit $status: line " NR "\" >&2; exit 1; }" }
		' "$temp/examples" >"$temp/script"
		sh "$temp/script" >"$temp/output" 2>"$temp/errors" </dev/null
	) || fail "$1: examples: $(tail -n 3 "$temp/errors")"
}

# guards FILE - every test that a page names, a line `test FILE NAME` or `lib MODULE::NAME`, is there
guards () {
	sed -n -e 's/^\(test\|lib\) /&/p' "$1" >"$temp/guards"
	test -s "$temp/guards" || fail "$1: names no tests"
	while read -r kind where name
	do
		if test "$kind" = lib
		then
			name=${where##*::}
			where=src/lib/${where%%::*}
		else
			where=tests/$where
		fi
		found=
		for sources in "$top/$where.rs" "$top/$where"
		do
			test ! -e "$sources" || ! grep -qr "fn $name(" "$sources" || found=1
		done
		test -n "$found" || fail "$1: no test $name in $where"
	done <"$temp/guards"
}

temp=$(mktemp -d "${TMPDIR:-/tmp}/manual.XXXXXX") || exit 3
trap 'rm -rf -- "$temp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if test "${1-}" = --scene
then
	scene "$(mkdir -p -- "$2" && cd -- "$2" && pwd -P)" || exit 3
	printf 'export SCENE=%s HOME=%s LTR_SSH=%s TZ=UTC PATH=%s; cd ~/laptop\n' "$SCENE" "$HOME" "$LTR_SSH" "$PATH"
	exit
fi

scene "$temp/scene" >"$temp/made" 2>&1 || { cat "$temp/made"; exit 3; }
tar -C "$temp" -cf "$temp/scene.tar" scene || exit 3

test $# -gt 0 || set -- "$top"/src/bin/*.rs "$top"/porcelain/ltr* "$top"/man/*.[157]
seen=' '
for source
do
	name=$(basename "$source" .rs)
	name=${name%.1}
	case $name in
	ltr-sh-setup)
		continue
		;;
	*.5)
		page "$top/man/$name" NAME DESCRIPTION EXAMPLES STABILITY 'SEE ALSO'
		run "$top/man/$name"
		continue
		;;
	esac
	case $name in
	*.7)
		page "$top/man/$name" NAME DESCRIPTION 'SEE ALSO'
		test "$name" != ltr-safety.7 || guards "$top/man/$name"
		continue
		;;
	esac
	case $seen in
	*" $name "*)
		continue
		;;
	esac
	seen="$seen$name "
	manual=$top/man/$name.1
	if ! test -e "$manual"
	then
		fail "no page $manual"
		continue
	fi
	page "$manual" NAME SYNOPSIS DESCRIPTION OPTIONS OUTPUT 'EXIT STATUS' EXAMPLES 'SEE ALSO'
	if test -e "$top/porcelain/$name"
	then
		options "$manual" "$top/porcelain/$name"
	fi
	if test -e "$top/porcelain/$name" && ! test -e "$top/src/bin/$name.rs"
	then
		run "$manual"
	elif command -v "$name" >/dev/null
	then
		options "$manual" "$name"
		run "$manual"
	else
		printf '%s is not in the path: options and examples were not tried\n' "$name"
	fi
done
test "$failures" -eq 0 || exit 1
echo ok
