# Completion of ltr for bash; those of the binaries are written by `BINARY --generate-completions bash`.

_ltr_boxes () {
	ltr box 2>/dev/null | sed -e 's/^..//'
}

# The words of $1 that begin as the current one does.
_ltr_words () {
	local IFS=$' \t\n'
	mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$1" -- "$current")
}

_ltr_files () {
	compopt -o filenames 2>/dev/null
	mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current")
}

_ltr_folders () {
	compopt -o filenames 2>/dev/null
	mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$current")
}

_ltr_options () {
	case $1 in
	'')
		echo -n --dryrun -C -h --help --version
		;;
	init|help|show|set)
		echo -h --help --version
		;;
	create)
		echo -p --policy --carry --reattach -h --help --version
		;;
	clone)
		echo -p --policy --carry -h --help --version
		;;
	status)
		echo -a --all -0 --json --quick -h --help --version
		;;
	commit)
		echo --gone-ok --json -h --help --version
		;;
	pull)
		echo -v --verbose -j --bwlimit --gone-ok --trust-offline --json -h --help --version
		;;
	push)
		echo -v --verbose --bwlimit --gone-ok --trust-offline --json -h --help --version
		;;
	ping)
		echo -v --verbose --json -h --help --version
		;;
	sync)
		echo -d -D --continuous --keep-password -h --help --version
		;;
	box)
		echo -l --json --csv --forget -h --help --version
		;;
	ls)
		echo -b --box -l -R -0 --space --copies --json --csv -h --help --version
		;;
	stat)
		echo --json -h --help --version
		;;
	diff)
		echo -f --json -h --help --version
		;;
	mark)
		echo -b --box --want --skip --clear -h --help --version
		;;
	rm)
		echo -r --recursive -h --help --version
		;;
	esac
}

_ltr_commands='init create clone status commit pull push ping sync box ls stat diff show set mark rm help'

_ltr () {
	local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command='' at=1 box
	COMPREPLY=()
	while ((at < COMP_CWORD))
	do
		case ${COMP_WORDS[at]} in
		-C)
			((at += 1))
			;;
		-*)
			;;
		*)
			command=${COMP_WORDS[at]}
			break
			;;
		esac
		((at += 1))
	done
	case $command:$before in
	:-C|sync:-[dD])
		_ltr_folders
		test "$before" = -C || _ltr_files
		return
		;;
	create:-p|create:--policy|clone:-p|clone:--policy)
		_ltr_words 'complete ondemand skeleton'
		return
		;;
	ls:-b|ls:--box|mark:-b|mark:--box|box:--forget)
		_ltr_words "$(_ltr_boxes)"
		return
		;;
	ls:--copies|pull:--trust-offline|pull:-j|pull:--bwlimit|push:--trust-offline|push:--bwlimit)
		return
		;;
	esac
	if [[ $current == -* ]]
	then
		_ltr_words "$(_ltr_options "$command")"
		return
	fi
	case $command in
	'')
		_ltr_words "$_ltr_commands"
		;;
	help)
		_ltr_words "$_ltr_commands"
		;;
	pull|push|sync)
		_ltr_words "$(_ltr_boxes)"
		_ltr_folders
		;;
	ping)
		_ltr_words "$(_ltr_boxes)"
		;;
	clone)
		((COMP_CWORD != at + 1)) || _ltr_words "$(_ltr_boxes)"
		_ltr_folders
		;;
	box)
		_ltr_words "$(_ltr_boxes)"
		;;
	diff|show)
		_ltr_words "$(_ltr_boxes)"
		_ltr_files
		;;
	set)
		case $before in
		*.policy)
			_ltr_words 'complete ondemand skeleton'
			;;
		*.forgotten)
			_ltr_words 'true false'
			;;
		set)
			_ltr_words 'space.mincopies space.name'
			for box in $(_ltr_boxes)
			do
				_ltr_words "$box.policy $box.urls $box.reserve $box.forgotten $box.name"
			done
			;;
		esac
		;;
	*)
		_ltr_files
		;;
	esac
}

complete -F _ltr ltr
