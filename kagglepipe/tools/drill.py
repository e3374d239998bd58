"""stage=drill: a leaderboard of one's own, to see how far a public one can be believed, and what medals it would give.

Hides `drill.share` of the labelled items, whole groups and every class, trains the configured run, or those of
`drill.runs` with their own configurations, on the rest, and grades every run there is of it with the hidden answers:
by the competition's metric or, where segments are found in long videos, by `competition.segment_metric`.
Reads data/<slug>-<share>-percent-hidden-seed-<seed>/, a competition of its own, whose runs lie in
outputs/<slug>-<share>-percent-hidden-seed-<seed>/. Writes drill.json beside them, last.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.annotations import classes_of
from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.folds import hidden_groups, hidden_part
from kagglepipe.config import Config
from kagglepipe.distributed import world_size
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.drill import (
    Scorer,
    SelectionRegret,
    ShakeUp,
    medal,
    medal_ranks,
    rank_among,
    row_scorer,
    shake_up,
)
from kagglepipe.predictions.frame import id_fault, read_frame
from kagglepipe.predictions.metrics import METRICS
from kagglepipe.predictions.submission import build_segments
from kagglepipe.runs.provenance import config_of, written_options
from kagglepipe.segments.metrics import video_scorer
from kagglepipe.segments.postprocess import DetectionSettings
from kagglepipe.stages.pipeline import run_stages
from kagglepipe.stages.places import configured_run, finished_runs, named_run, read_prepared, run_dir
from kagglepipe.stages.ranking import score_of_run
from kagglepipe.stages.run_facts import described, difference, told
from kagglepipe.stages.scores import detection_scores, hidden_answers, hidden_segments, segments_of
from kagglepipe.text import table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublicPrivateSplit:
    """What is hidden. items: how many rows, or long videos. numbers: group -> its number. is_public: (G,)."""

    items: int
    numbers: dict[str, int]
    is_public: NDArray[np.bool_]

    def scores(self, scorer: Scorer) -> tuple[float, float]:
        """The scores of the public and of the private half."""
        public, private = scorer(np.stack([self.is_public, ~self.is_public]).astype(np.int64)).tolist()
        return public, private


@dataclass(frozen=True)
class Graded:
    """A run on the leaderboard: its scores out of fold and in both halves, what scores it in other draws of the hidden
    groups, how it was configured, and frame by frame the scores of both halves where segments decide.
    """

    name: str
    cv: float
    public: float
    private: float
    scorer: Scorer
    described: dict[str, str]
    frames: tuple[float, float] | None = None


def check(config: Config) -> None:
    """Raises UserError for what cannot be drilled, before anything is downloaded."""
    if world_size() > 1:
        raise UserError("a drill is one process: leave torchrun away")
    if config.run:
        raise UserError(f"a drill trains: type 'drill.runs=[{config.run}]' for the configuration of that run")
    with_part_hidden(config)


def run(config: Config) -> None:
    """Hides, trains, grades and tells."""
    hidden = with_part_hidden(config)
    run_stages(hidden, ("prepare",))
    halves = halves_of(hidden, config)
    for each in configurations(config):
        made = train(each, hidden)
        if each.name != made.name and config.drill.runs:
            log.info("drill: %s is called %s here", each.name, made.name)
    runs = grade(hidden, halves)
    shake = shake_up(
        [each.scorer for each in runs],
        len(halves.is_public),
        [each.cv for each in runs],
        greater_is_better=deciding_metric(hidden.competition)[1],
        public=config.drill.public,
        draws=config.drill.draws,
        seed=config.drill.seed,
    )
    tell(config, hidden, halves, runs, shake)


def with_part_hidden(config: Config) -> Config:
    """The configuration of the competition in which a part of the labels is hidden."""
    competition = replace(config.competition, hidden=config.drill.share, hidden_seed=config.drill.seed)
    folds = replace(config.folds, file=None, only=[])  # one's own are of all items
    return replace(config, competition=competition, folds=folds, stage="train")


def deciding_metric(competition: CompetitionOptions) -> tuple[str, bool]:
    """What orders the leaderboard, and whether more of it is better: of long videos, what a submission is scored by."""
    if competition.finds_segments:
        return competition.segment_metric, True
    return competition.metric, METRICS[competition.metric].greater_is_better


def halves_of(hidden: Config, config: Config) -> PublicPrivateSplit:
    """Which of the hidden groups are in the public half: about `drill.public` of what is hidden, and every class."""
    prepared, competition, drill = read_prepared(hidden), hidden.competition, config.drill
    column = "video" if competition.finds_segments else "id"
    items = prepared.test.drop_duplicates(column)[[column, "group"]].rename(columns={column: "id"})
    if competition.finds_segments:
        rows = classes_of(items, hidden_segments(hidden), competition.background)
        part: Callable[..., set[str]] = partial(hidden_groups, least=1)
    else:
        rows = items.assign(target=items["id"].map(hidden_answers(hidden, prepared)))
        part = hidden_part
    columns = (rows[name].tolist() for name in ("id", "target", "group"))
    try:
        public = part(*columns, share=drill.public, seed=drill.seed)
    except UserError as error:
        noun = "videos" if competition.finds_segments else "rows"
        found = f"{len(items)} hidden {noun} are too few for two halves"
        raise UserError(f"{found}: type a larger drill.share, or drill.public nearer to 0.5") from error
    shown = items["id"].isin(public).groupby(items["group"]).any()  # sorted by group, none of which is torn
    return PublicPrivateSplit(len(items), {group: number for number, group in enumerate(shown.index)}, shown.to_numpy())


# --- what is trained -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replay:
    """A run to be trained anew: its configuration, those of an ensemble's members, and of whoever labels for it."""

    name: str
    config: Config
    members: "tuple[Replay, ...]" = ()
    teacher: "Replay | None" = None


