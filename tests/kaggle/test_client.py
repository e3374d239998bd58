"""The client understands what Kaggle says, gives up in time on what it does not, tells no secret and submits once."""

import base64
import json
import logging
import socket
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kagglepipe.errors import UserError
from kagglepipe.kaggle import client as module
from kagglepipe.kaggle import errors, transport
from kagglepipe.kaggle.client import KaggleClient, Limits, RemoteFile, Standing, Submission
from kagglepipe.kaggle.credentials import Credentials
from kagglepipe.kaggle.errors import KaggleError
from kagglepipe.kaggle.transport import Transport
from tests.kaggle.emulator import ROUTES, KaggleEmulator, small_archive
from tests.kaggle.faults import DENIED, FAULTS, RULES, Exchange, quota_message
from tests.kaggle.wire import Reply

ANSWERS = {"1": "0", "2": "1"}
RULES_PAGE = "https://www.kaggle.com/competitions/cats/rules"
LISTS = ("ListDataFiles", "ListSubmissions", "GetLeaderboard")
Call = Callable[[KaggleClient], object]


@pytest.fixture
def kaggle(kaggle: KaggleEmulator) -> KaggleEmulator:
    """An emulator with the competition "cats"."""
    kaggle.add_competition("cats", small_archive(size=2000), answers=ANSWERS)
    return kaggle


class Clock:
    """Time that passes only for those who wait."""

    def __init__(self) -> None:
        self.now, self.pauses = 0.0, list[float]()

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        self.now += 1e-6  # as a look at it takes
        return self.now

    def time(self) -> float:
        return datetime.now(UTC).timestamp()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The client's own, without the chance in its pauses."""
    clock = Clock()
    monkeypatch.setattr(errors, "time", clock)
    monkeypatch.setattr(errors.random, "uniform", lambda low, high: (low + high) / 2)
    return clock


def client(kaggle: KaggleEmulator, *, basic: bool = False, **options: Any) -> KaggleClient:
    """One that tries once, unless it is told to be patient, and never waits."""
    who = Credentials("here", kaggle.key, kaggle.username) if basic else Credentials("here", kaggle.token)
    usual: dict[str, Any] = {"endpoint": kaggle.endpoint, "timeout": 5, "patience": 0, "pause": lambda seconds: None}
    return KaggleClient(who, **{**usual, **options})


def error_of(call: Callable[[], object], kaggle: KaggleEmulator | None = None) -> KaggleError:
    """The error that a call ends in."""
    with pytest.raises(KaggleError) as caught:
        call()
    demand_clean(caught.value, kaggle)
    return caught.value


def demand_clean(error: KaggleError, kaggle: KaggleEmulator | None) -> None:
    """One line for people, without a secret of the emulator's in it or in its traceback."""
    assert str(error).isprintable()
    text = "".join(traceback.format_exception(error))
    assert not [secret for secret in (secrets_of(kaggle) if kaggle else ()) if secret in text]


def outcome(call: Callable[[], Any], kaggle: KaggleEmulator) -> tuple[Any, KaggleError | None]:
    """What a call returns, or the error that it ends in."""
    try:
        return call(), None
    except KaggleError as error:
        found = error
    demand_clean(found, kaggle)
    return None, found


def secrets_of(kaggle: KaggleEmulator) -> tuple[str, ...]:
    pair = base64.b64encode(f"{kaggle.username}:{kaggle.key}".encode()).decode()
    return kaggle.token, kaggle.key, pair, kaggle.signature, quote(kaggle.signature, safe="")


def asked(kaggle: KaggleEmulator) -> list[str]:
    """What was asked of the emulator, in order."""
    return [call.name for call in kaggle.calls]


def say(exchange: Exchange, code: int, message: object) -> Reply:
    """A fault: an error in words of one's own."""
    return exchange.error(code, message)  # type: ignore[arg-type]


def body(exchange: Exchange, data: bytes = b"", code: int = 200, **headers: str) -> Reply:
    """A fault: any answer at all."""
    return Reply(code, data, [(name.replace("_", "-"), value) for name, value in headers.items()])


@pytest.fixture(autouse=True)
def _more_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAULTS, "say", say)
    monkeypatch.setitem(FAULTS, "body", body)


QUESTIONS: dict[str, Call] = {
    "ListDataFiles": lambda client: client.files("cats"),
    "GetSubmissionLimits": lambda client: client.limits("cats"),
    "ListSubmissions": lambda client: list(client.submissions("cats")),
    "GetLeaderboard": lambda client: list(client.leaderboard("cats")),
    "Hello": lambda client: client.user(),
    "DownloadDataFiles": lambda client: client.archive("cats"),
}


def test_every_rpc_that_the_client_uses_is_known_to_the_emulator() -> None:
    assert {f"{module.COMPETITIONS}/{name}" for name in QUESTIONS if name != "Hello"} < set(ROUTES)
    assert f"{module.DIAGNOSTICS}/Hello" in ROUTES


# --- what Kaggle says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("basic", [False, True])
def test_the_user_is_known_by_either_kind_of_credentials(kaggle: KaggleEmulator, basic: bool) -> None:
    assert client(kaggle, basic=basic).user() == kaggle.username
    assert kaggle.calls[0].headers["Authorization"].startswith("Basic " if basic else "Bearer ")


