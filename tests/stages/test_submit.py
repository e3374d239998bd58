"""The CSV holds what the competition asks for, and the JSON beside it where every number came from."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from kagglepipe.__main__ import CONF
from kagglepipe.competitions.contract import Competition
from kagglepipe.config import Config, Folds, Model, Paths, Training
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json, write_parquet
from kagglepipe.predictions.frame import read_frame, test_frame
from kagglepipe.stages import walk
from kagglepipe.stages.places import read_prepared
from kagglepipe.stages.recipe import decisive
from kagglepipe.stages.submit import natural

FACTS = {"versions": {"kagglepipe": "1.2.3", "torch": "9"}, "git_commit": "abcdef012345"}
SCORE = {"metric": "accuracy", "score": 0.75, "interval": [0.5, 0.9], "log_loss": 0.6}
At = Callable[..., Config]


def changed(config: Config, *overrides: str) -> Config:
    """The configuration with other values (`key=value`, as in YAML), in a tenth of the time of composing conf/."""
    other = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(config), OmegaConf.from_dotlist(list(overrides))))
    assert isinstance(other, Config)
    return other


@pytest.fixture
def at(toy: Path, tmp_path: Path) -> At:
    """at("stage=submit", …) -> the toy's configuration, for the run called `one`."""
    for name in ("img2", "img10", "it's, 1"):
        shutil.copy(toy / "test/red12.png", toy / f"test/{name}.png")
    folder = OmegaConf.load(CONF / "competition/image_folder.yaml")
    config = Config(
        run="one",
        paths=Paths(str(tmp_path)),
        competition=Competition(**folder, source=str(toy)),
        folds=Folds(count=2),
        model=Model("test_efficientnet", "none", image_size=64),
        training=Training("head", views=0),
    )
    return lambda *overrides: changed(config, *overrides)


@pytest.fixture
def run(at: At) -> Path:
    """A finished run of the toy with predictions out of thin air."""
    return make_run(at)


def make_run(at: At, name: str = "one", seed: int = 1) -> Path:
    walk(at("stage=prepare"))
    prepared, folder = read_prepared(at()), at().runs_dir / name
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
    walk(at("stage=submit"))
    assert submitted(tmp_path)["id"].tolist() == [
        "test/blue12.png", "test/blue13.png", "test/green12.png", "test/green13.png", "test/img2.png",
        "test/img10.png", "test/it's, 1.png", "test/red12.png", "test/red13.png",
    ]  # fmt: skip
    assert natural("img2.png") < natural("img10.png") < natural("img10a.png")


def test_the_form_name_holds_class_names(at: At, run: Path, tmp_path: Path) -> None:
    walk(at("stage=submit", "competition.form=name", "competition.target_column=Colour"))
    found = submitted(tmp_path)
    assert list(found.columns) == ["id", "Colour"]
    assert found.set_index("id")["Colour"].to_dict() == rows_of(run).idxmax(axis=1).to_dict()


def test_the_form_index_holds_positions_in_the_order_of_classes(at: At, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"type 'competition.classes=\[blue,green,red\]' in the competition's order"):
        walk(at("stage=submit", "competition.form=index"))
    classes = "competition.classes=[blue,green,red]"
    walk(at("stage=submit", "competition.form=index", "competition.id_column=ID", classes))
    found = submitted(tmp_path).set_index("ID")["label"].to_dict()
    order = {"blue": 0, "green": 1, "red": 2}
    assert found == {id: order[name] for id, name in rows_of(run).idxmax(axis=1).items()}
    assert (tmp_path / "submissions/one.csv").read_bytes().startswith(b"ID,label\ntest/blue12.png,")


def test_the_form_probabilities_holds_a_column_for_each_class(at: At, run: Path, tmp_path: Path) -> None:
    walk(at("stage=submit", "competition.form=probabilities"))
    found = submitted(tmp_path)
    assert list(found.columns) == ["id", "blue", "green", "red"]
    pd.testing.assert_frame_equal(found.set_index("id").sort_index(), rows_of(run).sort_index(), check_dtype=False)