def configurations(config: Config) -> list[Replay]:
    """What `drill.runs` names, or the configured run."""
    if not config.drill.runs:
        teacher = config.training.teacher
        taught_by = teacher and replay_of(named_run(config, teacher, f"training.teacher={teacher}"))
        return [Replay("the configured run", config, teacher=taught_by or None)]
    there = {folder.name: folder for folder in finished_runs(config)}
    names = {name: None for asked in config.drill.runs for name in there if fnmatchcase(name, asked)}
    for asked in config.drill.runs:
        if not any(fnmatchcase(name, asked) for name in there):
            raise UserError(
                f"drill.runs={asked} is no finished run in {config.runs_dir}; there are: {', '.join(there) or 'none'}"
            )
    return [replay_of(there[name]) for name in names]


def replay_of(folder: Path) -> Replay:
    """How the run in a folder, and the members of an ensemble, were configured."""
    options = written_options(folder)
    if options is None:
        raise UserError(f"drill.runs: how {folder.name} was configured is not known: its config.yaml is missing or old")
    metrics = read_json(folder / "metrics.json")
    members, teacher = metrics.get("members", []), metrics.get("over_teacher", {}).get("teacher")
    if strange := [name for name in members if not (folder.parent / name / "metrics.json").exists()]:
        raise UserError(f"drill.runs: {folder.name} has the member {strange[0]}, which is no run that can be trained")
    made = config_of(options, folder.name)
    taught_by = replay_of(folder.parent / teacher) if teacher else None
    return Replay(folder.name, made, tuple(replay_of(folder.parent / name) for name in members), taught_by)


def train(replay: Replay, hidden: Config) -> Path:
    """The run's folder in the competition with a hidden part, trained there unless it is finished."""
    log.info("drill: %s, on what is not hidden", replay.name)
    config = replace(
        replay.config,
        run=None,
        stage="train",
        paths=hidden.paths,
        workers=hidden.workers,
        competition=hidden.competition,
        folds=replace(hidden.folds, remake=False),
    )
    if replay.members:
        made = [train(member, hidden).name for member in replay.members]
        config = replace(config, stage="ensemble", ensemble=replace(config.ensemble, runs=made))
        run_stages(config, ("ensemble",))
        return configured_run(config, read_prepared(config))
    teacher = train(replay.teacher, hidden).name if replay.teacher else None
    config = replace(config, training=replace(config.training, teacher=teacher))
    run_stages(config, ("train",))
    return run_dir(config, read_prepared(config))


# --- grades --------------------------------------------------------------------------------------------------------


