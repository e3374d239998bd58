"""One command costs one submission at most, whatever goes wrong, and the ledger says what became of it."""

import hashlib
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.kaggle.account import connect
from kagglepipe.kaggle.client import KaggleClient, Limits
from kagglepipe.kaggle.ledger import COLUMNS, Row, record
from kagglepipe.kaggle.upload import FIRST_LOOK, GROWTH, LONGEST_LOOK, LOOKS, upload, why_none_left
from kagglepipe.stages import submit
from kagglepipe.stages.download import with_sample_if_no_data
from kagglepipe.tools.commands import run_command
from tests.cats import ANSWERS, Cats, add_run, pause_by
from tests.kaggle.faults import DENIED, FAULTS, QUOTA, RULES, Exchange
from tests.kaggle.wire import Reply

UPLOAD = ("stage=submit", "submit.upload=true")
SCORED = "submit: public score 0.66667, private hidden until the end; out of fold accuracy 0.7500 (0.5000-0.9000)"
Details = dict[str, Any]
Fault = tuple[str, Details]


def send(cats: Cats, *overrides: str) -> None:
    """What the command does when the CSV of the run `one` is written."""
    csv = cats.root / "submissions/one.csv"
    config = cats.at(*UPLOAD, *overrides)
    facts = submit.ledger_facts(config, csv, read_json(csv.with_suffix(".json")))
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


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines that were printed."""
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("kagglepipe")]
    caplog.clear()
    return lines


def time_passes(cats: Cats) -> None:
    """More of it than Kaggle takes to list what it has counted."""
    for row in cats.rows():
        if row["status"] == "sending":
            record(cats.root / "submissions" / "ledger.csv", row["tag"], {"time": "2026-01-01 00:00:00"})


def is_scored(cats: Cats, row: Row) -> bool:
    """Whether the row says of the last submission what Kaggle does."""
    last = cats.kaggle.submissions("cats")[-1]
    known = (row["ref"], row["status"], row["public_score"], row["gap"])
    return known == (str(last.ref), "complete", "0.66667", "-0.083330") and row["tag"] in last.description.split()


# --- when all goes well -------------------------------------------------------------------------------------------


def test_the_file_is_sent_and_its_score_is_in_the_ledger(cats: Cats, caplog: pytest.LogCaptureFixture) -> None:
    run_command(cats.at(*UPLOAD))
    (sent,) = cats.kaggle.submissions("cats")
    data = (cats.root / "submissions/one.csv").read_bytes()
    assert (sent.data, sent.file_name, sent.public, sent.private) == (data, "one.csv", "0.66667", "1.00000")
    (row,) = cats.rows()
    assert datetime.fromisoformat(row["time"] + "+00:00") <= datetime.now(UTC)
    assert re.fullmatch("kagglepipe-[0-9a-f]{12}", row["tag"])
    assert row == dict.fromkeys(COLUMNS, "") | {
        "time": row["time"],
        "competition": "cats",
        "file": "submissions/one.csv",
        "sha256": hashlib.sha256(data).hexdigest(),
        "run": "one",
        "runs": "one",
        "config_hash": "868fe66b",
        "git_commit": "abcdef012345",
        "metric": "accuracy",
        "oof_score": "0.75",
        "oof_low": "0.5",
        "oof_high": "0.9",
        "tag": row["tag"],
        "ref": "4001",
        "status": "complete",
        "public_score": "0.66667",
        "gap": "-0.083330",
    }
    assert sent.description == f"{row['tag']} one: out of fold accuracy 0.7500"
    assert told(caplog)[-5:] == [
        f"submit: {cats.root}/submissions/one.csv is up to date",
        "submit: 0 of today's submissions used, 5 left",
        "submit: sent one.csv as submission 4001",
        "submit: waiting for the score, 600 s at most (Ctrl-C is safe: stage=runs shows it later)",
        f"{SCORED}, gap -0.0833",
    ]


def test_both_scores_are_shown_when_the_competition_is_over(cats: Cats, caplog: pytest.LogCaptureFixture) -> None:
    cats.kaggle.competitions["cats"].show_private = True
    send(cats)
    assert told(caplog)[-1] == (
        "submit: public score 0.66667, private 1.0; out of fold accuracy 0.7500 (0.5000-0.9000), gap -0.0833"
    )
    assert cats.rows()[0]["private_score"] == "1.0"


def test_the_same_bytes_are_sent_once(cats: Cats, caplog: pytest.LogCaptureFixture) -> None:
    send(cats)
    before, asked = cats.rows(), len(cats.kaggle.calls)
    caplog.clear()
    make_and_send(cats)
    assert (cats.counted, cats.rows(), len(cats.kaggle.calls)) == (1, before, asked)
    assert told(caplog) == [
        f"submit: {cats.root}/submissions/one.csv is up to date",
        "submit: these very bytes are submission 4001 already, of one (submit.again=true sends them again)",
        f"{SCORED}, gap -0.0833",
    ]


def test_the_same_bytes_of_another_run_or_file_are_sent_once(cats: Cats) -> None:
    add_run(cats.root, "other", score=0.5)
    send(cats)
    make_and_send(cats, "run=other", f"submit.file={cats.root}/elsewhere.csv")
    assert (cats.counted, [row["run"] for row in cats.rows()]) == (1, ["one"])


def test_the_same_bytes_are_sent_again_if_that_is_asked_for(cats: Cats) -> None:
    send(cats)
    send(cats, "submit.again=true")
    assert (cats.counted, statuses(cats)) == (2, ["complete", "complete"])
    assert [row["ref"] for row in cats.rows()] == ["4001", "4002"]
    assert len({row["tag"] for row in cats.rows()}) == 2


def test_other_bytes_are_another_submission(cats: Cats) -> None:
    send(cats)
    add_run(cats.root, "other", wrong=())
    make_and_send(cats, "run=other")
    assert [(row["run"], row["public_score"]) for row in cats.rows()] == [("one", "0.66667"), ("other", "1.0")]


def test_the_same_bytes_may_go_to_another_competition(cats: Cats) -> None:
    send(cats)
    archive = cats.kaggle.objects[cats.kaggle.competitions["cats"].archive].data
    cats.kaggle.add_competition("dogs", archive, answers=ANSWERS, id_column="id", target_column="label")
    (cats.root / "outputs/dogs").symlink_to("cats")
    cats.ship("any.csv", "")
    (cats.root / "data/dogs").symlink_to("cats")
    make_and_send(cats, "competition.slug=dogs")
    assert [(row["competition"], row["ref"]) for row in cats.rows()] == [("cats", "4001"), ("dogs", "4002")]


def test_an_ensemble_tells_its_members(cats: Cats) -> None:
    identity = {"one": {"seed": 1}, "two": {"seed": 2}}
    add_run(cats.root, "blend", members=["one", "two"], identity=identity)
    make_and_send(cats, "run=blend")
    assert [(row["run"], row["runs"]) for row in cats.rows()] == [("blend", "one + two")]


def test_a_run_that_is_not_known_well_is_sent_all_the_same(cats: Cats, caplog: pytest.LogCaptureFixture) -> None:
    add_run(cats.root, "odd", identity=None, score=None, interval=[None, None], metric="roc_auc")
    make_and_send(cats, "run=odd")
    (row,) = cats.rows()
    assert [row[name] for name in ("config_hash", "oof_score", "oof_low", "gap")] == ["", "", "", ""]
    assert cats.kaggle.submissions("cats")[0].description == f"{row['tag']} odd: out of fold roc_auc ?"
    assert told(caplog)[-1].endswith("out of fold roc_auc ? (?-?)")


# --- messages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", ["mine", "two\nlines,\t'quoted' \"twice\"", "ñ 語 🙂", "x" * 5000, "kagglepipe-"])
def test_any_message_leaves_the_tag_to_be_found(cats: Cats, message: str) -> None:
    config = cats.at(*UPLOAD)
    config = replace(config, submit=replace(config.submit, message=message))
    cats.kaggle.fault("CreateSubmission", "500", counted=True)
    submit.run(config)
    (sent,), (row,) = cats.kaggle.submissions("cats"), cats.rows()
    assert is_scored(cats, row)
    assert sent.description == f"{row['tag']} {message[:150]}"


def test_a_description_that_kaggle_cuts_off_still_begins_with_the_tag(cats: Cats) -> None:
    cats.kaggle.fault("CreateSubmission", "500", counted=True)
    shorter(cats, 25)
    send(cats, "submit.message='what I was about to say'")
    (row,) = cats.rows()
    assert is_scored(cats, row)
    assert cats.kaggle.submissions("cats")[0].description == row["tag"] + " w"


def shorter(cats: Cats, length: int) -> None:
    """From now on Kaggle keeps so many characters of a description."""
    kept = cats.kaggle.competitions["cats"].submissions

    class Cut(list[Any]):
        def append(self, new: Any) -> None:
            new.description = new.description[:length]
            super().append(new)

    cats.kaggle.competitions["cats"].submissions = Cut(kept)


# --- CreateSubmission fails ---------------------------------------------------------------------------------------

UNSURE = ("500", "reset", "ref 0")  # one of each kind of error after which it is not known; test_client has them all
SURE: list[Fault] = [
    *((kind, {}) for kind in ("400 quota", "401", "403 rules", "403 denied", "404")),
    ("429", {"retry_after": 100_000}),
]


@pytest.mark.parametrize("fault", UNSURE)
def test_what_was_counted_is_found_by_its_tag(cats: Cats, fault: str) -> None:
    cats.kaggle.fault("CreateSubmission", fault, counted=True)
    send(cats)
    (row,) = cats.rows()
    assert is_scored(cats, row)
    assert (cats.counted, cats.asked("CreateSubmission")) == (1, 1)
    send(cats)
    assert (cats.counted, cats.rows()) == (1, [row])


@pytest.mark.parametrize("fault", UNSURE)
def test_what_may_have_been_counted_and_is_not_found_is_not_sent_again(
    cats: Cats, fault: str, pauses: list[float]
) -> None:
    cats.kaggle.fault("CreateSubmission", fault)
    assert refused(cats).endswith(
        "it is not among your submissions (yet), so it may or may not have been counted: the same command looks once "
        "more before it sends anything"
    )
    (row,) = cats.rows()
    assert (row["status"], row["ref"], row["public_score"]) == ("sending", "", "")
    assert (cats.counted, cats.asked("CreateSubmission"), tuple(pauses)) == (0, 1, LOOKS)
    assert "is not listed (yet), and may or may not have been counted" in refused(cats)
    assert (cats.counted, statuses(cats)) == (0, ["sending"])
    time_passes(cats)
    send(cats)
    assert (cats.counted, statuses(cats)) == (1, ["lost", "complete"])
    assert is_scored(cats, cats.rows()[1])


@pytest.mark.parametrize("fault", SURE)
def test_what_kaggle_refused_is_said_in_its_words_and_may_be_sent_again(cats: Cats, fault: Fault) -> None:
    cats.kaggle.fault("CreateSubmission", fault[0], times=None, **fault[1])
    said = refused(cats)
    (row,) = cats.rows()
    assert (row["status"], row["ref"], row["error"]) == ("refused", "", said)
    words = {"400 quota": QUOTA.partition("{")[0], "403 rules": RULES.rstrip("."), "403 denied": DENIED}
    assert words.get(fault[0], fault[0]) in said
    assert (cats.counted, cats.asked("ListSubmissions")) == (0, 0)
    cats.kaggle.faults.clear()
    send(cats)
    assert (cats.counted, statuses(cats)) == (1, ["refused", "complete"])
    assert is_scored(cats, cats.rows()[1])


def test_a_server_that_asks_to_wait_is_waited_for(cats: Cats, pauses: list[float]) -> None:
    cats.kaggle.fault("CreateSubmission", "429", retry_after=7, times=2)
    send(cats, "submit.wait=0")
    assert (cats.counted, cats.asked("CreateSubmission"), pauses) == (1, 3, [7, 7])


@pytest.mark.parametrize("counted", [True, False])
def test_an_answer_that_never_comes(cats: Cats, counted: bool) -> None:
    cats.kaggle.fault("CreateSubmission", "hang", counted=counted)
    if counted:
        send(cats, "kaggle.timeout=1")
        assert statuses(cats) == ["complete"]
    else:
        assert "no answer in time" in refused(cats, "kaggle.timeout=1")
        assert statuses(cats) == ["sending"]
        time_passes(cats)
    assert (cats.counted, cats.asked("CreateSubmission")) == (int(counted), 1)
    send(cats)
    assert cats.counted == 1
    assert is_scored(cats, cats.rows()[-1])


def test_half_an_answer(cats: Cats) -> None:
    cats.kaggle.fault("CreateSubmission", "drop", after=5)
    send(cats)
    assert (cats.counted, cats.asked("CreateSubmission")) == (1, 1)
    assert is_scored(cats, cats.rows()[0])


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


# --- the list of submissions fails --------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [1, 4])
def test_a_list_that_is_late_is_looked_at_again(cats: Cats, late: int, pauses: list[float]) -> None:
    cats.kaggle.late_looks = late
    cats.kaggle.fault("CreateSubmission", "500", counted=True)
    send(cats, "submit.wait=0")
    assert (cats.counted, statuses(cats), tuple(pauses)) == (1, ["pending"], LOOKS[:late])


def test_a_list_that_is_very_late_is_looked_at_by_the_next_command(cats: Cats) -> None:
    cats.kaggle.late_looks = len(LOOKS) + 3
    cats.kaggle.fault("CreateSubmission", "500", counted=True)
    assert "may or may not have been counted" in refused(cats)
    assert (cats.counted, statuses(cats)) == (1, ["sending"])
    send(cats)
    assert (cats.counted, statuses(cats)) == (1, ["complete"])


@pytest.mark.parametrize("kind", ["500", "401", "html", "reset"])
def test_a_list_that_cannot_be_had_leaves_it_to_the_next_command(cats: Cats, kind: str) -> None:
    cats.kaggle.fault("CreateSubmission", "504", counted=True)
    cats.kaggle.fault("ListSubmissions", kind, times=None)
    said = refused(cats)
    assert said.endswith("it is not known whether the submission was counted: the same command looks for it before "
                         "it sends anything")  # fmt: skip
    assert (cats.counted, statuses(cats)) == (1, ["sending"])
    again = refused(cats)  # which looks first, and cannot
    assert (cats.counted, statuses(cats), cats.asked("CreateSubmission")) == (1, ["sending"], 1)
    assert "ListSubmissions" in again
    cats.kaggle.faults.clear()
    send(cats)
    (row,) = cats.rows()
    assert cats.counted == 1
    assert is_scored(cats, row)


@pytest.mark.parametrize("code", [400, 403])
@pytest.mark.parametrize("counted", [True, False])
def test_an_empty_history_may_be_an_error(cats: Cats, code: int, counted: bool) -> None:
    cats.kaggle.fault("ListSubmissions", "no history", code=code, times=None)
    cats.kaggle.fault("CreateSubmission", "500", counted=counted)
    if not counted:
        said = "may or may not have been counted" if code == 400 else "so it is not known whether"
        assert said in refused(cats)
        time_passes(cats)
    if not counted and code == 403:  # a list that is refused proves nothing
        assert "403" in refused(cats)
        assert cats.counted == 0
        cats.kaggle.faults.clear()
    send(cats)
    assert cats.counted == 1
    assert is_scored(cats, cats.rows()[-1])


def test_rows_that_nobody_expects_are_no_hindrance(cats: Cats) -> None:
    cats.kaggle.fault("ListSubmissions", "odd rows", times=None)
    cats.kaggle.fault("CreateSubmission", "500", counted=True)
    send(cats)
    assert is_scored(cats, cats.rows()[0])


def test_a_submission_is_found_behind_those_of_others_in_the_team(cats: Cats) -> None:
    cats.kaggle.competitions["cats"].quota = 100
    cats.kaggle.largest_page = 3
    cats.kaggle.pending_polls = 0
    for number in range(7):
        add_run(cats.root, f"run{number}")
        make_and_send(cats, f"run=run{number}", "submit.again=true", "submit.wait=0")
    cats.kaggle.fault("CreateSubmission", "500", counted=True)
    send(cats, "submit.again=true")
    assert cats.counted == 8
    assert is_scored(cats, cats.rows()[-1])
    first = cats.rows()[0]
    assert (first["status"], first["ref"]) == ("pending", "4001")
    run_command(cats.at("stage=runs"))
    assert {row["status"] for row in cats.rows()} == {"complete"}


# --- what comes before fails --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("GetSubmissionLimits", "500"),
        ("GetSubmissionLimits", "401"),
        ("GetSubmissionLimits", "404"),
        ("StartSubmissionUpload", "401"),
        ("StartSubmissionUpload", "html"),
    ],
)
def test_nothing_is_sent_before_its_time(cats: Cats, place: str, kind: str) -> None:
    cats.kaggle.fault(place, kind, times=None)
    if (place, kind) == ("GetSubmissionLimits", "404"):  # a question that Kaggle does not know is no obstacle
        send(cats)
        assert cats.counted == 1
        return
    assert place in refused(cats)
    assert (cats.counted, cats.rows(), cats.asked("CreateSubmission")) == (0, [], 0)
    cats.kaggle.faults.clear()
    send(cats)
    assert (cats.counted, statuses(cats)) == (1, ["complete"])


@pytest.mark.parametrize("place", ["GetSubmissionLimits", "StartSubmissionUpload", "upload", "ListSubmissions"])
@pytest.mark.parametrize(("kind", "counted"), [("503", True), ("reset", False)])
def test_what_passes_is_waited_for(cats: Cats, place: str, kind: str, counted: bool) -> None:
    cats.kaggle.fault(place, kind, counted=counted, times=2)
    send(cats)
    assert (cats.counted, cats.asked("CreateSubmission")) == (1, 1)
    assert is_scored(cats, cats.rows()[0])


@pytest.mark.parametrize("kind", ["500", "reset", "redirect"])
def test_a_file_that_does_not_arrive_is_no_submission(cats: Cats, kind: str) -> None:
    cats.kaggle.fault("upload", kind, times=None)
    assert "the upload" in refused(cats)
    assert (cats.counted, cats.rows(), cats.asked("CreateSubmission")) == (0, [], 0)
    cats.kaggle.faults.clear()
    send(cats)
    assert (cats.counted, statuses(cats)) == (1, ["complete"])


def test_an_upload_of_which_nothing_is_heard_is_tried_again(cats: Cats) -> None:
    cats.kaggle.fault("upload", "hang")
    cats.kaggle.fault("upload", "expired")
    send(cats, "kaggle.timeout=1")
    assert (cats.counted, statuses(cats)) == (1, ["complete"])
    assert len(cats.kaggle.uploads) >= 3  # each has an address of its own


def test_an_upload_that_only_seems_to_arrive_is_no_submission(cats: Cats) -> None:
    cats.kaggle.fault("upload", "html")
    assert "The submission's file has not been uploaded" in refused(cats)
    assert (cats.counted, statuses(cats)) == (0, ["refused"])
    send(cats)
    assert (cats.counted, statuses(cats)) == (1, ["refused", "complete"])


def test_the_storage_never_sees_who_uploads(cats: Cats) -> None:
    send(cats)
    shown = [call.headers for call in cats.kaggle.calls if call.name == "PUT storage"]
    assert len(shown) == 1
    assert "Authorization" not in shown[0]


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
    assert is_scored(cats, cats.rows()[-1])


COMMAND = """
import sys
from kagglepipe.cli.main import main

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
    assert is_scored(cats, cats.rows()[0])
    assert done.stdout.splitlines()[-5:] == [
        "submit: an earlier command did not learn whether its submission arrived; looking for it",
        "submit: it did, as submission 4001",
        "submit: waiting for the score, 600 s at most (Ctrl-C is safe: stage=runs shows it later)",
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
    send(cats, "submit.wait=0")
    assert (pauses, cats.asked("ListSubmissions"), statuses(cats)) == ([], 0, ["pending"])
    assert told(caplog)[-2:] == [
        "submit: sent one.csv as submission 4001",
        "submit: submission 4001 has no score yet; type stage=runs later",
    ]
    send(cats, "submit.wait=0")
    assert (cats.counted, statuses(cats)) == (1, ["pending"])
    send(cats)
    assert cats.counted == 1
    assert is_scored(cats, cats.rows()[0])


def test_looks_for_the_score_become_rarer_and_end_in_time(
    cats: Cats, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    cats.kaggle.pending_polls = 1000
    send(cats, "submit.wait=500")
    assert sum(pauses) == pytest.approx(500)
    expected = [min(FIRST_LOOK * GROWTH**number, LONGEST_LOOK) for number in range(len(pauses))]
    assert pauses[:-1] == pytest.approx(expected[:-1])
    assert pauses[0] == FIRST_LOOK
    assert max(pauses) == LONGEST_LOOK
    assert 0 < pauses[-1] <= expected[-1]
    assert cats.asked("ListSubmissions") == len(pauses) + 1
    assert statuses(cats) == ["pending"]
    assert told(caplog)[-1] == "submit: submission 4001 has no score yet; type stage=runs later"


@pytest.mark.parametrize("status", ["QUEUED_FOR_RESCORE", 7, "", None, {"odd": 1}])
def test_a_status_that_nobody_knows_is_waited_for(cats: Cats, status: object, pauses: list[float]) -> None:
    cats.kaggle.pending_polls = 0
    cats.kaggle.fault("ListSubmissions", "odd rows", rows=[], change={"status": status, "publicScore": None}, times=3)
    send(cats)
    assert is_scored(cats, cats.rows()[0])
    assert pauses == pytest.approx([FIRST_LOOK * GROWTH**number for number in range(3)])


def test_a_score_that_does_not_come_with_the_status_is_hidden(cats: Cats, caplog: pytest.LogCaptureFixture) -> None:
    cats.kaggle.fault("ListSubmissions", "odd rows", rows=[], change={"status": "COMPLETE", "publicScore": ""})
    send(cats)
    assert told(caplog)[-1] == (
        "submit: public score hidden, private hidden until the end; out of fold accuracy 0.7500 (0.5000-0.9000)"
    )


@pytest.mark.parametrize("kind", ["500", "403 denied", "reset"])
def test_a_score_that_cannot_be_asked_for_does_not_undo_the_submission(
    cats: Cats, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    cats.kaggle.fault("ListSubmissions", kind, times=None)
    send(cats)
    assert (cats.counted, statuses(cats)) == (1, ["pending"])
    *_, warning, last = told(caplog)
    assert warning.startswith("submit: the score cannot be asked for: Kaggle")
    assert last == "submit: submission 4001 has no score yet; type stage=runs later"
    cats.kaggle.faults.clear()
    send(cats)
    assert cats.counted == 1
    assert is_scored(cats, cats.rows()[0])


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
    assert is_scored(cats, cats.rows()[0])


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
    ("limits", "words"),
    [
        (Limits(used_today=5, left=0, by_total=False), r"today's submissions are used up \(5 sent\).* 00:00 UTC"),
        (Limits(used_today=0, left=0, by_total=True), "submissions are all used up; it allows no more"),
        (
            Limits(used_today=0, left=0, by_total=False),
            "takes no submission now, though none was sent today: .*/cats ",
        ),
    ],
)
def test_why_nothing_is_left(limits: Limits, words: str) -> None:
    assert re.search(words, why_none_left(limits, "cats") or "")


def test_one_that_is_left_is_enough() -> None:
    assert why_none_left(Limits(used_today=4, left=1, by_total=False), "cats") is None
    assert why_none_left(Limits(used_today=0, left=1, by_total=True), "cats") is None


# --- what is not for Kaggle ---------------------------------------------------------------------------------------


def before_work(cats: Cats, *overrides: str) -> str:
    """The line in which the command ends, before anything is asked, made or trained."""
    before = {path: path.stat().st_mtime_ns for path in cats.root.rglob("*")}
    with pytest.raises(UserError) as caught:
        run_command(cats.at(*UPLOAD, "run=null", "model.name=tf_efficientnet_lite0", *overrides))
    assert {path: path.stat().st_mtime_ns for path in cats.root.rglob("*")} == before
    assert cats.kaggle.calls == []
    return cats.shown(caught.value)


def test_the_sample_is_refused(cats: Cats) -> None:
    assert before_work(cats, "competition.sample_slug=cats") == (
        "the built-in sample is drawn by code and no competition of Kaggle's: leave submit.upload away"
    )


@pytest.mark.parametrize("option", ["submit.upload=true", "runs.leaderboard=true"])
def test_the_sample_does_not_stand_in_where_kaggle_is_meant(
    cats: Cats, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    nowhere = cats.at("competition.slug=dogs", "competition.sample_slug=drawn", "stage=submit", "run=null", option)
    assert with_sample_if_no_data(nowhere) is nowhere
    drawn = with_sample_if_no_data(cats.at("competition.slug=dogs", "competition.sample_slug=drawn"))
    assert drawn.competition.is_sample


def test_a_part_of_the_labels_is_refused(cats: Cats) -> None:
    assert before_work(cats, "competition.per_class=2") == (
        "competition.per_class classifies training images: leave it or submit.upload away"
    )


def test_a_folder_without_a_name_at_kaggle_is_refused(cats: Cats) -> None:
    folder = cats.root / "data/cats/raw"
    assert before_work(cats, "competition.slug=null", f"competition.source={folder}", f"paths.root={cats.root}/x") == (
        "this folder is no competition of Kaggle's: give competition.slug=NAME, or leave submit.upload away"
    )


def test_nobody_is_refused(cats: Cats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    assert before_work(cats).startswith("no Kaggle credentials were found: make a token at https://www.kaggle.com/")


def test_an_address_to_which_no_token_goes_is_refused(cats: Cats) -> None:
    assert "give an https:// address" in before_work(cats, "kaggle.endpoint=http://kaggle.example.com")


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
        (
            "sample_submission.csv",
            "ID,Answer\n" + ROWS,
            "the columns ['ID', 'Answer'], not ['id', 'label']",
        ),
        ("sampleSubmission.csv", "label,id\n" + ROWS, "the columns ['label', 'id'], not ['id', 'label']"),
        (
            "SAMPLE-submission_1.csv",
            "id,label\n" + ROWS.replace("red3", "red9"),
            "test/red9.png",
        ),
        ("sample submission.csv", "id,label\n" + ROWS + "test/none.png,red\n", "test/none.png"),
        ("sample_submission.csv", "id,label\n" + ROWS.partition("\n")[2], "test/blue2.png"),
    ],
)
def test_a_sample_submission_that_asks_for_something_else_stops_it(
    cats: Cats, name: str, text: str, words: str
) -> None:
    cats.ship(name, text)
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
    assert is_scored(cats, cats.rows()[0])


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


def test_the_origin_of_what_was_sent_lies_beside_it(cats: Cats) -> None:
    send(cats)
    origin: Any = read_json(cats.root / "submissions/one.json")
    assert (origin["competition"], origin["sample"], origin["run"]) == ("cats", False, "one")
    assert origin["csv_sha256"] == cats.rows()[0]["sha256"]


def test_old_credentials_do_too(cats: Cats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    monkeypatch.setenv("KAGGLE_USERNAME", cats.kaggle.username)
    monkeypatch.setenv("KAGGLE_KEY", cats.kaggle.key)
    send(cats)
    assert is_scored(cats, cats.rows()[0])


# --- what fresh eyes found ----------------------------------------------------------------------------------------


def test_a_list_that_lacks_what_is_known_takes_nothing_away(cats: Cats) -> None:
    send(cats)
    (before,) = cats.rows()
    bare = [{"ref": int(before["ref"]), "publicScore": "", "description": before["tag"]}]
    cats.kaggle.fault("ListSubmissions", "json", value={"submissions": bare}, times=None)
    run_command(cats.at("stage=runs"))
    assert cats.rows() == [before]


def test_a_token_that_is_not_valid_is_told_before_anything_is_made(cats: Cats) -> None:
    cats.kaggle.fault("Hello", "401", times=None)
    with pytest.raises(UserError, match="the credentials are not valid"):
        submit.check(cats.at("stage=submit", "submit.upload=true"))
    cats.kaggle.faults.clear()
    cats.kaggle.fault("Hello", "404", times=None)
    submit.check(cats.at("stage=submit", "submit.upload=true"))  # a question that is not known proves nothing


def test_a_token_that_the_server_echoes_is_in_no_file(cats: Cats) -> None:
    echo = [{"ref": 4001, "status": "ERROR", "errorDescription": f"no: {cats.kaggle.token}"}]
    cats.kaggle.fault("ListSubmissions", "json", value={"submissions": echo}, times=None)
    assert refused(cats) == "Kaggle could not score submission 4001: no: ***"
    assert cats.rows()[0]["error"] == "no: ***"


@pytest.mark.parametrize("answer", [{}, {"numToday": None}, {"num_today": 1, "num_allowed_now": 4}])
def test_a_quota_that_is_not_told_is_no_obstacle(cats: Cats, answer: dict[str, Any]) -> None:
    cats.kaggle.fault("GetSubmissionLimits", "json", value=answer, times=None)
    send(cats)
    assert (cats.counted, statuses(cats)) == (1, ["complete"])


def test_a_sample_submission_in_a_folder_is_compared_too(cats: Cats) -> None:
    folder = cats.at().base_dir / "raw" / "docs"
    folder.mkdir(parents=True)
    (folder / "sample_submission.csv").write_text("Id,Expected,Extra\n")
    try:
        assert "type competition.sample_submission=docs/sample_submission.csv" in refused(cats, by=make_and_send)
    finally:
        shutil.rmtree(folder)  # other tests have the same data
    assert (cats.counted, cats.rows()) == (0, [])
