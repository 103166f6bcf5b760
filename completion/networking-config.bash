# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of networking-config for bash.

_networking_config()
{
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' words='' i
    local -a root=()

    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} == --root ]]; then
            root=(--root "${COMP_WORDS[++i]}")
        else
            command=${COMP_WORDS[i]}
            break
        fi
    done

    COMPREPLY=()
    case $command in
    '')
        if [[ $previous == --root ]]; then
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -d -- "$current")
            return
        fi
        words='snapshot_config commit_config rollback_config
            change-begin change-commit change-rollback extend announce diff status
            discarded put-back snapshot-dir start stop restart reload
            force-reload condrestart try-restart --root --help --version'
        ;;
    snapshot_config | change-begin)
        case $previous in
        --note | --timeout | --grace | --trial-boots) ;;
        *) words='--note --on-write --timeout --leash --grace --trial-boots' ;;
        esac
        ;;
    status)
        words='--open'
        ;;
    announce)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    put-back)
        words=$("${COMP_WORDS[0]}" "${root[@]}" discarded 2>/dev/null | cut -d ' ' -f 1)
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _networking_config networking-config