def grade(hidden: Config, halves: PublicPrivateSplit) -> list[Graded]:
    """Every finished run of the competition with a hidden part, the best of the private half first."""
    metric, greater_is_better = deciding_metric(hidden.competition)
    runs = []
    for folder in finished_runs(hidden):
        one = graded(folder, hidden, halves)
        if isinstance(one, Graded):
            runs.append(one)
        else:
            log.warning("drill: %s is left out, since it %s", folder.name, one)
    if not runs:
        raise UserError(f"there is no run to grade in {hidden.runs_dir}: folds.only=[] trains all folds")
    if undefined := [each.name for each in runs if np.isnan([each.public, each.private]).any()]:
        found = f"{metric} of {undefined[0]} is undefined in one half, where nothing happens"
        raise UserError(f"{found}: type a larger drill.share, or another drill.seed")
    sign = -1 if greater_is_better else 1
    return sorted(runs, key=lambda each: (sign * each.private, each.name))


def graded(folder: Path, hidden: Config, halves: PublicPrivateSplit) -> Graded | str:
    """A finished run with its scores, or why it cannot be graded."""
    config, metrics = as_read_by(folder, hidden), read_json(folder / "metrics.json")
    if config is None:
        return "does not say at which rate it reads: its config.yaml is missing or old"
    prepared, metric = read_prepared(config), config.competition.metric
    answers = hidden_answers(config, prepared)
    frame = read_frame(folder / "test.parquet").sort_values("id", ignore_index=True)
    if fault := id_fault(frame["id"], answers.index):
        return f"answers other rows: {fault}"
    frame = frame.assign(fold=0, target=frame["id"].map(answers))
    groups = frame["id"].map(prepared.test.set_index("id")["group"])
    by_row = row_scorer(metric, frame, prepared.classes, groups.map(halves.numbers))
    if config.competition.finds_segments:
        cv, scorer = segments_graded(folder, config, prepared, metrics, frame, halves)
    else:
        cv, scorer = score_of_run(folder, metrics, metric), by_row
    if cv is None or np.isnan(cv):
        return "has no score out of fold"
    frames = halves.scores(by_row) if config.competition.finds_segments else None
    return Graded(folder.name, cv, *halves.scores(scorer), scorer, described(metrics), frames)


def as_read_by(folder: Path, hidden: Config) -> Config | None:
    """The configuration with the run's own sampling, which says what the frames are; None if that is not known."""
    if not hidden.competition.finds_segments:
        return hidden
    options = written_options(folder)
    return None if options is None else replace(hidden, sequences=config_of(options, folder.name).sequences)


def segments_graded(
    folder: Path,
    config: Config,
    prepared: Dataset,
    metrics: dict[str, Any],
    frame: pd.DataFrame,
    halves: PublicPrivateSplit,
) -> tuple[float | None, Scorer]:
    """(the score out of fold, what scores other videos) of a run by the segments that it would submit.

    What finds them was chosen on the videos that it was trained on.
    """
    metric, background = config.competition.segment_metric, config.competition.background
    detection = metrics.get("detection", {})
    if detection.get("chosen_by") != metric:
        detection = detection_scores(config, prepared, read_frame(folder / "oof.parquet"))["detection"]
    settings = DetectionSettings(**detection["settings"])
    found = segments_of(config, prepared.test, frame, prepared.classes, settings)
    assert prepared.items is not None
    videos = prepared.items[prepared.items["split"] == "test"]
    found = build_segments(found, ends=dict(zip(videos["video"], videos["ends"], strict=True)), header=None)
    numbers = dict(zip(videos["video"], videos["group"].map(halves.numbers), strict=True))
    return detection["scores"][metric], video_scorer(metric, found, hidden_segments(config), background, numbers)


# --- in words ------------------------------------------------------------------------------------------------------


def tell(config: Config, hidden: Config, halves: PublicPrivateSplit, runs: list[Graded], shake: ShakeUp) -> None:
    """The leaderboard, the shake-up and what may be learnt from it, in words and as drill.json."""
    _, greater_is_better = deciding_metric(hidden.competition)
    ranks = {half: places(runs, half, greater_is_better) for half in ("public", "private")}
    medals = medals_of(ranks["private"], config.drill.teams)
    why = ["", *(told(difference(each.described, runs[0].described)) for each in runs[1:])]
    lines = [
        (
            each.name, *(f"{score:.4f}" for score in (each.cv, each.public, each.private, *(each.frames or ()))),
            f"{ranks['public'][n]} -> {ranks['private'][n]}", "{}-{}".format(*shake.ranks[n]), medals[n], why[n],
        )
        for n, each in enumerate(runs)
    ]  # fmt: skip
    frames = ("frames public", "frames private") if runs[0].frames else ()
    header = ("run", "out of fold", "public", "private", *frames, "rank", "by chance", "medal")
    for line in table((*header, "differs from the first in"), lines):
        log.info("%s", line)
    for line in describe(config, hidden.competition, halves, runs, shake, ranks):
        log.info("drill: %s", line)
    write_json(hidden.runs_dir / "drill.json", kept(config, hidden.competition, halves, runs, shake, ranks, medals))


