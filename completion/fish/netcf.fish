# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of netcf for fish.  netcf itself says what may follow.

function __netcf_complete
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    set -l program $words[1]
    set -e words[1]
    set -lx _NETCF_COMPLETE lines_complete
    set -lx NETCF_WORDS (string join \n -- $words | string collect)
    set -lx NETCF_WORD (commandline --current-token --cut-at-cursor)
    for line in ($program 2>/dev/null)
        set -l part (string split \t -- $line)
        switch $part[1]
            case plain
                printf '%s\t%s\n' $part[2] $part[3]
            case dir
                __fish_complete_directories $part[2]
            case file
                __fish_complete_path $part[2]
            case command
                complete --do-complete "$part[2]"
        end
    end
end

complete --command netcf --no-files --arguments '(__netcf_complete)'
