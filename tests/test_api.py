"""The Python interface gives the runs, files and words of the commands."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra

import kagglepipe as kp
from kagglepipe.api_page import api_page
from kagglepipe.predictions.frame import read_frame
from kagglepipe.runs.provenance import separator_of
from kagglepipe.runs.run import Run as StoredRun
from kagglepipe.tools.commands import run_command
from tests.composing import config_of
from tests.conftest import make_toy

OPTIONS = {"model": "tiny", "training": "head", "device": "cpu", "folds.count": 2, "training.views": 0}
IMAGE = np.zeros((50, 50, 3), np.uint8)
Made = Callable[[str, Callable[[Path], object]], Path]


def train(root: Path, **more: object) -> kp.Run:
    return kp.train("image_folder", source=root / "toy", root=root, **OPTIONS, **more)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("api")
    make_toy(place / "toy")
    return place


@pytest.fixture(scope="module")
def run(place: Path) -> kp.Run:
    return train(place)


def test_the_run_is_that_of_the_command(run: kp.Run, place: Path, tmp_path: Path) -> None:
    words = [f"{name}={value}" for name, value in OPTIONS.items()]
    config = config_of(
        "competition=image_folder",
        f"competition.source='{place / 'toy'}'",
        f"paths.root='{tmp_path}'",
        "stage=train",
        *words,
    )
    run_command(config)
    (same,) = config.runs_dir.glob("*/metrics.json")
    assert same.parent.name == run.name
    pd.testing.assert_frame_equal(run.oof(), read_frame(same.parent / "oof.parquet"))
    pd.testing.assert_frame_equal(run.test(), read_frame(same.parent / "test.parquet"))
    assert run.score == run.metrics["score"]
    assert run.classes == ["blue", "green", "red"]


def test_it_is_found_again_and_hydra_is_left_as_it_was(run: kp.Run, place: Path) -> None:
    before = run.folder.joinpath("metrics.json").stat().st_mtime_ns
    assert train(place) == run == kp.load(run.folder) == kp.load(str(run.folder))
    assert run.folder.joinpath("metrics.json").stat().st_mtime_ns == before
    assert not GlobalHydra.instance().is_initialized()
    assert run in kp.list_runs("toy", place)


def test_files_and_arrays_get_the_probabilities_of_the_test(run: kp.Run, place: Path) -> None:
    expected = run.test().set_index("id")
    files = sorted((place / "toy/test").glob("*.png"))
    from_folder = run.predict(place / "toy/test")
    found = run.predict([files[0], cv2.imread(str(files[1]))[..., ::-1]])
    assert found["path"].tolist() == [str(files[0]), "1"]
    assert list(found.select_dtypes("number")) == ["blue", "green", "red"]
    ids = [f"test/{file.name}" for file in files]
    np.testing.assert_allclose(found[run.classes], expected.loc[ids[:2], run.classes], atol=2e-3)
    np.testing.assert_allclose(from_folder[run.classes], expected.loc[ids, run.classes], atol=2e-3)
    assert found["prediction"].tolist() == expected.loc[ids[:2], run.classes].idxmax(axis=1).tolist()


def test_what_cannot_be_read_is_left_out_on_request(run: kp.Run, place: Path) -> None:
    file = min((place / "toy/test").glob("*.png"))
    found = run.predict([__file__, file, IMAGE], skip_bad=True)
    assert found["path"].tolist() == [str(file), "2"]
    pd.testing.assert_frame_equal(found, run.predict([__file__, file, IMAGE], skip_bad=True))
    expected = run.predict([file])[run.classes]
    np.testing.assert_allclose(found[run.classes].iloc[:1], expected, atol=1e-6)


def test_a_blend_in_another_thread_is_submitted(run: kp.Run, place: Path) -> None:
    made: list[kp.Run] = []
    thread = threading.Thread(target=lambda: made.append(train(place, seed=1)))
    thread.start()
    thread.join()
    blended = kp.blend([run, made[0]], "mean")
    assert set(blended.metrics["members"]) == {run.name, made[0].name}
    mean = (run.test()[run.classes] + made[0].test()[run.classes]) / 2
    np.testing.assert_allclose(blended.test()[run.classes], mean, atol=1e-6)
    np.testing.assert_allclose(blended.predict(place / "toy/test")[run.classes], mean, atol=2e-3)
    file = kp.submit(blended)
    assert file == place / f"submissions/{blended.name}.csv"
    assert pd.read_csv(file)["id"].tolist() == blended.test()["id"].tolist()


def test_a_run_is_shown_in_a_notebook_with_names_as_text(run: kp.Run) -> None:
    page = kp.Run(run.folder)._repr_html_()
    assert f"<td>{run.score:.4f}</td>" in page
    assert run.name in page


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda run, place: kp.train("image_folder", source=place / "nope", root=place), "nope"),
        (lambda run, place: kp.train("image_folder", "training.lrr=1", root=place), "did you mean training.lr"),
        (lambda run, place: kp.train("image_folders", root=place), "image_folders is unknown"),
        (lambda run, place: kp.load(place / "outputs/toy/none"), "is not a finished run"),
        (lambda run, place: kp.list_runs("toys", place), "toy"),
        (lambda run, place: run.predict([place / "nothing.jpg"]), "is not there"),
        (lambda run, place: run.predict([np.zeros(3)]), r"float64 \(3,\)"),
        (lambda run, place: run.predict([]), "there is none"),
        (lambda run, place: run.predict([__file__]), "not an image"),
        (lambda run, place: run.predict([np.zeros((4, 4, 3), np.float32)]), r"needed are images \(H, W\) or"),
        (lambda run, place: run.predict([{}]), r"inputs\[0\] is dict; needed are images"),
        (lambda run, place: kp.load("nothing"), r"^load\('nothing'\) is not a finished run"),
        (lambda run, place: kp.blend([run]), "two runs or more, and there is 1: blend"),
        (lambda run, place: kp.blend("a run"), "two runs or more, and there is no list but 'a run': blend"),
        (lambda run, place: kp.train("image_folder", "stage=predict", root=place), "so that stage is no option of it"),
        (lambda run, place: kp.train("image_folder", stage="predict", root=place), "so that stage is no option of it"),
        (lambda run, place: kp.train("image_folder", "predict", root=place), "so that predict is no option of it"),
        (lambda run, place: kp.train("image_folder", "-m", root=place), "so that -m is no option of it"),
        (lambda run, place: kp.train("image_folder", 3, root=place), "3 is no option: options are texts"),
        (lambda run, place: kp.load(place / "outputs/toy"), "toy is a folder of runs and not a run: load one"),
        (lambda run, place: kp.list_runs(3, place), "competitions with runs there: toy$"),
        (lambda run, place: run.predict([IMAGE], engine="nonsense"), "^engine=nonsense is unknown; choose one of"),
        (lambda run, place: run.predict([IMAGE], device="gpu"), "^device=gpu is unknown"),
        (lambda run, place: run.predict([IMAGE], workers=-3), "^workers=-3 must be at least 1$"),
        (lambda run, place: run.predict([IMAGE], workers="x"), "^workers='x' must be a whole number$"),
        (lambda run, place: run.report(images="x"), r"^report\.images='x' must be a whole number$"),
        (lambda run, place: run.report(images=None), r"^report\.images=None must be a whole number$"),
        (lambda run, place: run.predict([IMAGE, IMAGE[..., :2]]), r"^inputs\[1\] has 2 channels, the run needs 3$"),
        (lambda run, place: run.predict(IMAGE[..., :2]), r"^the input has 2 channels, the run needs 3$"),
        (lambda run, place: run.predict([place / "toy/test"]), r"^inputs\[0\] is the folder .*: pass it alone, as"),
        (lambda run, place: run.predict([__file__]), "leave such files out with skip_bad=True$"),
        (lambda run, place: run.predict([__file__], skip_bad=True), "not an image that can be read$"),
    ],
)  # fmt: skip
def test_errors_are_raised_in_the_words_of_the_command(
    call: Callable[[kp.Run, Path], object], words: str, run: kp.Run, place: Path
) -> None:
    with pytest.raises(kp.UserError, match=words):
        call(run, place)


def test_the_name_of_a_run_is_answered_by_its_folder(run: kp.Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(kp.UserError, match=rf"its folder is needed: load\('{run.folder}'\)$"):
        kp.load(run.name)


def test_a_run_that_had_nothing_to_classify_has_no_predictions_of_it(tmp_path: Path) -> None:
    make_toy(tmp_path / "toy")
    shutil.rmtree(tmp_path / "toy/test")
    with pytest.raises(kp.UserError, match=r"had nothing to classify: predict files with run.predict\(PATHS\)$"):
        train(tmp_path).test()


def test_a_run_without_out_of_fold_rows_is_said(run: kp.Run, tmp_path: Path) -> None:
    gone = kp.Run(Path(shutil.copytree(run.folder, tmp_path / "toy" / run.name)))
    (gone.folder / "oof.parquet").unlink()
    for call in (gone.oof, lambda: gone.classes):
        with pytest.raises(kp.UserError, match=rf"^{run.name} has no out-of-fold rows, .*: train it again$"):
            call()
    with pytest.raises(kp.UserError, match=f"{run.name} has no out-of-fold rows, which a report is about"):
        gone.report(tmp_path / "page.html")


def test_the_import_loads_neither_torch_nor_pandas_and_sets_up_no_logging() -> None:
    code = (
        "import logging, sys, kagglepipe; print({'torch', 'pandas', 'hydra'} & set(sys.modules), logging.root.handlers)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set() []"


def test_the_page_of_the_interface_is_that_of_its_docstrings() -> None:
    page = Path(__file__).parents[1] / "docs/api.md"
    assert page.read_text("utf-8") == api_page() + "\n"


def test_tags_are_separated_as_by_the_command_that_made_the_run(tmp_path: Path) -> None:
    run = StoredRun(tmp_path)
    assert separator_of(run) == " "
    run.config_file.write_text("competition: {label_separator: '|'}\n")
    assert separator_of(run) == "|"
