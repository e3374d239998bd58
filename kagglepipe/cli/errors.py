"""Errors that a user can mend as one line with the command to type; all others keep their traceback."""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kagglepipe import console
from kagglepipe.cli.hints import did_you_mean, near_options, part_without_option, several_values, unknown_choice
from kagglepipe.config import FREE
from kagglepipe.distributed import is_rank_zero, rank
from kagglepipe.errors import UserError

PLACE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR,
                errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}  # fmt: skip


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Ends the program with one line and code 2 on what a user can mend, with 130 on Ctrl-C; lets the rest pass."""
    try:
        yield
    except UserError as error:
        stop(str(error), 2)
    except KeyboardInterrupt:
        stop("stopped; the same command goes on where it was", 130)
    except OSError as error:
        if error.errno not in PLACE_ERRORS:
            raise
        stop(place_error(error), 2)


def stop(message: str, code: int) -> None:
    """Prints one line, without the password of an address that was typed, and exits."""
    if ":/" in message or "@" in message:
        from kagglepipe.sequences.stream import hide_password

        message = re.sub(r"\w+:/\S+|[^\s=]+:\S+@\S+", lambda found: hide_password(found[0]), message)
    console.erase()
    who = "kagglepipe" if is_rank_zero() else f"kagglepipe (process {rank()})"
    print(f"{who}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def explain(error: Exception) -> str:
    """One line for an error of Hydra's or OmegaConf's: which option, what is wrong, what to type."""
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if "does not support sweep type : INTERVAL_SWEEP" in text:
        words = next(word for word in sys.argv if "interval(" in word)
        return f"{words} has no end of values: add sweep=own, and a sampler chooses among them"
    if override := getattr(error, "override", None):
        return f"{override} cannot be read; options are written as name=value, with quotes as name='a b' where needed"
    if unknown := re.search(r"Could not override '(\S+)'|Key '(\S+)' (?:is )?not in '(\w+)'", text):
        name = unknown[1] or unknown[2]
        full = re.search(r"full_key: (\S+)", text)
        name = full[1] if full and not unknown[1] else name
        if name.startswith(tuple(f"{free}." for free in FREE)):
            return f"{name} is new to the configuration: type +{name}=VALUE"
        if name in FREE:
            return f"{name} takes one name at a time: type +{name}.NAME=VALUE"
        hint = did_you_mean(near_options(name)) or "`python -m kagglepipe --help` lists the options"
        return f"{name} is not an option; {hint}"
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
            return f"{name} is no list: write it as [a, b]"
        if "is not Optional" in own[2]:
            return f"{name} is empty: write what it is behind the colon, or take the line out"
    if alone := re.search(r"override (\S+?)=(.*) Invalid value assigned: \w+ is not a ListConfig", text):
        return f"{alone[1]}={alone[2]} is no list: type '{alone[1]}=[{alone[2]}]'"
    if name := re.search(r"Key (.+?) \((\w+)\) is incompatible with \(str\) full_key: (\S+)", text):
        found = (
            f"{name[3].rpartition('.')[0]} has a name that YAML reads as {name[2]} {name[1]}, as it does off, no and 1"
        )
        return f"{found}: quote it, as 'off'"
    if name := re.search(r"NoneType is not a subclass of str.*full_key: (\S+)", text):
        return f"{name[1]} is empty to YAML, as null and ~ are: quote it, as 'null'"
    if bad := re.search(r"(Value '.*?' of type '\w+' could not be converted to \w+|.*?) full_key: (\S+)", text):
        return f"{bad[2]}: {bad[1][bad[1].rfind('Value') :] if 'Value' in bad[1] else bad[1]}"
    return text.split(" See https://hydra.cc")[0]


def place_error(error: OSError) -> str:
    """One line for a full disk, a file that cannot be read or a folder that cannot be written."""
    where = error.filename2 or error.filename or "the output folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"no space left for {where}: free some, or choose another place with paths.root=FOLDER"
    if error.errno in (errno.EACCES, errno.EPERM) and is_unreadable(Path(os.fsdecode(where))):
        return f"{where} cannot be read ({error.strerror}): type chmod -R u+rX '{where}', or ask its owner"
    return f"{where} cannot be written ({error.strerror}): choose another place with paths.root=FOLDER"


def is_unreadable(path: Path) -> bool:
    """Whether a file or folder is there, or may be, and must not be read."""
    try:
        if path.is_dir():
            next(os.scandir(path), None)
        elif path.is_file():
            path.open("rb").close()
    except PermissionError:
        return True
    except OSError:
        return False
    return False
