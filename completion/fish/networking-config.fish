# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of networking-config for fish.

set -l before __fish_use_subcommand
set -l begin '__fish_seen_subcommand_from snapshot_config change-begin'
set -l rollback '__fish_seen_subcommand_from rollback_config change-rollback'

function __networking_config_discarded
    set -l words (commandline --tokenize --current-process)
    set -l root
    if set -l at (contains --index -- --root $words)
        set root --root $words[(math $at + 1)]
    end
    $words[1] $root discarded 2>/dev/null | string replace --regex ' .*' ''
end

complete -c networking-config -f
complete -c networking-config -n $before -l root -x -a '(__fish_complete_directories)' \
    -d 'Work on the host below a directory'
complete -c networking-config -n $before -l help -d 'Show a summary'
complete -c networking-config -n $before -l version -d 'Show the version'

complete -c networking-config -n $before -a snapshot_config \
    -d 'Start a change: save the configuration'
complete -c networking-config -n $before -a commit_config -d 'Keep the configuration as it is now'
complete -c networking-config -n $before -a rollback_config -d 'Put the saved configuration back'
complete -c networking-config -n $before -a change-begin -d snapshot_config
complete -c networking-config -n $before -a change-commit -d commit_config
complete -c networking-config -n $before -a change-rollback -d rollback_config
complete -c networking-config -n $before -a extend -d 'Move the deadline of the open change'
complete -c networking-config -n $before -a announce -d 'Save a path before it is modified'
complete -c networking-config -n $before -a diff -d 'What differs from the saved configuration'
complete -c networking-config -n $before -a status -d 'Whether a change is open'
complete -c networking-config -n $before -a discarded -d 'What rollbacks replaced'
complete -c networking-config -n $before -a put-back -d 'Put back what a rollback replaced'
complete -c networking-config -n $before -a snapshot-dir \
    -d 'The path that exists while a change is open'
complete -c networking-config -n $before -a start -d 'At boot: roll back an open change'
complete -c networking-config -n $before -d 'For init' \
    -a 'stop restart reload force-reload condrestart try-restart'

complete -c networking-config -n $begin -l note -x -d Why
complete -c networking-config -n $begin -l on-write -d 'Save each file when it is announced'
complete -c networking-config -n $begin -l timeout -x -d 'Seconds until it rolls back by itself'
complete -c networking-config -n $begin -l leash -d 'Roll back when standard input hangs up'
complete -c networking-config -n $begin -l grace -x -d 'So many seconds after that'
complete -c networking-config -n $begin -l trial-boots -x -d 'Outlive so many boots'
complete -c networking-config -n $rollback -l files-only -d 'Touch no live interface'
complete -c networking-config -n $rollback -l all-interfaces -d 'Take every interface down and up'
complete -c networking-config -n $rollback -l limit -x -d 'Seconds for all interfaces together'
complete -c networking-config -n $rollback -l command-limit -x -d 'Seconds for each command'
complete -c networking-config -n '__fish_seen_subcommand_from status' -l open \
    -d 'Let the exit status tell'
complete -c networking-config -n '__fish_seen_subcommand_from start' -l initramfs \
    -d 'Leave a change on trial to the init of the host'
complete -c networking-config -n '__fish_seen_subcommand_from announce' -F
complete -c networking-config -n '__fish_seen_subcommand_from put-back' \
    -a '(__networking_config_discarded)'