def test_files_come_page_by_page(kaggle: KaggleEmulator) -> None:
    files = {f"images/{number} ñ.jpg": b"x" * number for number in range(1, 251)}
    kaggle.add_competition("dogs", small_archive(), files=files)
    assert client(kaggle).files("dogs") == [RemoteFile(name, len(data)) for name, data in files.items()]
    assert asked(kaggle) == ["ListDataFiles"] * 3  # of 100 rows each


def test_no_more_files_are_asked_for_than_are_wanted(kaggle: KaggleEmulator) -> None:
    kaggle.largest_page = 1
    assert [file.name for file in client(kaggle).files("cats", most=2)] == list(kaggle.competitions["cats"].files)[:2]
    assert asked(kaggle) == ["ListDataFiles"] * 2


def test_a_page_that_leads_to_itself_is_read_twice_at_most(kaggle: KaggleEmulator) -> None:
    for method in LISTS:
        rows = "files" if method == "ListDataFiles" else "submissions"
        kaggle.fault(method, "json", None, value={rows: [{"name": "a", "ref": 1}], "nextPageToken": "again"})
        assert len(QUESTIONS[method](client(kaggle))) == 2  # type: ignore[arg-type]


def test_files_of_unknown_size_and_rows_that_are_none_do_no_harm(kaggle: KaggleEmulator) -> None:
    rows = [{"name": "a", "totalBytes": "12"}, {"name": "b\x1b[2J"}, 3, None, {"totalBytes": -1}]
    kaggle.fault("ListDataFiles", "json", value={"files": rows})
    assert client(kaggle).files("cats") == [RemoteFile("a", 12), RemoteFile("b [2J", None), RemoteFile("", None)]


@pytest.mark.parametrize("omit", [True, False])
def test_limits_that_are_zero_are_left_out_by_kaggle(kaggle: KaggleEmulator, tmp_path: Path, omit: bool) -> None:
    kaggle.omit_defaults, kaggle.competitions["cats"].quota = omit, 1
    assert client(kaggle).limits("cats") == Limits(used_today=0, left=1, by_total=False)
    submit(kaggle, tmp_path)
    assert client(kaggle).limits("cats") == Limits(used_today=1, left=0, by_total=False)


def test_a_limit_of_all_submissions_is_told_apart(kaggle: KaggleEmulator) -> None:
    kaggle.fault("GetSubmissionLimits", "json", value={"numToday": "3", "limitedByTotal": True})
    assert client(kaggle).limits("cats") == Limits(used_today=3, left=0, by_total=True)


def submit(kaggle: KaggleEmulator, folder: Path, name: str = "a.csv", answers: Mapping[str, str] = ANSWERS) -> int:
    """The number of a new submission."""
    (folder / name).write_text("\n".join(["ID,Ground_Truth", *map(",".join, answers.items()), ""]))
    speaker = client(kaggle)
    return speaker.submit("cats", speaker.upload("cats", folder / name), f"about {name}")


def test_submissions_come_latest_first_with_what_became_of_them(kaggle: KaggleEmulator, tmp_path: Path) -> None:
    kaggle.largest_page = 1
    good, bad, half = submit(kaggle, tmp_path), submit(kaggle, tmp_path, "b", {"1": "0"}), submit(kaggle, tmp_path, "c")
    list(client(kaggle).submissions("cats"))  # a look, after which they are graded
    kaggle.submissions("cats")[2].looks = 0
    found = list(client(kaggle).submissions("cats"))
    assert [(row.ref, row.status, row.public, row.private) for row in found] == [
        (half, "pending", None, None),
        (bad, "error", None, None),
        (good, "complete", 1.0, None),
    ]
    assert [row.description for row in found] == ["about c", "about b", "about a.csv"]
    assert found[1].error == "Submission must have 2 rows of 2 values"
    assert {row.team for row in found} == {kaggle.username}
    assert found[2].as_columns() == {
        "ref": good,
        "status": "complete",
        "public_score": 1.0,
        "private_score": None,
        "error": "",
    }


def test_private_scores_are_read_where_they_are_shown(kaggle: KaggleEmulator, tmp_path: Path) -> None:
    kaggle.pending_polls, kaggle.competitions["cats"].show_private = 0, True
    submit(kaggle, tmp_path)
    (row,) = client(kaggle).submissions("cats")
    assert (row.public, row.private) == (1.0, 1.0)


def test_odd_rows_among_the_submissions_hide_no_other(kaggle: KaggleEmulator, tmp_path: Path) -> None:
    kaggle.pending_polls, own = 0, submit(kaggle, tmp_path)
    kaggle.fault("ListSubmissions", "odd rows")
    found = {row.ref: row for row in client(kaggle).submissions("cats")}
    assert {ref: (row.status, row.public) for ref, row in found.items()} == {
        7001: ("pending", None),  # a status that nobody knows yet
        7002: ("complete", None),  # 1
        7004: ("complete", None),  # scores are null
        7005: ("pending", 0.5),  # ref in text, score a number
        own: ("complete", 1.0),
    }
    assert found[7004] == Submission(7004, "complete", None, None, "", "", "")


