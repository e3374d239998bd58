"""One command costs one submission at most, whatever goes wrong, and the ledger says what became of it."""

import hashlib
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.kaggle.account import connect
from kagglepipe.kaggle.client import KaggleClient, Limits
from kagglepipe.kaggle.ledger import COLUMNS, record
from kagglepipe.kaggle.upload import FIRST_LOOK, GROWTH, LONGEST_LOOK, LOOKS, upload, why_none_left
from kagglepipe.stages import submit
from kagglepipe.stages.download import with_sample_if_no_data
from kagglepipe.tools.commands import run_command
from tests.cats import ANSWERS, Cats, add_run, pause_by
from tests.kaggle.faults import DENIED, FAULTS, QUOTA, RULES, Exchange
from tests.kaggle.wire import Reply

UPLOAD = ("stage=submit", "submit.upload=true")
OUT_OF_FOLD = "out of fold accuracy 0.7500 (0.5000-0.9000)"
SCORED = f"submit: public score 0.66667, private hidden until the end; {OUT_OF_FOLD}"
WAITING = "submit: waiting for the score, 600 s at most (Ctrl-C is safe: stage=runs shows it later)"
NO_SCORE = "submit: submission 4001 has no score yet; type stage=runs later"


def send(cats: Cats, *overrides: str) -> None:
    """What the command does when the CSV of the run `one` is written."""
    csv, config = cats.root / "submissions/one.csv", cats.at(*UPLOAD, *overrides)
    facts = submit.ledger_facts(config.competition.slug, config.root, csv, read_json(csv.with_suffix(".json")))
    upload(connect(config.kaggle), csv, facts, config.ledger_file, config.submit)


def make_and_send(cats: Cats, *overrides: str) -> None:
    """What the command does when all before `submit` is done."""
    submit.run(cats.at(*UPLOAD, *overrides))


def refused(cats: Cats, *overrides: str, by: Callable[..., None] = send) -> str:
    """The line in which the command ends."""
    with pytest.raises(UserError) as caught:
        by(cats, *overrides)
    return cats.shown(caught.value)


