# Completion of ltr for fish; those of the binaries are written by `BINARY --generate-completions fish`.

function __ltr_boxes
    ltr box 2>/dev/null | string sub --start 3
end

# The command on the command line, if any: the first word that is neither an option nor the folder of -C.
function __ltr_command
    set --local words (commandline --tokenize-process --cut-at-cursor 2>/dev/null; or commandline -opc)
    set --local skip 1
    for word in $words
        if test $skip = 1
            set skip 0
        else if test "$word" = -C
            set skip 1
        else if not string match --quiet -- '-*' $word
            echo $word
            return
        end
    end
    return 1
end

function __ltr_is
    contains -- (__ltr_command) $argv
end

function __ltr_no_command
    not __ltr_command >/dev/null
end

function __ltr_fields
    echo space.mincopies
    echo space.name
    for box in (__ltr_boxes)
        printf '%s\n' $box.policy $box.urls $box.reserve $box.forgotten $box.name
    end
end

complete -c ltr -s h -l help -d 'Write the synopsis'
complete -c ltr -l version -d 'Write the version'
complete -c ltr -n __ltr_no_command -s n -l dryrun -d 'Change nothing, show what would be done'
complete -c ltr -n __ltr_no_command -s C -x -a '(__fish_complete_directories)' -d 'Do it in this folder'

complete -c ltr -f -n __ltr_no_command -a init -d 'Create the index of a space'
complete -c ltr -f -n __ltr_no_command -a create -d 'Make a folder a box of a space'
complete -c ltr -f -n __ltr_no_command -a clone -d 'A new box with what another one holds'
complete -c ltr -f -n __ltr_no_command -a status -d 'What differs between disk, index and intentions'
complete -c ltr -f -n __ltr_no_command -a commit -d 'Record in the index what changed on disk'
complete -c ltr -f -n __ltr_no_command -a pull -d 'Fetch what this box should have'
complete -c ltr -f -n __ltr_no_command -a push -d 'Send another box what it should have'
complete -c ltr -f -n __ltr_no_command -a ping -d 'Which boxes are in reach'
complete -c ltr -f -n __ltr_no_command -a sync -d 'Merge indexes'
complete -c ltr -f -n __ltr_no_command -a box -d 'The boxes of the space'
complete -c ltr -f -n __ltr_no_command -a ls -d 'List files of a box or the space'
complete -c ltr -f -n __ltr_no_command -a stat -d 'What is known of a file, and where its copies are'
complete -c ltr -f -n __ltr_no_command -a diff -d 'What differs between two boxes'
complete -c ltr -f -n __ltr_no_command -a show -d 'The documents of the index'
complete -c ltr -f -n __ltr_no_command -a set -d 'Set a field of a box or of the space'
complete -c ltr -f -n __ltr_no_command -a mark -d 'Say what a box should hold'
complete -c ltr -f -n __ltr_no_command -a rm -d 'Purge from the space'
complete -c ltr -f -n __ltr_no_command -a help -d 'Open a manual page'

complete -c ltr -n '__ltr_is create clone' -s p -l policy -x -a 'complete ondemand skeleton' -d 'What it should hold'
complete -c ltr -n '__ltr_is create clone' -l carry -d 'It carries its own index'
complete -c ltr -n '__ltr_is create' -l reattach -d 'Take up a box whose cookie or index was lost'
complete -c ltr -n '__ltr_is status' -s a -l all -d 'Also what is in sync'
complete -c ltr -n '__ltr_is status ls' -s 0 -d 'End lines with NUL'
complete -c ltr -n '__ltr_is status' -l quick -d 'Read no file'
complete -c ltr -n '__ltr_is status commit pull push ping box ls stat diff' -l json -d 'Write records'
complete -c ltr -n '__ltr_is box ls' -l csv -d 'Comma separated values'
complete -c ltr -n '__ltr_is commit pull push' -l gone-ok -d 'Go on although it is most of the box'
complete -c ltr -n '__ltr_is pull push' -l trust-offline -x -d 'Count boxes out of reach, verified in so many days'
complete -c ltr -n '__ltr_is pull push ping' -s v -l verbose -d 'Show the commands'
complete -c ltr -n '__ltr_is pull' -s j -x -d 'So many boxes at once'
complete -c ltr -n '__ltr_is sync' -l continuous -d 'Of two databases: from now on'
complete -c ltr -n '__ltr_is sync' -l keep-password -d 'The server may keep the passwords'
complete -c ltr -n '__ltr_is pull push' -l bwlimit -x -d 'KiB a second'
complete -c ltr -n '__ltr_is sync' -s d -r -d 'The index to read'
complete -c ltr -n '__ltr_is sync' -s D -r -d 'The index to write'
complete -c ltr -n '__ltr_is box' -s l -d 'Policy, files, bytes, urls'
complete -c ltr -n '__ltr_is box' -l forget -x -a '(__ltr_boxes)' -d 'The box is gone for good'
complete -c ltr -n '__ltr_is ls mark' -s b -l box -x -a '(__ltr_boxes)' -d 'This box'
complete -c ltr -n '__ltr_is ls' -s l -d 'Mode, copies, size, time'
complete -c ltr -n '__ltr_is ls' -s R -d 'All that is below'
complete -c ltr -n '__ltr_is ls' -l space -d 'Whoever holds it'
complete -c ltr -n '__ltr_is ls' -l copies -x -d 'Only files with so many copies'
complete -c ltr -n '__ltr_is diff' -s f -d 'Fetch both and run diff'
complete -c ltr -n '__ltr_is mark' -l want -d 'It should hold it'
complete -c ltr -n '__ltr_is mark' -l skip -d 'It should not hold it'
complete -c ltr -n '__ltr_is mark' -l clear -d 'The policy decides'
complete -c ltr -n '__ltr_is rm' -s r -l recursive -d 'Folders too'

complete -c ltr -n '__ltr_is pull push sync clone diff show' -a '(__ltr_boxes)' -d Box
complete -c ltr -f -n '__ltr_is box ping' -a '(__ltr_boxes)' -d Box
complete -c ltr -f -n '__ltr_is set' -a '(__ltr_fields)' -d Field
complete -c ltr -f -n '__ltr_is help' -a 'init create clone status commit pull push ping sync box ls stat diff show set mark rm help'