def test_the_form_probability_holds_that_of_the_second_class(toy: Path, at: At, tmp_path: Path) -> None:
    shutil.rmtree(toy / "green")
    run = make_run(at)
    walk(at("stage=submit", "competition.form=probability"))
    found = submitted(tmp_path).set_index("id")["label"]
    assert found.to_dict() == pytest.approx(rows_of(run)["red"].to_dict(), rel=1e-8)


def test_the_form_probability_needs_two_classes(at: At, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"competition\.form=probability needs 2 classes, found 3"):
        walk(at("stage=submit", "competition.form=probability"))
    assert not (tmp_path / "submissions").exists()


def test_an_order_of_classes_that_is_given_decides_the_index(at: At, tmp_path: Path) -> None:
    options = ["competition.classes=[red,blue,green]", "competition.form=index"]
    run = make_run(lambda *overrides: at(*options, *overrides))
    walk(at("stage=submit", *options))
    order = {"red": 0, "blue": 1, "green": 2}
    found = submitted(tmp_path).set_index("id")["label"].to_dict()
    assert found == {id: order[name] for id, name in rows_of(run).idxmax(axis=1).items()}


# --- a sample submission -----------------------------------------------------------------------------------------

SAMPLE = ("competition.sample_submission=sample.csv", "competition.form=probabilities")


def test_a_sample_submission_gives_header_and_order(toy: Path, at: At, tmp_path: Path) -> None:
    ids = ["test/red13.png", "test/img10.png", "test/blue12.png"]
    (toy / "sample.csv").write_text("image,red,blue,green\n" + "".join(f"{id},0.2,0.3,0.5\n" for id in ids))
    run = make_run(lambda *overrides: at(*SAMPLE, *overrides))
    walk(at("stage=submit", *SAMPLE))
    found = submitted(tmp_path)
    assert list(found.columns) == ["image", "red", "blue", "green"]
    assert found["image"].tolist() == ids
    expected = rows_of(run).loc[ids, ["red", "blue", "green"]].to_numpy()
    np.testing.assert_allclose(found[["red", "blue", "green"]].to_numpy(), expected, rtol=1e-8)
    assert json.loads((tmp_path / "data/toy/prepared.json").read_text())["outside"] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,red,blue,green\ntest/none.png,0,0,1\n", "missing 'test/none.png'"),
        ("image,red,blue,pink\ntest/red13.png,0,0,1\n", r"the sample submission has columns \['image', 'red', 'blue'"),
        ("image\ntest/red13.png\n", r"sample\.csv has one column"),
    ],
)
def test_a_sample_submission_that_does_not_fit_is_named(
    text: str, words: str, toy: Path, at: At, tmp_path: Path
) -> None:
    (toy / "sample.csv").write_text(text)
    make_run(lambda *overrides: at(*SAMPLE, *overrides))
    with pytest.raises(UserError, match=words):
        walk(at("stage=submit", *SAMPLE))
    assert not (tmp_path / "submissions").exists()


# --- where it comes from -------------------------------------------------------------------------------------------


def test_the_origin_tells_where_every_number_came_from(at: At, run: Path, tmp_path: Path) -> None:
    walk(at("stage=submit"))
    assert json.loads((tmp_path / "submissions/one.json").read_text()) == {
        "competition": "toy",
        "sample": False,
        "run": "one",
        "members": ["one"],
        "identity": {"seed": 1},
        "score": SCORE,
        "rows": 9,
        "csv_sha256": hashlib.sha256((tmp_path / "submissions/one.csv").read_bytes()).hexdigest(),
        "test_sha256": hashlib.sha256((run / "test.parquet").read_bytes()).hexdigest(),
        "table": read_prepared(at()).table_hash,
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
    walk(at("stage=submit"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "submissions").iterdir()}
    with caplog.at_level("INFO"):
        walk(at("stage=submit"))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "submissions").iterdir()} == before
    assert sorted(path.name for path in before) == ["one.csv", "one.json"]
    assert f"{tmp_path / 'submissions/one.csv'} is up to date" in caplog.text