@pytest.mark.parametrize(
    ("score", "value"),
    [("0.5", 0.5), (1, 1.0), ("-1e-3", -0.001), ("", None), (None, None), ("nan", None), ("1e999", None), ([], None)],
)
def test_a_score_is_a_finite_number_or_none(kaggle: KaggleEmulator, score: object, value: float | None) -> None:
    kaggle.fault("ListSubmissions", "json", value={"submissions": [{"ref": 1, "publicScore": score}]})
    assert [row.public for row in client(kaggle).submissions("cats")] == [value]


def test_the_leaderboard_is_ranked_from_its_head_on(kaggle: KaggleEmulator) -> None:
    kaggle.largest_page = 2
    assert list(client(kaggle).leaderboard("cats")) == [
        Standing(1, "Night owls", "0.90000"),
        Standing(2, "Early birds", "0.80000"),
        Standing(3, "Ünï çode, Inc.", "0.55000"),
    ]
    kaggle.calls.clear()
    assert next(client(kaggle).leaderboard("cats")).rank == 1
    assert len(kaggle.calls) == 1  # pages are asked for as they are read


def test_names_from_elsewhere_are_one_line_that_steers_no_terminal(kaggle: KaggleEmulator) -> None:
    kaggle.fault("GetLeaderboard", "json", value={"submissions": [{"teamName": "\x1b]0;x\x07a\r\nb\u202ec\ud800"}]})
    (row,) = client(kaggle).leaderboard("cats")
    assert row.team == "]0;x a b c"


@pytest.mark.parametrize("hours", [1, 0, -3])
def test_the_skew_is_by_how_much_this_clock_is_ahead(
    kaggle: KaggleEmulator, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    clock = Clock()
    moved = SimpleNamespace(time=lambda: clock.time() + 3600 * hours, monotonic=clock.monotonic)
    monkeypatch.setattr(transport, "time", moved)
    speaker = client(kaggle)
    assert speaker.transport.skew is None
    kaggle.fault("Hello", "401")
    error_of(speaker.user)
    assert speaker.transport.skew is not None
    assert abs(speaker.transport.skew - 3600 * hours) < 60


def test_rules_can_be_asked_about_without_a_transfer(kaggle: KaggleEmulator) -> None:
    client(kaggle).check_rules("cats")
    assert asked(kaggle) == ["DownloadDataFiles"]
    kaggle.competitions["cats"].rules_accepted = False
    assert error_of(lambda: client(kaggle).check_rules("cats")).kind == "rules"
    kaggle.competitions["cats"].rules_accepted = True
    kaggle.fault("DownloadDataFiles", "html")
    assert error_of(lambda: client(kaggle).check_rules("cats")).kind == "odd"


@pytest.mark.parametrize(("hashes", "has_md5"), [(("crc32c", "md5"), True), (("md5",), True), ((), False)])
def test_the_archive_is_described_without_a_transfer(
    kaggle: KaggleEmulator, hashes: tuple[str, ...], has_md5: bool
) -> None:
    kaggle.hashes = hashes
    found, stored = client(kaggle).archive("cats"), kaggle.objects[kaggle.competitions["cats"].archive]
    assert (found.size, found.etag) == (len(stored.data), stored.etag)
    assert found.md5 == (stored.etag.strip('"') if has_md5 else None)


# --- errors -------------------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[KaggleClient, Path], object]] = {
    **{method: lambda client, file, ask=ask: ask(client) for method, ask in QUESTIONS.items()},
    "storage": lambda client, file: client.archive("cats"),
    "StartSubmissionUpload": lambda client, file: client.upload("cats", file),
    "upload": lambda client, file: client.upload("cats", file),
    "CreateSubmission": lambda client, file: client.submit("cats", client.upload("cats", file), "tag"),
}
OUTCOMES = {  # fault: kind of the error from an RPC, DownloadDataFiles, the storage's download and upload; - for none
    "400 quota": "rejected rejected server server",
    "401": "auth auth server server",
    "403 rules": "rules rules server server",
    "403 denied": "denied denied server server",
    "404": "missing missing server server",
    "expired": "denied denied server server",
    "429": "limit limit limit limit",
    "500": "server server server server",
    "502": "server server server server",
    "503": "server server server server",
    "504": "server server server server",
    "reset": "network network network network",
    "hang": "network network network network",
    "drop": "network - - -",  # before the body, which nothing else is read of
    "truncated": "odd - - -",
    "trickle": "- - - -",
    "html": "odd odd odd -",
    "empty": "odd odd odd -",
    "json": "odd odd odd -",
    "redirect": "odd odd - server",
    "redirect loop": "odd odd odd server",
}
WORDS = {  # in answer to an RPC, beside the kind
    "400 quota": "has used its daily Submission allowance",
    "401": "make a token at https://www.kaggle.com/settings",
    "403 rules": f"{RULES.rstrip('.')}; accept them at {RULES_PAGE}, then type the same command",
    "403 denied": f"{DENIED}; is competition.slug=cats right",
    "404": "Not found; ",
    "429": "too many requests, it asks to wait 1 s",
    "500": "Internal error",
    "502": "Bad gateway",
    "503": "The service is currently unavailable",
    "504": "Deadline exceeded",
    "reset": "the connection broke off",
    "hang": "no answer in time",
    "drop": "the connection broke off",
    "truncated": "not JSON",
    "html": "a web page",
    "empty": "empty",
    "json": "is not what its API gives",
}
MISTAKES = ("rejected", "auth", "rules", "denied", "missing")  # which no other try mends


