"""Decisions of suspects.csv change the labels and rows of the table, and planted swaps are found by them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kagglepipe.competitions.label_patch import patched
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.frame import class_columns
from kagglepipe.predictions.label_errors import suspects
from kagglepipe.runs.configured import read_data, run_of
from kagglepipe.tools.commands import run_command
from tests.composing import changed, config_of
from tests.conftest import TINY
from tests.pipelines import PIPELINES, pipeline_config

ROWS = pd.DataFrame({"id": ["a", "b", "c", "d", "a"], "split": ["train"] * 4 + ["test"],
                     "target": ["cat", "dog", "dog", "dog", None]}, dtype=object)  # fmt: skip
CLASSES = ["cat", "dog"]


def patch(folder: Path, *lines: str, task: str = "multiclass") -> pd.DataFrame:
    file = folder / "suspects.csv"
    file.write_text("\n".join(["rank,id,given,suggested,p_given,p_suggested,decision", *lines]) + "\n")
    form = {"multilabel": "tags", "regression": "numbers"}.get(task, "index")
    competition = CompetitionOptions(task=task, form=form, labels_patch=str(file))
    return patched(ROWS, CLASSES, competition)


def test_decisions_change_keep_and_drop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    found = patch(tmp_path, "1,b,dog,cat,0.1,0.9,change", "2,c,dog,cat,0.2,0.8,drop", "3,a,cat,dog,0.3,0.7,")
    assert found[["id", "split"]].values.tolist() == [["a", "train"], ["b", "train"], ["d", "train"], ["a", "test"]]
    assert found["target"].tolist() == ["cat", "cat", "dog", None]
    assert "1 labels changed, 1 rows dropped, 0 kept" in caplog.text


def test_a_change_to_the_label_that_a_row_has_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    found = patch(tmp_path, "1,b,dog,cat,0.1,0.9,change", "2,c,dog,dog,0.2,0.8,change")
    assert found["target"].tolist() == ["cat", "cat", "dog", "dog", None]
    assert "1 labels changed, 0 rows dropped, 0 kept" in caplog.text


def test_tags_are_in_their_usual_order(tmp_path: Path) -> None:
    found = patch(tmp_path, "1,b,dog,dog|cat,0.1,0.9,change", "1,a,cat,,0.1,0.9,change", task="multilabel")
    assert found["target"].tolist()[:3] == ["", "cat|dog", "dog"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["1,x,dog,cat,0,1,drop"], "has the id 'x' of no item to train on"),
        (["1,b,dog,owl,0,1,change"], "suggests 'owl', needed is one of cat, dog"),
        (["1,b,dog,,0,1,change"], "suggests '', needed is one of cat, dog"),
        (["1,b,dog,cat,0,1,drop", "2,b,dog,cat,0,1,"], "has 'b' more than once"),
        (["1,b,dog,cat,0,1,maybe"], "has the decision 'maybe': write keep, change, drop or nothing"),
        (["1,a,cat,dog,0,1,drop"], "leaves nothing of cat: keep one row at least"),
    ],
)
def test_what_cannot_be_applied_is_refused_in_one_line(tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        patch(tmp_path, *lines)
    assert "\n" not in str(error.value)


def test_a_patch_is_another_run_of_the_same_folds_and_the_two_are_compared(
    colours: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    plain = config_of(*TINY, "stage=train", "competition=image_folder", f"competition.source='{colours}'",
                      f"paths.root='{tmp_path}'", "device=cpu")  # fmt: skip
    run_command(plain)
    before, run = read_data(plain), run_of(plain, read_data(plain))
    file = tmp_path / "decisions.csv"
    with pytest.raises(UserError, match=r"there is no competition.labels_patch=.*decisions.csv"):
        run_command(changed(plain, f"competition.labels_patch={file}"))
    file.write_text("id,suggested,decision\nblue/blue0.png,red,change\nred/red1.png,,drop\n")
    config = changed(plain, f"competition.labels_patch={file}")
    run_command(config)
    after = read_data(config)
    assert (len(before.train), len(after.train)) == (36, 35)
    assert before.folds_hash == after.folds_hash
    assert after.train.set_index("id").loc["blue/blue0.png", "target"] == "red"
    other = run_of(config, after)
    assert other.name != run.name
    run_command(changed(config, "stage=runs", f"runs.compare=[{other.name},{run.name}]"))
    assert "compared are rows with the same label in both, without 1 of a and 2 of b" in caplog.text
    assert "of 34 rows" in caplog.text


@pytest.mark.parametrize("name", ["toy", "clips"])
def test_a_patch_that_is_refused_leaves_what_was_prepared_and_one_that_is_left_out_is_told(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if name == "toy":
        colours = request.getfixturevalue("colours")
        plain = config_of("stage=prepare", "competition=image_folder", f"competition.source='{colours}'",
                          f"paths.root='{tmp_path}'")  # fmt: skip
    else:
        plain = pipeline_config(name, request.getfixturevalue(PIPELINES[name][0]), tmp_path, "stage=prepare")
    run_command(plain)
    before = read_data(plain)
    file = tmp_path / "decisions.csv"
    patched_config = changed(plain, f"competition.labels_patch={file}")
    file.write_text("id,suggested,decision\nnobody,,drop\n")
    with pytest.raises(UserError, match="has the id 'nobody' of no item to train on"):
        run_command(patched_config)
    assert read_data(plain).table_hash == before.table_hash
    file.write_text(f"id,suggested,decision\n{before.train['id'].iloc[0]},,drop\n")
    run_command(patched_config)
    assert len(read_data(patched_config).train) == len(before.train) - 1
    caplog.clear()
    run_command(plain)
    assert f"other settings (labels_patch_sha256 {file_sha256(file)} then, None now)" in caplog.text
    assert read_data(plain).table_hash == before.table_hash


@pytest.mark.parametrize("name", ["clips", "series", "pieces"])
def test_labels_of_clips_series_and_pieces_are_patched(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    plain = pipeline_config(name, request.getfixturevalue(PIPELINES[name][0]), tmp_path, "stage=prepare")
    run_command(plain)
    before = read_data(plain)
    rows = before.train.set_index("id")["target"]
    (changes, drops), other = rows.index[:2], next(one for one in before.classes if one != rows.iloc[0])
    (tmp_path / "decisions.csv").write_text(f"id,suggested,decision\n{changes},{other},change\n{drops},,drop\n")
    config = changed(plain, f"competition.labels_patch={tmp_path / 'decisions.csv'}")
    run_command(config)
    after = read_data(config)
    found = after.train.set_index("id")["target"]
    assert found.to_dict() == {**rows.drop(drops).to_dict(), changes: other}
    assert after.folds_hash == before.folds_hash
    assert after.table_hash != before.table_hash
    assert "1 labels changed, 1 rows dropped, 0 kept" in caplog.text


def test_files_of_a_command_are_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = config_of("competition=image_folder", "competition.source=x", "competition.labels_patch=a/b.csv",
                       "folds.file=folds.csv")  # fmt: skip
    assert config.competition.labels_patch == str(tmp_path / "a/b.csv")
    assert config.folds.file == str(config.folds_file) == str(tmp_path / "folds.csv")


def test_a_patch_of_segments_is_refused() -> None:
    with pytest.raises(
        UserError, match="labels_patch mends labels of whole items, not segments: mend those in the CSV"
    ):
        config_of("competition=video_folder_untrimmed", "competition.source=x", "competition.labels_patch=y.csv")


@pytest.mark.slow
def test_swapped_labels_of_the_sample_are_the_first_suspects(tmp_path: Path) -> None:
    """5 % of labels are swapped: at least 80 % of them are among the first 8 % of the rows, by doubt."""
    config = config_of("competition=pistols_vs_smartphones_sample", "stage=train", "training=head", "training.views=0",
                       "device=cpu", f"paths.root='{tmp_path}'")  # fmt: skip
    run_command(changed(config, "stage=prepare"))
    ids = read_data(config).train["id"]
    swapped = set(np.random.default_rng(0).choice(ids, round(0.05 * len(ids)), replace=False))
    others = {"pistol": "smartphone", "smartphone": "pistol"}
    rows = read_data(config).train.set_index("id")["target"].map(others)
    lines = [f"{id},{rows[id]},change" for id in sorted(swapped)]
    (tmp_path / "swaps.csv").write_text("\n".join(["id,suggested,decision", *lines]))
    config = changed(config, f"competition.labels_patch={tmp_path / 'swaps.csv'}")
    run_command(config)
    oof = run_of(config, read_data(config)).oof()
    classes = class_columns(oof)
    truth = np.array([classes.index(name) for name in oof["target"]])
    found = suspects(oof["id"].tolist(), oof[classes].to_numpy(np.float64), truth, classes)
    first = found["id"][: round(0.08 * len(oof))]
    assert len(swapped & set(first)) >= 0.8 * len(swapped)