def statuses(cats: Cats) -> list[str]:
    return [row["status"] for row in cats.rows()]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines that were printed since the last call."""
    found = [record.getMessage() for record in caplog.records if record.name.startswith("kagglepipe")]
    caplog.clear()
    return found


def time_passes(cats: Cats) -> None:
    """More of it than Kaggle takes to list what it has counted."""
    for row in cats.rows():
        if row["status"] == "sending":
            record(cats.root / "submissions" / "ledger.csv", row["tag"], {"time": "2026-01-01 00:00:00"})


def check_scored(cats: Cats) -> None:
    """The last row says of the last submission what Kaggle does."""
    row, last = cats.rows()[-1], cats.kaggle.submissions("cats")[-1]
    known = (row["ref"], row["status"], row["public_score"], row["gap"])
    assert known == (str(last.ref), "complete", "0.66667", "-0.083330")
    assert row["tag"] in last.description.split()


# --- when all goes well -------------------------------------------------------------------------------------------


def test_the_file_is_sent_and_its_score_is_in_the_ledger(cats: Cats, caplog: pytest.LogCaptureFixture) -> None:
    run_command(cats.at(*UPLOAD))
    (sent,) = cats.kaggle.submissions("cats")
    data = (cats.root / "submissions/one.csv").read_bytes()
    assert (sent.data, sent.file_name, sent.public, sent.private) == (data, "one.csv", "0.66667", "1.00000")
    (row,) = cats.rows()
    assert datetime.fromisoformat(row["time"] + "+00:00") <= datetime.now(UTC)
    assert re.fullmatch("kagglepipe-[0-9a-f]{12}", row["tag"])
    facts = {"time": row["time"], "competition": "cats", "file": "submissions/one.csv", "run": "one", "runs": "one"}
    facts |= {"sha256": hashlib.sha256(data).hexdigest(), "config_hash": "868fe66b", "git_commit": "abcdef012345"}
    facts |= {"metric": "accuracy", "oof_score": "0.75", "oof_low": "0.5", "oof_high": "0.9", "tag": row["tag"]}
    facts |= {"ref": "4001", "status": "complete", "public_score": "0.66667", "gap": "-0.083330"}
    assert row == dict.fromkeys(COLUMNS, "") | facts
    assert sent.description == f"{row['tag']} one: out of fold accuracy 0.7500"
    assert lines(caplog)[-5:] == [
        f"submit: {cats.root}/submissions/one.csv is up to date",
        "submit: 0 of today's submissions used, 5 left",
        "submit: sent one.csv as submission 4001",
        WAITING,
        f"{SCORED}, gap -0.0833",
    ]
    shown = [call.headers for call in cats.kaggle.calls if call.name == "PUT storage"]
    assert ["Authorization" in headers for headers in shown] == [False]
    origin: Any = read_json(cats.root / "submissions/one.json")
    assert (origin["competition"], origin["sample"], origin["run"]) == ("cats", False, "one")
    assert origin["csv_sha256"] == row["sha256"]


def test_both_scores_are_shown_when_the_competition_is_over(cats: Cats, caplog: pytest.LogCaptureFixture) -> None:
    cats.kaggle.competitions["cats"].show_private = True
    send(cats)
    assert lines(caplog)[-1] == f"submit: public score 0.66667, private 1.0; {OUT_OF_FOLD}, gap -0.0833"
    assert cats.rows()[0]["private_score"] == "1.0"


def test_the_same_bytes_are_sent_once_unless_again_is_asked_for(cats: Cats, caplog: pytest.LogCaptureFixture) -> None:
    send(cats)
    before, asked = cats.rows(), len(cats.kaggle.calls)
    caplog.clear()
    make_and_send(cats)
    assert (cats.counted, cats.rows(), len(cats.kaggle.calls)) == (1, before, asked)
    assert lines(caplog) == [
        f"submit: {cats.root}/submissions/one.csv is up to date",
        "submit: these very bytes are submission 4001 already, of one (submit.again=true sends them again)",
        f"{SCORED}, gap -0.0833",
    ]
    add_run(cats.root, "other", score=0.5)  # the same bytes of another run, in another file
    make_and_send(cats, "run=other", f"submit.file={cats.root}/elsewhere.csv")
    assert (cats.counted, cats.rows()) == (1, before)
    send(cats, "submit.again=true")
    assert [(row["ref"], row["status"]) for row in cats.rows()] == [("4001", "complete"), ("4002", "complete")]
    assert len({row["tag"] for row in cats.rows()}) == 2
    add_run(cats.root, "better", wrong=())  # other bytes
    make_and_send(cats, "run=better")
    assert [(row["run"], row["public_score"]) for row in cats.rows()[1:]] == [("one", "0.66667"), ("better", "1.0")]


def test_the_same_bytes_may_go_to_another_competition(cats: Cats) -> None:
    send(cats)
    archive = cats.kaggle.objects[cats.kaggle.competitions["cats"].archive].data
    cats.kaggle.add_competition("dogs", archive, answers=ANSWERS, id_column="id", target_column="label")
    (cats.root / "outputs/dogs").symlink_to("cats")
    cats.ship("any.csv", "")
    (cats.root / "data/dogs").symlink_to("cats")
    make_and_send(cats, "competition.slug=dogs")
    assert [(row["competition"], row["ref"]) for row in cats.rows()] == [("cats", "4001"), ("dogs", "4002")]


def test_an_ensemble_names_its_members_and_an_unknown_score_is_a_question_mark(
    cats: Cats, caplog: pytest.LogCaptureFixture
) -> None:
    add_run(cats.root, "blend", members=["one", "two"], identity={"one": {"seed": 1}, "two": {"seed": 2}})
    make_and_send(cats, "run=blend")
    add_run(cats.root, "odd", identity=None, score=None, interval=[None, None], metric="roc_auc")
    make_and_send(cats, "run=odd", "submit.again=true")
    blend, row = cats.rows()
    assert (blend["run"], blend["runs"]) == ("blend", "one + two")
    assert [row[name] for name in ("config_hash", "oof_score", "oof_low", "gap")] == ["", "", "", ""]
    assert cats.kaggle.submissions("cats")[1].description == f"{row['tag']} odd: out of fold roc_auc ?"
    assert lines(caplog)[-1].endswith("out of fold roc_auc ? (?-?)")


def test_old_credentials_do_too(cats: Cats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    monkeypatch.setenv("KAGGLE_USERNAME", cats.kaggle.username)
    monkeypatch.setenv("KAGGLE_KEY", cats.kaggle.key)
    send(cats)
    check_scored(cats)


@pytest.mark.parametrize("message", ["two\nlines,\t'quoted' \"twice\"", "ñ 語 🙂", "x" * 5000, "kagglepipe-"])
@pytest.mark.parametrize("kept", [1000, 25])
def test_any_message_leaves_the_tag_to_be_found(cats: Cats, message: str, kept: int) -> None:
    """kept: characters of a description that Kaggle keeps."""

    class Cut(list[Any]):
        def append(self, new: Any) -> None:
            new.description = new.description[:kept]
            super().append(new)

    cats.kaggle.competitions["cats"].submissions = Cut()
    config = cats.at(*UPLOAD)
    cats.kaggle.fault("CreateSubmission", "500", counted=True)
    submit.run(replace(config, submit=replace(config.submit, message=message)))
    check_scored(cats)
    text = f"{cats.rows()[0]['tag']} {message[:150]}"
    assert cats.kaggle.submissions("cats")[0].description == text[:kept]


# --- whatever fails -----------------------------------------------------------------------------------------------


@dataclass
class Story:
    """What a command meets, and what it leaves: its error, submissions counted and sent, and statuses of the rows.

    final: statuses after the same command when all is well again.
    """

    faults: list[tuple[str, str, dict[str, Any]]]
    error: str = ""
    counted: int = 1
    sent: int = 1
    rows: list[str] = field(default_factory=lambda: ["complete"])
    final: list[str] = field(default_factory=lambda: ["complete"])
    options: tuple[str, ...] = ()


def lasting(place: str, kind: str, **details: Any) -> tuple[str, str, dict[str, Any]]:
    return place, kind, {"times": None, **details}


CREATE, LIST, LIMITS, START = "CreateSubmission", "ListSubmissions", "GetSubmissionLimits", "StartSubmissionUpload"
MAYBE = "it is not among your submissions (yet), so it may or may not have been counted: the same command looks once "
UNKNOWN = "it is not known whether the submission was counted: the same command looks for it before it sends anything"
LOST: dict[str, Any] = {"counted": 0, "rows": ["sending"], "final": ["lost", "complete"]}
REFUSED: dict[str, Any] = {"counted": 0, "rows": ["refused"], "final": ["refused", "complete"]}
SHORT = ("kaggle.timeout=1",)
STORIES: dict[str, Story] = {
    # one of each kind of error after which it is not known whether it was counted; test_client has them all
    **{f"{kind}, counted": Story([(CREATE, kind, {"counted": True})]) for kind in ("500", "reset", "ref 0")},
    **{f"{kind}, not counted": Story([(CREATE, kind, {})], MAYBE, **LOST) for kind in ("500", "reset", "ref 0")},
    "silence, counted": Story([(CREATE, "hang", {"counted": True})], options=SHORT),
    "silence, not counted": Story([(CREATE, "hang", {})], "no answer in time", options=SHORT, **LOST),
    "half an answer": Story([(CREATE, "drop", {"after": 5})]),
    # what Kaggle refuses is said in its words
    "quota": Story([lasting(CREATE, "400 quota")], QUOTA.partition("{")[0], **REFUSED),
    "401": Story([lasting(CREATE, "401")], "401", **REFUSED),
    "rules": Story([lasting(CREATE, "403 rules")], RULES.rstrip("."), **REFUSED),
    "denied": Story([lasting(CREATE, "403 denied")], DENIED, **REFUSED),
    "404": Story([lasting(CREATE, "404")], "404", **REFUSED),
    "429 without end": Story([lasting(CREATE, "429", retry_after=100_000)], "429", **REFUSED),
    "429 twice": Story([(CREATE, "429", {"retry_after": 7, "times": 2})], sent=3),
    # the list of submissions
    **{
        f"list, {kind}": Story([(CREATE, "504", {"counted": True}), lasting(LIST, kind)], UNKNOWN, rows=["sending"])
        for kind in ("500", "401", "html", "reset")
    },
    "list, odd rows": Story([(CREATE, "500", {"counted": True}), lasting(LIST, "odd rows")]),
    **{
        f"no history {code}, counted": Story(
            [(CREATE, "500", {"counted": True}), lasting(LIST, "no history", code=code)]
        )
        for code in (400, 403)
    },
    "no history 400": Story([(CREATE, "500", {}), lasting(LIST, "no history", code=400)], MAYBE, **LOST),
    # a list that is refused proves nothing
    "no history 403": Story([(CREATE, "500", {}), lasting(LIST, "no history", code=403)], UNKNOWN, **LOST),
    # the score cannot be asked for, which does not undo the submission
    **{f"score, {kind}": Story([lasting(LIST, kind)], rows=["pending"]) for kind in ("500", "403 denied", "reset")},
    # before anything is sent
    **{
        f"{place}, {kind}": Story([lasting(place, kind)], place, counted=0, sent=0, rows=[])
        for place, kind in ((LIMITS, "500"), (LIMITS, "401"), (START, "401"), (START, "html"))
    },
    **{
        f"upload, {kind}": Story([lasting("upload", kind)], "the upload", counted=0, sent=0, rows=[])
        for kind in ("500", "reset", "redirect")
    },
    "upload, only seemingly": Story([("upload", "html", {})], "file has not been uploaded", **REFUSED),
    "upload, silence": Story([("upload", "hang", {}), ("upload", "expired", {})], options=SHORT),
    # a quota that is not told is no obstacle
    "no such question": Story([lasting(LIMITS, "404")]),
    **{
        f"quota {answer}": Story([lasting(LIMITS, "json", value=answer)])
        for answer in ({}, {"numToday": None}, {"num_today": 1, "num_allowed_now": 4})
    },
    # what passes is waited for
    **{
        f"{place}, {kind} twice": Story([(place, kind, {"times": 2, "counted": kind == "503"})])
        for place in (LIMITS, START, "upload", LIST)
        for kind in ("503", "reset")
    },
}


@pytest.mark.parametrize("name", STORIES)
def test_at_most_one_submission_is_counted_whatever_fails_and_the_same_command_heals(cats: Cats, name: str) -> None:
    story = STORIES[name]
    for place, kind, details in story.faults:
        cats.kaggle.fault(place, kind, **details)
    if story.error:
        said = refused(cats, *story.options)
        assert story.error in said
        assert story.rows != ["refused"] or cats.rows()[0]["error"] == said
    else:
        send(cats, *story.options)
    left = (cats.counted, cats.asked(CREATE), statuses(cats)[:1])
    assert left == (story.counted, story.sent if "without end" not in name else 1, story.rows)
    if story.rows == ["refused"]:
        assert cats.asked(LIST) == 0
    if story.rows == ["sending"]:  # the same command looks first, and sends nothing while it may turn up
        assert (cats.rows()[0]["ref"], cats.rows()[0]["public_score"]) == ("", "")
        assert ("ListSubmissions" if UNKNOWN in said else "is not listed (yet), and may or may not") in refused(cats)
        assert (cats.counted, cats.asked(CREATE), statuses(cats)) == left
        time_passes(cats)
    cats.kaggle.faults.clear()
    send(cats)
    assert (cats.counted, statuses(cats)) == (1, story.final)
    check_scored(cats)
    before = cats.rows()
    send(cats)
    assert (cats.counted, cats.rows()) == (1, before)


def test_no_connection_at_the_worst_moment(cats: Cats, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = KaggleClient.submit

    def away(client: KaggleClient, *arguments: Any) -> int:
        client.transport.base = "http://127.0.0.1:9"
        return whole(client, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(KaggleClient, "submit", away)
        assert "no connection" in refused(cats)
    assert (cats.counted, statuses(cats)) == (0, ["refused"])
    send(cats)
    assert (cats.counted, statuses(cats)) == (1, ["refused", "complete"])


@pytest.mark.parametrize("late", [0, 1, 4, len(LOOKS) + 3])
def test_a_list_that_is_late_is_looked_at_again(cats: Cats, late: int, pauses: list[float]) -> None:
    cats.kaggle.late_looks = late
    cats.kaggle.fault("CreateSubmission", "500", counted=True)
    if late <= len(LOOKS):
        send(cats, "submit.wait=0")
        assert (cats.counted, statuses(cats), tuple(pauses)) == (1, ["pending"], LOOKS[:late])
    else:  # by the next command
        assert "may or may not have been counted" in refused(cats)
        assert (cats.counted, statuses(cats), tuple(pauses)) == (1, ["sending"], LOOKS)
        send(cats)
        assert (cats.counted, statuses(cats)) == (1, ["complete"])


def test_a_submission_is_found_behind_those_of_others_in_the_team(cats: Cats) -> None:
    cats.kaggle.competitions["cats"].quota = 100
    cats.kaggle.largest_page, cats.kaggle.pending_polls = 3, 0
    for number in range(7):
        add_run(cats.root, f"run{number}")
        make_and_send(cats, f"run=run{number}", "submit.again=true", "submit.wait=0")
    cats.kaggle.fault("CreateSubmission", "500", counted=True)
    send(cats, "submit.again=true")
    assert cats.counted == 8
    check_scored(cats)
    assert (cats.rows()[0]["status"], cats.rows()[0]["ref"]) == ("pending", "4001")
    run_command(cats.at("stage=runs"))
    assert {row["status"] for row in cats.rows()} == {"complete"}


# --- a command that dies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "counted"),
    [(KeyboardInterrupt, True), (KeyboardInterrupt, False), (MemoryError, True), (SystemExit, False)],
)
def test_a_command_that_dies_leaves_its_tag_to_the_next(
    cats: Cats, end: type[BaseException], counted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = KaggleClient.submit

    def dying(client: KaggleClient, *arguments: Any) -> int:
        if counted:
            whole(client, *arguments)
        raise end

    with monkeypatch.context() as patch:
        patch.setattr(KaggleClient, "submit", dying)
        with pytest.raises(end):
            send(cats)
    assert (cats.counted, statuses(cats)) == (int(counted), ["sending"])
    if not counted:
        time_passes(cats)
    send(cats)
    assert (cats.counted, statuses(cats)) == (1, ["complete"] if counted else ["lost", "complete"])
    check_scored(cats)


COMMAND = """
import sys
from kagglepipe.__main__ import main