@pytest.mark.parametrize("place", CALLS)
@pytest.mark.parametrize("fault", OUTCOMES)
def test_every_call_by_every_fault(
    kaggle: KaggleEmulator, clock: Clock, tmp_path: Path, fault: str, place: str
) -> None:
    """Lasting, it is one error of its kind; once, it is borne if another try mends it and it cannot have counted."""
    (tmp_path / "a.csv").write_text("x")
    columns = dict(zip(("DownloadDataFiles", "storage", "upload"), OUTCOMES[fault].split()[1:], strict=True))
    kind = columns.get(place, OUTCOMES[fault].split()[0])
    name = {"storage": "GET storage", "upload": "PUT storage"}.get(place, place)
    is_unsure = place == "CreateSubmission" and kind in ("server", "network", "odd")

    def tried(times: int | None) -> KaggleError | None:
        kaggle.calls.clear()
        kaggle.faults.clear()
        kaggle.fault(place, fault, times, counted=is_unsure, **({"keep": 1} if fault == "truncated" else {}))
        speaker = client(kaggle, timeout=0.2, patience=2, pause=clock.pause)
        return outcome(lambda: CALLS[place](speaker, tmp_path / "a.csv"), kaggle)[1]

    lasting = tried(None)
    assert (lasting.kind if lasting else "-") == kind
    tries = 1 if is_unsure or kind in ("-", *MISTAKES) else 11 if kind == "limit" else 2
    assert asked(kaggle).count(name) == tries
    assert "GET elsewhere" not in asked(kaggle) or "redirect" in fault
    if lasting and place not in columns:
        assert place in str(lasting)
        assert WORDS.get(fault, "") in str(lasting) or (place == "Hello" and "403" in fault)  # which is of none
    if lasting and place == "CreateSubmission":
        assert lasting.harmless != is_unsure

    before, kaggle.error_shape = kaggle.counted("cats"), "flat"
    once = tried(1)
    assert (once.kind if once else "-") == (kind if is_unsure or kind in MISTAKES else "-")
    assert asked(kaggle).count(name) == (1 if once or kind == "-" else 2)
    assert kaggle.counted("cats") - before == (place == "CreateSubmission" and (is_unsure or not once))


@pytest.mark.parametrize("fault", ["html", "empty", "json", "drop", "truncated", "trickle"])
def test_an_upload_is_done_when_the_storage_says_so(kaggle: KaggleEmulator, tmp_path: Path, fault: str) -> None:
    """A page in place of its answer is found out by CreateSubmission, which then surely does nothing."""
    (tmp_path / "a.csv").write_text("the file")
    kaggle.fault("upload", fault)
    speaker = client(kaggle)
    token = speaker.upload("cats", tmp_path / "a.csv")
    if kaggle.uploads[token].done:
        assert (kaggle.uploads[token].file_name, kaggle.uploads[token].data) == ("a.csv", b"the file")
    else:
        assert error_of(lambda: speaker.submit("cats", token, "")).harmless


@pytest.mark.parametrize("code", [408, 418, 451, 499, 507])
def test_other_numbers_have_a_kind_too(kaggle: KaggleEmulator, code: int) -> None:
    kaggle.fault("Hello", "say", code=code, message="")
    error = error_of(client(kaggle).user)
    assert error.kind == ("server" if code in (408, 507) else "rejected")
    assert str(error).startswith(f"Kaggle answered {code} to Hello")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("401", "auth"), ("403 rules", "denied"), ("404", "missing"), ("429", "limit"), ("503", "server")],
)
def test_an_error_in_a_web_page_is_known_by_its_number(kaggle: KaggleEmulator, fault: str, kind: str) -> None:
    kaggle.fault("Hello", fault, None, html=True)
    error = error_of(client(kaggle).user)
    assert error.kind == kind
    assert "<" not in str(error)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'"no"', b'{"error": 3}', b'{"message": {}}', b"\xff", b"[" * 9999]
)
def test_an_error_without_a_message_is_known_by_its_number(kaggle: KaggleEmulator, data: bytes) -> None:
    kaggle.fault("Hello", "body", code=401, data=data)
    assert error_of(client(kaggle).user).kind == "auth"


@pytest.mark.parametrize("value", [None, 1, 0.5, True, "text", [], [1], [{"files": []}]])
@pytest.mark.parametrize("method", [name for name in QUESTIONS if name != "DownloadDataFiles"])
def test_an_answer_that_is_no_object_is_an_error(kaggle: KaggleEmulator, method: str, value: object) -> None:
    kaggle.fault(method, "json", value=value)
    assert error_of(lambda: QUESTIONS[method](client(kaggle))).kind == "odd"


