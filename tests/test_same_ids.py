"""Ids are unique within train and within test: the same ids in both give what other ids give."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from kagglepipe.config import Config
from kagglepipe.files import read_json
from kagglepipe.runs.configured import read_data
from kagglepipe.tools.commands import run_command
from tests.pipelines import the_run

Configure = Callable[..., Config]
CLASSES = ("blue", "green", "red")
ORDER = (3, 10, 1, 2, 9, 4, 8, 5, 7, 6, 11, 12)  # of the sample submission: neither of the files nor of numbers
QUICK = ("experiment=quick", "folds.count=2", "competition.labels=labels.csv", "competition.answers=answers.csv",
         "competition.sample_submission=sample.csv", "competition.form=name", "competition.test=test")  # fmt: skip


def write_tables(folder: Path, prefix: str) -> None:
    """labels.csv of 1…24, answers.csv and sample.csv of 1…12 in the test, whose names begin with `prefix`."""
    labels = {n: CLASSES[n % 3] for n in range(1, 25)}
    (folder / "labels.csv").write_text("item,label\n" + "".join(f"{n},{name}\n" for n, name in labels.items()))
    wrong = {n: CLASSES[(n + (n == 5)) % 3] for n in ORDER}
    (folder / "answers.csv").write_text("id,label\n" + "".join(f"{prefix}{n},{name}\n" for n, name in wrong.items()))
    (folder / "sample.csv").write_text("id,label\n" + "".join(f"{prefix}{n},red\n" for n in ORDER))


def images(folder: Path, prefix: str) -> Path:
    """Noise in three colours: train/1.png…24.png and test/PREFIX1.png…12.png, of which the first is a copy of 3.png."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 12)):
        (folder / split).mkdir(parents=True)
        for n in range(1, count + 1):
            image = rng.integers(0, 90, (48, 56, 3)).astype(np.uint8)
            image[..., n % 3] += 140  # OpenCV writes BGR
            cv2.imwrite(str(folder / split / f"{prefix if split == 'test' else ''}{n}.png"), image)
    (folder / f"test/{prefix}3.png").write_bytes((folder / "train/3.png").read_bytes())
    write_tables(folder, prefix)
    return folder


