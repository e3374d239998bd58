"""Completion of stages, flags, options and choices in bash."""

from kagglepipe.cli.arguments import SHOWN_FLAGS
from kagglepipe.cli.hints import choices, default_of, groups
from kagglepipe.config import PATH_KEYS, option_names
from kagglepipe.errors import UserError
from kagglepipe.tools import COMMANDS

BASH = """\
_kagglepipe_complete() {
    local words=("${COMP_WORDS[@]}") run i
    local line="${COMP_LINE:0:COMP_POINT}"
    if [[ "${words[0]##*/}" == python* ]]; then
        if [[ "${words[1]}" != -m || "${words[2]}" != kagglepipe ]]; then
            COMPREPLY=($(compgen -o default -- "${words[COMP_CWORD]}"))
            return
        fi
        run=("${words[0]}" -m kagglepipe)
    else
        run=("${words[0]}")
    fi
    local word="${line##* }"
    mapfile -t COMPREPLY < <("${run[@]}" --shell-completion query=bash word="$word" 2>/dev/null)
    if (( ${#COMPREPLY[@]} == 0 )); then
        local value="${word#*=}"
        mapfile -t COMPREPLY < <(compgen -f -- "${value/#\\~/$HOME}")
        (( ${#COMPREPLY[@]} )) && compopt -o filenames 2>/dev/null
    elif [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then  # bash completes after the last break
        for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]="${COMPREPLY[i]#*=}"; done
    fi
    [[ ${#COMPREPLY[@]} == 1 && "${COMPREPLY[0]}" == *= ]] && compopt -o nospace 2>/dev/null
}
complete -F _kagglepipe_complete kagglepipe
complete -o default -F _kagglepipe_complete python python3"""


def complete(arguments: list[str]) -> None:
    """Print the script of `--shell-completion install=bash`, or the completions of `query=bash word=…`."""
    if "install=bash" in arguments:
        print(BASH)
    elif "uninstall=bash" in arguments:
        print("complete -r kagglepipe python python3; unset -f _kagglepipe_complete")
    elif "query=bash" in arguments:
        word = next((one.partition("=")[2] for one in arguments if one.startswith("word=")), "")
        for completion in completions(word):
            print(completion)
    else:
        raise UserError(
            '--shell-completion needs a shell: type eval "$(python -m kagglepipe --shell-completion install=bash)"'
        )


def completions(word: str) -> list[str]:
    """Complete a word to stages, flags, options or choices; empty where a path is expected.

    >>> completions("pred")
    ['predict', 'predict.']
    >>> completions("model=lite")
    ['model=lite0', 'model=lite1', 'model=lite2']
    """
    name, equals, value = word.partition("=")
    if equals:
        if name in PATH_KEYS:
            return []
        switch = ["true", "false"] if isinstance(default_of(name), bool) else []
        known = list(COMMANDS) if name == "stage" else choices(name) if name in groups() else switch
        return [f"{name}={one}" for one in known if one.startswith(value)]
    if word.startswith("-"):
        return [flag for flag in SHOWN_FLAGS if flag.startswith(word)]
    options = option_names()
    if "." not in word:
        parts = {one.partition(".")[0] for one in options if "." in one}
        options = [*(f"{one}=" for one in groups()), *(f"{one}=" for one in options if "." not in one)]
        options += [f"{part}." for part in parts]
    else:
        options = [f"{one}=" for one in options]
    return sorted({one for one in (*COMMANDS, *options) if one.startswith(word)})
