"""Kaggle credentials of a user, found in the order of Kaggle's own clients; never in the configuration.

Errors and logs name the place; the secret itself appears in no `repr`, error, log or file.
"""

import base64
import html.entities
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from kagglepipe.errors import UserError

WHERE = (
    "make a token at https://www.kaggle.com/settings (API), then type export KAGGLE_API_TOKEN=… or keep it in "
    "~/.kaggle/access_token; the older KAGGLE_USERNAME with KAGGLE_KEY, and kaggle.json, work too"
)
ESCAPES = "\\%=&"  # characters that begin one
MIN_PART = 12  # characters of base64; fewer may be a word of an ordinary text


@dataclass(frozen=True)
class Credentials:
    """A token, or a username and key. place: where they were found. exposed: others can read the file."""

    place: str
    secret: str = field(repr=False)
    username: str | None = None
    exposed: bool = False

    @property
    def authorization(self) -> str:
        """Return the value of the HTTP header Authorization."""
        if self.username is None:
            return f"Bearer {self.secret}"
        return "Basic " + base64.b64encode(f"{self.username}:{self.secret}".encode()).decode()

    def hide(self, text: str) -> str:
        """Replace the secret, which a server may have echoed plain, escaped or in base64, by `***`."""
        return self._secret_pattern.sub("***", text)

    @cached_property
    def _secret_pattern(self) -> "re.Pattern[str]":
        secrets = (self.authorization.split()[1].rstrip("="), self.secret)
        patterns = {secret: "".join(map(_any_encoding, secret)) for secret in secrets}
        for part in (part for secret in secrets for part in (secret.encode().hex(), *_base64_parts(secret))):
            patterns[part] = "".join(char if char.isalnum() else _any_encoding(char) for char in part)
        longest = sorted(filter(None, patterns), key=len, reverse=True)  # first
        begins = re.escape("".join({text[0] for text in longest} | set("-_" + ESCAPES)))  # only for speed
        whole = "|".join(patterns[text] for text in longest)
        return re.compile(f"(?=[{begins}])(?:{whole})(?:{_any_encoding('=')}){{0,2}}", re.I)


@cache
def _any_encoding(char: str) -> str:
    r"""Make a pattern of an ASCII character, plain or escaped: in JSON, percent, HTML, base64 for URLs.

    >>> bool(re.fullmatch(_any_encoding("/"), "&#x2f;")), bool(re.fullmatch(_any_encoding("+"), r"\u002b"))
    (True, True)
    """
    code, url_safe = ord(char), {"+": "-", "/": "_"}.get(char, char)
    names = [name for name, text in html.entities.html5.items() if text == char and name.endswith(";")]
    numbers = [rf"#0{{0,6}}{code};", f"#x0{{0,6}}{code:x};", *map(re.escape, names)]
    ways = [rf"\\{{0,8}}{re.escape(char)}", re.escape(url_safe), rf"\\{{1,8}}(?:u00|x){code:02x}"]
    ways += [f"[%=](?:25){{0,4}}{code:02x}", f"&(?:amp;){{0,4}}(?:{'|'.join(numbers)})"]
    return f"(?:{'|'.join(ways)})"


def _base64_parts(secret: str) -> list[str]:
    """Encode the secret as it appears inside a longer text in base64, for each of three offsets.

    >>> part = _base64_parts("key0123456789")[0]
    >>> part in base64.b64encode(b"0123user:key0123456789").decode()
    True
    """
    parts = []
    for before in range(3):
        data = b" " * before + secret.encode()
        parts.append(base64.b64encode(data).decode()[-(-8 * before // 6) : 8 * len(data) // 6])
    return [part for part in parts if len(part) >= MIN_PART]


def find_credentials(environ: Mapping[str, str] = os.environ, home: Path | None = None) -> Credentials | None:
    """Find the first of: KAGGLE_API_TOKEN (a token, or a file with one), ~/.kaggle/access_token(.txt),
    KAGGLE_USERNAME with KAGGLE_KEY, kaggle.json in KAGGLE_CONFIG_DIR, ~/.kaggle or the XDG folder; None without any.

    Raises UserError for one that cannot be used, since a later one may belong to somebody else.
    """
    home = home or Path(os.path.expanduser("~"))  # noqa: PTH111  # Path raises without a home
    if value := environ.get("KAGGLE_API_TOKEN", "").strip():
        return _from_variable(value)
    for name in ("access_token", "access_token.txt"):
        file = home / ".kaggle" / name
        if _is_there(file):
            return _from_token_file(file, str(file))
    username, key = (environ.get(name, "").strip() for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"))
    if bool(username) != bool(key):
        one, other = ("KAGGLE_USERNAME", "KAGGLE_KEY") if username else ("KAGGLE_KEY", "KAGGLE_USERNAME")
        raise UserError(f"{one} is set and {other} is not: set both, or neither")
    if username:
        username, key = _checked(username, "KAGGLE_USERNAME"), _checked(key, "KAGGLE_KEY")
        return Credentials("KAGGLE_USERNAME and KAGGLE_KEY", key, username)
    for folder in _json_folders(environ, home):
        if _is_there(folder / "kaggle.json"):
            return _from_json(folder / "kaggle.json")
    return None


def _is_there(file: Path | str) -> bool:
    return os.path.isfile(file)  # noqa: PTH113  # Path raises for closed folders and for names longer than any


def _json_folders(environ: Mapping[str, str], home: Path) -> list[Path]:
    xdg = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    if named := environ.get("KAGGLE_CONFIG_DIR"):  # the only one then
        return [Path(os.path.expanduser(named))]  # noqa: PTH111
    return [home / ".kaggle", xdg / "kaggle"]


def _from_variable(value: str) -> Credentials:
    file = os.path.expanduser(value)  # noqa: PTH111
    if _is_there(file):
        return _from_token_file(Path(file), f"the file that KAGGLE_API_TOKEN names, {file}")
    if re.match(r"[~./\\]|[A-Za-z]:[/\\]", value):
        raise UserError("KAGGLE_API_TOKEN looks like a path, and no file is there: set it to a token or to a file")
    return Credentials("KAGGLE_API_TOKEN", _checked(value, "KAGGLE_API_TOKEN"))


def _from_token_file(file: Path, place: str) -> Credentials:
    return Credentials(place, _checked(_read(file).strip(), str(file)), exposed=_is_exposed(file))


def _from_json(file: Path) -> Credentials:
    try:
        values = json.loads(_read(file))
        username, key = values["username"], values["key"]
    except (ValueError, KeyError, TypeError, RecursionError):
        # without its cause, which quotes the file
        raise UserError(f'{file} is not {{"username": …, "key": …}}: {WHERE}') from None
    if not (isinstance(username, str) and isinstance(key, str)):
        raise UserError(f"{file} has a username or key that is no text: {WHERE}")
    username, key = (_checked(value.strip(), str(file)) for value in (username, key))
    return Credentials(str(file), key, username, exposed=_is_exposed(file))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"{file} cannot be read ({reason}): fix or remove it; {WHERE}") from None


def _checked(secret: str, place: str) -> str:
    """Return the secret. Raises UserError, without showing it, for blanks or quotes in it."""
    if not re.fullmatch(r"[!-~]+", secret) or set(secret) & set("\"'{}"):
        found = f"holds {len(secret)} characters, blanks or quotes among them" if secret else "holds nothing"
        raise UserError(f"{place} {found}, unlike any of Kaggle's: {WHERE}")
    return secret


def _is_exposed(file: Path) -> bool:
    """Whether others on this machine may read the file."""
    return os.name == "posix" and bool(file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
