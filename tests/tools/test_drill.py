"""A part of the labels is hidden from everything but the grades, whole groups and every class; and what is told."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kagglepipe.competitions.folds import hidden_groups, hidden_part
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json, write_parquet
from kagglepipe.options import (
    CompetitionOptions,
    DrillOptions,
    EnsembleOptions,
    FoldOptions,
    ModelOptions,
    PathsOptions,
    SequenceOptions,
    TemporalOptions,
    TrainingOptions,
)
from kagglepipe.predictions.frame import test_frame
from kagglepipe.runs.answers import hidden_answers, hidden_segments
from kagglepipe.runs.configured import read_data
from kagglepipe.runs.provenance import write_config
from kagglepipe.runs.store import RunStore
from kagglepipe.tools.commands import run_command
from kagglepipe.tools.drill import split_hidden, with_part_hidden
from tests.colours import CONF, colours_config
from tests.conftest import make_long_series, script

pytestmark = pytest.mark.usefixtures("few_draws")
Drilled = Callable[..., list[str]]


@pytest.fixture
def config(tmp_path: Path, colours: Path) -> Config:
    """A quarter of 36 labelled images is hidden."""
    return colours_config(tmp_path, colours, stage="drill", drill=DrillOptions(share=0.25, draws=200))


@pytest.fixture
def drilled(caplog: pytest.LogCaptureFixture) -> Drilled:
    """drilled(config) -> what stage=drill says."""

    def run(config: Config) -> list[str]:
        caplog.clear()
        with caplog.at_level("INFO"):
            run_command(config)
        return [record.getMessage() for record in caplog.records if record.name == "kagglepipe.tools.drill"]

    return run


def answers_of(config: Config) -> "pd.Series[Any]":
    """What is hidden."""
    return hidden_answers(config.competition, read_data(config))


def graded(config: Config) -> dict[str, Any]:
    """drill.json of stage=drill, with its runs by name."""
    found = read_json(with_part_hidden(config).runs_dir / "drill.json")
    return {**found, "runs": {each["run"]: each for each in found["runs"]}}


def finished(config: Config) -> list[Path]:
    """Folders of the finished runs."""
    return [run.folder for run in RunStore(config.runs_dir).finished()]


def add_run(config: Config, name: str, wrong: set[str], score: float | None = 0.5, metric: str = "accuracy") -> None:
    """A run that answers the hidden rows rightly, but for some."""
    prepared, answers = read_data(config), answers_of(config)
    ids = prepared.test["id"].tolist()
    given = [(prepared.classes.index(answers[id]) + (id in wrong)) % 3 for id in ids]
    folder = config.runs_dir / name
    write_parquet(folder / "test.parquet", test_frame(ids, np.eye(3)[given] * 0.7 + 0.1, prepared.classes))
    write_json(folder / "metrics.json", {"run": name, "metric": metric, "score": score, "identity": {"name": name}})


# --- what is hidden -----------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 1), min_size=40, max_size=80),
    st.sampled_from([0.1, 0.2, 0.25, 1 / 3, 0.5, 0.7]),
    st.integers(0, 3),
)
def test_a_share_of_every_class_is_hidden_and_no_group_is_torn(targets: list[int], share: float, seed: int) -> None:
    targets = [0, 1] * 20 + targets
    ids, groups = [f"{n:03}" for n in range(len(targets))], [n // 2 if n < 20 else n for n in range(len(targets))]
    hidden = hidden_part(ids, targets, groups, share=share, seed=seed)
    for target in (0, 1):
        of_class = [id for id, own in zip(ids, targets, strict=True) if own == target]
        assert abs(len(hidden & set(of_class)) - share * len(of_class)) <= 3
    parts = pd.Series([id in hidden for id in ids]).groupby(groups).nunique()
    assert (parts == 1).all()
    assert hidden == hidden_part(ids[::-1], targets[::-1], groups[::-1], share=share, seed=seed)


def occurrences(groups: int) -> tuple[list[str], list[str], list[str]]:
    """Two videos a group; `usual` is in all, `some` in one of every other group, `rare` in the first two groups."""
    found = []
    for group in range(groups):
        for video in (f"{group}a", f"{group}b"):
            found.append((video, "usual", f"g{group}"))
        found += [(f"{group}a", "some", f"g{group}")] * (group % 2)
        found += [(f"{group}b", "rare", f"g{group}")] * (group < 2)
    videos, targets, names = map(list, zip(*found, strict=True))
    return videos, targets, names


@settings(max_examples=20)
@given(st.integers(6, 30), st.sampled_from([0.05, 0.2, 0.35, 0.5, 0.9]), st.integers(0, 3))
def test_of_items_with_several_classes_whole_groups_are_hidden(groups: int, share: float, seed: int) -> None:
    columns = occurrences(groups)
    hidden = hidden_groups(*columns, share=share, seed=seed, least=2)
    of = pd.DataFrame(dict(zip(("id", "target", "group"), columns, strict=True)))
    of["is_hidden"] = of["id"].isin(hidden)
    assert (of.groupby("group")["is_hidden"].nunique() == 1).all()
    in_groups = of.groupby(["target", "is_hidden"])["group"].nunique().unstack(fill_value=0)
    # two groups at the least on either side, and as near to the share as whole groups come
    assert abs(in_groups.loc["usual", True] - min(max(2, share * groups), groups - 2)) <= 0.5
    assert in_groups.loc["some", False] >= 2 or groups // 2 - in_groups.loc["some", True] < 2
    assert hidden == hidden_groups(*(column[::-1] for column in columns), share=share, seed=seed, least=2)


def test_a_class_in_few_groups_stays_where_it_can_be_learnt() -> None:
    for seed in range(10):
        videos, targets, groups = occurrences(10)
        hidden = hidden_groups(videos, targets, groups, share=0.4, seed=seed, least=2)
        assert not hidden & {"0a", "0b", "1a", "1b"}  # `rare` is in two groups, and folds need two
        assert hidden & {"3a", "5a", "7a", "9a"}  # `some` can be in both parts
        assert len(hidden) == 8
    assert len({frozenset(hidden_groups(*occurrences(10), share=0.3, seed=n, least=2)) for n in range(8)}) > 4


def test_too_few_to_hide_some() -> None:
    with pytest.raises(UserError, match=r"class 1 has only 2 images, a share of 0\.2 takes 5 at least: type one that"):
        hidden_part(list("abcdefgh"), [0] * 6 + [1] * 2, list("abcdefgh"), share=0.2, seed=0)
    with pytest.raises(UserError, match="3 groups are too few to hide some: 2 are hidden, and 2 have to be left"):
        hidden_groups(*occurrences(3), share=0.3, seed=0, least=2)


def test_what_is_hidden_is_a_test_whose_answers_no_run_is_told(config: Config) -> None:
    hidden = with_part_hidden(config)
    run_command(hidden)
    prepared, answers = read_data(hidden), answers_of(hidden)
    assert hidden.slug == "colours-25-percent-hidden-seed-0"
    assert (len(prepared.train), len(prepared.test)) == (27, 9)
    assert prepared.test["target"].isna().all()
    assert sorted(answers.value_counts()) == [3, 3, 3]
    assert set(answers.index) == set(prepared.test["id"])
    (run,) = finished(hidden)
    assert "test" not in read_json(run / "metrics.json")
    assert with_part_hidden(replace(config, seed=5)).slug == hidden.slug
    other = replace(hidden, competition=replace(hidden.competition, hidden_seed=1))
    run_command(replace(other, stage="prepare"))
    assert set(answers_of(other).index) != set(answers.index)


@pytest.mark.parametrize(
    ("group", "values", "words"),
    [
        (CompetitionOptions, {"hidden": 0.99}, r"competition\.hidden=0\.99 must be at least 0\.05 and at most 0\.9"),
        (CompetitionOptions, {"hidden": 0.2, "per_class": 3}, "hidden and competition.per_class cannot be combined"),
        (CompetitionOptions, {"hidden": 0.2, "hidden_seed": -1}, "hidden_seed=-1"),
        *((DrillOptions, {name: value}, f"drill.{name}=") for name, value in [
            ("share", 0), ("share", 1.0), ("public", 0.95), ("seed", -1), ("teams", 0), ("draws", 0)
        ]),
    ],
)  # fmt: skip
def test_options_that_cannot_be(group: Callable[..., object], values: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        group(**values)


def test_what_is_refused_before_any_training(config: Config) -> None:
    hidden, drill = with_part_hidden(config), config.drill
    for refused, words in (
        (
            replace(hidden, stage="submit", submit=replace(hidden.submit, upload=True)),
            r"competition\.hidden classifies training images",
        ),
        (replace(config, run="one"), r"a drill trains: type 'drill\.runs=\[one\]'"),
        (replace(config, drill=replace(drill, runs=["x*"])), r"runs=x\* is no finished run in .*; there are: none"),
        (
            replace(config, drill=replace(drill, public=0.1)),
            r"9 hidden rows are too few for two halves: type a larger drill\.share",
        ),
    ):
        with pytest.raises(UserError, match=words):
            run_command(refused)
    assert not list(Path(config.paths.root).rglob("fold_*"))


# --- grades -------------------------------------------------------------------------------------------------------


def test_every_run_is_graded_by_both_halves(config: Config, drilled: Drilled) -> None:
    hidden = with_part_hidden(config)
    run_command(replace(hidden, stage="prepare"))
    ids = sorted(answers_of(hidden).index)
    for name, wrong in {"all": set(), "most": set(ids[:2]), "none": set(ids)}.items():
        add_run(hidden, name, wrong)
    add_run(hidden, "loss", set(), metric="log_loss")
    add_run(hidden, "unscored", set(), score=None)
    lines, table = drilled(config), graded(config)
    by_name = table["runs"]
    assert (by_name["all"]["public"], by_name["all"]["private"], by_name["all"]["private_rank"]) == (1, 1, 1)
    assert (by_name["none"]["public"], by_name["none"]["private"]) == (0, 0)
    assert table["rows"] == 9
    assert len(by_name) == 4  # and the one that was trained
    board = pd.DataFrame(by_name.values())
    for half in ("public", "private"):
        assert board[half].rank(ascending=False, method="min").tolist() == board[f"{half}_rank"].tolist()
    assert sum("is left out" in line for line in lines) == 2
    assert any(line.startswith("drill: 9 hidden rows; best in the public half: ") for line in lines)
    assert lines[-1] == "drill: medals of 4 teams: gold to rank 1, silver to 1, bronze to 1"
    assert by_name["all"]["medal"] == "gold"
    assert any(line.startswith("test_eff") and line.endswith("  unshared settings") for line in lines)
    assert any(line.startswith("most") and line.endswith("  name=most") for line in lines)


def test_one_run_has_no_medal_and_what_is_better_everywhere_is_always_chosen(config: Config, drilled: Drilled) -> None:
    hidden, lines = with_part_hidden(config), drilled(config)
    assert "one run has no rank: add others with 'drill.runs=[RUN,RUN]'" in lines[-1]
    (run,) = graded(config)["runs"].values()
    assert run["medal"] is None
    assert drilled(config)[1:] == lines[1:]  # nothing is trained twice
    add_run(hidden, "bad", set(answers_of(hidden).index))
    drilled(config)
    table = graded(config)
    assert (table["by_public"]["wrong"], table["by_public"]["lost"]) == (0, 0)
    assert [each["private_ranks_by_chance"] for each in table["runs"].values()] == [[1, 1], [2, 2]]


def test_a_run_that_was_scored_in_another_metric_is_scored_anew(config: Config, drilled: Drilled) -> None:
    hidden = with_part_hidden(config)
    run_command(hidden)
    drilled(replace(config, seed=1, competition=replace(config.competition, metric="log_loss")))
    table = {name: each["out_of_fold"] for name, each in graded(config)["runs"].items()}
    kept = {folder.name: read_json(folder / "metrics.json") for folder in finished(hidden)}
    assert sorted(each["metric"] for each in kept.values()) == ["accuracy", "log_loss"]
    assert table == {name: pytest.approx(each["log_loss"]) for name, each in kept.items()}


@pytest.mark.parametrize("stage", ["drill", "reproduce"])
def test_several_processes_are_sent_away(config: Config, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="leave torchrun away"):
        run_command(replace(config, stage=stage))


def test_runs_are_trained_anew_with_their_own_configurations(config: Config, drilled: Drilled) -> None:
    usual = replace(config, stage="train", drill=DrillOptions())
    run_command(usual)
    run_command(replace(usual, seed=1))
    names = sorted(folder.name for folder in finished(usual))
    run_command(replace(usual, stage="ensemble", ensemble=EnsembleOptions(names)))
    old = {"metric": "accuracy", "score": 1.0, "members": names, "method": "power_mean", "power": 2.0}
    write_json(usual.runs_dir / "ensemble-old/metrics.json", old)
    before = {path: path.read_bytes() for path in usual.runs_dir.rglob("*") if path.is_file()}
    for runs in (["ensemble-old"], ["*-old"]):
        with pytest.raises(UserError, match=r"which is no longer available|none of these runs can be trained again"):
            drilled(replace(config, drill=replace(config.drill, runs=runs)))
    lines = drilled(replace(config, drill=replace(config.drill, runs=["ensemble-*", names[0]], teams=2000)))
    assert "drill: ensemble-old is left out: ensemble-old is a blend by ensemble.method=power_mean, which" in lines[0]
    hidden = with_part_hidden(config)
    identities = [read_json(folder / "metrics.json") for folder in finished(hidden)]
    assert sorted(each["identity"]["seed"] for each in identities if "members" not in each) == [0, 1]
    (blended,) = (each for each in identities if "members" in each)
    assert sorted(blended["members"]) == sorted(each["run"] for each in identities if "members" not in each)
    assert sum("has the name" in line for line in lines) == 2
    assert lines[-1].startswith(
        "drill: medals of 2000 teams, if their scores are distributed as those of these runs: gold to rank 14"
    )
    assert {path: path.read_bytes() for path in usual.runs_dir.rglob("*") if path.is_file()} == before


# --- what happens when in long series -------------------------------------------------------------------------------

CLASSES = ["none", "left", "right"]
SETTINGS = {"smoothing": 0.0, "high": 0.5, "low": 0.5, "min_length": 0.0, "max_gap": 0.0}


@pytest.fixture(scope="session")
def cameras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cameras with two long series each, and two more series whose answers are in answers.csv."""
    return make_long_series(tmp_path_factory.mktemp("made") / "cameras", train=12)


