"""Errors that a user can fix, in one line with the command to type; all others keep their traceback."""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kagglepipe import console
from kagglepipe.cli.hints import did_you_mean, near_options, part_without_option, several_values, unknown_choice
from kagglepipe.config import DICT_OPTIONS
from kagglepipe.distributed import is_rank_zero, rank
from kagglepipe.errors import UserError

FILE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR,
                errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}  # fmt: skip


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Exit with one line and code 2 on an error that a user can fix, with 130 on Ctrl-C; other errors pass."""
    try:
        yield
    except UserError as error:
        stop(str(error), 2)
    except KeyboardInterrupt:
        stop("stopped; the same command continues from here", 130)
    except OSError as error:
        if error.errno not in FILE_ERRORS:
            raise
        stop(file_error(error), 2)


def stop(message: str, code: int) -> None:
    """Print one line on standard error, passwords in addresses hidden, and exit."""
    if ":/" in message or "@" in message:
        from kagglepipe.sequences.stream import hide_password

        message = re.sub(r"\w+:/\S+|[^\s=]+:\S+@\S+", lambda found: hide_password(found[0]), message)
    console.clear_bar()
    name = "kagglepipe" if is_rank_zero() else f"kagglepipe (process {rank()})"
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def explain(error: Exception) -> str:
    """Translate an error of Hydra or OmegaConf into one line: the option, the fault, what to type."""
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if "does not support sweep type : INTERVAL_SWEEP" in text:
        word = next(word for word in sys.argv if "interval(" in word)
        return f"{word} is continuous and cannot be enumerated: add sweep=own to sample from it"
    if override := getattr(error, "override", None):
        return f"{override} cannot be read; options are written as name=value, with quotes as name='a b' where needed"
    if unknown := re.search(r"Could not override '(\S+)'|Key '(\S+)' (?:is )?not in '(\w+)'", text):
        full = re.search(r"full_key: (\S+)", text)
        name = unknown[1] or (full[1] if full else unknown[2])
        if name.startswith(tuple(f"{free}." for free in DICT_OPTIONS)):
            return f"{name} is a new key: type +{name}=VALUE"
        if name in DICT_OPTIONS:
            return f"{name} takes one name at a time: type +{name}.NAME=VALUE"
        return unknown_option(name)
    if missing := re.search(r"Could not find '(\w+)/([^']+)'.*?Available options in '\w+': (.*)", text):
        group, value, options = missing.groups()
        return unknown_choice(group, value, options.split(" Config search path")[0].split())
    if several := re.search(r"Ambiguous value for argument '([^=]+)=(.*?)' 1\.", text):
        return several_values(several[1], several[2])
    if part := re.search(r"override ([\w.]+)=(.*?) Invalid type assigned: \w+ is not a subclass of", text):
        return part_without_option(part[1], part[2])
    if own := re.search(r"In '(\S+)': \w+ raised while composing config: (.*)", text):
        key = re.search(r"full_key: (\S+)", text)
        name = f"{key[1] if key else 'an option'} of {own[1]}.yaml"
        if "is not a ListConfig" in own[2] or "with ListConfig" in own[2]:
            return f"{name} is not a list: write it as [a, b]"
        if "is not Optional" in own[2]:
            return f"{name} is empty: write a value behind the colon, or remove the line"
    if scalar := re.search(r"override (\S+?)=(.*) Invalid value assigned: \w+ is not a ListConfig", text):
        return several_values(scalar[1], scalar[2])
    if name := re.search(r"Key (.+?) \((\w+)\) is incompatible with \(str\) full_key: (\S+)", text):
        option = name[3].rpartition(".")[0]
        return (
            f"{option} has a name that YAML reads as {name[2]} {name[1]}, as it does off, no and 1: quote it, as 'off'"
        )
    if name := re.search(r"NoneType is not a subclass of str.*full_key: (\S+)", text):
        return f"{name[1]} is empty to YAML, as null and ~ are: quote it, as 'null'"
    if bad := re.search(r"(Value '.*?' of type '\w+' could not be converted to \w+|.*?) full_key: (\S+)", text):
        return f"{bad[2]}: {bad[1][bad[1].rfind('Value') :] if 'Value' in bad[1] else bad[1]}"
    return text.split(" See https://hydra.cc")[0]


def unknown_option(name: str) -> str:
    """One line for a misspelt option."""
    hint = did_you_mean(near_options(name)) or "`python -m kagglepipe --help` lists the options"
    return f"{name} is not an option; {hint}"


def file_error(error: OSError) -> str:
    """One line for a full disk, a file that cannot be read or a folder that cannot be written."""
    where = error.filename2 or error.filename or "the output folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"no space left for {where}: free some, or choose another place with paths.root=FOLDER"
    if error.errno in (errno.EACCES, errno.EPERM) and is_unreadable(Path(os.fsdecode(where))):
        return f"{where} cannot be read ({error.strerror}): type chmod -R u+rX '{where}', or ask its owner"
    return f"{where} cannot be written ({error.strerror}): choose another place with paths.root=FOLDER"


def is_unreadable(path: Path) -> bool:
    """Whether permissions forbid reading a file or folder."""
    try:
        if path.is_dir():
            next(os.scandir(path), None)
        elif path.is_file():
            path.open("rb").close()
    except PermissionError:
        return True
    except OSError:
        pass
    return False