@pytest.mark.parametrize("rows", [1, "rows", {"a": 1}, True])
def test_rows_that_are_no_list_are_an_error(kaggle: KaggleEmulator, rows: object) -> None:
    for method in LISTS:
        kaggle.fault(method, "json", value={"files": rows, "submissions": rows})
        assert "has no list of" in str(error_of(lambda method=method: QUESTIONS[method](client(kaggle))))


def test_an_answer_that_drips_without_end_is_given_up(kaggle: KaggleEmulator) -> None:
    kaggle.fault("GetSubmissionLimits", "trickle", piece=1, pause=0.1)
    assert "does not end" in str(error_of(lambda: client(kaggle, timeout=0.3).limits("cats")))


def test_an_answer_that_is_too_large_is_given_up(kaggle: KaggleEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_JSON", 1000)
    kaggle.fault("Hello", "json", value={"userName": "x" * 1001})
    assert "does not end" in str(error_of(client(kaggle).user))


def test_no_connection_is_harmless(clock: Clock) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    speaker = KaggleClient(Credentials("", "x"), endpoint=endpoint, patience=60, pause=clock.pause)
    error = error_of(lambda: speaker.submit("cats", "token", ""))
    assert (error.kind, error.harmless) == ("network", True)
    assert "check the network" in str(error)
    assert clock.pauses == [1, 2, 4, 8, 16]


# --- what is repeated, and when -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patience", "pauses"),
    [(0, []), (0.9, []), (1.1, [1]), (60, [1, 2, 4, 8, 16]), (10**6, [1, 2, 4, 8, 16, 30, 30, 30, 30, 30])],
)
def test_questions_are_repeated_ever_more_slowly(
    kaggle: KaggleEmulator, clock: Clock, patience: float, pauses: list[float]
) -> None:
    kaggle.fault("Hello", "503", None)
    error_of(client(kaggle, patience=patience, pause=clock.pause).user)
    assert clock.pauses == pauses
    assert asked(kaggle) == ["Hello"] * (len(pauses) + 1)


def test_pauses_differ_by_chance_so_that_not_all_come_back_at_once(
    kaggle: KaggleEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    kaggle.fault("Hello", "503", 8)
    for _ in range(8):
        client(kaggle, patience=60, pause=pauses.append).user()
        kaggle.fault("Hello", "503")
    assert len(set(pauses)) == len(pauses)
    assert all(0.75 <= pause <= 40 for pause in pauses)


@pytest.mark.parametrize(
    ("after", "pauses"),
    [(0, [0] * 10), (7, [7] * 10), (100, [100] * 3), (300, [300]), (301, []), (10**12, []), ("9" * 999, [])],
)
def test_kaggle_is_obeyed_when_it_asks_to_wait_unless_that_is_absurd(
    kaggle: KaggleEmulator, clock: Clock, after: int | str, pauses: list[float]
) -> None:
    kaggle.fault("Hello", "429", None, retry_after=after)
    error = error_of(client(kaggle, patience=0, pause=clock.pause).user)
    assert error.retry_after == min(float(after), 1e9)
    assert clock.pauses == pauses
    assert len(kaggle.calls) == len(pauses) + 1


@pytest.mark.parametrize("after", [None, "", "soon", "-5", "1.5", "٣", "Mon, 99 May 2024"])
def test_without_a_time_to_wait_it_is_as_with_other_errors(
    kaggle: KaggleEmulator, clock: Clock, after: str | None
) -> None:
    if after == "٣":
        after = "\u00b3"  # a digit that HTTP can carry
    kaggle.fault("Hello", "429", None, retry_after=after)
    error = error_of(client(kaggle, patience=5, pause=clock.pause).user)
    assert (error.kind, error.retry_after) == ("limit", None)
    assert clock.pauses == [1, 2]


@pytest.mark.parametrize("hours", [0, 5])
def test_a_moment_to_wait_for_is_by_kaggles_clock(
    kaggle: KaggleEmulator, clock: Clock, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    monkeypatch.setattr(clock, "time", lambda: Clock().time() - 3600 * hours)
    kaggle.fault("Hello", "429", retry_after=datetime.now(UTC) + timedelta(seconds=100))
    kaggle.fault("Hello", "429", retry_after=datetime(2020, 1, 1, tzinfo=UTC))
    assert client(kaggle, pause=clock.pause).user() == kaggle.username
    future, past = clock.pauses
    assert 60 < future <= 101
    assert past == 0


def test_waits_that_kaggle_asks_for_are_beside_the_patience(kaggle: KaggleEmulator, clock: Clock) -> None:
    kaggle.fault("Hello", "429", retry_after=200)
    kaggle.fault("Hello", "503", None)
    error_of(client(kaggle, patience=8, pause=clock.pause).user)
    assert clock.pauses == [200, 2, 4]


# --- where requests go --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://api.kaggle.com",
        "https://api.kaggle.com/v1/",
        "https://proxy.example:8443/kaggle",
        "http://127.0.0.1:80",
        "http://localhost",
        "http://[::1]:9/",
    ],
)
def test_good_endpoints(endpoint: str) -> None:
    base = KaggleClient(Credentials("", "x"), endpoint=endpoint).transport.base
    assert base == endpoint.rstrip("/").removesuffix("/v1") + "/v1"


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "api.kaggle.com",
        "//api.kaggle.com",
        "http://api.kaggle.com",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "http://127.0.0.1.evil.org",
        "http://localhost.evil.org",
        "http://evil.org/127.0.0.1",
        "http://evil.org#127.0.0.1",
        "http://127.0.0.1@evil.org",
        "http://evil.org@127.0.0.1",
        "http://evil.org\\@127.0.0.1",
        "http://evil.org[::1]",
        "http://[::1",
        "https://[::1",
        "https://",
        "https://user@api.kaggle.com",
        "https://api.kaggle.com?next=",
        "https://api.kaggle.com/#",
        "https://x\x1b[31m.org@y",
    ],
)
def test_endpoints_that_must_not_see_the_token(endpoint: str) -> None:
    with pytest.raises(UserError) as caught:
        KaggleClient(Credentials("", "x"), endpoint=endpoint)
    assert str(caught.value).startswith("kaggle.endpoint")
    assert str(caught.value).isprintable()


