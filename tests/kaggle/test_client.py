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
from kagglepipe.kaggle import errors, retries, transport
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
Call = Callable[[KaggleClient], Any]


@pytest.fixture
def kaggle(kaggle: KaggleEmulator) -> KaggleEmulator:
    """An emulator with the competition "cats"."""
    kaggle.add_competition("cats", small_archive(size=2000), answers=ANSWERS)
    return kaggle


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text("the file")
    return tmp_path / "a.csv"


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
    monkeypatch.setattr(retries, "time", clock)
    monkeypatch.setattr(retries.random, "uniform", lambda low, high: (low + high) / 2)
    return clock


def client(kaggle: KaggleEmulator, *, basic: bool = False, **options: Any) -> KaggleClient:
    """One that tries once, unless it is told to be patient, and never waits."""
    who = Credentials("here", kaggle.key, kaggle.username) if basic else Credentials("here", kaggle.token)
    usual: dict[str, Any] = {"endpoint": kaggle.endpoint, "timeout": 5, "patience": 0, "pause": lambda seconds: None}
    return KaggleClient(who, **{**usual, **options})


def outcome(call: Callable[[], Any], kaggle: KaggleEmulator | None = None) -> tuple[Any, KaggleError | None]:
    """What a call returns, or its error: one line for people, without a secret in it or in its traceback."""
    try:
        return call(), None
    except KaggleError as error:
        found = error
    assert str(found).isprintable()
    text = "".join(traceback.format_exception(found))
    assert not [secret for secret in (secrets_of(kaggle) if kaggle else ()) if secret in text]
    return None, found


def error_of(call: Callable[[], object], kaggle: KaggleEmulator | None = None) -> KaggleError:
    found = outcome(call, kaggle)[1]
    assert found is not None
    return found


def secrets_of(kaggle: KaggleEmulator) -> tuple[str, ...]:
    pair = base64.b64encode(f"{kaggle.username}:{kaggle.key}".encode()).decode()
    return kaggle.token, kaggle.key, pair, kaggle.signature, quote(kaggle.signature, safe="")


def asked(kaggle: KaggleEmulator) -> list[str]:
    """What was asked of the emulator, in order."""
    return [call.name for call in kaggle.calls]


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


def test_lists_come_page_by_page_as_they_are_read(kaggle: KaggleEmulator) -> None:
    files = {f"images/{number} ñ.jpg": b"x" * number for number in range(1, 251)}
    kaggle.add_competition("dogs", small_archive(), files=files)
    assert client(kaggle).files("dogs") == [RemoteFile(name, len(data)) for name, data in files.items()]
    kaggle.largest_page = 1
    assert [file.name for file in client(kaggle).files("cats", most=2)] == list(kaggle.competitions["cats"].files)[:2]
    assert list(client(kaggle).leaderboard("cats")) == [
        Standing(1, "Night owls", "0.90000"),
        Standing(2, "Early birds", "0.80000"),
        Standing(3, "Ünï çode, Inc.", "0.55000"),
    ]
    assert next(client(kaggle).leaderboard("cats")).rank == 1
    assert asked(kaggle) == ["ListDataFiles"] * 3 + ["ListDataFiles"] * 2 + ["GetLeaderboard"] * 4  # 100 rows a page


STEERING = "\x1b[2J\x1b]0;owned\x07\r\nkagglepipe: all is well\x00\x9b31m\u202e\u2028\ud800"
SAID = "one [2J ]0;owned kagglepipe: all is well 31m two"


@pytest.mark.parametrize(
    ("method", "value", "expected"),
    [
        (
            "ListDataFiles",
            {"files": [{"name": "a", "totalBytes": "12"}, {"name": f"one{STEERING}two"}, 3, None, {"totalBytes": -1}]},
            [RemoteFile("a", 12), RemoteFile(SAID, None), RemoteFile("", None)],
        ),
        ("GetLeaderboard", {"submissions": [{"teamName": f"one{STEERING}two"}]}, [Standing(1, SAID, "")]),
        ("GetSubmissionLimits", {"numToday": "3", "limitedByTotal": True}, Limits(3, 0, True)),
        ("GetSubmissionLimits", {"numAllowedNow": 1}, Limits(0, 1, False)),
        ("GetSubmissionLimits", {}, None),
        ("Hello", {"userName": f"one{STEERING}two"}, SAID),
        ("Hello", {"userName": 3}, ""),
    ],
)
def test_an_answer_is_read_whatever_it_leaves_out(
    kaggle: KaggleEmulator, method: str, value: object, expected: object
) -> None:
    kaggle.fault(method, "json", value=value)
    assert QUESTIONS[method](client(kaggle)) == expected


