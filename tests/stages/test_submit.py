"""The CSV holds what the competition asks for, and the JSON beside it where every number came from."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from kagglepipe.config import CONF, Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json, write_parquet
from kagglepipe.options import (
    CompetitionOptions,
    FoldOptions,
    ModelOptions,
    PathsOptions,
    TemporalOptions,
    TrainingOptions,
)
from kagglepipe.predictions.frame import oof_frame, read_frame, test_frame
from kagglepipe.runs.configured import read_data
from kagglepipe.runs.expected import natural
from kagglepipe.runs.provenance import decisive
from kagglepipe.tools.commands import run_command
from tests.composing import changed

FACTS = {"versions": {"kagglepipe": "1.2.3", "torch": "9"}, "git_commit": "abcdef012345"}
SCORE = {"metric": "accuracy", "score": 0.75, "interval": [0.5, 0.9], "log_loss": 0.6}
At = Callable[..., Config]


@pytest.fixture
def at(toy: Path, tmp_path: Path) -> At:
    """at("stage=submit", …) -> the toy's configuration, for the run called `one`."""
    for name in ("img2", "img10", "it's, 1"):
        shutil.copy(toy / "test/red12.png", toy / f"test/{name}.png")
    folder = OmegaConf.load(CONF / "competition/image_folder.yaml")
    config = Config(
        run="one",
        paths=PathsOptions(str(tmp_path)),
        competition=CompetitionOptions(**folder, source=str(toy)),
        folds=FoldOptions(count=2),
        model=ModelOptions("test_efficientnet", "none", image_size=64),
        training=TrainingOptions("head", views=0),
    )
    return lambda *overrides: changed(config, *overrides)


@pytest.fixture
def run(at: At) -> Path:
    """A finished run of the toy with predictions out of thin air."""
    return make_run(at)


def make_run(at: At, name: str = "one", seed: int = 1) -> Path:
    run_command(at("stage=prepare"))
    prepared, folder = read_data(at()), at().runs_dir / name
    probs = np.random.default_rng(seed).dirichlet([1.0] * len(prepared.classes), len(prepared.test))
    write_parquet(folder / "test.parquet", test_frame(prepared.test["id"].tolist(), probs, prepared.classes))
    write_json(folder / "fold_0/model.json", FACTS)
    write_json(folder / "metrics.json", {**SCORE, "run": name, "identity": {"seed": seed}})
    return folder


def rows_of(run: Path) -> pd.DataFrame:
    """The run's test predictions by id."""
    return read_frame(run / "test.parquet").set_index("id")


def submitted(root: Path, name: str = "one") -> pd.DataFrame:
    """The submission as somebody else would read it."""
    return pd.read_csv(root / f"submissions/{name}.csv")


# --- content ------------------------------------------------------------------------------------------------


def test_rows_are_the_images_to_classify_in_the_order_that_people_count(at: At, run: Path, tmp_path: Path) -> None:
    run_command(at("stage=submit"))
    assert submitted(tmp_path)["id"].tolist() == [
        "test/blue12.png", "test/blue13.png", "test/green12.png", "test/green13.png", "test/img2.png",
        "test/img10.png", "test/it's, 1.png", "test/red12.png", "test/red13.png",
    ]  # fmt: skip
    assert natural("img2.png") < natural("img10.png") < natural("img10a.png")


FORMS = [  # (options, columns, answers by the run's test predictions)
    (["name", "competition.target_column=Colour"], ["id", "Colour"], lambda rows: rows.idxmax(axis=1)),
    (
        ["index", "competition.id_column=ID", "competition.classes=[red,blue,green]"],
        ["ID", "label"],
        lambda rows: rows.idxmax(axis=1).map(["red", "blue", "green"].index),
    ),
    (["probabilities"], ["id", "blue", "green", "red"], lambda rows: rows),
]


@pytest.mark.parametrize(("options", "columns", "answers"), FORMS)
def test_each_form_holds_the_answers_of_the_run(
    options: list[str], columns: list[str], answers: Callable[[pd.DataFrame], Any], at: At, tmp_path: Path
) -> None:
    options = [f"competition.form={options[0]}", *options[1:]]
    run = make_run(lambda *overrides: at(*options, *overrides))
    run_command(at("stage=submit", *options))
    found = submitted(tmp_path)
    assert list(found.columns) == columns
    expected = pd.DataFrame(answers(rows_of(run)).loc[found[columns[0]]])
    expected.columns = columns[1:]
    pd.testing.assert_frame_equal(found[columns[1:]], expected.reset_index(drop=True), rtol=1e-7)