main()
print({"torch", "timm", "sklearn"} & set(sys.modules))
"""


@pytest.mark.slow
def test_a_command_that_is_killed_leaves_its_tag_to_the_next(cats: Cats, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def hang(exchange: Exchange) -> Reply:
        asked.set()
        return Reply(None, end="hang")

    monkeypatch.setitem(FAULTS, "hang", hang)
    cats.kaggle.fault("CreateSubmission", "hang", counted=True)
    options = [*UPLOAD, "competition=image_folder", "competition.slug=cats", "run=one", "folds.count=2"]
    command = [sys.executable, "-c", COMMAND, *options, f"kaggle.endpoint={cats.kaggle.endpoint}"]
    with subprocess.Popen(command, cwd=cats.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert asked.wait(60)
        process.kill()
        shown = process.communicate()[0].decode()
    assert "submit: 0 of today's submissions used, 5 left" in shown
    assert (cats.counted, statuses(cats)) == (1, ["sending"])
    done = subprocess.run(command, cwd=cats.root, capture_output=True, text=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")
    assert (cats.counted, statuses(cats)) == (1, ["complete"])
    check_scored(cats)
    assert done.stdout.splitlines()[-5:] == [
        "submit: an earlier command did not learn whether its submission arrived; looking for it",
        "submit: it did, as submission 4001",
        WAITING,
        f"{SCORED}, gap -0.0833",
        "set()",
    ]
    assert not [secret for secret in cats.secrets if secret in shown + done.stdout]


@pytest.mark.parametrize("counted", [True, False])
def test_what_was_to_be_sent_again_is_looked_for_too(cats: Cats, counted: bool) -> None:
    send(cats)
    cats.kaggle.late_looks = len(LOOKS) + 1
    cats.kaggle.fault("CreateSubmission", "500", counted=counted)
    assert "may or may not have been counted" in refused(cats, "submit.again=true")
    cats.kaggle.late_looks = 0
    send(cats, "submit.again=true")  # the one that was wanted once more may be there already
    assert cats.counted == 2
    assert statuses(cats) == ["complete", "complete"] if counted else ["complete", "lost", "complete"]


def test_what_arrived_before_is_not_forgotten_for_what_did_not(cats: Cats) -> None:
    send(cats)
    cats.kaggle.fault("CreateSubmission", "500")
    assert "may or may not have been counted" in refused(cats, "submit.again=true")
    time_passes(cats)
    send(cats)
    assert (cats.counted, statuses(cats)) == (1, ["complete", "lost"])


def test_two_commands_at_once_send_it_once(cats: Cats) -> None:
    with ThreadPoolExecutor() as pool:  # of threads, between which the lock stands as between processes
        for command in [pool.submit(send, cats) for _ in range(3)]:
            command.result()
    assert (cats.counted, statuses(cats)) == (1, ["complete"])


# --- the score ----------------------------------------------------------------------------------------------------


def test_what_kaggle_cannot_score_is_said_in_its_words(cats: Cats) -> None:
    cats.kaggle.competitions["cats"].target_column = "Colour"
    words = "The columns must be id,Colour, but they are id,label"
    assert refused(cats) == f"Kaggle could not score submission 4001: {words}"
    (row,) = cats.rows()
    assert (row["status"], row["error"], row["public_score"], row["gap"]) == ("error", words, "", "")
    assert refused(cats) == (
        f"these very bytes were submitted before, and Kaggle could not score them ({words}): submit.again=true sends "
        "them all the same"
    )
    assert cats.counted == 1
    assert "4002" in refused(cats, "submit.again=true")
    assert (cats.counted, statuses(cats)) == (2, ["error", "error"])


def test_zero_seconds_do_not_wait(cats: Cats, pauses: list[float], caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        send(cats, "submit.wait=0")
        assert (pauses, cats.asked("ListSubmissions"), statuses(cats)) == ([], 0, ["pending"])
        assert lines(caplog)[-1] == NO_SCORE
    send(cats)
    assert cats.counted == 1
    check_scored(cats)


def test_looks_for_the_score_become_rarer_and_end_in_time(
    cats: Cats, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    cats.kaggle.pending_polls = 1000
    send(cats, "submit.wait=500")
    assert sum(pauses) == pytest.approx(500)
    expected = [min(FIRST_LOOK * GROWTH**number, LONGEST_LOOK) for number in range(len(pauses))]
    assert pauses[:-1] == pytest.approx(expected[:-1])
    assert max(pauses) == LONGEST_LOOK
    assert 0 < pauses[-1] <= expected[-1]
    assert cats.asked("ListSubmissions") == len(pauses) + 1
    assert statuses(cats) == ["pending"]
    assert lines(caplog)[-1] == NO_SCORE


@pytest.mark.parametrize("status", ["QUEUED_FOR_RESCORE", 7, "", None, {"odd": 1}])
def test_a_status_that_nobody_knows_is_waited_for(cats: Cats, status: object, pauses: list[float]) -> None:
    cats.kaggle.pending_polls = 0
    cats.kaggle.fault("ListSubmissions", "odd rows", rows=[], change={"status": status, "publicScore": None}, times=3)
    send(cats)
    check_scored(cats)
    assert pauses == pytest.approx([FIRST_LOOK * GROWTH**number for number in range(3)])


def test_a_score_that_is_missing_or_cannot_be_asked_for_is_said(cats: Cats, caplog: pytest.LogCaptureFixture) -> None:
    cats.kaggle.fault("ListSubmissions", "403 denied")
    send(cats)
    *_, warning, last = lines(caplog)
    assert warning.startswith("submit: the score cannot be asked for: Kaggle")
    assert last == NO_SCORE
    cats.kaggle.fault("ListSubmissions", "odd rows", rows=[], change={"status": "COMPLETE", "publicScore": ""})
    send(cats)
    assert lines(caplog)[-1] == f"submit: public score hidden, private hidden until the end; {OUT_OF_FOLD}"


def test_somebody_who_cannot_wait_may_go(cats: Cats, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        pause_by(patch, interrupt)
        with pytest.raises(KeyboardInterrupt):
            send(cats)
    assert (cats.counted, statuses(cats)) == (1, ["pending"])
    send(cats)
    assert cats.counted == 1
    check_scored(cats)


def test_a_list_that_lacks_what_is_known_takes_nothing_away(cats: Cats) -> None:
    send(cats)
    (before,) = cats.rows()
    bare = [{"ref": int(before["ref"]), "publicScore": "", "description": before["tag"]}]
    cats.kaggle.fault("ListSubmissions", "json", value={"submissions": bare}, times=None)
    run_command(cats.at("stage=runs"))
    assert cats.rows() == [before]


def test_a_token_that_the_server_echoes_is_in_no_file(cats: Cats) -> None:
    echo = [{"ref": 4001, "status": "ERROR", "errorDescription": f"no: {cats.kaggle.token}"}]
    cats.kaggle.fault("ListSubmissions", "json", value={"submissions": echo}, times=None)
    assert refused(cats) == "Kaggle could not score submission 4001: no: ***"
    assert cats.rows()[0]["error"] == "no: ***"


# --- the quota ----------------------------------------------------------------------------------------------------


def test_a_quota_that_is_used_up_is_told_with_its_end_before_anything_is_sent(cats: Cats) -> None:
    cats.kaggle.competitions["cats"].quota = 1
    send(cats)
    add_run(cats.root, "other", wrong=())
    assert re.fullmatch(
        r"today's submissions are used up \(1 sent\); the next can go at 00:00 UTC, \d\d:\d\d here, "
        r"in \d+:\d\d h: type the same command then",
        refused(cats, "run=other", by=make_and_send),
    )
    assert (cats.counted, len(cats.rows()), cats.asked("StartSubmissionUpload")) == (1, 1, 1)
    send(cats)  # of which nothing has to be sent
    cats.kaggle.competitions["cats"].quota = 2
    make_and_send(cats, "run=other")
    assert cats.counted == 2


@pytest.mark.parametrize(
    ("used", "left", "by_total", "words"),
    [
        (5, 0, False, r"today's submissions are used up \(5 sent\).* 00:00 UTC"),
        (0, 0, True, "submissions are all used up; it allows no more"),
        (0, 0, False, "takes no submission now, though none was sent today: .*/cats "),
        (4, 1, False, None),
        (0, 1, True, None),
    ],
)
def test_why_nothing_is_left(used: int, left: int, by_total: bool, words: str | None) -> None:
    found = why_none_left(Limits(used, left, by_total), "cats")
    assert found is None if words is None else re.search(words, found or "")


# --- what is not for Kaggle ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["competition.sample_slug=cats"],
            "the built-in sample is drawn by code and no competition of Kaggle's: leave submit.upload away",
        ),
        (
            ["competition.per_class=2"],
            "competition.per_class classifies training images: leave it or submit.upload away",
        ),
        (
            ["competition.slug=null", "competition.source=ROOT/data/cats/raw", "paths.root=ROOT/x"],
            "this folder is no competition of Kaggle's: give competition.slug=NAME, or leave submit.upload away",
        ),
        (["nobody"], "no Kaggle credentials were found: make a token at https://www.kaggle.com/"),
        (["kaggle.endpoint=http://kaggle.example.com"], "kaggle.endpoint is http://kaggle.example.com/…"),
    ],
)
def test_it_is_refused_before_anything_is_asked_made_or_trained(
    cats: Cats, monkeypatch: pytest.MonkeyPatch, overrides: list[str], words: str
) -> None:
    if overrides == ["nobody"]:
        monkeypatch.delenv("KAGGLE_API_TOKEN")
        overrides = []
    before = {path: path.stat().st_mtime_ns for path in cats.root.rglob("*")}
    more = [override.replace("ROOT", str(cats.root)) for override in overrides]
    with pytest.raises(UserError) as caught:
        run_command(cats.at(*UPLOAD, "run=null", "model.name=tf_efficientnet_lite0", *more))
    assert {path: path.stat().st_mtime_ns for path in cats.root.rglob("*")} == before
    assert cats.kaggle.calls == []
    assert cats.shown(caught.value).startswith(words)


@pytest.mark.parametrize("option", ["submit.upload=true", "runs.leaderboard=true"])
def test_the_sample_does_not_stand_in_where_kaggle_is_meant(
    cats: Cats, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    nowhere = cats.at("competition.slug=dogs", "competition.sample_slug=drawn", "stage=submit", "run=null", option)
    assert with_sample_if_no_data(nowhere) is nowhere
    drawn = with_sample_if_no_data(cats.at("competition.slug=dogs", "competition.sample_slug=drawn"))
    assert drawn.competition.is_sample


def test_a_token_that_is_not_valid_is_told_before_anything_is_made(cats: Cats) -> None:
    cats.kaggle.fault("Hello", "401")
    with pytest.raises(UserError, match="the credentials are not valid"):
        submit.check(cats.at(*UPLOAD))
    cats.kaggle.fault("Hello", "404")
    submit.check(cats.at(*UPLOAD))  # a question that is not known proves nothing


@pytest.mark.parametrize("by", ["name", "folder"])
def test_a_run_of_the_sample_is_refused_under_whatever_name(cats: Cats, by: str) -> None:
    run = add_run(cats.root, "drawn")
    (run / "config.yaml").write_text("competition:\n  slug: cats-sample\n  sample_slug: cats-sample\n")
    if by == "folder":
        run = run.rename(cats.root / "outputs/drawn elsewhere")
    said = refused(cats, f"run={run if by == 'folder' else run.name}", by=make_and_send)
    assert "was trained on the built-in sample" in said
    assert (cats.counted, cats.rows(), cats.kaggle.calls) == (0, [], [])
    assert sorted(path.name for path in (cats.root / "submissions").iterdir()) == ["one.csv", "one.json"]


def test_a_run_whose_competition_has_a_sample_is_none_of_the_sample(cats: Cats) -> None:
    run = add_run(cats.root, "photos")
    (run / "config.yaml").write_text("competition:\n  slug: cats\n  sample_slug: cats-sample\n")
    make_and_send(cats, "run=photos")
    assert cats.counted == 1


# --- the competition's own sample submission ----------------------------------------------------------------------


ROWS = "".join(f"{id},blue\n" for id in ANSWERS)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("sample_submission.csv", "ID,Answer\n" + ROWS, "the columns ['ID', 'Answer'], not ['id', 'label']"),
        ("sampleSubmission.csv", "label,id\n" + ROWS, "the columns ['label', 'id'], not ['id', 'label']"),
        ("SAMPLE-submission_1.csv", "id,label\n" + ROWS.replace("red3", "red9"), "test/red9.png"),
        ("sample submission.csv", "id,label\n" + ROWS + "test/none.png,red\n", "test/none.png"),
        ("sample_submission.csv", "id,label\n" + ROWS.partition("\n")[2], "test/blue2.png"),
        ("docs/sample_submission.csv", "Id,Expected,Extra\n", ""),
    ],
)
def test_a_sample_submission_that_asks_for_something_else_stops_it(
    cats: Cats, name: str, text: str, words: str
) -> None:
    cats.ship("any.txt", "")
    path = cats.at().base_dir / "raw" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    said = refused(cats, by=make_and_send)
    assert said.startswith(f"{name}, which came with the data, asks for ")
    assert words in said
    assert said.endswith(f"; type competition.sample_submission={name}")
    assert (cats.counted, cats.rows(), cats.kaggle.calls) == (0, [], [])


def test_a_sample_submission_that_asks_for_the_same_is_no_hindrance(cats: Cats) -> None:
    cats.ship("sample_submission.csv", "id,label\n" + "".join(sorted(ROWS.splitlines(keepends=True), reverse=True)))
    cats.ship("train.csv", "anything,at,all\n")
    make_and_send(cats)
    assert cats.counted == 1


def test_what_is_typed_then_is_what_it_takes(cats: Cats) -> None:
    cats.ship("sample_submission.csv", "Id,label\n" + ROWS)
    assert refused(cats, by=make_and_send).endswith("type competition.sample_submission=sample_submission.csv")
    cats.kaggle.competitions["cats"].id_column = "Id"
    make_and_send(cats, "competition.sample_submission=sample_submission.csv")
    check_scored(cats)


def test_a_file_that_breaks_the_contract_is_not_sent(cats: Cats) -> None:
    run = add_run(cats.root, "short")
    cats.ship("mine.csv", "id,label\n" + ROWS + "test/none.png,red\n")
    assert "asks for 'test/none.png', which no images to classify are called" in refused(
        cats, "run=short", "competition.sample_submission=mine.csv", by=make_and_send
    )
    assert (run / "test.parquet").exists()
    assert (cats.counted, cats.rows(), cats.kaggle.calls) == (0, [], [])


# --- what is left behind ------------------------------------------------------------------------------------------


def test_without_upload_nothing_is_asked_and_no_ledger_made(cats: Cats) -> None:
    submit.run(cats.at("stage=submit"))
    assert cats.kaggle.calls == []
    assert sorted(path.name for path in (cats.root / "submissions").iterdir()) == ["one.csv", "one.json"]


def test_a_damaged_ledger_stops_it_before_anything_is_sent(cats: Cats) -> None:
    send(cats)
    ledger = cats.root / "submissions/ledger.csv"
    ledger.write_text("time,competition\n")
    add_run(cats.root, "other", wrong=())
    assert "ledger.csv lacks the columns file" in refused(cats, "run=other", by=make_and_send)
    assert cats.counted == 1
    assert ledger.read_text() == "time,competition\n"