@pytest.mark.parametrize(
    ("score", "value"),
    [("0.5", 0.5), (1, 1.0), ("-1e-3", -0.001), ("", None), (None, None), ("nan", None), ("1e999", None), ([], None)],
)
def test_a_score_is_a_finite_number_or_none(kaggle: KaggleEmulator, score: object, value: float | None) -> None:
    kaggle.fault("ListSubmissions", "json", value={"submissions": [{"ref": 1, "publicScore": score}]})
    assert [row.public for row in client(kaggle).submissions("cats")] == [value]


@pytest.mark.parametrize("method", LISTS)
def test_a_page_that_leads_to_itself_is_read_twice_at_most(kaggle: KaggleEmulator, method: str) -> None:
    rows = [{"name": "a", "ref": 1}]
    kaggle.fault(method, "json", None, value={"files": rows, "submissions": rows, "nextPageToken": "again"})
    assert len(QUESTIONS[method](client(kaggle))) == 2


def submit(kaggle: KaggleEmulator, folder: Path, name: str = "a.csv", answers: Mapping[str, str] = ANSWERS) -> int:
    """The number of a new submission."""
    (folder / name).write_text("\n".join(["ID,Ground_Truth", *map(",".join, answers.items()), ""]))
    speaker = client(kaggle)
    return speaker.submit("cats", speaker.upload("cats", folder / name), f"about {name}")


@pytest.mark.parametrize("omit", [True, False])
def test_limits_that_are_zero_are_left_out_by_kaggle(kaggle: KaggleEmulator, tmp_path: Path, omit: bool) -> None:
    kaggle.omit_defaults, kaggle.competitions["cats"].quota = omit, 1
    assert client(kaggle).limits("cats") == Limits(used_today=0, left=1, by_total=False)
    submit(kaggle, tmp_path)
    assert client(kaggle).limits("cats") == Limits(used_today=1, left=0, by_total=False)


def test_submissions_come_latest_first_with_what_became_of_them(kaggle: KaggleEmulator, tmp_path: Path) -> None:
    kaggle.largest_page = 1
    good, bad, half = submit(kaggle, tmp_path), submit(kaggle, tmp_path, "b", {"1": "0"}), submit(kaggle, tmp_path, "c")
    list(client(kaggle).submissions("cats"))  # a look, after which they are graded
    kaggle.submissions("cats")[2].looks = 0
    fault, team = "Submission must have 2 rows of 2 values", kaggle.username
    found = list(client(kaggle).submissions("cats"))
    assert found == [
        Submission(half, "pending", None, None, "about c", team, ""),
        Submission(bad, "error", None, None, "about b", team, fault),
        Submission(good, "complete", 1.0, None, "about a.csv", team, ""),
    ]
    scores = {"public_score": 1.0, "private_score": None}
    assert found[2].as_columns() == {"ref": good, "status": "complete", **scores, "error": ""}
    kaggle.competitions["cats"].show_private = True
    assert next(row for row in client(kaggle).submissions("cats") if row.ref == good).private == 1.0


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


def test_kinds_of_error_may_count_as_no_submission(kaggle: KaggleEmulator) -> None:
    kaggle.fault("ListSubmissions", "403 denied", None)
    assert list(client(kaggle).submissions("cats", empty_if=("denied",))) == []
    assert error_of(lambda: list(client(kaggle).submissions("cats", empty_if=("rejected",)))).kind == "denied"


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
    assert speaker.transport.skew == pytest.approx(3600 * hours, abs=60)


def test_rules_can_be_asked_about_without_a_transfer(kaggle: KaggleEmulator) -> None:
    client(kaggle).check_rules("cats")
    assert asked(kaggle) == ["DownloadDataFiles"]
    kaggle.fault("DownloadDataFiles", "html")
    assert error_of(lambda: client(kaggle).check_rules("cats")).kind == "odd"
    kaggle.competitions["cats"].rules_accepted = False
    assert error_of(lambda: client(kaggle).check_rules("cats")).kind == "rules"


@pytest.mark.parametrize("has_md5", [True, False])
def test_the_archive_is_described_without_a_transfer(kaggle: KaggleEmulator, has_md5: bool) -> None:
    kaggle.has_md5 = has_md5
    found, stored = client(kaggle).archive("cats"), kaggle.objects[kaggle.competitions["cats"].archive]
    assert (found.size, found.etag) == (len(stored.data), stored.etag)
    assert found.md5 == (stored.etag.strip('"') if has_md5 else None)


