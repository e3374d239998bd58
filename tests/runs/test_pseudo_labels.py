"""Pseudo-labels: whose they are, that no label comes back to the fold that it is scored by, and when they are kept."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json
from kagglepipe.options import CompetitionOptions, DrillOptions, EnsembleOptions, PathsOptions, TrainingOptions
from kagglepipe.predictions.frame import oof_frame, read_frame, test_frame
from kagglepipe.runs.configured import best_run, find_members, find_teacher, read_data, run_of
from kagglepipe.runs.describe import describe_pseudo_labels
from kagglepipe.runs.pseudo_labels import gain_over_teacher, pseudo_labelled
from kagglepipe.runs.run import Run
from kagglepipe.tools.commands import run_command
from tests.colours import colours_config

pytestmark = pytest.mark.usefixtures("few_draws")
CLASSES = ["cat", "dog"]
TINY = (
    "model.name=test_efficientnet", "model.weights=none", "model.image_size=32", "device=cpu", "folds.count=2",
    "sequences.steps=3", "sequences.members=1", "training.epochs=1", "sequences.clip_frames=4",
)  # fmt: skip
KINDS = {
    "head": ("colours", ("competition=image_folder", "training=head", "training.views=1", "augmentation=paste")),
    "finetune": (
        "colours",
        ("competition=image_folder", "training=finetune", "training.views=0", "training.interpolation=[1]"),
    ),
    "series": ("series", ("competition=video_folder", "competition.kind=series", "model=lstm")),
    "clips": ("clips", ("competition=video_folder", "model=mean_pool_diff", "training=head")),
    "tuned clips": ("clips", ("competition=video_folder", "model=cnn_lstm", "training=finetune")),
}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    training = TrainingOptions(teacher="teacher", confidence=0.8)
    return Config(paths=PathsOptions(str(tmp_path)), training=training, competition=CompetitionOptions(slug="pets"))


@pytest.fixture
def prepared() -> Dataset:
    """Four labelled rows in two folds, and four to classify, the last of which is a twin of a row in fold 0."""
    ids = [*"abcdwxyz"]
    table = pd.DataFrame({"id": ids, "split": ["train"] * 4 + ["test"] * 4, "group": [0, 1, 2, 3, 4, 5, 6, 0]})
    table["target"] = ["cat", "dog", "cat", "dog", None, None, None, None]
    folds = pd.DataFrame({"id": ids[:4], "fold": [0, 0, 1, 1]})
    return Dataset(table, folds, CLASSES, Path(), "the table", "the folds")


def make_run(config: Config, prepared: Dataset, name: str, oof: list[float], tests: list[list[float]]) -> Path:
    """A finished run, by the probability of a cat of each labelled row, and of each row to classify by each fold."""
    folder, train = config.runs_dir / name, prepared.train
    for fold, cats in enumerate(tests):
        (folder / f"fold_{fold}").mkdir(parents=True)
        answers = test_frame(prepared.test["id"].tolist()[::-1], [[p, 1 - p] for p in cats[::-1]], CLASSES)
        answers.to_parquet(folder / f"fold_{fold}/test.parquet")
    frame = oof_frame(train["id"].tolist(), train["fold"].tolist(), train["target"].tolist(), both(oof), CLASSES)
    frame.to_parquet(folder / "oof.parquet")
    write_json(folder / "metrics.json", {"identity": {"table": prepared.table_hash, "folds": prepared.folds_hash}})
    return folder


def both(cats: list[float]) -> list[list[float]]:
    return [[p, 1 - p] for p in cats]


# --- whose labels ------------------------------------------------------------------------------------------------


def test_a_fold_has_the_answers_of_its_own_network(config: Config, prepared: Dataset) -> None:
    made = make_run(config, prepared, "teacher", [0.5] * 4, [[0.9, 0.1, 0.7, 0.9], [0.2, 0.8, 0.3, 0.9]])
    first, second = (
        pseudo_labelled(Run(made), prepared, fold, 0.8).set_index("id")["target"].to_dict() for fold in (0, 1)
    )
    assert first == {"w": "cat", "x": "dog"}  # z is sure, and a twin of a; y is not sure
    assert second == {"w": "dog", "x": "cat", "z": "cat"}  # 0.8 is enough


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_label_of_a_fold_has_a_part_in_what_it_scores(
    kind: str, configure: Callable[..., Config], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """All labels of fold 0 are wrong in the second place: its own probabilities are the same to the last bit.

    Fine-tuning has one epoch and all of its weights: of several the ones are kept that the fold likes best.
    """
    fixture, options = KINDS[kind]
    source = f"competition.source='{request.getfixturevalue(fixture)}'"
    config = configure(*options, *TINY, source, "competition.slug=it", "training.confidence=0.4")
    first = replace(config, paths=PathsOptions(str(tmp_path / "first")))
    run_command(replace(first, stage="prepare"))
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    second = replace(config, paths=PathsOptions(str(tmp_path / "second")))
    file = second.data_dir / "table.parquet"
    table, folds, classes = pd.read_parquet(file), read_data(second).folds, read_data(second).classes
    wrong = table["id"].isin(folds.loc[folds["fold"] == 0, "id"])
    table.loc[wrong, "target"] = table.loc[wrong, "target"].map(lambda name: classes[classes.index(name) - 1])
    table.to_parquet(file)
    frames = []
    for each in (first, second):
        run_command(replace(each, stage="train"))
        taught = replace(each, stage="train", training=replace(each.training, teacher=best_run(each).name))
        run_command(taught)
        run = run_of(taught, read_data(taught)).folder
        assert read_json(run / "metrics.json")["over_teacher"]["teacher"] != run.name
        frames.append(read_frame(run / "oof.parquet").set_index("id"))
    one, two = frames
    names = [name for name in one if name not in ("fold", "target")]
    own = one["fold"] == 0
    assert (one["target"] != two["target"]).equals(own)
    assert one.loc[own, names].equals(two.loc[own, names])
    assert not np.allclose(one.loc[~own, names], two.loc[~own, names], atol=1e-6)


# --- kept or not -------------------------------------------------------------------------------------------------


def many(seed: int) -> Dataset:
    """Two hundred labelled rows in two folds, and one to classify."""
    ids = [f"{n:03}" for n in range(200)]
    table = pd.DataFrame({"id": [*ids, "t"], "split": ["train"] * 200 + ["test"], "group": np.arange(201)})
    table["target"] = [CLASSES[n] for n in np.random.default_rng(seed).integers(0, 2, 200)] + [None]
    folds = pd.DataFrame({"id": ids, "fold": np.arange(200) % 2})
    return Dataset(table, folds, CLASSES, Path(), "the table", "the folds")


@pytest.mark.parametrize(("after", "is_kept"), [(0.8, True), (0.6, False), (0.55, False)])
def test_pseudo_labels_are_kept_if_they_gain_beyond_noise(config: Config, after: float, is_kept: bool) -> None:
    """Each answer gives the right class so much, in every tenth row the wrong one."""
    prepared = many(0)
    is_cat = (prepared.train["target"] == "cat").to_numpy() ^ (np.arange(200) % 10 == 0)

    def cats(sure: float) -> list[float]:
        return np.where(is_cat, sure, 1 - sure).tolist()

    teacher = make_run(config, prepared, "teacher", cats(0.6), [[0.9], [0.9]])
    train = prepared.train
    oof = oof_frame(train["id"].tolist(), train["fold"].tolist(), train["target"].tolist(), both(cats(after)), CLASSES)
    found = gain_over_teacher(Run(teacher), prepared, oof, "accuracy")
    gain = 0.9 * np.log(after / 0.6) + 0.1 * np.log((1 - after) / 0.4)
    assert (found["teacher"], found["measure"], found["is_kept"]) == ("teacher", "log_loss", is_kept)
    assert found["gain"] == pytest.approx(gain)
    assert found["interval"][0] <= gain <= found["interval"][1]


@pytest.fixture(scope="module")
def taught(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """(root, teacher, run): a submitted run with a teacher; nothing writes into it."""
    root = tmp_path_factory.mktemp("taught")
    first = colours_config(root, colours, stage="train")
    run_command(first)
    teacher = best_run(first).name
    config = with_teacher(first, teacher)
    run_command(replace(config, stage="submit"))
    return root, teacher, run_of(config, read_data(config)).name


def with_teacher(config: Config, teacher: str, **more: Any) -> Config:
    return replace(config, training=replace(config.training, teacher=teacher, confidence=0.4), **more)


@pytest.fixture
def root(taught: tuple[Path, str, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(taught[0], tmp_path / "root"))


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_run_that_is_not_kept_gives_way_to_its_teacher(
    is_kept: bool, root: Path, taught: tuple[Path, str, str], colours: Path
) -> None:
    _, teacher, run = taught
    file = root / "outputs/colours" / run / "metrics.json"
    metrics = read_json(file)
    write_json(file, {**metrics, "over_teacher": {**metrics["over_teacher"], "is_kept": is_kept}})
    shutil.rmtree(root / "submissions")
    config = with_teacher(colours_config(root, colours, stage="submit"), teacher)
    run_command(config)
    taken = run if is_kept else teacher
    assert [path.stem for path in root.glob("submissions/*.csv")] == [taken]
    assert best_run(config).name == taken
    run_command(replace(config, run=run))
    assert (root / f"submissions/{run}.csv").exists()  # whoever asks for it has it


def test_answers_and_confidence_decide_which_run_it_is(
    root: Path, taught: tuple[Path, str, str], colours: Path
) -> None:
    _, teacher, run = taught
    config = with_teacher(colours_config(root, colours), teacher)
    prepared = read_data(config)
    by_path = with_teacher(config, str(root / "outputs/colours" / teacher))
    surer = replace(config, training=replace(config.training, confidence=0.5))
    assert run_of(config, prepared).name == run_of(by_path, prepared).name == run
    assert run_of(surer, prepared).name != run
    alone = replace(surer, training=replace(surer.training, teacher=None))
    assert run_of(alone, prepared).name == teacher  # without a teacher its confidence decides nothing


def test_it_is_made_again_with_its_teacher(root: Path, taught: tuple[Path, str, str], colours: Path) -> None:
    _, teacher, run = taught
    run_command(replace(with_teacher(colours_config(root, colours, stage="submit"), teacher), run=run))
    csv = root / f"submissions/{run}.csv"
    wanted = csv.read_bytes()
    csv.unlink()
    shutil.rmtree(root / "outputs")
    run_command(Config(stage="reproduce", submission=str(csv), paths=PathsOptions(str(root))))
    assert csv.read_bytes() == wanted
    assert sorted(path.name for path in (root / "outputs/colours").iterdir()) == sorted([teacher, run])
    assert OmegaConf.load(root / "outputs/colours" / run / "config.yaml").training.teacher == teacher


# --- errors ------------------------------------------------------------------------------------------------------


def test_a_teacher_has_to_be_one(root: Path, taught: tuple[Path, str, str], colours: Path) -> None:
    _, teacher, run = taught
    config = colours_config(root, colours, stage="train")
    with pytest.raises(UserError, match=r"^training\.teacher=nobody is not a finished run in .*; there are: .*head"):
        run_command(with_teacher(config, "nobody"))
    run_command(replace(config, stage="ensemble", ensemble=EnsembleOptions([teacher, run])))
    (blend,) = root.glob("outputs/colours/ensemble-*")
    with pytest.raises(UserError, match=r"has no network of its own for each fold: name a trained run"):
        run_command(with_teacher(config, blend.name))
    file = root / "outputs/colours" / teacher / "metrics.json"
    metrics = read_json(file)
    write_json(file, {**metrics, "identity": {**metrics["identity"], "folds": "others"}})
    with pytest.raises(UserError, match=r"was trained on other data or folds"):
        run_command(with_teacher(config, teacher))
    write_json(file, metrics)
    shutil.copytree(file.parent, root / "other" / teacher)
    with pytest.raises(UserError, match=r"lies elsewhere: name a run in .*outputs/colours"):
        run_command(with_teacher(config, str(root / "other" / teacher)))
    (file.parent / "fold_1/test.parquet").unlink()
    with pytest.raises(UserError, match=r"lacks fold_1/test\.parquet: delete its metrics\.json and train it again"):
        run_command(with_teacher(config, teacher))


def test_who_gives_way_neither_teaches_nor_joins_unless_named(
    root: Path, taught: tuple[Path, str, str], colours: Path
) -> None:
    _, teacher, run = taught
    file, config = root / "outputs/colours" / run / "metrics.json", colours_config(root, colours, stage="ensemble")
    prepared = read_data(config)
    for is_kept, members in ((True, {teacher, run}), (False, {teacher})):
        metrics = read_json(file)
        write_json(file, {**metrics, "over_teacher": {**metrics["over_teacher"], "is_kept": is_kept}})
        for asked in ("best:8", "*head*"):
            found = find_members(replace(config, ensemble=EnsembleOptions([asked])), prepared)
            assert {member.name for member in found} == members
    assert len(find_members(replace(config, ensemble=EnsembleOptions([teacher, run])), prepared)) == 2
    with pytest.raises(
        UserError, match=rf"is not significantly better than its own teacher: type training\.teacher={teacher}"
    ):
        run_command(with_teacher(config, run, stage="train"))


def test_a_drill_makes_the_teacher_first(root: Path, taught: tuple[Path, str, str], colours: Path) -> None:
    _, _, run = taught
    config = colours_config(root, colours, stage="drill", drill=DrillOptions(runs=[run], share=0.5, draws=20))
    run_command(config)
    (hidden,) = root.glob("outputs/colours-50-percent-hidden-*")
    told = read_json(hidden / "drill.json")
    names = [one["run"] for one in told["runs"]]
    assert len(names) == 2
    (student,) = [name for name in names if "over_teacher" in read_json(hidden / name / "metrics.json")]
    assert read_json(hidden / student / "metrics.json")["over_teacher"]["teacher"] in names


@pytest.mark.parametrize(
    ("gain", "low", "high", "is_kept", "words"),
    [
        (0.1, 0.05, 0.15, True, r"gain of pseudo-labels: \+0\.1000 \(\+0\.0500 to \+0\.1500\) log loss over T: kept$"),
        (0.1, 0.05, 0.15, False, "not robust: no gain with smoothed labels; T is submitted$"),
        (0.1, -0.05, 0.25, False, "not significant; T is submitted$"),
        (-0.1, -0.15, -0.05, False, "significantly worse; T is submitted$"),
        (
            0.1,
            None,
            None,
            False,
            r"gain of pseudo-labels: \+0\.1000 log loss over T: too few groups to tell; T is submitted$",
        ),
    ],
)
def test_what_is_said_of_the_gain(
    gain: float, low: float | None, high: float | None, is_kept: bool, words: str
) -> None:
    found = {"teacher": "T", "measure": "log_loss", "gain": gain, "interval": [low, high], "is_kept": is_kept}
    assert re.search(words, describe_pseudo_labels(found))


def test_without_rows_to_classify_nothing_is_labelled(config: Config, prepared: Dataset) -> None:
    make_run(config, prepared, "teacher", [0.5] * 4, [[0.9] * 4, [0.9] * 4])
    labelled = replace(prepared, table=prepared.table[prepared.table["split"] == "train"])
    with pytest.raises(UserError, match=r"has nothing to label: this competition has no rows to classify"):
        find_teacher(config, labelled)


def test_frames_of_a_video_are_not_labelled(configure: Callable[..., Config]) -> None:
    with pytest.raises(UserError, match=r"training\.teacher labels whole items, which frames of a video are not"):
        configure("competition=video_folder_untrimmed", "training.teacher=any")


@pytest.mark.parametrize("confidence", ["0", "1.1", "-1"])
def test_a_confidence_is_a_probability(confidence: str, configure: Callable[..., Config]) -> None:
    with pytest.raises(UserError, match=r"training\.confidence=.* must be more than 0 and at most 1"):
        configure("competition=image_folder", f"training.confidence={confidence}")