def long_config(root: Path, source: Path, steps: int = 5) -> Config:
    contract: Any = OmegaConf.to_container(OmegaConf.load(CONF / "competition/video_folder_untrimmed.yaml"))
    named = {"slug": "long", "source": str(source), "kind": "series", "answers": "answers.csv"}
    return Config(
        stage="drill",
        paths=PathsOptions(str(root)),
        competition=CompetitionOptions(**{**contract["competition"], **named}),
        folds=FoldOptions(count=2),
        model=ModelOptions(temporal=TemporalOptions(cell="lstm", dropout=0.0)),
        sequences=SequenceOptions(rate=8, steps=steps, lr=1e-2, members=1),
        training=TrainingOptions("head"),
        device="cpu",
        drill=DrillOptions(share=1 / 3, draws=200),
    )


@pytest.fixture
def long(tmp_path: Path, cameras: Path) -> Config:
    """Of twelve series those of two cameras are hidden: one is the public half, one the private."""
    return long_config(tmp_path, cameras)


def moves_of(hidden: Config) -> dict[str, list[tuple[float, float, str]]]:
    """video -> what happens when in the hidden series, as the fixture has drawn them."""
    videos = sorted(read_data(hidden).test["video"].unique())
    return {video: script(int(Path(video).stem[1:]))[1] for video in videos}


