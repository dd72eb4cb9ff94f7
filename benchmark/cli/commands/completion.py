"""`bench completion SHELL`: what makes a shell complete the names of verbs, options and choices."""

from __future__ import annotations

import sys

import click

from benchmark.cli.options import verb

# as click's own, which answers them, but for what is completed in parts: `model=resnet18,seed=`
_BASH = r"""_bench_completion() {
    local line="${COMP_WORDS[*]:0:COMP_CWORD+1}" words word="" before="" response type value
    [[ -n $COMP_LINE ]] && line=${COMP_LINE:0:COMP_POINT}
    read -ra words <<< "$line"
    local at=${#words[@]}
    if [[ $line != *[[:space:]] ]]; then
        at=$((at - 1))
        word=${words[at]}
    fi
    # bash completes what stands behind the last of these
    [[ $COMP_WORDBREAKS == *=* ]] && before=${word%"${word##*[=:]}"}

    response=$(env COMP_WORDS="$line" COMP_CWORD=$at _BENCH_COMPLETE=bash_complete "$1")
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                COMPREPLY+=("${value#"$before"}")
                ;;
        esac
    done <<< "$response"
    # of `model=` the value follows
    if [[ ${COMPREPLY[0]} == *= ]]; then compopt -o nospace; fi
}

complete -o nosort -F _bench_completion bench
"""

_ZSH = r"""#compdef bench

_bench_completion() {
    local -a response plain described unfinished
    local type key description
    (( ! $+commands[bench] )) && return 1

    response=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) _BENCH_COMPLETE=zsh_complete bench)}")
    for type key description in ${response}; do
        if [[ $type == dir ]]; then
            _path_files -/
        elif [[ $type == file ]]; then
            _path_files -f
        elif [[ $key == *= ]]; then
            unfinished+=("$key")
        elif [[ $description == _ ]]; then
            plain+=("$key")
        else
            described+=("$key:$description")
        fi
    done

    (( $#described )) && _describe -V unsorted described -U
    (( $#plain )) && compadd -U -V unsorted -a plain
    (( $#unfinished )) && compadd -U -S '' -V unsorted -a unfinished
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _bench_completion "$@"
else
    compdef _bench_completion bench
fi
"""

_FISH = r"""function _bench_completion
    set -l response (env _BENCH_COMPLETE=fish_complete COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) bench)
    for each in $response
        set -l parts (string split --max 1 "," -- $each)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                echo $parts[2]
        end
    end
end

complete --no-files --command bench --arguments "(_bench_completion)"
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@verb(
    "completion",
    """echo 'eval "$(bench completion bash)"' >> ~/.bashrc""",
    """echo 'eval "$(bench completion zsh)"' >> ~/.zshrc""",
    "bench completion fish > ~/.config/fish/completions/bench.fish",
)
@click.argument("shell", type=click.Choice(list(_SCRIPTS)))
def command(shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, choices, paths, settings and selections of cells.

    To enable it in every new shell, run the line for your shell below once. Bash needs version 4.4 or newer; in zsh,
    compinit must run before it.
    """
    sys.stdout.write(_SCRIPTS[shell])