@pytest.mark.parametrize("name", ["one.csv", "one.json"])
def test_what_somebody_changed_is_written_again(name: str, at: At, run: Path, tmp_path: Path) -> None:
    walk(at("stage=submit"))
    before = (tmp_path / "submissions" / name).read_bytes()
    (tmp_path / "submissions" / name).write_bytes(before.replace(b"red", b"blue") if "csv" in name else b"{}")
    walk(at("stage=submit"))
    assert (tmp_path / "submissions" / name).read_bytes() == before


def test_new_predictions_are_submitted_anew(at: At, run: Path, tmp_path: Path) -> None:
    walk(at("stage=submit", "competition.form=probabilities"))
    before = (tmp_path / "submissions/one.csv").read_bytes()
    make_run(at, seed=2)
    walk(at("stage=submit", "competition.form=probabilities"))
    assert (tmp_path / "submissions/one.csv").read_bytes() != before


# --- which run, which file ------------------------------------------------------------------------------------------


def test_the_run_that_is_named_is_submitted(at: At, run: Path, tmp_path: Path) -> None:
    other = make_run(at, "other", seed=5)
    walk(at("stage=submit", "run=other"))
    walk(at("stage=submit", f"run='{run}'", "submit.file='" + str(tmp_path / "submissions/by folder.csv") + "'"))
    assert submitted(tmp_path, "other").set_index("id")["label"].to_dict() == rows_of(other).idxmax(axis=1).to_dict()
    assert submitted(tmp_path, "by folder").set_index("id")["label"].to_dict() == rows_of(run).idxmax(axis=1).to_dict()
    assert not (tmp_path / "submissions/one.csv").exists()


def test_a_run_that_is_not_there_is_named_with_those_that_are(at: At, run: Path) -> None:
    with pytest.raises(UserError, match=r"run=nonsense is not a finished run in .*; there are: one"):
        walk(at("stage=submit", "run=nonsense"))


def test_the_file_may_lie_elsewhere(at: At, run: Path, tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "it's (1).csv"
    walk(at("stage=submit", f'submit.file="{file}"'))
    assert sorted(path.name for path in file.parent.iterdir()) == ["it's (1).csv", "it's (1).json"]
    assert len(pd.read_csv(file)) == 9
    assert not (tmp_path / "submissions").exists()


def test_a_folder_in_place_of_a_file_is_refused(at: At, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"submit\.file=.* is a folder; give a file name"):
        walk(at("stage=submit", f"submit.file='{tmp_path}'"))


def test_the_origin_never_takes_the_place_of_the_submission(at: At, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"submit\.file=.*x\.json"):
        walk(at("stage=submit", f"submit.file='{tmp_path / 'x.json'}'"))


def test_nothing_to_classify_is_said(toy: Path, at: At, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(toy / "test")
    make_run(at)
    with caplog.at_level("INFO"):
        walk(at("stage=submit"))
    assert "submit: toy has no images to classify" in caplog.text
    assert not (tmp_path / "submissions").exists()


def test_a_run_of_which_folds_are_left_is_not_submitted(at: At, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fold"):
        walk(at("stage=submit", "run=null", "folds.only=[1]"))
    assert len(list(tmp_path.glob("outputs/toy/*/fold_1/metrics.json"))) == 1
    assert not (tmp_path / "submissions").exists()


def test_few_labels_are_submitted_for_all_the_others(at: At, tmp_path: Path) -> None:
    few = ["competition.per_class=4", "competition.sample_submission=none.csv"]
    make_run(lambda *overrides: at(*few, *overrides))
    walk(at("stage=submit", *few))
    assert len(submitted(tmp_path)) == 24
    origin = json.loads((tmp_path / "submissions/one.json").read_text())
    assert (origin["competition"], origin["rows"]) == ("toy-4-per-class-seed-0", 24)