def test_the_public_endpoint_is_kaggles() -> None:
    assert KaggleClient(Credentials("", "x")).transport.base == "https://api.kaggle.com/v1"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_credentials_go_to_the_api_alone(kaggle: KaggleEmulator, tmp_path: Path, code: int) -> None:
    kaggle.redirect_code = code
    kaggle.fault("storage", "redirect")
    client(kaggle).open_archive("cats", {}).close()
    submit(kaggle, tmp_path)
    seen = {call.name: "Authorization" in call.headers for call in kaggle.calls}
    assert seen == {
        "DownloadDataFiles": True,
        "GET storage": False,
        "GET elsewhere": False,
        "StartSubmissionUpload": True,
        "PUT storage": False,
        "CreateSubmission": True,
    }


def test_an_answer_in_a_redirect_is_none(kaggle: KaggleEmulator) -> None:
    kaggle.fault("Hello", "body", code=302, data=b'{"userName": "x"}', Location=kaggle.elsewhere)
    assert error_of(client(kaggle).user).kind == "odd"
    assert asked(kaggle) == ["Hello"]


def test_a_redirect_without_end_is_left(kaggle: KaggleEmulator) -> None:
    kaggle.fault("DownloadDataFiles", "redirect loop")
    assert "without end" in str(error_of(lambda: client(kaggle).archive("cats")))
    assert 2 <= asked(kaggle).count("GET elsewhere") <= 5


