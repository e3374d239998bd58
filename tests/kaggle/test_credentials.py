"""Credentials are found where Kaggle's own clients look, in their order, and are shown to nobody."""

import base64
import html
import itertools
import json
import logging
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from kagglepipe.errors import UserError
from kagglepipe.kaggle.credentials import WHERE, Credentials, find_credentials

TOKEN, KEY, USER = "KGAT_0123456789abcdef", "0fedcba987654321", "ada"


def write(path: Path, data: str | bytes) -> Path:
    """A file that its owner alone may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(0o600)
    return path


def kaggle_json(folder: Path, **values: object) -> Path:
    return write(folder / "kaggle.json", json.dumps({"username": USER, "key": KEY, **values}))


def refused(environ: dict[str, str], home: Path, *secrets: str) -> str:
    """The error in place of credentials, with a traceback that shows none of the secrets."""
    with pytest.raises(UserError) as caught:
        find_credentials(environ, home)
    told = "".join(traceback.format_exception(caught.value))
    assert not [secret for secret in (TOKEN, KEY, *secrets) if secret in told]
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- where they are -----------------------------------------------------------------------------------------------

Place = Callable[[Path, dict[str, str]], object]
PLACES: dict[str, Place] = {  # how the place is told: what puts credentials there, in the order in which they count
    "KAGGLE_API_TOKEN": lambda home, environ: environ.update(KAGGLE_API_TOKEN=f"{TOKEN}-0"),
    ".kaggle/access_token": lambda home, environ: write(home / ".kaggle/access_token", f"{TOKEN}-1\n"),
    ".kaggle/access_token.txt": lambda home, environ: write(home / ".kaggle/access_token.txt", f"\n {TOKEN}-2\r\n"),
    "KAGGLE_USERNAME and KAGGLE_KEY": lambda home, environ: environ.update(KAGGLE_USERNAME=USER, KAGGLE_KEY=f"{KEY}-3"),
    "configured/kaggle.json": lambda home, environ: (
        environ.update(KAGGLE_CONFIG_DIR=str(home / "configured")),
        kaggle_json(home / "configured", key=f"{KEY}-4"),
    ),
    ".kaggle/kaggle.json": lambda home, environ: kaggle_json(home / ".kaggle", key=f"{KEY}-5"),
    ".config/kaggle/kaggle.json": lambda home, environ: kaggle_json(home / ".config/kaggle", key=f"{KEY}-6"),
}


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations_with_replacement(PLACES, 2)))
def test_of_two_places_the_earlier_in_the_order_counts(tmp_path: Path, first: str, second: str) -> None:
    environ: dict[str, str] = {}
    PLACES[second](tmp_path, environ)
    PLACES[first](tmp_path, environ)
    found = find_credentials(environ, tmp_path)
    assert found is not None
    number = list(PLACES).index(first)
    assert (found.secret[-1], found.username) == (str(number), USER if number > 2 else None)
    assert found.place in (first, str(tmp_path / first))
    assert not found.exposed


def test_none_is_none(tmp_path: Path) -> None:
    assert find_credentials({}, tmp_path) is None
    assert find_credentials({"KAGGLE_API_TOKEN": " \n", "KAGGLE_USERNAME": "", "KAGGLE_KEY": " "}, tmp_path) is None


JSON = json.dumps({"username": USER, "key": KEY})


@pytest.mark.parametrize(
    ("environ", "file", "data", "found"),
    [
        ({"XDG_CONFIG_HOME": "xdg"}, "xdg/kaggle/kaggle.json", JSON, (KEY, USER)),
        ({"KAGGLE_API_TOKEN": "token"}, "token", f"{TOKEN}\n", (TOKEN, None)),  # it names a file
        ({"KAGGLE_API_TOKEN": "~/token"}, "token", f"{TOKEN}\n", (TOKEN, None)),
        ({"KAGGLE_API_TOKEN": f" {TOKEN}\r\n"}, "none", "", (TOKEN, None)),
        ({"KAGGLE_API_TOKEN": "x" * 5000}, "none", "", ("x" * 5000, None)),  # longer than any file name
        ({}, ".kaggle/kaggle.json", json.dumps({"username": f" {USER}", "key": f"{KEY}\n"}), (KEY, USER)),
        ({}, ".kaggle/access_token", TOKEN.encode("utf-8-sig"), (TOKEN, None)),  # with a byte order mark
        ({}, ".kaggle/kaggle.json", JSON.encode("utf-8-sig"), (KEY, USER)),
    ],
)
def test_what_people_write_is_understood(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    file: str,
    data: str | bytes,
    found: tuple[str, str | None],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / file, data)
    credentials = find_credentials(environ)
    assert credentials is not None
    assert (credentials.secret, credentials.username) == found


def test_a_user_without_a_home_has_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a number without a name, in a container
    assert find_credentials({}) is None


def closed(*_: object, **__: object) -> Any:
    raise PermissionError(13, "Permission denied")


def test_folders_closed_to_the_user_hold_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "stat", closed)
    assert find_credentials({}, tmp_path) is None


# --- what is there and cannot be used -----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "other"), [("KAGGLE_USERNAME", "KAGGLE_KEY"), ("KAGGLE_KEY", "KAGGLE_USERNAME")])
def test_one_variable_of_two_is_a_mistake(tmp_path: Path, name: str, other: str) -> None:
    PLACES[".kaggle/kaggle.json"](tmp_path, {})
    told = refused({name: KEY, other: " "}, tmp_path)
    assert told == f"{name} is set and {other} is not: set both, or neither"


@pytest.mark.parametrize("place", list(PLACES)[1:5])
def test_what_is_broken_is_not_passed_over_for_a_later_place(tmp_path: Path, place: str) -> None:
    environ: dict[str, str] = {}
    for later in (".kaggle/kaggle.json", ".config/kaggle/kaggle.json", place):
        PLACES[later](tmp_path, environ)
    for file in [*tmp_path.rglob("access_token*"), *tmp_path.glob("configured/*")]:
        write(file, b"")
    environ |= {name: "a b" for name in environ if name == "KAGGLE_KEY"}
    refused(environ, tmp_path)


@pytest.mark.parametrize("middle", [" ", "\n", "\t", "\0", "\x1b[31m", "é", "\u2028", "\r\nX-Other: 1"])
def test_a_token_is_one_word(tmp_path: Path, middle: str) -> None:
    bad = f"{TOKEN}{middle}{KEY}"
    for environ in ({"KAGGLE_API_TOKEN": bad}, {"KAGGLE_USERNAME": USER, "KAGGLE_KEY": bad}):
        name = list(environ)[-1]
        told = refused(environ, tmp_path)
        assert told.startswith(f"{name} holds {len(bad)} characters, blanks or quotes among them")
        assert told.endswith(WHERE)
    assert "KAGGLE_USERNAME holds" in refused({"KAGGLE_USERNAME": f"a{middle}b", "KAGGLE_KEY": KEY}, tmp_path)
    file = write(tmp_path / ".kaggle/access_token", bad)
    assert refused({}, tmp_path).startswith(f"{file} holds")


@pytest.mark.parametrize("value", ["/no/such/file", "~/nothing", "./token", "C:\\kaggle\\token"])
def test_a_path_to_nothing_is_no_token(tmp_path: Path, value: str) -> None:
    assert "looks like a path, and no file is there" in refused({"KAGGLE_API_TOKEN": value}, tmp_path, value)


NOT_JSON = 'is not {"username": …, "key": …}'
ODD: list[dict[str, object]] = [
    {"key": 1}, {"key": None}, {"username": 1}, {"username": ""}, {"key": ""}, {"username": "\ud800"}, {"key": "a b"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("access_token", " \n", "holds nothing"),
        *((name, TOKEN.encode("utf-16"), "cannot be read (it is no text)") for name in ("access_token", "kaggle.json")),
        *(("kaggle.json", text, NOT_JSON) for text in ("", "{", "[]", "null", '"username key"', "{}", "[" * 100_000)),
        *(("kaggle.json", text, NOT_JSON) for text in ('{"username": "ada"}', f'{{"key": "{KEY}"}}', JSON[:-1])),
        *(("kaggle.json", json.dumps({"username": USER, "key": KEY, **values}), "h") for values in ODD),  # has, holds
    ],
)
def test_a_file_of_something_else_is_a_mistake(tmp_path: Path, name: str, data: str | bytes, words: str) -> None:
    file = write(tmp_path / ".kaggle" / name, data)
    assert refused({}, tmp_path).startswith(f"{file} {words}")


@pytest.mark.parametrize("name", ["access_token", "kaggle.json"])
def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    file = write(tmp_path / ".kaggle" / name, TOKEN)
    monkeypatch.setattr(Path, "read_text", closed)  # root may read whatever it likes
    assert refused({}, tmp_path).startswith(f"{file} cannot be read (Permission denied)")


# --- who may see them ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="there are no such rights")
@pytest.mark.parametrize("place", [".kaggle/access_token", ".kaggle/kaggle.json"])
@pytest.mark.parametrize(("mode", "exposed"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_file_that_others_can_read_is_exposed(tmp_path: Path, place: str, mode: int, exposed: bool) -> None:
    PLACES[place](tmp_path, {})
    for file in (tmp_path / ".kaggle").iterdir():
        file.chmod(mode)
    found = find_credentials({}, tmp_path)
    assert found is not None
    assert found.exposed is exposed


@pytest.mark.parametrize("username", [None, USER])
def test_no_text_of_credentials_shows_the_secret(username: str | None, caplog: pytest.LogCaptureFixture) -> None:
    found = Credentials("somewhere", KEY, username)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("any").debug("%s %r", found, [found])
    told = f"{found} {found!r} {[found]} {caplog.text}"
    assert "somewhere" in told
    assert not [secret for secret in (KEY, *found.authorization.split()[1:]) if secret in told]


def test_a_token_goes_as_bearer_and_a_key_as_basic() -> None:
    assert Credentials("", TOKEN).authorization == f"Bearer {TOKEN}"
    kind, _, rest = Credentials("", KEY, USER).authorization.partition(" ")
    assert (kind, base64.b64decode(rest).decode()) == ("Basic", f"{USER}:{KEY}")


@pytest.mark.parametrize("username", [None, USER])
def test_hide_takes_the_secret_out_in_either_form(username: str | None) -> None:
    found = Credentials("", KEY, username)
    sent = found.authorization.split()[1]
    assert found.hide(f"<{KEY}> and {sent}{KEY}, {USER}") == f"<***> and ******, {USER}"
    assert found.hide("nothing of it") == "nothing of it"


ESCAPES = {
    "none": str,
    "System.Text.Json": lambda text: "".join(c if c.isalnum() else f"\\u{ord(c):04X}" for c in text),
    "PHP": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text).replace("+", "\\u002b")),
    "repr": lambda text: text.replace("+", "\\x2b"),
    "percent": lambda text: quote(text, safe=""),
    "percent, lower case, twice": lambda text: quote(quote(text, safe="").lower(), safe=""),
    "HTML": html.escape,
    "HTML, numbers": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "HTML, hexadecimal": lambda text: "".join(f"&#x{ord(c):X};" for c in text),
    "HTML, names": lambda text: text.replace("+", "&plus;").replace("/", "&sol;").replace("=", "&equals;"),
    "hexadecimal": lambda text: text.encode().hex().upper(),
    **{
        f"base64 after {before}": lambda text, before=before: base64.b64encode(b"x" * before + text.encode()).decode()
        for before in range(4)
    },
    "base64 for URLs, without padding": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("username", [None, "us~er?>"])
def test_hide_knows_the_secret_however_a_server_escapes_it(escape: str, username: str | None) -> None:
    secret = "KGAT_ab/cd+ef&0123?~>456"
    found = Credentials("", secret, username)
    for told in (secret, found.authorization.split()[1], found.authorization.split()[1].rstrip("=")):
        hidden = found.hide(f"Invalid header: {ESCAPES[escape](told)}, status 401")
        assert hidden.startswith("Invalid header: "), hidden
        assert hidden.endswith(", status 401"), hidden
        assert "***" in hidden
        left = hidden.removeprefix("Invalid header: ").removesuffix(", status 401").replace("***", "")
        assert len(left) <= 12, left  # of base64 the ends, in which other letters have a part


def test_hide_leaves_other_texts_alone() -> None:
    found = Credentials("", "KGAT_ab/cd+ef&0123?~>456", "user")
    for text in ("KGAT_ab/cd", r"C:\\data\u0041", "a%20b &amp; c", "submission 4001 of user"):
        assert found.hide(text) == text


def test_what_is_looked_up_is_what_the_help_names() -> None:
    for name in ("KAGGLE_API_TOKEN", "~/.kaggle/access_token", "KAGGLE_USERNAME", "KAGGLE_KEY", "kaggle.json"):
        assert name in WHERE