# --- every call by every fault ------------------------------------------------------------------------------------

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
def test_every_call_by_every_fault(kaggle: KaggleEmulator, clock: Clock, file: Path, fault: str, place: str) -> None:
    """Lasting, it is one error of its kind; once, it is borne if another try mends it and it cannot have counted."""
    columns = dict(zip(("DownloadDataFiles", "storage", "upload"), OUTCOMES[fault].split()[1:], strict=True))
    kind = columns.get(place, OUTCOMES[fault].split()[0])
    name = {"storage": "GET storage", "upload": "PUT storage"}.get(place, place)
    is_unsure = place == "CreateSubmission" and kind in ("server", "network", "odd")

    def tried(times: int | None) -> KaggleError | None:
        kaggle.calls.clear()
        kaggle.faults.clear()
        kaggle.fault(place, fault, times, counted=is_unsure, **({"keep": 1} if fault == "truncated" else {}))
        speaker = client(kaggle, timeout=0.5 if fault == "hang" else 20, patience=2, pause=clock.pause)
        return outcome(lambda: CALLS[place](speaker, file), kaggle)[1]

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


OTHER_ANSWERS: list[tuple[str, str, dict[str, Any], str, str]] = [  # method, fault, details; kind, words of the error
    *(("Hello", "say", {"code": code, "message": ""}, "rejected", f"answered {code}") for code in (418, 451, 499)),
    *(("Hello", "say", {"code": code, "message": ""}, "server", f"answered {code}") for code in (408, 507)),
    ("Hello", "say", {"code": 400, "message": "long " * 10_000}, "rejected", "long long"),  # and is cut short
    *(  # in a web page an error is known by its number
        ("Hello", fault, {"html": True}, kind, "answered")
        for fault, kind in {"401": "auth", "403 rules": "denied", "404": "missing", "503": "server"}.items()
    ),
    ("Hello", "429", {"html": True, "retry_after": 400}, "limit", "answered"),
    *(  # and so is one without a message
        ("Hello", "answer", {"code": 401, "data": data}, "auth", "make a token")
        for data in (b"", b"{", b"[]", b"null", b'"no"', b'{"error": 3}', b'{"message": {}}', b"\xff", b"[" * 9999)
    ),
    *(
        (method, "json", {"value": value}, "odd", "is not what its API gives")
        for method in QUESTIONS if method != "DownloadDataFiles"
        for value in (None, 0.5, "text", [{"files": []}])
    ),
    *(
        (method, "json", {"value": {"files": rows, "submissions": rows}}, "odd", "has no list of")
        for method in LISTS
        for rows in (1, "rows", {"a": 1}, True)
    ),
    ("Hello", "answer", {"code": 302, "data": b'{"userName": "x"}', "Location": "http://[::1]"}, "odd", "not what"),
    ("GetSubmissionLimits", "trickle", {"piece": 1, "pause": 0.1}, "odd", "does not end"),
    ("Hello", "json", {"value": {"userName": "x" * 200_001}}, "odd", "does not end"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "fault", "details", "kind", "words"), OTHER_ANSWERS)
def test_any_other_answer_is_an_error_of_its_kind(
    kaggle: KaggleEmulator,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    fault: str,
    details: dict[str, Any],
    kind: str,
    words: str,
) -> None:
    monkeypatch.setattr(transport, "MAX_JSON", 200_000)
    kaggle.fault(method, fault, **details)
    error = error_of(lambda: QUESTIONS[method](client(kaggle, timeout=0.3)))
    assert error.kind == kind
    assert words in str(error)
    assert "<" not in str(error)
    assert len(str(error)) < 500
    assert asked(kaggle) == [method]


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
    ("fault", "details", "patience", "pauses"),
    [
        ("503", {}, 0, []),
        ("503", {}, 0.9, []),
        ("503", {}, 1.1, [1]),
        ("503", {}, 60, [1, 2, 4, 8, 16]),
        ("503", {}, 10**6, [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]),
        # Kaggle is obeyed when it asks to wait, beside the patience, unless that is absurd
        *(
            ("429", {"retry_after": after}, 0, pauses)
            for after, pauses in [(0, [0] * 10), (7, [7] * 10), (100, [100] * 3), (300, [300])]
        ),
        *(("429", {"retry_after": after}, 0, []) for after in (301, 10**12, "9" * 999)),
        # without a time to wait it is as with other errors; ³ is a digit that HTTP can carry
        *(
            ("429", {"retry_after": after}, 5, [1, 2])
            for after in (None, "", "soon", "-5", "1.5", "\u00b3", "Mon, 99 May 2024")
        ),
    ],
)
def test_requests_are_repeated_ever_more_slowly_or_when_kaggle_says(
    kaggle: KaggleEmulator, clock: Clock, fault: str, details: dict[str, Any], patience: float, pauses: list[float]
) -> None:
    kaggle.fault("Hello", fault, None, **details)
    error = error_of(client(kaggle, patience=patience, pause=clock.pause).user)
    assert clock.pauses == pauses
    assert asked(kaggle) == ["Hello"] * (len(pauses) + 1)
    after = details.get("retry_after")
    assert error.retry_after == (min(float(after), 1e9) if after is not None and patience == 0 else None)