def add_long_run(hidden: Config, name: str, missed: set[str], rate: float = 8, **settings: float) -> None:
    """A run that is sure and right of every frame of the hidden series, but sees nothing in some."""
    config = replace(hidden, sequences=replace(hidden.sequences, rate=rate))
    prepared = read_data(config)
    truth = answers_of(config)[prepared.test["id"]].where(~prepared.test["video"].isin(missed).to_numpy(), "none")
    probs = np.eye(3)[[CLASSES.index(name) for name in truth]]
    folder = config.runs_dir / name
    write_parquet(folder / "test.parquet", test_frame(prepared.test["id"].tolist(), probs, CLASSES))
    write_config(config, folder / "config.yaml")
    detection = {"chosen_by": "f1_50", "settings": SETTINGS | settings, "scores": {"f1_50": 0.5}}
    write_json(folder / "metrics.json", {"run": name, "metric": "accuracy", "score": 0.5, "detection": detection})


def test_what_happens_in_hidden_series_is_kept_apart(long: Config, cameras: Path) -> None:
    hidden = with_part_hidden(long)
    run_command(replace(hidden, stage="prepare"))
    prepared = read_data(hidden)
    assert prepared.items is not None
    assert prepared.annotations is not None
    videos = set(prepared.test["video"])
    groups = prepared.items.groupby("split")["group"].agg(set)
    assert (len(groups["train"]), len(groups["test"]), groups["train"] & groups["test"]) == (4, 2, set())
    assert videos == set(prepared.items.loc[prepared.items["split"] == "test", "video"])
    assert (len(prepared.items), len(videos)) == (12, 4)
    assert prepared.test["target"].isna().all()
    assert not set(prepared.annotations["video"]) & videos
    written = pd.read_csv(cameras / "annotations.csv")
    expected = {(str(row.video), row.start, row.end, row.label) for row in written.itertuples()}
    columns = ["video", "start", "end", "label"]
    parts = (prepared.annotations, hidden_segments(prepared))
    kept, apart = ({tuple(row) for row in frame[columns].to_numpy()} for frame in parts)
    assert kept | apart == expected
    assert {row[0] for row in apart} == videos


