"""Answers and groups score a finished run anew whenever they change, and train nothing again."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import CONF, Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json, write_parquet
from kagglepipe.options import CompetitionOptions, FoldOptions, PathsOptions
from kagglepipe.predictions.evaluation import summarise
from kagglepipe.predictions.frame import oof_frame, read_frame, test_frame
from kagglepipe.runs.answers import by_answer, read_answers
from kagglepipe.runs.configured import read_data, run_of
from kagglepipe.runs.run import Run
from kagglepipe.runs.scores import groups_hash, is_scored, score_test_again
from kagglepipe.stages import train
from kagglepipe.tools.commands import run_command
from tests.composing import changed

At = Callable[..., Config]
ALONE = {"run": "one", "metric": "accuracy", "score": 0.75, "interval": [0.5, 0.9], "log_loss": 0.6}


@pytest.fixture
def at(colours: Path, tmp_path: Path) -> At:
    """at("competition.form=index", …) -> the configuration of prepared colours, two of each to classify."""
    folder = OmegaConf.load(CONF / "competition/image_folder.yaml")
    competition = CompetitionOptions(**{**folder, "source": str(colours), "id": "stem"})
    config = Config(
        stage="prepare", paths=PathsOptions(str(tmp_path)), competition=competition, folds=FoldOptions(count=2)
    )

    run_command(config)
    return functools.partial(changed, config)


@pytest.fixture
def run(at: At) -> Path:
    """A run that calls every image to classify by its colour, save the red ones, which it calls blue."""
    prepared, folder = read_data(at()), at().runs_dir / "one"
    ids = prepared.test["id"].tolist()
    said = [prepared.classes.index(id[:-2].replace("red", "blue")) for id in ids]
    write_parquet(folder / "test.parquet", test_frame(ids, np.eye(3)[said], prepared.classes))
    write_json(folder / "metrics.json", {**ALONE, "identity": {"table": prepared.table_hash}})
    return folder


def answers(folder: Path, labels: dict[str, str], header: str = "id,label") -> str:
    """competition.answers= of a CSV with these labels."""
    file = folder / "answers.csv"
    file.write_text(f"{header}\n" + "".join(f"{id},{label}\n" for id, label in labels.items()))
    return f"competition.answers={file}"


RIGHT = {f"{name}{n}": name for name in ("blue", "green", "red") for n in (12, 13)}


def scored(config: Config, run: Path) -> tuple[bool, float | None]:
    """(whether the test was scored anew, the accuracy that metrics.json tells of it then)."""
    again = score_test_again(config.competition, read_data(config), Run(run))
    return again, read_json(run / "metrics.json").get("test", {}).get("score")


def test_answers_that_are_given_mended_and_taken_away_score_a_finished_run_anew(
    at: At, run: Path, tmp_path: Path
) -> None:
    before = (run / "metrics.json").stat().st_mtime_ns
    assert scored(at(), run) == (False, None)
    wrong = at(answers(tmp_path, {**RIGHT, "green12": "blue", "green13": "blue"}))
    assert scored(wrong, run) == (True, 2 / 6)
    assert scored(wrong, run) == (False, 2 / 6)
    right = at(answers(tmp_path, RIGHT))
    assert scored(right, run) == (True, 4 / 6)
    answers(tmp_path, dict(reversed(RIGHT.items())), "file,colour")
    assert scored(right, run)[1] == 4 / 6
    assert scored(at(), run) == (True, None)
    metrics = read_json(run / "metrics.json")
    assert {name: metrics[name] for name in ALONE} == ALONE
    assert "answers_sha256" not in metrics
    assert (run / "metrics.json").stat().st_mtime_ns == before  # no run was made


def test_a_run_of_before_is_scored_once_more(at: At, run: Path, tmp_path: Path) -> None:
    file = run / "metrics.json"
    write_json(file, {**read_json(file), "test": {"score": 0.123}})  # by answers that nobody knows any more
    config = at(answers(tmp_path, RIGHT))
    assert scored(config, run) == (True, 4 / 6)
    assert scored(config, run) == (False, 4 / 6)


def test_a_run_of_other_files_keeps_what_it_has(at: At, run: Path, tmp_path: Path) -> None:
    file = run / "metrics.json"
    write_json(file, {**read_json(file), "identity": {"table": "another"}})
    assert scored(at(answers(tmp_path, RIGHT)), run) == (False, None)


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
def test_several_items_with_one_answer_are_answered_by_their_mean(task: str) -> None:
    rows = pd.DataFrame({"id": ["b", "a", "c"], "split": "test", "answer_id": ["p", "q", "p"]})
    dataset = Dataset(rows, rows[["id"]].assign(fold=0), ["x", "y"], Path(), "", "")
    frame = test_frame(["a", "b", "c"], np.array([[1.0, 0.0], [0.25, 0.75], [0.75, 0.25]]), ["x", "y"], task)
    found = by_answer(dataset, frame)
    assert found[["id", "x", "y"]].to_numpy().tolist() == [["q", 1.0, 0.0], ["p", 0.5, 0.5]]
    assert list(found) == list(frame)


def test_answers_may_have_the_columns_of_the_labels(at: At, tmp_path: Path) -> None:
    file = tmp_path / "Test.csv"
    file.write_text("Width,ClassId,Path\n" + "".join(f"29,{label},test/{id}.png\n" for id, label in RIGHT.items()))
    columns = ("competition.columns.item=Path", "competition.columns.label=ClassId")
    competition = at(f"competition.answers={file}", *columns).competition
    assert read_answers(competition, read_data(at())).to_dict() == RIGHT


def test_what_per_class_holds_out_is_scored_by_its_own_answers(at: At) -> None:
    config = at("competition.per_class=4")
    run_command(config)
    prepared, folder = read_data(config), config.runs_dir / "one"
    ids = prepared.test["id"].tolist()
    said = [prepared.classes.index(id.rstrip("0123456789")) for id in ids]
    write_parquet(folder / "test.parquet", test_frame(ids, np.eye(3)[said], prepared.classes))
    write_json(folder / "metrics.json", {**ALONE, "identity": {"table": prepared.table_hash}})
    assert scored(config, folder) == (True, 1.0)


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        (["competition.form=index"], {"blue12": "0", "green13": "1", "red12": "2"}),
        (["competition.form=index"], {"blue12": "blue", "green13": "green", "red12": "red"}),
        (["competition.form=probabilities"], {"blue12": " blue ", "green13": "green", "red12": "red", "red13": ""}),
    ],
)
def test_answers_are_read_in_the_form_of_a_submission(
    options: list[str], labels: dict[str, str], at: At, tmp_path: Path
) -> None:
    config = at(answers(tmp_path, labels), *options)
    found = read_answers(config.competition, read_data(config))
    assert found is not None
    assert found.to_dict() == {"blue12": "blue", "green13": "green", "red12": "red"}


@pytest.mark.parametrize(("header", "positive"), [("id,label", "red"), ("id,blue", "blue")])
def test_answers_of_zero_and_one_are_of_the_class_whose_probability_is_asked_for(
    header: str, positive: str, colours: Path, tmp_path: Path
) -> None:
    for name in ("blue", "red"):
        shutil.copytree(colours / name, tmp_path / "two" / name)
    (tmp_path / "two/test").mkdir()
    shutil.copy(colours / "test/red12.png", tmp_path / "two/test")
    folder = OmegaConf.load(CONF / "competition/image_folder.yaml")
    named = answers(tmp_path, {"red12": "1"}, header).partition("=")[2]
    options = {**folder, "source": str(tmp_path / "two"), "id": "stem", "form": "probability", "answers": named}
    config = Config(stage="prepare", paths=PathsOptions(str(tmp_path)), competition=CompetitionOptions(**options))
    run_command(config)
    assert read_answers(config.competition, read_data(config)).to_dict() == {"red12": positive}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            None,
            r"answers\.csv cannot be read .*No such file.*; competition\.answers=null goes on without known answers",
        ),
        ("", r"answers\.csv cannot be read as a CSV in UTF-8 \(it is empty\)"),
        ("id\nred12\n", r"answers\.csv has one column, needs an id and a label"),
        ("id,label\nred12,red\nred12,blue\n", r"has several rows of an id: repeated 'red12'"),
        ("id,label\nred12,crimson\n", r"has the label crimson, which is none of blue, green, red: mend it"),
        ("id,label\nnone,red\n", r"names 'none' and nothing that is to be classified, as blue12 is: write names so"),
    ],
)
def test_answers_that_cannot_be_meant_are_named_before_anything_is_trained(
    text: str | None, words: str, at: At, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "answers.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        run_command(at(f"competition.answers={tmp_path / 'answers.csv'}"))


def test_answers_where_the_command_was_typed_are_told(at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/answers.csv").write_text("id,label\nred12,red\n")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UserError, match=r"for the one here type its path, /.*/here/answers\.csv"):
        run_command(at("competition.answers=answers.csv"))


def test_an_index_beyond_the_classes_is_named(at: At, tmp_path: Path) -> None:
    options = ["competition.form=index", "competition.classes=[blue,green,red]"]
    with pytest.raises(UserError, match=r"has the label 3, which is none of blue, green, red, 0, 1, 2: mend it"):
        run_command(at(answers(tmp_path, {"red12": "3"}), *options))


def test_answers_to_segments_are_looked_at_too(long_series: Path, tmp_path: Path) -> None:
    options = {**OmegaConf.load(CONF / "competition/video_folder_untrimmed.yaml").competition, "kind": "series"}
    file, table = tmp_path / "answers.csv", pd.read_csv(long_series / "answers.csv", dtype=str)
    competition = CompetitionOptions(**options, source=str(long_series), answers=str(file))
    config = Config(
        stage="prepare", paths=PathsOptions(str(tmp_path)), competition=competition, folds=FoldOptions(count=2)
    )
    for spoilt, words in (
        (table.drop(columns="end"), r"end is needed too"),
        (table.assign(start="soon"), r"start 'soon' is no number"),
        (table.assign(label="up"), r"has the label up, which is none of"),
        (table.assign(video="s77"), r"names 's77' and nothing"),
    ):
        spoilt.to_csv(file, index=False)
        with pytest.raises(UserError, match=words):
            run_command(config)
    table.to_csv(file, index=False)
    run_command(config)


# --- groups --------------------------------------------------------------------------------------------------------


def write_folds(run: Path, prepared: Dataset) -> None:
    """The folds of a run that calls every image by its colour, save the red ones, which it calls blue."""
    for fold, rows in prepared.train.groupby("fold"):
        said = [prepared.classes.index(name.replace("red", "blue")) for name in rows["target"]]
        frame = oof_frame(
            rows["id"].tolist(), int(str(fold)), rows["target"].tolist(), np.eye(3)[said], prepared.classes
        )
        write_parquet(run / f"fold_{fold}" / "oof.parquet", frame)
        ids = prepared.test["id"].tolist()
        write_parquet(
            run / f"fold_{fold}" / "test.parquet", test_frame(ids, np.eye(3)[[0] * len(ids)], prepared.classes)
        )
        write_json(run / f"fold_{fold}" / "metrics.json", {})


def test_groups_that_are_given_later_score_a_finished_run_anew(at: At) -> None:
    config = at("model.name=test_efficientnet", "model.weights=none", "model.image_size=64", "training.mode=head")
    prepared = read_data(config)
    run = run_of(config, prepared).folder
    write_folds(run, prepared)
    write_json(run / "metrics.json", {**ALONE, "groups_sha256": groups_hash(prepared)})
    train.score_again(config, prepared, Run(run))
    assert read_json(run / "metrics.json")["interval"] == ALONE["interval"]  # by the groups as they were
    table = pd.read_parquet(config.data_dir / "table.parquet")
    write_parquet(config.data_dir / "table.parquet", table.assign(group=table["id"].str[:-1]))
    now = read_data(config)
    train.score_again(config, now, Run(run))
    metrics, groups = read_json(run / "metrics.json"), now.train.set_index("id")["group"]
    expected = summarise("accuracy", read_frame(run / "oof.parquet"), now.classes, groups)
    assert metrics["interval"] == list(expected["interval"])
    assert is_scored(metrics, config.competition, now)
    assert not is_scored(metrics, config.competition, prepared)
    assert is_scored(ALONE, config.competition, now)  # of a version that did not tell the groups