def test_pauses_differ_by_chance_so_that_not_all_come_back_at_once(kaggle: KaggleEmulator) -> None:
    pauses: list[float] = []
    kaggle.fault("Hello", "503", 8)
    for _ in range(8):
        client(kaggle, patience=60, pause=pauses.append).user()
        kaggle.fault("Hello", "503")
    assert len(set(pauses)) == len(pauses)
    assert all(0.75 <= pause <= 40 for pause in pauses)


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

GOOD = """
https://api.kaggle.com https://api.kaggle.com/v1/ https://proxy.example:8443/kaggle
http://127.0.0.1:80 http://localhost http://[::1]:9/
"""
BAD = """
api.kaggle.com //api.kaggle.com http://api.kaggle.com ftp://127.0.0.1 file:///etc/passwd http://127.0.0.1.evil.org
http://localhost.evil.org http://evil.org/127.0.0.1 http://evil.org#127.0.0.1 http://127.0.0.1@evil.org
http://evil.org@127.0.0.1 http://evil.org\\@127.0.0.1 http://evil.org[::1] http://[::1 https://[::1 https://
https://user@api.kaggle.com https://api.kaggle.com?next= https://api.kaggle.com/# https://x\x1b[31m.org@y
"""


def test_the_token_goes_to_https_and_to_this_machine_alone() -> None:
    assert KaggleClient(Credentials("", "x")).transport.base == "https://api.kaggle.com/v1"
    for endpoint in GOOD.split():
        base = KaggleClient(Credentials("", "x"), endpoint=endpoint).transport.base
        assert base == endpoint.rstrip("/").removesuffix("/v1") + "/v1"
    for endpoint in ("", *BAD.split()):
        with pytest.raises(UserError, match=r"^kaggle\.endpoint") as caught:
            KaggleClient(Credentials("", "x"), endpoint=endpoint)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_credentials_go_to_the_api_alone(kaggle: KaggleEmulator, tmp_path: Path, code: int) -> None:
    kaggle.redirect_code = code
    kaggle.fault("storage", "redirect")
    client(kaggle).open_archive("cats", {}).close()
    submit(kaggle, tmp_path)
    api = ("DownloadDataFiles", "StartSubmissionUpload", "CreateSubmission")
    seen = {call.name: "Authorization" in call.headers for call in kaggle.calls}
    assert seen == {name: name in api for name in (*api, "GET storage", "GET elsewhere", "PUT storage")}


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
    for address in ("https://storage.googleapis.com/a?b", "https://user:pw@storage.googleapis.com/a"):
        prepared = transport.new_session(local=False).prepare_request(requests.Request("GET", address))
        assert "Authorization" not in prepared.headers


@pytest.mark.parametrize("place", ["DownloadDataFiles", "storage"])
def test_the_body_of_a_redirect_is_not_waited_for(kaggle: KaggleEmulator, place: str) -> None:
    to = f"{kaggle.elsewhere}{quote(kaggle.competitions['cats'].archive)}"
    kaggle.fault(place, "answer", code=302, data=b"x" * 100, hang=True, Location=to)
    assert client(kaggle, timeout=0.5).archive("cats").size


# --- what nobody may see ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["nested", "flat"])
@pytest.mark.parametrize("code", [400, 401, 403, 404, 429, 500])
def test_words_of_the_server_cannot_steer_the_terminal(kaggle: KaggleEmulator, shape: str, code: int) -> None:
    kaggle.error_shape = shape
    kaggle.fault("Hello", "say", code=code, message=f"one{STEERING}two")
    assert SAID in str(error_of(client(kaggle).user))


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
    assert who.transport._error_message(answer, "Hello") == "cannot use ***"  # type: ignore[arg-type]
    assert "said: cannot use ***" in str(error_of(lambda: who.submit("cats", "x", "")))
    assert who.transport.call("Hello", {})["userName"] == [{"***": "***"}]