@pytest.mark.slow
def test_nothing_but_the_grades_knows_what_happens_in_hidden_series(
    cameras: Path, drilled: Drilled, tmp_path: Path
) -> None:
    long = long_config(tmp_path, cameras, steps=20)
    drilled(long)
    hidden = with_part_hidden(long)
    (run,) = finished(hidden)
    other_source = Path(shutil.copytree(cameras, tmp_path / "other"))
    table = pd.read_csv(other_source / "annotations.csv")
    of_hidden = table["video"].isin(moves_of(hidden))
    table.loc[of_hidden, "label"] = table.loc[of_hidden, "label"].map({"left": "right", "right": "left"})
    table.loc[of_hidden, ["start", "end"]] += 0.25
    table.to_csv(other_source / "annotations.csv", index=False)
    other = long_config(tmp_path / "root", other_source, steps=20)
    drilled(other)
    (same,) = finished(with_part_hidden(other))
    assert set(moves_of(with_part_hidden(other))) == set(moves_of(hidden))
    assert same.name == run.name
    files = sorted(path.relative_to(run) for path in run.rglob("*.*") if path.suffix in (".parquet", ".safetensors"))
    assert len(files) == 8
    assert [(same / file).read_bytes() for file in files] == [(run / file).read_bytes() for file in files]
    metrics = [read_json(folder / "metrics.json") for folder in (run, same)]
    assert "test" not in metrics[0]
    assert "test" not in metrics[0]["detection"]
    for each in metrics:
        del each["seconds"], each["peak_memory_gb"]
    assert metrics[0] == metrics[1]
    own, changed = (graded(config)["runs"][run.name] for config in (long, other))
    grades = {"public", "private", "public_frames", "private_frames"}
    assert {name for name in own if own[name] != changed[name]} >= {"public_frames", "private_frames"}
    assert {name for name in own if own[name] != changed[name]} <= grades


