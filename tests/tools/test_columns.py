"""Columns of the tables beside the predictions of a run, from files to the submission."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.runs.configured import read_data, store_of
from kagglepipe.runs.run import Run
from kagglepipe.tools import best
from kagglepipe.tools.commands import run_command
from tests.composing import changed, config_of


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Grey pictures whose number is their age, which only the tables have, and a place that says nothing."""
    root = tmp_path_factory.mktemp("columns")
    random = np.random.default_rng(0)
    for name, count in (("train", 60), ("test", 12)):
        (root / "source" / name).mkdir(parents=True)
        ids = [f"{name}{number}" for number in range(count)]
        age = random.integers(20, 80, count)
        place = random.choice(["north", "south"], count)
        place[0] = "moon" if name == "test" else "north"
        table = pd.DataFrame({"Id": ids, "age": age, "place": place, "score": age * 2.0})
        table.loc[1, "age"] = np.nan
        if name == "test":
            table["score"].to_csv(root / "answers.csv")
            table = table.drop(columns="score")
            table.assign(score=1.5)[["Id", "score"]].to_csv(root / "source" / "sample_submission.csv", index=False)
        table.to_csv(root / "source" / f"{name}.csv", index=False)
        for id in ids:
            pixels = random.integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(root / "source" / name / f"{id}.png")
    return config_of(
        "stage=columns", "competition=image_folder", "competition.form=numbers", "competition.task=regression",
        "competition.labels=train.csv", "+competition.columns={item: Id, label: score}", "competition.id=stem",
        "competition.test=test", "competition.metric=mae", "competition.sample_submission=sample_submission.csv",
        f"competition.source='{root / 'source'}'", f"paths.root='{root}'", "model.name=test_efficientnet",
        "model.weights=none", "model.image_size=32", "device=cpu", "folds.count=3", "training.views=0",
        "training.mode=head",
    )  # fmt: skip


def test_a_number_that_only_the_tables_know_is_learned(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    score = run_command(config)
    (folder,) = config.runs_dir.glob("columns-*")
    metrics = Run(folder).metrics
    base = read_json(config.runs_dir / metrics["base"] / "metrics.json")
    assert score == metrics["score"] < base["score"] / 2
    assert base["baseline"].keys() >= {"decision"} <= base.keys()  # both are scored by their decided answers
    said = caplog.text
    assert ", by numbers as they are" in said  # of a fold
    assert "column age is empty for 1 training and 1 test items" in said
    assert "column place has moon in the test alone" in said
    assert f"submit run={folder.name}, or blend it" in said
    assert metrics["over_base"]["is_kept"]
    assert sorted(metrics["identity"]["columns"]) == ["age", "place"]  # type: ignore[index]
    run_command(changed(config, "stage=submit", f"run={folder.name}"))
    written = pd.read_csv(config.root / "submissions" / f"{folder.name}.csv")
    assert list(written.columns) == ["Id", "score"]
    known = pd.read_csv(config.root / "answers.csv")["score"]
    assert np.corrcoef(written["score"], known)[0, 1] > 0.7


def test_the_columns_that_are_asked_for_are_taken(config: Config) -> None:
    run_command(changed(config, "columns.names=[place]", "columns.model=linear"))
    made = [Run(folder).metrics["identity"] for folder in config.runs_dir.glob("columns-linear-*")]
    assert ["place"] in [(identity or {})["columns"] for identity in made]


def test_training_best_adds_the_columns_to_the_best_run(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = best.steps_of
    monkeypatch.setattr(best, "steps_of", lambda own: steps(own)[:1])  # the head
    run_command(changed(config, "stage=all", "training.mode=best"))
    written = read_json(config.runs_dir / "best.json")
    assert [one["step"] for one in written["tried"]] == [
        "head on test_efficientnet", "the best of these with the columns of the tables", "blend of all"]  # fmt: skip
    scores = [one["score"] for one in written["tried"]]
    assert min(scores[1:]) < scores[0] / 2
    assert len(pd.read_csv(config.root / "submissions" / f"{written['best']}.csv")) == 12


def test_columns_without_a_gain_are_neither_blended_nor_submitted(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The place says nothing, so that what it adds to the score is luck."""
    caplog.set_level("INFO")
    steps = best.steps_of
    monkeypatch.setattr(best, "steps_of", lambda own: steps(own)[:1])
    run_command(changed(config, "stage=all", "training.mode=best", "columns.names=[place]"))
    written = read_json(config.runs_dir / "best.json")
    head, of_place = written["tried"]  # no blend
    assert of_place["step"] == "the best of these with the columns of the tables (not kept)"
    assert written["best"] == head["run"]
    assert f"submit run={of_place['run']}\n" in caplog.text
    assert of_place["run"] not in [one.name for one in store_of(config).comparable(read_data(config))]  # for best:N
    run_command(changed(config, "stage=runs"))
    assert f"{of_place['run']} (gives way to {head['run']})" in caplog.text


def test_a_column_that_the_test_lacks_is_refused(config: Config) -> None:
    with pytest.raises(UserError, match=r"columns\.names=weight is no column of training and test items alike"):
        run_command(changed(config, "columns.names=[weight]"))
