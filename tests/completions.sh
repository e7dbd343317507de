#!/bin/sh
# completions.sh - the completions of ltr load in each shell, and complete what they should
#
# A shell that is not installed is passed over. Boxes come from a stand-in for ltr.

top=$(cd -- "$(dirname -- "$0")/.." >/dev/null && pwd -P) || exit 3
temp=$(mktemp -d "${TMPDIR:-/tmp}/completions.XXXXXX") || exit 3
trap 'rm -rf -- "$temp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
failures=0

fail () {
	printf 'not ok: %s\n' "$1"
	failures=$((failures + 1))
}

has () {
	command -v "$1" >/dev/null || { printf '%s is not here: passed over\n' "$1"; false; }
}

# same NAME EXPECTED ACTUAL
same () {
	test "$2" = "$3" || fail "$1: expected $(printf '%s' "$2" | tr '\n' ' '), got $(printf '%s' "$3" | tr '\n' ' ')"
}

mkdir "$temp/bin" "$temp/folder" || exit 3
cat >"$temp/bin/ltr" <<'END'
#!/bin/sh
test "$1" = box || exit 3
printf '* laptop\n  stick\n'
END
chmod +x "$temp/bin/ltr"
PATH=$temp/bin:$PATH
export PATH
HOME=$temp
export HOME
cd "$temp" || exit 3
touch file

# in_bash WORD... - what bash offers for the last word
# shellcheck disable=SC2016 # the shell that expands it is bash
in_bash () {
	bash --norc --noprofile -uc '
	source "$0"
	COMP_WORDS=("$@")
	COMP_CWORD=$(($# - 1))
	_ltr 2>/dev/null
	printf "%s\n" "${COMPREPLY[@]}"' "$top/completions/ltr.bash" "$@" | sort
}

if has bash
then
	bash --norc --noprofile -c 'set -e; source "$0"; complete -p ltr' "$top/completions/ltr.bash" >/dev/null 2>"$temp/errors" ||
		fail 'bash: does not load'
	test ! -s "$temp/errors" || fail "bash: $(cat "$temp/errors")"
	same 'bash: ltr pul' pull "$(in_bash ltr pul)"
	same 'bash: ltr -n pul' pull "$(in_bash ltr -n pul)"
	same 'bash: ltr -C folder pul' pull "$(in_bash ltr -C folder pul)"
	same 'bash: ltr pull s' stick "$(in_bash ltr pull s)"
	same 'bash: ltr pull' 'bin
folder
laptop
stick' "$(in_bash ltr pull '')"
	same 'bash: ltr commit --' '--gone-ok
--help
--json
--version' "$(in_bash ltr commit --)"
	same 'bash: ltr commit fi' file "$(in_bash ltr commit "fi")"
	same 'bash: ltr mark -b' 'laptop
stick' "$(in_bash ltr mark -b '')"
	same 'bash: ltr clone -p s' skeleton "$(in_bash ltr clone -p s)"
	same 'bash: ltr set stick.p' stick.policy "$(in_bash ltr set stick.p)"
	same 'bash: ltr set stick.policy o' ondemand "$(in_bash ltr set stick.policy o)"
	for script in "$top"/porcelain/ltr-*
	do
		command=${script##*/ltr-}
		test "$command" = sh-setup || test "$(in_bash ltr "$command" | grep -cFx -- "$command")" = 1 ||
			fail "bash: ltr $command is not offered"
	done
fi

# in_zsh LINE - what zsh makes of a line and a tab: it completes only at a terminal, which zpty is
# shellcheck disable=SC2016 # the shell that expands it is zsh
in_zsh () {
	timeout 20 zsh -fc '
	zmodload zsh/zpty || exit 1
	zpty shell "TERM=dumb zsh -f -i"
	zpty -w shell "PS1= PROMPT_EOL_MARK=; unsetopt zle_bracketed_paste; fpath=($1 \$fpath)"
	zpty -w shell "autoload -Uz compinit; compinit -u -d $2"
	zpty -w shell "tell () { print -r -- \"<\$BUFFER>\"; BUFFER=; }; zle -N tell; bindkey ^X tell; print rea\"\"dy"
	zpty -r -m shell out "*ready*"
	zpty -n -w shell "$3"$'"'\\t\\x18'"'
	zpty -r -m shell out "*<ltr*>*"
	print -r -- "<${${out##*<}%%>*}>"
	' zsh "$top/completions" "$temp/zcompdump" "$1" 2>/dev/null
}

if has zsh
then
	# once as the completion system reads it, once sourced
	zsh -fc 'fpath=("$0" $fpath); autoload -Uz compinit && compinit -u -d "$1" && (( $+functions[_ltr] )) &&
	autoload -Uz +X _ltr && test "$_comps[ltr]" = _ltr' "$top/completions" "$temp/zcompdump" >/dev/null 2>"$temp/errors" ||
		fail 'zsh: does not load'
	test ! -s "$temp/errors" || fail "zsh: $(cat "$temp/errors")"
	zsh -fc 'autoload -Uz compinit && compinit -u -d "$1" && source "$0" && test "$_comps[ltr]" = _ltr' \
		"$top/completions/_ltr" "$temp/zcompdump2" >/dev/null 2>"$temp/errors" ||
		fail 'zsh: cannot be sourced'
	test ! -s "$temp/errors" || fail "zsh: $(cat "$temp/errors")"
	same 'zsh: ltr pul' '<ltr pull >' "$(in_zsh 'ltr pul')"
	same 'zsh: ltr pull sti' '<ltr pull stick >' "$(in_zsh 'ltr pull sti')"
	same 'zsh: ltr mark --box lap' '<ltr mark --box laptop >' "$(in_zsh 'ltr mark --box lap')"
	same 'zsh: ltr ls -lb lap' '<ltr ls -lb laptop >' "$(in_zsh 'ltr ls -lb lap')"
	same 'zsh: ltr -C folder commit --go' '<ltr -C folder commit --gone-ok >' "$(in_zsh 'ltr -C folder commit --go')"
fi

# in_fish LINE - what fish offers at its end
# shellcheck disable=SC2016 # the shell that expands it is fish
in_fish () {
	fish --no-config -c 'source $argv[1]; complete --do-complete $argv[2]' "$top/completions/ltr.fish" "$1" |
		cut -f 1 | sort
}

if has fish
then
	# shellcheck disable=SC2016
	fish --no-config -c 'source $argv[1]' "$top/completions/ltr.fish" >/dev/null 2>"$temp/errors" || fail 'fish: does not load'
	test ! -s "$temp/errors" || fail "fish: $(cat "$temp/errors")"
	same 'fish: ltr pul' pull "$(in_fish 'ltr pul')"
	same 'fish: ltr -C folder pul' pull "$(in_fish 'ltr -C folder pul')"
	same 'fish: ltr pull s' stick "$(in_fish 'ltr pull s')"
	same 'fish: ltr mark -b' 'laptop
stick' "$(in_fish 'ltr mark -b ')"
	same 'fish: ltr commit --g' --gone-ok "$(in_fish 'ltr commit --g')"
	same 'fish: ltr set stick.p' stick.policy "$(in_fish 'ltr set stick.p')"
fi

test "$failures" -eq 0 || exit 1
echo ok