def test_forms_that_the_classes_do_not_fit_are_refused(at: At, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"type 'competition.classes=\[blue,green,red\]' in the competition's order"):
        run_command(at("stage=submit", "competition.form=index"))
    with pytest.raises(UserError, match=r"competition\.form=probability needs 2 classes, found 3"):
        run_command(at("stage=submit", "competition.form=probability"))
    assert not (tmp_path / "submissions").exists()


def test_one_answer_for_predictions_that_differ_is_refused_unless_it_is_asked_for(
    at: At, toy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(toy / "test/red12.png", toy / "test/more.png")  # ten images, from which on it is no chance
    run = make_run(at)
    frame = read_frame(run / "test.parquet")
    likely = np.tile([0.2, 0.1, 0.7], (len(frame), 1)) + np.linspace(-0.1, 0.1, len(frame))[:, None] * [1, -1, 0]
    write_parquet(run / "test.parquet", test_frame(frame["id"].tolist(), likely, ["blue", "green", "red"]))
    with pytest.raises(UserError, match=r"all 10 rows have the same answer, red, .* submit\.constant=true") as error:
        run_command(at("stage=submit"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "submissions").exists()
    run_command(at("stage=submit", "submit.constant=true"))
    assert set(submitted(tmp_path)["label"]) == {"red"}
    write_parquet(
        run / "test.parquet", test_frame(frame["id"].tolist(), likely[:1].repeat(10, 0), ["blue", "green", "red"])
    )
    run_command(at("stage=submit"))  # of a model that answers alike itself it is a warning
    assert "all 10 rows have the same answer: red" in caplog.text


def test_rows_together_have_the_class_shares_of_training(
    at: At, toy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for number in range(10):
        shutil.copy(toy / "test/red12.png", toy / f"test/more{number}.png")
    wide = ("competition.form=probabilities", "competition.shares=true")
    run, dataset = make_run(lambda *overrides: at(*wide, *overrides)), read_data(at())
    labelled = dataset.train.sort_values("id", ascending=False)  # in another order than the table
    probs = np.random.default_rng(0).dirichlet([1.0, 2.0, 4.0], len(labelled))
    oof = oof_frame(labelled["id"], labelled["fold"], labelled["target"], probs, dataset.classes)
    write_parquet(run / "oof.parquet", oof)
    run_command(at("stage=submit", *wide))
    shares = (dataset.train["target"].value_counts()[dataset.classes] + 1) / (len(labelled) + 3)
    found = submitted(tmp_path)
    np.testing.assert_allclose(found[dataset.classes].mean(), shares, atol=1e-6)
    weights = found.set_index("id")[dataset.classes] / rows_of(run).loc[found["id"], dataset.classes]
    np.testing.assert_allclose(weights["red"] / weights["blue"], weights["red"].iloc[0] / weights["blue"].iloc[0])
    assert "submit: class shares of training gain " in caplog.text


def test_few_rows_need_not_have_the_class_shares_of_training(
    at: At, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_command(at("stage=submit", "competition.shares=true"))
    found = submitted(tmp_path)
    assert found["label"].tolist() == rows_of(run).idxmax(axis=1).loc[found["id"]].tolist()
    assert "9 rows are too few" in caplog.text


# --- a sample submission -----------------------------------------------------------------------------------------

SAMPLE = ("competition.sample_submission=sample.csv", "competition.form=probabilities")


def test_a_sample_submission_gives_header_and_order(toy: Path, at: At, tmp_path: Path) -> None:
    ids = ["test/red13.png", "test/img10.png", "test/blue12.png"]
    (toy / "sample.csv").write_text("image,red,blue,green\n" + "".join(f"{id},0.2,0.3,0.5\n" for id in ids))
    run = make_run(lambda *overrides: at(*SAMPLE, *overrides))
    run_command(at("stage=submit", *SAMPLE))
    found = submitted(tmp_path)
    assert list(found.columns) == ["image", "red", "blue", "green"]
    assert found["image"].tolist() == ids
    expected = rows_of(run).loc[ids, ["red", "blue", "green"]].to_numpy()
    np.testing.assert_allclose(found[["red", "blue", "green"]].to_numpy(), expected, rtol=1e-8)
    assert read_json(tmp_path / "data/toy/prepared.json")["outside"] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,red,blue,green\ntest/none.png,0,0,1\n", r"'test/none\.png', which no images .*: mend sample\.csv"),
        ("image,red,blue,green\nred/red1.png,0,0,1\n", r"'red/red1\.png' is to train on: is competition\.test=test"),
        ("image,red,blue,pink\ntest/red13.png,0,0,1\n", r"the sample submission has columns \['image', 'red', 'blue'"),
        (None, r"sample\.csv cannot be read as a CSV in UTF-8 \(No such file or directory\); check"),
    ],
)
def test_a_sample_submission_that_does_not_fit_is_named_before_anything_is_trained(
    text: str | None, words: str, toy: Path, at: At
) -> None:
    if text is not None:
        (toy / "sample.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        run_command(at("stage=prepare", *SAMPLE))


def test_a_sample_submission_may_spell_an_accent_in_another_way(toy: Path, at: At, tmp_path: Path) -> None:
    shutil.copy(toy / "test/red12.png", toy / "test/e\u0301t\u00e9.png")
    ids = ["test/\u00e9te\u0301.png", "test/red13.png"]
    (toy / "sample.csv").write_text("id,label\n" + "".join(f"{id},red\n" for id in ids))
    make_run(lambda *overrides: at(SAMPLE[0], *overrides))
    run_command(at("stage=submit", SAMPLE[0]))
    assert submitted(tmp_path)["id"].tolist() == ids


def test_the_labels_of_a_sample_submission_tell_which_form_is_meant(toy: Path, at: At) -> None:
    (toy / "sample.csv").write_text("id,label\ntest/red13.png,1\ntest/red12.png,2\ntest/blue12.png,3\n")
    with pytest.raises(UserError, match=r"sample\.csv holds answers as '3', competition\.form=index writes '0', '1'"):
        run_command(at("stage=prepare", SAMPLE[0], "competition.form=index", "competition.classes=[blue,green,red]"))


def test_a_sample_submission_of_a_header_alone_asks_for_all_images(toy: Path, at: At, tmp_path: Path) -> None:
    (toy / "test/Sample.csv").write_text("Image,Colour\n")
    make_run(lambda *overrides: at(SAMPLE[0], *overrides))
    run_command(at("stage=submit", SAMPLE[0]))
    assert list(submitted(tmp_path).columns) == ["Image", "Colour"]
    assert len(submitted(tmp_path)) == 9


def test_a_sample_submission_that_is_not_named_is_pointed_out(
    toy: Path, at: At, caplog: pytest.LogCaptureFixture
) -> None:
    (toy / "sample_submission.csv").write_text("Image,Colour\n")
    with caplog.at_level("INFO"):
        run_command(at("stage=prepare"))
    assert "type competition.sample_submission=sample_submission.csv" in caplog.text


@pytest.mark.parametrize(
    ("options", "positive", "words"),
    [
        (["competition.target_column=label"], "red", "(the second of blue, red): competition.classes=[red,blue] turns"),
        (["competition.target_column=is_blue"], "blue", "probability of blue, as its name says"),
        (["competition.target_column=label", "competition.classes=[red,blue]"], "blue", "probability of blue"),
        (["competition.target_column=red", "competition.classes=[red,blue]"], "blue", "though named after red"),
    ],
)
def test_whose_probability_it_is_is_said_and_may_be_told_by_the_column(
    options: list[str], positive: str, words: str, toy: Path, at: At, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(toy / "green")
    options = ["competition.form=probability", *options]
    with caplog.at_level("INFO"):
        run = make_run(lambda *overrides: at(*options, *overrides))
        run_command(at("stage=submit", *options))
    assert [line.partition(":")[0] for line in caplog.messages if words in line] == ["prepare", "prepare", "submit"]
    found = submitted(tmp_path).set_index("id").iloc[:, 0]
    assert found.to_dict() == pytest.approx(rows_of(run)[positive].to_dict(), rel=1e-8)


# --- what cannot be read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["index", "name", "probabilities"])
@pytest.mark.parametrize("sample", [False, True])
def test_an_image_that_cannot_be_read_gets_the_class_shares_and_is_named(
    form: str, sample: bool, toy: Path, at: At, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(4):
        (toy / f"green/green{number}.png").unlink()
    (toy / "test/img2.png").write_bytes(b"")
    options = [f"competition.form={form}", "competition.on_bad_image=skip", "competition.id=name"]
    options += ["competition.classes=[blue,green,red]"] if form == "index" else []
    if sample:
        header = "ID,red,green,blue" if form == "probabilities" else "ID,label"
        rows = "".join(f"{name}{',' * header.count(',')}\n" for name in ("red12.png", "img2.png"))
        (toy / "sample.csv").write_text(f"{header}\n{rows}")
        options.append(SAMPLE[0])
    make_run(lambda *overrides: at(*options, *overrides))
    with caplog.at_level("WARNING"):
        run_command(at("stage=submit", *options))
    assert "submit: 1 of the items to classify cannot be read and got the class shares: test/img2.png: " in caplog.text
    found = submitted(tmp_path)
    row = found.set_index(found.columns[0]).loc["img2.png"]
    if form == "probabilities":
        assert row[["blue", "green", "red"]].tolist() == pytest.approx([12 / 32, 8 / 32, 12 / 32])
    else:
        assert row["label"] == (0 if form == "index" else "blue")
    assert len(found) == (2 if sample else 9)
    assert list(read_json(tmp_path / "submissions/one.json")["unreadable"]) == ["img2.png"]


@pytest.mark.parametrize("listed", [False, True], ids=["sample", "list and sample"])
def test_an_id_without_an_image_gets_the_class_shares_where_that_is_typed(
    listed: bool, toy: Path, at: At, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As petfinder's pets without photos."""
    asked = ["red12.png", "gone.png", "img2.png"]
    (toy / "sample.csv").write_text("id,label\n" + "".join(f"{name},red\n" for name in asked))
    (toy / "list.csv").write_text("file\n" + "".join(f"../test/{name}\n" for name in asked))
    options = ["competition.id=name", SAMPLE[0], *(["competition.test=list.csv"] if listed else [])]
    with pytest.raises(UserError, match=r"gone\.png.* answer such rows by the class shares with .*on_bad_image=skip"):
        run_command(at("stage=prepare", *options))
    options.append("competition.on_bad_image=skip")
    make_run(lambda *overrides: at(*options, *overrides))
    assert any("will get the class shares" in line and "gone.png" in line for line in caplog.messages)
    run_command(at("stage=submit", *options))
    assert "submit: 1 of the items to classify cannot be read and got the class shares: " in caplog.text
    found = submitted(tmp_path).set_index("id")["label"]
    assert found.index.tolist() == asked
    assert found["gone.png"] == "blue"  # the first of the largest classes
    assert list(read_json(tmp_path / "submissions/one.json")["unreadable"]) == ["gone.png"]


def test_ids_of_which_none_has_an_image_stay_refused(toy: Path, at: At) -> None:
    (toy / "sample.csv").write_text("id,label\na,red\nb,red\n")
    with pytest.raises(UserError, match=r"asks for 'a', 'b', which no images to classify are called"):
        run_command(at("stage=prepare", "competition.id=name", SAMPLE[0], "competition.on_bad_image=skip"))


def test_a_table_of_before_that_left_such_images_out_is_made_anew(toy: Path, at: At, tmp_path: Path) -> None:
    (toy / "test/img2.png").write_bytes(b"")
    run_command(at("stage=prepare", "competition.on_bad_image=skip"))
    file = tmp_path / "data/toy/prepared.json"
    known = read_json(file)
    write_json(file, {name: value for name, value in known.items() if name != "unreadable"})
    run_command(at("stage=prepare", "competition.on_bad_image=skip"))
    assert read_json(file) == known


# --- where it comes from -------------------------------------------------------------------------------------------


def test_the_origin_tells_where_every_number_came_from(at: At, run: Path, tmp_path: Path) -> None:
    run_command(at("stage=submit"))
    assert read_json(tmp_path / "submissions/one.json") == {
        "competition": "toy",
        "sample": False,
        "run": "one",
        "members": ["one"],
        "identity": {"seed": 1},
        "score": SCORE,
        "rows": 9,
        "contract": {"form": "name", "columns": ["id", "label"], "classes": ["blue", "green", "red"]},
        "csv_sha256": hashlib.sha256((tmp_path / "submissions/one.csv").read_bytes()).hexdigest(),
        "test_sha256": hashlib.sha256((run / "test.parquet").read_bytes()).hexdigest(),
        "table": read_data(at()).table_hash,
        **FACTS,
        "source": read_json(tmp_path / "data/toy/source.json")["content"],
        "configuration": decisive(at()),
        "runs": {
            "one": {
                "configuration": None,  # since it has no config.yaml
                "identity": {"seed": 1},
                "test_sha256": hashlib.sha256((run / "test.parquet").read_bytes()).hexdigest(),
                "cut_by_budget": None,
                "teacher": None,
                "engine": None,
                "machine": None,
                **FACTS,
            }
        },
    }


def test_what_is_up_to_date_is_not_touched(at: At, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_command(at("stage=submit"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "submissions").iterdir()}
    with caplog.at_level("INFO"):
        run_command(at("stage=submit"))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "submissions").iterdir()} == before
    assert sorted(path.name for path in before) == ["one.csv", "one.json"]
    assert f"{tmp_path / 'submissions/one.csv'} is up to date" in caplog.text


@pytest.mark.parametrize("name", ["one.csv", "one.json"])
def test_what_has_changed_is_written_again(name: str, at: At, run: Path, tmp_path: Path) -> None:
    command, file = at("stage=submit", "competition.form=probabilities"), tmp_path / "submissions" / name
    run_command(command)
    before = file.read_bytes()
    file.write_bytes(before.replace(b"red", b"blue") if "csv" in name else b"{}")
    run_command(command)
    assert file.read_bytes() == before
    make_run(at, seed=2)
    run_command(command)
    assert file.read_bytes() != before


# --- two competitions over one folder ---------------------------------------------------------------------------------


def test_the_submission_of_another_form_stays_and_this_one_goes_beside_it(
    at: At, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_command(at("stage=submit"))
    first = (tmp_path / "submissions/one.csv").read_bytes()
    for _ in range(2):
        run_command(at("stage=submit", "competition.form=probabilities"))
    assert "one.csv holds another submission (toy, form name, columns id,label), and stays" in caplog.text
    assert (tmp_path / "submissions/one.csv").read_bytes() == first
    (beside,) = set((tmp_path / "submissions").glob("*.csv")) - {tmp_path / "submissions/one.csv"}
    assert len(pd.read_csv(beside).columns) == 4
    assert read_json(beside.with_suffix(".json"))["contract"]["form"] == "probabilities"
    caplog.clear()
    run_command(at("stage=submit"))
    assert not caplog.text


def test_an_origin_of_before_tells_its_form_too(at: At, run: Path, tmp_path: Path) -> None:
    run_command(at("stage=submit"))
    file = tmp_path / "submissions/one.json"
    write_json(file, {name: value for name, value in read_json(file).items() if name != "contract"})
    run_command(at("stage=submit"))
    assert "contract" in read_json(file)
    write_json(file, {name: value for name, value in read_json(file).items() if name != "contract"})
    run_command(at("stage=submit", "competition.form=probabilities"))
    assert list(submitted(tmp_path).columns) == ["id", "label"]
    assert len(list((tmp_path / "submissions").glob("*.csv"))) == 2


def test_a_file_that_is_named_is_replaced_which_is_said(
    at: At, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = f"submit.file='{tmp_path / 'mine.csv'}'"
    run_command(at("stage=submit", mine))
    run_command(at("stage=submit", mine, "competition.form=probabilities"))
    assert "mine.csv contained another submission (toy, form name, columns id,label), which is" in caplog.text
    assert len(pd.read_csv(tmp_path / "mine.csv").columns) == 4


def test_a_table_that_other_settings_replace_is_named(toy: Path, at: At, caplog: pytest.LogCaptureFixture) -> None:
    run_command(at("stage=prepare"))
    assert "other settings" not in caplog.text
    run_command(at("stage=prepare", "competition.classes=[red,blue,green]"))
    assert "toy was prepared with other settings (classes [] then, ['red', 'blue', 'green'] now)" in caplog.text
    assert "competition.slug=NAME" in caplog.text


# --- which run, which file ------------------------------------------------------------------------------------------


def test_the_run_that_is_named_is_submitted(at: At, run: Path, tmp_path: Path) -> None:
    other = make_run(at, "other", seed=5)
    run_command(at("stage=submit", "run=other"))
    run_command(at("stage=submit", f"run='{run}'", "submit.file='" + str(tmp_path / "submissions/by folder.csv") + "'"))
    assert submitted(tmp_path, "other").set_index("id")["label"].to_dict() == rows_of(other).idxmax(axis=1).to_dict()
    assert submitted(tmp_path, "by folder").set_index("id")["label"].to_dict() == rows_of(run).idxmax(axis=1).to_dict()
    assert not (tmp_path / "submissions/one.csv").exists()


def test_the_file_may_lie_elsewhere(at: At, run: Path, tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "it's (1).csv"
    run_command(at("stage=submit", f'submit.file="{file}"'))
    assert sorted(path.name for path in file.parent.iterdir()) == ["it's (1).csv", "it's (1).json"]
    assert len(pd.read_csv(file)) == 9
    assert not (tmp_path / "submissions").exists()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("run=nonsense", r"run=nonsense is not a finished run in .*; there are: one"),
        ("submit.file='{}'", r"submit\.file=.* is a folder; give a file name"),
        ("submit.file='{}/x.json'", r"submit\.file=.*x\.json is where its origin goes"),
    ],
)
def test_a_run_or_file_that_cannot_be_is_named(option: str, words: str, at: At, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        run_command(at("stage=submit", option.format(tmp_path)))


def test_nothing_to_classify_is_said(toy: Path, at: At, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(toy / "test")
    make_run(at)
    with caplog.at_level("INFO"):
        run_command(at("stage=submit"))
    assert "submit: toy has no images to classify" in caplog.text
    assert not (tmp_path / "submissions").exists()


def test_a_run_of_which_folds_are_left_is_not_submitted(at: At, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fold"):
        run_command(at("stage=submit", "run=null", "folds.only=[1]"))
    assert len(list(tmp_path.glob("outputs/toy/*/fold_1/metrics.json"))) == 1
    assert not (tmp_path / "submissions").exists()


def test_a_run_of_other_classes_is_refused(at: At, run: Path) -> None:
    known = read_frame(run / "test.parquet").rename(columns={"red": "crimson"})
    write_parquet(run / "test.parquet", known)
    with pytest.raises(
        UserError, match=r"one knows the classes \['blue', 'green', 'crimson'\], not .*: type stage=train"
    ):
        run_command(at("stage=submit"))


def test_few_labels_are_submitted_for_all_the_others(at: At, tmp_path: Path) -> None:
    few = ["competition.per_class=4", "competition.sample_submission=none.csv"]
    make_run(lambda *overrides: at(*few, *overrides))
    run_command(at("stage=submit", *few))
    assert len(submitted(tmp_path)) == 24
    origin = read_json(tmp_path / "submissions/one.json")
    assert (origin["competition"], origin["rows"]) == ("toy-4-per-class-seed-0", 24)


# --- segments ------------------------------------------------------------------------------------------------------


@pytest.fixture
def frames_at(long_series: Path, tmp_path: Path) -> At:
    """frames_at("stage=submit", …) -> a configuration of long series, for the run called `one`, trained at rate 4."""
    options = OmegaConf.load(CONF / "competition/video_folder_untrimmed.yaml").competition
    competition = CompetitionOptions(**{**options, "kind": "series", "source": str(long_series)})
    model = ModelOptions(temporal=TemporalOptions(cell="gru"))
    config = Config(
        run="one", paths=PathsOptions(str(tmp_path)), competition=competition, folds=FoldOptions(count=2), model=model
    )
    run_command(changed(config, "stage=prepare"))
    at_four = read_data(changed(config, "sequences.rate=4"))
    ids, folder = at_four.test["id"].tolist(), config.runs_dir / "one"
    probs = np.tile(np.repeat([[0.1, 0.8, 0.1], [0.8, 0.1, 0.1]], 4, axis=0), (len(ids), 1))[: len(ids)]
    write_parquet(folder / "test.parquet", test_frame(ids, probs, at_four.classes))
    identity = {"table": at_four.table_hash, "sequences": {"rate": 4.0}}
    detection = {"settings": {"high": 0.5, "low": 0.5}, "chosen_by": "f1_50"}
    write_json(folder / "metrics.json", {**SCORE, "run": "one", "identity": identity, "detection": detection})
    return lambda *overrides: changed(config, *overrides)


def test_a_run_of_another_rate_is_submitted_at_its_own(
    frames_at: At, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_command(frames_at("stage=submit", "sequences.rate=4"))
    expected = (tmp_path / "submissions/one.csv").read_bytes()
    assert len(submitted(tmp_path)) > 6
    for rate in (8, 2, 10):
        with caplog.at_level("INFO"):
            run_command(frames_at("stage=submit", f"sequences.rate={rate}"))
        assert "one was trained at sequences.rate=4, which counts here" in caplog.text
        assert (tmp_path / "submissions/one.csv").read_bytes() == expected


def test_videos_without_a_segment_are_named_and_a_file_without_any_is_not_called_checked(
    frames_at: At, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = frames_at().runs_dir / "one/test.parquet"
    known = read_frame(file)
    last = known["id"].str.startswith("test/s7.npz")
    known.loc[last, ["none", "left", "right"]] = [1.0, 0.0, 0.0]
    write_parquet(file, known)
    with caplog.at_level("INFO"):
        run_command(frames_at("stage=submit"))
    assert "no segment was found in 1 videos: 'test/s7.npz'" in caplog.text
    assert read_json(tmp_path / "submissions/one.json")["without_segments"] == ["test/s7.npz"]
    assert ", checked, in" in caplog.text
    caplog.clear()
    write_parquet(file, known.assign(none=1.0, left=0.0, right=0.0))
    with caplog.at_level("INFO"):
        run_command(frames_at("stage=submit"))
    assert "not one segment was found in 2 videos: one.csv has only a header, which Kaggle refuses" in caplog.text
    assert "checked" not in caplog.text


def test_a_series_that_cannot_be_read_has_no_segment_and_is_named(
    frames_at: At, long_series: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = shutil.copytree(long_series, tmp_path / "torn")
    (source / "test/s6.npz").write_bytes(b"")
    options = [f"competition.source={source}", "competition.slug=long-series", "competition.refresh=true"]
    options.append("competition.on_bad_image=skip")
    run_command(frames_at("stage=prepare", *options))
    assert "1 of them are to classify, and will have no segment: test/s6.npz" in caplog.text
    file = frames_at().runs_dir / "one/test.parquet"
    known = read_frame(file)
    write_parquet(file, known[known["id"].str.startswith("test/s7")])
    metrics = read_json(file.with_name("metrics.json"))
    write_json(file.with_name("metrics.json"), {**metrics, "identity": {"sequences": {"rate": 4.0}}})
    run_command(frames_at("stage=submit", *options))
    origin = read_json(tmp_path / "submissions/one.json")
    assert (list(origin["unreadable"]), origin["without_segments"]) == (["test/s6.npz"], ["test/s6.npz"])
    assert "submit: 1 of the items to classify cannot be read and have no segment: test/s6.npz: " in caplog.text


def test_segments_are_of_the_videos_as_the_sample_names_them(frames_at: At, tmp_path: Path) -> None:
    run_command(frames_at("stage=submit"))
    expected = submitted(tmp_path)
    (tmp_path / "sample.csv").write_text("video,start,end,label,score\ns6,0,1,left,1\ns7.npz,0,1,left,1\n")
    run_command(frames_at("stage=submit", f"competition.sample_submission={tmp_path / 'sample.csv'}"))
    names = {"test/s6.npz": "s6", "test/s7.npz": "s7.npz"}
    pd.testing.assert_frame_equal(submitted(tmp_path), expected.assign(video=expected["video"].map(names)))


def test_a_run_that_tells_of_whole_items_finds_no_segments(frames_at: At) -> None:
    file = frames_at().runs_dir / "one/metrics.json"
    write_json(file, {name: value for name, value in read_json(file).items() if name != "detection"})
    with pytest.raises(UserError, match=r"one classifies whole items, competition\.form=segments needs one that"):
        run_command(frames_at("stage=submit"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("video,start,end,label\n", r"the sample submission has columns \['video', 'start', 'end', 'label'\]"),
        ("Video,start,end,label,score\ns9,0,1,left,1\n", r"sample\.csv asks for 's9', which no series to classify"),
    ],
)
def test_a_sample_of_segments_is_looked_at_before_anything_is_trained(
    text: str, words: str, frames_at: At, tmp_path: Path
) -> None:
    (tmp_path / "sample.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        run_command(frames_at("stage=prepare", f"competition.sample_submission={tmp_path / 'sample.csv'}"))