def medals_of(ranks: list[int], teams: int | None) -> list[str]:
    """The medal of each run by its private rank; none for a run alone, which has beaten nobody."""
    if len(ranks) == 1:
        return [""]
    among = teams or len(ranks)
    return [medal(rank_among(rank, len(ranks), among), among) for rank in ranks]


def places(runs: list[Graded], half: str, greater_is_better: bool) -> list[int]:
    """The rank of each run in one half; level runs share the better one."""
    sign = 1 if greater_is_better else -1
    scores = [sign * getattr(each, half) for each in runs]
    return [1 + sum(other > own for other in scores) for own in scores]


def describe(
    config: Config,
    competition: CompetitionOptions,
    halves: PublicPrivateSplit,
    runs: list[Graded],
    shake: ShakeUp,
    ranks: dict[str, list[int]],
) -> list[str]:
    """What the numbers say."""
    teams = config.drill.teams or len(runs)
    rows, what = "rows", f"{halves.items} hidden rows"
    if competition.finds_segments:
        rows, metrics = competition.noun, f"ordered by {competition.segment_metric}, frames: {competition.metric}"
        what = f"{halves.items} hidden {rows} in {len(halves.is_public)} groups, {metrics}"
    if len(runs) == 1:
        return [
            f"{what}; one run has no order: add others with 'drill.runs=[RUN,RUN]', or with this command "
            "and another model, training or seed"
        ]
    first = {half: [each.name for each, rank in zip(runs, ranks[half], strict=True) if rank == 1] for half in ranks}
    gold, silver, bronze = medal_ranks(teams)
    spread = "" if teams == len(runs) else ", if theirs are spread as these runs are"
    return [
        f"{what}; by the public half one would choose {' or '.join(first['public'])}; best in the private "
        f"half: {' and '.join(first['private'])}",
        f"with other {rows} of the kind ({shake.draws} draws of those hidden) the public order chooses a wrong run "
        f"{in_words(shake.by_public)}, the order out of fold {in_words(shake.by_cv)}",
        f"medals of {teams} teams{spread}: gold to rank {gold}, silver to {silver}, bronze to {bronze}",
    ]


def in_words(choice: SelectionRegret) -> str:
    """As in `in 31 % or more (0.0042 lost on average)`."""
    return f"in {choice.wrong:.0%} or more ({choice.lost:.4f} lost on average)".replace("%", " %")


def kept(
    config: Config,
    competition: CompetitionOptions,
    halves: PublicPrivateSplit,
    runs: list[Graded],
    shake: ShakeUp,
    ranks: dict[str, list[int]],
    medals: list[str],
) -> dict[str, Any]:
    """All of it, for a file."""
    return {
        "metric": deciding_metric(competition)[0],
        "settings": {name: getattr(config.drill, name) for name in ("share", "seed", "public", "teams", "draws")},
        "rows": halves.items,
        "groups": len(halves.is_public),
        "runs": [
            {
                "run": each.name,
                "out_of_fold": each.cv,
                "public": each.public,
                "private": each.private,
                **(dict(zip(("public_frames", "private_frames"), each.frames, strict=True)) if each.frames else {}),
                "public_rank": ranks["public"][n],
                "private_rank": ranks["private"][n],
                "private_ranks_by_chance": shake.ranks[n].tolist(),
                "medal": medals[n] or None,
            }
            for n, each in enumerate(runs)
        ],
        "draws": shake.draws,
        "by_public": {"wrong": shake.by_public.wrong, "lost": shake.by_public.lost},
        "by_out_of_fold": {"wrong": shake.by_cv.wrong, "lost": shake.by_cv.lost},
    }