@pytest.mark.parametrize("logger", ["urllib3", "urllib3.connectionpool"])
def test_no_log_shows_a_secret_or_a_signed_address(
    kaggle: KaggleEmulator, monkeypatch: pytest.MonkeyPatch, file: Path, caplog: pytest.LogCaptureFixture, logger: str
) -> None:
    def bad_header(exchange: Exchange) -> Reply:
        return exchange.proceed().with_header("", "a header without a name, which urllib3 warns of")

    monkeypatch.setitem(FAULTS, "bad header", bad_header)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger)  # as hydra.verbose=LOGGER sets it before there is a client
    for place in ("storage", "upload", "DownloadDataFiles", "StartSubmissionUpload"):
        for fault in ("bad header", "reset", "503", "drop"):
            kaggle.fault(place, fault)
    for basic in (False, True):
        speaker = client(kaggle, basic=basic, patience=10**6)
        speaker.archive("cats")
        speaker.submit("cats", speaker.upload("cats", file), "")
        speaker.user()
    assert "trying again" in caplog.text
    assert not [secret for secret in secrets_of(kaggle) if secret in caplog.text]


# --- uploading and submitting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["html", "empty", "json", "drop", "truncated", "trickle"])
def test_an_upload_is_done_when_the_storage_says_so(kaggle: KaggleEmulator, file: Path, fault: str) -> None:
    """A page in place of its answer is found out by CreateSubmission, which then surely does nothing."""
    kaggle.fault("upload", fault)
    speaker = client(kaggle)
    token = speaker.upload("cats", file)
    if kaggle.uploads[token].done:
        assert (kaggle.uploads[token].file_name, kaggle.uploads[token].data) == ("a.csv", b"the file")
    else:
        assert error_of(lambda: speaker.submit("cats", token, "")).harmless


def test_an_upload_does_not_wait_for_words_after_the_status(kaggle: KaggleEmulator, file: Path) -> None:
    kaggle.fault("upload", "answer", counted=True, data=b"x" * 100, hang=True)
    assert kaggle.uploads[client(kaggle, timeout=0.5).upload("cats", file)].done


def test_every_upload_starts_with_a_new_address(kaggle: KaggleEmulator, file: Path) -> None:
    kaggle.fault("upload", "503", 2)
    token = client(kaggle, patience=60).upload("cats", file)
    assert asked(kaggle) == ["StartSubmissionUpload", "PUT storage"] * 3
    assert [name for name, upload in kaggle.uploads.items() if upload.done] == [token]


NO_PLACE = "Kaggle's answer to StartSubmissionUpload names no place to upload to"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        *((value, NO_PLACE) for value in ({}, {"token": "t"}, {"createUrl": "https://x"})),
        ({"token": 1, "createUrl": ["x"]}, NO_PLACE),
        (
            {"token": "t", "createUrl": "http://evil.org/a?b"},
            "Kaggle sends to http://evil.org/…, which is not https: not followed",
        ),
    ],
)
def test_an_upload_needs_a_safe_place(kaggle: KaggleEmulator, file: Path, value: object, words: str) -> None:
    kaggle.fault("StartSubmissionUpload", "json", value=value)
    assert str(error_of(lambda: client(kaggle).upload("cats", file))) == words


@pytest.mark.parametrize("details", [{"after": 5}, {"after": 5, "how": "reset"}, {"after": 10**6}])
def test_one_submission_is_counted_at_most_wherever_the_answer_ends(
    kaggle: KaggleEmulator, file: Path, details: dict[str, Any]
) -> None:
    speaker = client(kaggle, timeout=0.3, patience=10**6)
    token = speaker.upload("cats", file)
    kaggle.fault("CreateSubmission", "drop", **details)
    ref, error = outcome(lambda: speaker.submit("cats", token, "tag"), kaggle)
    assert (error is None) == (details["after"] == 10**6)
    assert not error or not error.harmless
    assert asked(kaggle).count("CreateSubmission") == kaggle.counted("cats") == 1
    assert error or kaggle.submissions("cats")[0].ref == ref


def test_a_submission_that_may_have_arrived_is_not_sent_again(kaggle: KaggleEmulator, clock: Clock, file: Path) -> None:
    speaker = client(kaggle, timeout=0.3, patience=60, pause=clock.pause)
    token = speaker.upload("cats", file)
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
NAMES = (
    "Location", "Content-Type", "Content-Encoding", "Retry-After", "Date", "ETag", "x-goog-hash", "Content-Range",
)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(NAMES),
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
    kaggle: KaggleEmulator, file: Path, place: str, data: bytes, code: int, headers: dict[str, str]
) -> None:
    kaggle.faults.clear()
    kaggle.fault(place, "answer", None, data=data, code=code, **headers)
    outcome(lambda: CALLS[place](client(kaggle, timeout=1), file), kaggle)
    assert kaggle.counted("cats") == 0