@pytest.mark.parametrize("place", ["DownloadDataFiles", "storage"])
@pytest.mark.parametrize(
    ("to", "kind"),
    [
        ("http://storage.googleapis.com/a", "denied"),
        ("//storage.googleapis.com/a", "denied"),
        ("http://127.0.0.1.evil.org/", "denied"),
        ("http://evil.org\\@127.0.0.1/", "denied"),
        ("ftp://evil.org/a", "denied"),
        ("http://\x1b[31mevil.org/", "odd"),
        ("http://\x07evil.org/", "denied"),
        ("http://[bad/", "odd"),
        ("file://localhost/etc/passwd", "network"),
        ("https://a..b/", "network"),
        ("https://" + "a" * 64 + "/", "network"),
        ("https://storage.googleapis.com:99999/a?Signature=SIGNATURE", "network"),
        ("http://127.0.0.1:9/a?Signature=SIGNATURE", "network"),
    ],
)
def test_no_redirect_leads_to_an_open_or_broken_address(
    kaggle: KaggleEmulator, monkeypatch: pytest.MonkeyPatch, place: str, to: str, kind: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", only_here)
    kaggle.fault(place, "redirect", to=to.replace("SIGNATURE", kaggle.signature))
    assert error_of(lambda: client(kaggle).archive("cats"), kaggle).kind == kind


def only_here(host: str, *rest: object, true: Any = socket.getaddrinfo, **options: object) -> Any:
    """`getaddrinfo`, which is asked for no other machine."""
    assert host == "127.0.0.1", f"a connection to {host}"
    return true(host, *rest, **options)


def test_an_upload_goes_to_no_open_address(kaggle: KaggleEmulator, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    kaggle.fault("StartSubmissionUpload", "json", value={"token": "t", "createUrl": "http://evil.org/a?b"})
    error = error_of(lambda: client(kaggle).upload("cats", tmp_path / "a.csv"))
    assert str(error) == "Kaggle sends to http://evil.org/…, which is not https: not followed"


def test_netrc_and_proxies_have_no_part_on_this_machine(
    kaggle: KaggleEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login mallory password other\ndefault login mallory password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    submit(kaggle, tmp_path)
    client(kaggle).open_archive("cats", {}).close()
    assert {call.headers.get("Authorization") for call in kaggle.calls} == {f"Bearer {kaggle.token}", None}
    assert kaggle.counted("cats") == 1


@pytest.mark.parametrize("address", ["https://storage.googleapis.com/a?b", "https://user:pw@storage.googleapis.com/a"])
def test_netrc_and_addresses_bring_no_credentials_to_the_storage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str
) -> None:
    (tmp_path / "netrc").write_text("default login mallory password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    prepared = transport.new_session(local=False).prepare_request(requests.Request("GET", address))
    assert "Authorization" not in prepared.headers


@pytest.mark.parametrize("place", ["DownloadDataFiles", "storage"])
def test_the_body_of_a_redirect_is_not_waited_for(
    kaggle: KaggleEmulator, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def endless(exchange: Exchange) -> Reply:
        reply = Reply(
            302, b"x" * 100, [("Location", f"{kaggle.elsewhere}{quote(kaggle.competitions['cats'].archive)}")]
        )
        return reply.broken(50, "hang")

    monkeypatch.setitem(FAULTS, "endless", endless)
    kaggle.fault(place, "endless")
    assert client(kaggle, timeout=0.5).archive("cats").size


# --- what nobody may see ------------------------------------------------------------------------------------------

STEERING = "\x1b[2J\x1b]0;owned\x07\r\nkagglepipe: all is well\x00\x9b31m\u202e\u2028\ud800"


@pytest.mark.parametrize("shape", ["nested", "flat"])
@pytest.mark.parametrize("code", [400, 401, 403, 404, 429, 500])
def test_words_of_the_server_cannot_steer_the_terminal(kaggle: KaggleEmulator, shape: str, code: int) -> None:
    kaggle.error_shape = shape
    kaggle.fault("Hello", "say", code=code, message=f"one{STEERING}two")
    told = str(error_of(client(kaggle).user))
    assert told.isprintable()
    assert "one [2J ]0;owned kagglepipe: all is well 31m two" in told


def test_words_of_the_server_are_cut_short(kaggle: KaggleEmulator) -> None:
    kaggle.fault("Hello", "say", code=400, message="long " * 10_000)
    assert len(str(error_of(client(kaggle).user))) < 500


@pytest.mark.parametrize("basic", [False, True])
@pytest.mark.parametrize("code", [400, 401, 403, 500])
def test_a_server_that_echoes_the_secret_is_not_quoted(kaggle: KaggleEmulator, basic: bool, code: int) -> None:
    echo = " ".join(("cannot use", kaggle.key if basic else kaggle.token, *secrets_of(kaggle)[2:3]))
    kaggle.fault("Hello", "say", code=code, message="x" * 280 + echo)
    assert "cannot use *" in str(error_of(client(kaggle, basic=basic).user, kaggle if basic else None))
    kaggle.fault("CreateSubmission", "json", value={"message": echo})
    assert "*" in str(error_of(lambda: client(kaggle, basic=basic).submit("cats", "x", "")))
    if not basic:
        kaggle.fault("Hello", "say", code=code, message=kaggle.token)
        error_of(client(kaggle).user, kaggle)


def test_a_secret_is_hidden_after_its_escapes_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    secret, answer = "KGAT_ab/cd+ef/0123", SimpleNamespace(status_code=200)
    echo = json.dumps({"message": f"cannot use {secret}", "userName": [{secret: secret}]})
    escaped = echo.replace("+", "\\u002B").replace("/", "\\/")  # as System.Text.Json and PHP write it
    monkeypatch.setattr(Transport, "post", lambda *_: answer)
    monkeypatch.setattr(Transport, "_text", lambda *_: escaped)
    who = KaggleClient(Credentials("", secret), patience=0)
    assert who.transport._error_message(answer, "Hello") == "cannot use ***"
    assert "said: cannot use ***" in str(error_of(lambda: who.submit("cats", "x", "")))
    assert who.transport.call("Hello", {})["userName"] == [{"***": "***"}]


def bad_header(exchange: Exchange) -> Reply:
    return exchange.proceed().with_header("", "a header without a name, which urllib3 warns of")


@pytest.mark.parametrize("logger", ["urllib3", "urllib3.connectionpool"])
def test_no_log_shows_a_secret_or_a_signed_address(
    kaggle: KaggleEmulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    logger: str,
) -> None:
    monkeypatch.setitem(FAULTS, "bad header", bad_header)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger)  # as hydra.verbose=LOGGER sets it before there is a client
    for place in ("storage", "upload", "DownloadDataFiles", "StartSubmissionUpload"):
        for fault in ("bad header", "reset", "503", "drop"):
            kaggle.fault(place, fault)
    (tmp_path / "a.csv").write_text("x")
    for basic in (False, True):
        speaker = client(kaggle, basic=basic, patience=10**6)
        speaker.archive("cats")
        speaker.submit("cats", speaker.upload("cats", tmp_path / "a.csv"), "")
        speaker.user()
    assert "trying again" in caplog.text
    assert not [secret for secret in secrets_of(kaggle) if secret in caplog.text]


# --- submitting ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("details", [{"after": 5}, {"after": 5, "how": "reset"}, {"after": 10**6}])
def test_one_submission_is_counted_at_most_wherever_the_answer_ends(
    kaggle: KaggleEmulator, tmp_path: Path, details: dict[str, Any]
) -> None:
    (tmp_path / "a.csv").write_text("x")
    speaker = client(kaggle, timeout=0.3, patience=10**6)
    token = speaker.upload("cats", tmp_path / "a.csv")
    kaggle.fault("CreateSubmission", "drop", **details)
    ref, error = outcome(lambda: speaker.submit("cats", token, "tag"), kaggle)
    assert (error is None) == (details["after"] == 10**6)
    assert not error or not error.harmless
    assert asked(kaggle).count("CreateSubmission") == kaggle.counted("cats") == 1
    assert error or kaggle.submissions("cats")[0].ref == ref


def test_a_submission_that_may_have_arrived_is_not_sent_again(
    kaggle: KaggleEmulator, clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("x")
    speaker = client(kaggle, timeout=0.3, patience=60, pause=clock.pause)
    token = speaker.upload("cats", tmp_path / "a.csv")
    kaggle.fault("CreateSubmission", "429", 2, retry_after=3)  # which surely did nothing
    kaggle.fault("CreateSubmission", "reset", counted=True)
    assert not error_of(lambda: speaker.submit("cats", token, ""), kaggle).harmless
    assert asked(kaggle).count("CreateSubmission") == 3
    assert clock.pauses == [3, 3]
    assert kaggle.counted("cats") == 1


def test_a_refused_submission_says_why(kaggle: KaggleEmulator, tmp_path: Path) -> None:
    kaggle.competitions["cats"].quota = 0
    error = error_of(lambda: submit(kaggle, tmp_path))
    assert (error.kind, error.harmless) == ("rejected", True)
    assert quota_message(0).rstrip(".") in str(error)


@pytest.mark.parametrize("ref", [0, None, "", "x", -1, 1.5, True, [7]])
def test_a_submission_without_a_number_is_an_error(kaggle: KaggleEmulator, ref: object) -> None:
    kaggle.fault("CreateSubmission", "json", value={"ref": ref, "message": f"Could not submit{STEERING}"})
    error = error_of(lambda: client(kaggle).submit("cats", "token", ""))
    assert not error.harmless
    assert "gave the submission no number, and said: Could not submit" in str(error)


def test_an_upload_does_not_wait_for_words_after_the_status(
    kaggle: KaggleEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def endless(exchange: Exchange) -> Reply:
        reply = exchange.proceed()
        reply.body = b"x" * 100
        return reply.broken(50, "hang")

    monkeypatch.setitem(FAULTS, "endless", endless)
    (tmp_path / "a.csv").write_text("x")
    kaggle.fault("upload", "endless")
    assert kaggle.uploads[client(kaggle, timeout=0.5).upload("cats", tmp_path / "a.csv")].done


def test_every_upload_starts_with_a_new_address(kaggle: KaggleEmulator, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    kaggle.fault("upload", "503", 2)
    token = client(kaggle, patience=60).upload("cats", tmp_path / "a.csv")
    assert asked(kaggle) == ["StartSubmissionUpload", "PUT storage"] * 3
    assert [name for name, upload in kaggle.uploads.items() if upload.done] == [token]


@pytest.mark.parametrize("value", [{}, {"token": "t"}, {"createUrl": "https://x"}, {"token": 1, "createUrl": ["x"]}])
def test_an_upload_needs_a_place(kaggle: KaggleEmulator, tmp_path: Path, value: object) -> None:
    (tmp_path / "a.csv").write_text("x")
    kaggle.fault("StartSubmissionUpload", "json", value=value)
    error = error_of(lambda: client(kaggle).upload("cats", tmp_path / "a.csv"))
    assert "names no place to upload to" in str(error)


# --- anything at all ----------------------------------------------------------------------------------------------

KEYS = (
    "files", "submissions", "nextPageToken", "name", "totalBytes", "ref", "status", "publicScore", "description",
    "teamName", "score", "userName", "numToday", "numAllowedNow", "limitedByTotal", "token", "createUrl", "message",
    "error", "code",
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)
BODIES = st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode())
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Location", "Content-Type", "Content-Encoding", "Retry-After", "Date", "ETag", "x-goog-hash", "Content-Range"]
    ),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20)
    | st.sampled_from(["gzip", "bytes 0-1/2", "md5=" + "A" * 22 + "==", '"e"', "text/html", "//127.0.0.1:1/", "Mon"]),
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.sampled_from(sorted(CALLS)),
    data=BODIES,
    code=st.sampled_from([200, 201, 204, 206, 302, 304, 307, 400, 401, 403, 416, 429, 500]),
    headers=HEADERS,
)
def test_whatever_is_answered_ends_in_a_value_or_a_kaggle_error(
    kaggle: KaggleEmulator, tmp_path: Path, place: str, data: bytes, code: int, headers: dict[str, str]
) -> None:
    (tmp_path / "a.csv").write_text("x")
    kaggle.faults.clear()
    kaggle.fault(place, "any", None, data=data, code=code, headers=headers)
    outcome(lambda: CALLS[place](client(kaggle, timeout=1), tmp_path / "a.csv"), kaggle)
    assert kaggle.counted("cats") == 0


def anything(exchange: Exchange, data: bytes, code: int, headers: dict[str, str]) -> Reply:
    return Reply(code, data, list(headers.items()))


@pytest.fixture(autouse=True)
def _any_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAULTS, "any", anything)