def series(folder: Path, prefix: str) -> Path:
    """Waves of three frequencies: train/1.npz…24.npz and test/PREFIX1.npz…12.npz."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 12)):
        (folder / split).mkdir(parents=True)
        for n in range(1, count + 1):
            phase = np.arange(32)[:, None] * (0.2, 0.9, 2.0)[n % 3] + rng.uniform(0, 6)
            wave = np.sin(phase) + rng.normal(0, 0.1, (32, 2))
            name = f"{prefix if split == 'test' else ''}{n}.npz"
            np.savez(folder / split / name, values=wave.astype(np.float32), time=np.arange(32) / 8)
    write_tables(folder, prefix)
    return folder


def check_same(same: Config, other: Config) -> None:
    """Two runs that differ in the ids of the test alone have the same predictions and scores."""
    runs = [the_run(config) for config in (same, other)]
    for name in ("oof.parquet", "test.parquet"):
        first, second = (pd.read_parquet(run / name) for run in runs)
        if name == "test.parquet":
            first, second = (frame.assign(id=frame["id"].map(bare)) for frame in (first, second))
        pd.testing.assert_frame_equal(first, second, check_exact=True)
    first, second = (read_json(run / "metrics.json") for run in runs)
    for key in ("score", "log_loss", "interval", "test", "test_without_twins"):
        assert first.get(key) == second.get(key), key


def bare(id: str) -> str:
    """The number in an id of the test."""
    return "".join(letter for letter in id.rpartition("/")[2] if letter.isdigit())


def test_images_with_the_same_ids_in_both_splits(configure: Configure, tmp_path: Path) -> None:
    """The others are called `test 1`, as a view of a test image is, for the same random draws."""
    configs = {}
    for prefix in ("", "test "):
        source, root = images(tmp_path / f"source{len(prefix)}", prefix), tmp_path / f"root{len(prefix)}"
        usual = ("competition=image_folder", *QUICK, f"competition.source='{source}'", f"paths.root='{root}'",
                 "competition.id=stem", "augmentation.policy=paste", "training.views=1")  # fmt: skip
        configs[prefix] = lambda *more, usual=usual: configure(*usual, *more)
        run_command(configs[prefix]("stage=submit"))
    plain, other = (configs[prefix]("stage=submit") for prefix in ("", "test "))
    check_same(plain, other)
    metrics = read_json(the_run(plain) / "metrics.json")
    assert metrics["test"]["rows"] == 12
    assert metrics["test_without_twins"]["rows"] == 11
    written = pd.read_csv(next((tmp_path / "root0/submissions").glob("*.csv")), dtype=str)
    assert written["id"].tolist() == [str(n) for n in ORDER]
    probs = pd.read_parquet(the_run(plain) / "test.parquet").set_index("id")
    assert written["label"].tolist() == probs.loc[written["id"], list(CLASSES)].idxmax(axis=1).tolist()
    pairs = [configs[prefix](f"training.teacher={the_run(config)}", "training.confidence=0.34", "stage=submit")
             for prefix, config in (("", plain), ("test ", other))]  # fmt: skip
    for config in pairs:
        run_command(config)
    check_same(*pairs)
    parts = [configs[prefix]("competition.per_class=4", "stage=prepare") for prefix in ("", "test ")]
    for config in parts:
        run_command(config)
    first, second = (read_data(config).table.drop(columns="path") for config in parts)
    pd.testing.assert_frame_equal(first, second)
    assert sorted(first["id"]) == sorted(str(n) for n in range(1, 25))


def test_several_images_with_one_id_are_answered_by_their_mean(configure: Configure, tmp_path: Path) -> None:
    """Two images of each patient in the test; those of training come in pairs, too, which stay in one fold."""
    source = images(tmp_path / "eyes", "")
    labels = "".join(f"{n},q{n // 6},{CLASSES[n % 3]}\n" for n in range(1, 25))
    (source / "labels.csv").write_text(f"item,patient,label\n{labels}")
    (source / "list.csv").write_text("item,patient\n" + "".join(f"test/{n}.png,p{(n + 1) % 6}\n" for n in range(1, 13)))
    asked = [f"p{n}" for n in (3, 1, 5, 0, 2, 4)]
    (source / "sample.csv").write_text("patient,blue,green,red\n" + "".join(f"{id},0.3,0.3,0.4\n" for id in asked))
    (source / "answers.csv").write_text("patient,label\n" + "".join(f"{id},{CLASSES[0]}\n" for id in asked))
    config = configure(
        "competition=image_folder", *QUICK, f"competition.source='{source}'", "competition.test=list.csv",
        "competition.form=probabilities", "+competition.columns={answer_id: patient}", "competition.id=stem",
        "competition.metric=log_loss", "competition.id_column=patient", "stage=submit",
    )  # fmt: skip
    run_command(config)
    table = read_data(config).table
    train = table[table["split"] == "train"]
    assert (train.groupby("answer_id")["group"].nunique() == 1).all()
    probs = pd.read_parquet(the_run(config) / "test.parquet")
    mean = probs.groupby(probs["id"].map(lambda id: f"p{(int(id) + 1) % 6}"))[list(CLASSES)].mean().loc[asked]
    written = pd.read_csv(next((tmp_path / "submissions").glob("*.csv")))
    assert list(written) == ["patient", *CLASSES]
    assert written["patient"].tolist() == asked
    np.testing.assert_allclose(written[list(CLASSES)], mean, atol=1e-5)
    test = read_json(the_run(config) / "metrics.json")["test"]
    assert test["rows"] == 6
    np.testing.assert_allclose(test["log_loss"], -np.log(mean["blue"]).mean(), rtol=1e-3)


def test_series_with_the_same_names_in_both_splits(configure: Configure, tmp_path: Path) -> None:
    configs = []
    for prefix in ("", "x"):
        source, root = series(tmp_path / f"source{prefix}", prefix), tmp_path / f"root{prefix}"
        configs.append(configure(
            "competition=video_folder", "competition.kind=series", "model=lstm", *QUICK, "competition.background=null",
            f"competition.source='{source}'", f"paths.root='{root}'", "competition.id=path", "sequences.steps=30",
            "stage=submit",
        ))  # fmt: skip
        run_command(configs[-1])
    check_same(*configs)
    assert read_json(the_run(configs[0]) / "metrics.json")["test"]["rows"] == 12
    written = pd.read_csv(next((tmp_path / "root/submissions").glob("*.csv")), dtype=str)
    assert written["id"].tolist() == [str(n) for n in ORDER]
    probs = pd.read_parquet(the_run(configs[0]) / "test.parquet").set_index("id")
    answers = probs.loc[[f"test/{id}.npz" for id in written["id"]], list(CLASSES)].idxmax(axis=1)
    assert written["label"].tolist() == answers.tolist()