def test_segments_order_the_leaderboard(long: Config, drilled: Drilled) -> None:
    hidden = with_part_hidden(long)
    run_command(replace(hidden, stage="prepare"))
    moves = moves_of(hidden)
    is_public = split_hidden(read_data(hidden), hidden.competition, public=0.5, seed=0)
    camera = {video: int(Path(video).stem[1:]) // 2 for video in moves}
    (public,) = is_public.index[is_public]
    shown = [video for video in moves if f"camera {camera[video]}" == public]
    private = [video for video in moves if video not in shown]
    assert (len(shown), len(private)) == (2, 2)
    missed = private[0]
    add_long_run(hidden, "misses", {missed})
    add_long_run(hidden, "perfect", set())
    add_long_run(hidden, "coarse", set(), rate=4)
    add_long_run(hidden, "blind", set(), min_length=3.0)  # longer than anything that happens
    add_long_run(hidden, "lost", set())
    (hidden.runs_dir / "lost" / "config.yaml").unlink()
    lines, table = drilled(long), graded(long)
    by_name = table["runs"]
    for name in ("perfect", "coarse"):
        assert [by_name[name][key] for key in ("public", "private", "public_frames", "private_frames")] == [1, 1, 1, 1]
        assert (by_name[name]["private_rank"], by_name[name]["out_of_fold"]) == (1, 0.5)
    # of the private segments those of one video are missed, and nothing else is found
    all_true = sum(len(moves[video]) for video in private)
    found = all_true - len(moves[missed])
    assert by_name["misses"]["public"] == 1
    assert by_name["misses"]["private"] == pytest.approx(2 * found / (found + all_true))
    # a move takes 8 of the 88 frames of a series
    assert by_name["misses"]["private_frames"] == pytest.approx(1 - 8 * len(moves[missed]) / (88 * 2))
    blind = by_name["blind"]
    assert (blind["public"], blind["private"], blind["private_frames"]) == (0, 0, 1)  # its own settings find nothing
    assert blind["private_rank"] == max(each["private_rank"] for each in by_name.values())
    assert (table["metric"], table["rows"], table["groups"], table["draws"]) == ("f1_50", 4, 2, 200)
    assert any("lost is left out: the rate of its frames is unknown" in line for line in lines)
    assert any(line.startswith("drill: 4 hidden series in 2 groups, ranked by f1_50, frames by accu") for line in lines)
    assert any(line.startswith("drill: in 200 draws of such series") for line in lines)


def test_settings_that_suit_another_metric_are_chosen_anew(long: Config, drilled: Drilled) -> None:
    drilled(long)
    by_edit = replace(long, seed=1, competition=replace(long.competition, segment_metric="edit"))
    drilled(by_edit)
    hidden = with_part_hidden(by_edit)
    table = {name: each["out_of_fold"] for name, each in graded(by_edit)["runs"].items()}
    first, _ = finished(hidden)
    assert read_json(first / "metrics.json")["detection"]["chosen_by"] == "f1_50"
    run_command(replace(hidden, seed=0))  # which scores it again
    detection = read_json(first / "metrics.json")["detection"]
    assert detection["chosen_by"] == "edit"
    assert table[first.name] == detection["scores"]["edit"]


@pytest.mark.slow
def test_ensembles_of_runs_on_long_series(long: Config, drilled: Drilled) -> None:
    usual = replace(long, stage="train", drill=DrillOptions())
    run_command(usual)
    run_command(replace(usual, seed=1))
    names = sorted(folder.name for folder in finished(usual))
    run_command(replace(usual, stage="ensemble", ensemble=EnsembleOptions(names)))
    drilled(replace(long, drill=replace(long.drill, runs=["ensemble-*"])))
    assert sorted(name.startswith("ensemble") for name in graded(long)["runs"]) == [False, False, True]


def test_own_folds_are_not_taken_over(long: Config, drilled: Drilled, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("id,fold\n" + "".join(f"train/s{n}.npz,{n // 2 % 2}\n" for n in range(12)))
    drilled(replace(long, folds=FoldOptions(count=2, file=str(own))))
    folds = pd.read_csv(with_part_hidden(long).data_dir / "folds.csv")
    assert len(folds) == 8


def test_a_half_in_which_nothing_happens(long: Config, cameras: Path, drilled: Drilled, tmp_path: Path) -> None:
    source = Path(shutil.copytree(cameras, tmp_path / "idle"))
    table = pd.read_csv(source / "annotations.csv")
    table["label"] = table["label"].where(table["group"].isin(["camera 0", "camera 1", "camera 2"]), "none")
    table.to_csv(source / "annotations.csv", index=False)
    idle = replace(
        long,
        competition=replace(long.competition, source=str(source)),
        folds=FoldOptions("groups"),
        sequences=replace(long.sequences, steps=1),
    )
    hidden = with_part_hidden(idle)
    run_command(replace(hidden, stage="prepare"))
    # of each class two cameras are left and one is hidden, beside an idle one
    hidden_videos = set(hidden_segments(read_data(hidden))["video"])
    assert len(hidden_videos) == 2
    add_long_run(hidden, "sees-nothing", hidden_videos)
    with pytest.raises(UserError, match=r"f1_50 of .* is undefined in one half, where nothing happens: type a larg"):
        drilled(idle)
