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
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.folds import hidden_groups, hidden_part
from kagglepipe.competitions.units import classes_of
from kagglepipe.config import Config
from kagglepipe.distributed import world_size
from kagglepipe.errors import UserError
from kagglepipe.files import write_json
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
from kagglepipe.predictions.frame import id_fault
from kagglepipe.predictions.metrics import METRICS
from kagglepipe.predictions.submission import build_segments
from kagglepipe.runs.answers import hidden_answers, hidden_segments
from kagglepipe.runs.identity import config_of, written_options
from kagglepipe.runs.provenance import described, difference, told
from kagglepipe.runs.ranking import score_of_run
from kagglepipe.runs.run import Run
from kagglepipe.runs.scores import detection_scores, segments_of
from kagglepipe.runs.store import RunStore
from kagglepipe.segments.metrics import video_scorer
from kagglepipe.segments.postprocess import DetectionSettings
from kagglepipe.stages.configured import at_rate_of, read_data, run_of, submitted_run
from kagglepipe.stages.pipeline import run_stages
from kagglepipe.text import table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublicPrivateSplit:
    """The hidden part. items: number of rows, or long videos. numbers: group -> its number. is_public: (G,)."""

    items: int
    numbers: dict[str, int]
    is_public: NDArray[np.bool_]

    def scores(self, scorer: Scorer) -> tuple[float, float]:
        """(public score, private score)."""
        public, private = scorer(np.stack([self.is_public, ~self.is_public]).astype(np.int64)).tolist()
        return public, private


@dataclass(frozen=True)
class Graded:
    """A run on the leaderboard: out-of-fold, public and private score, and a scorer of other draws of hidden groups.

    described: what decided its results. frames: (public, private) scores of frames, where segments decide.
    """

    name: str
    cv: float
    public: float
    private: float
    scorer: Scorer
    described: dict[str, str]
    frames: tuple[float, float] | None = None


@dataclass(frozen=True)
class Leaderboard:
    """Graded runs, the best private score first, with the shake-up in other draws of the hidden groups."""

    competition: CompetitionOptions
    split: PublicPrivateSplit
    runs: list[Graded]
    shake: ShakeUp
    teams: int

    def ranks(self, half: str) -> list[int]:
        """Rank of each run by its `public` or `private` score; ties share the better rank."""
        sign = 1 if deciding_metric(self.competition)[1] else -1
        scores = [sign * getattr(each, half) for each in self.runs]
        return [1 + sum(other > own for other in scores) for own in scores]

    def winners(self, half: str) -> list[str]:
        """Names of the best runs in a half."""
        return [each.name for each, rank in zip(self.runs, self.ranks(half), strict=True) if rank == 1]

    @property
    def medals(self) -> list[str]:
        """Medal of each run by its private rank; none for a single run."""
        if (count := len(self.runs)) == 1:
            return [""]
        return [medal(rank_among(rank, count, self.teams), self.teams) for rank in self.ranks("private")]


def check(config: Config) -> None:
    """Raises UserError for what cannot be drilled, before anything is downloaded."""
    if world_size() > 1:
        raise UserError("a drill is one process: leave torchrun away")
    if config.run:
        raise UserError(f"a drill trains: type 'drill.runs=[{config.run}]' for the configuration of that run")
    with_part_hidden(config)


def run(config: Config) -> None:
    """Hides a part of the labels, trains, grades and reports."""
    hidden, drill = with_part_hidden(config), config.drill
    run_stages(hidden, ("prepare",))
    split = split_hidden(hidden, drill.public, drill.seed)
    for each in replays(config):
        made = train(each, hidden)
        if each.name != made.name and drill.runs:
            log.info("drill: %s is called %s here", each.name, made.name)
    runs, competition = grade(hidden, split), hidden.competition
    shake = shake_up(
        [each.scorer for each in runs],
        len(split.is_public),
        [each.cv for each in runs],
        greater_is_better=deciding_metric(competition)[1],
        public=drill.public,
        draws=drill.draws,
        seed=drill.seed,
    )
    board = Leaderboard(competition, split, runs, shake, drill.teams or len(runs))
    for line in show(board):
        log.info("%s", line)
    for line in describe(board):
        log.info("drill: %s", line)
    settings = {name: getattr(drill, name) for name in ("share", "seed", "public", "teams", "draws")}
    write_json(hidden.runs_dir / "drill.json", as_json(board) | {"settings": settings})


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


def split_hidden(hidden: Config, public_share: float, seed: int) -> PublicPrivateSplit:
    """Draws the groups of the public half: about `public_share` of what is hidden, and every class."""
    dataset, competition = read_data(hidden), hidden.competition
    column = "video" if competition.finds_segments else "id"
    items = dataset.test.drop_duplicates(column)[[column, "group"]].rename(columns={column: "id"})
    if competition.finds_segments:
        rows = classes_of(items, hidden_segments(dataset), competition.background)
        part: Callable[..., set[str]] = partial(hidden_groups, least=1)
    else:
        rows = items.assign(target=items["id"].map(hidden_answers(competition, dataset)))
        part = hidden_part
    columns = (rows[name].tolist() for name in ("id", "target", "group"))
    try:
        public = part(*columns, share=public_share, seed=seed)
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


def replays(config: Config) -> list[Replay]:
    """What `drill.runs` names, or the configured run."""
    store = RunStore(config.runs_dir)
    if not config.drill.runs:
        name = config.training.teacher
        teacher = None if name is None else replay_of(store.named(name, f"training.teacher={name}"))
        return [Replay("the configured run", config, teacher=teacher)]
    there = {run.name: run for run in store.finished()}
    names = {name: None for asked in config.drill.runs for name in there if fnmatchcase(name, asked)}
    for asked in config.drill.runs:
        if not any(fnmatchcase(name, asked) for name in there):
            raise UserError(
                f"drill.runs={asked} is no finished run in {config.runs_dir}; there are: {', '.join(there) or 'none'}"
            )
    return [replay_of(there[name]) for name in names]


def replay_of(run: Run) -> Replay:
    """How a run, its members and its teacher were configured."""
    options, members = written_options(run.config_file), run.members
    if options is None:
        raise UserError(f"drill.runs: how {run.name} was configured is not known: its config.yaml is missing or old")
    if strange := [member.name for member in members if not member.is_finished]:
        raise UserError(f"drill.runs: {run.name} has the member {strange[0]}, which is no run that can be trained")
    teacher = replay_of(Run(run.folder.parent / run.teacher)) if run.teacher else None
    return Replay(run.name, config_of(options, run.name), tuple(map(replay_of, members)), teacher)


def train(replay: Replay, hidden: Config) -> Run:
    """The run, trained in the competition with a hidden part unless it is finished there."""
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
        return submitted_run(config, read_data(config))
    teacher = train(replay.teacher, hidden).name if replay.teacher else None
    config = replace(config, training=replace(config.training, teacher=teacher))
    run_stages(config, ("train",))
    return run_of(config, read_data(config))


# --- grades --------------------------------------------------------------------------------------------------------


def grade(hidden: Config, split: PublicPrivateSplit) -> list[Graded]:
    """Every finished run of the competition with a hidden part, best private score first."""
    metric, greater_is_better = deciding_metric(hidden.competition)
    runs = []
    for run in RunStore(hidden.runs_dir).finished():
        one = graded(run, hidden, split)
        if isinstance(one, Graded):
            runs.append(one)
        else:
            log.warning("drill: %s is left out, since it %s", run.name, one)
    if not runs:
        raise UserError(f"there is no run to grade in {hidden.runs_dir}: folds.only=[] trains all folds")
    if undefined := [each.name for each in runs if np.isnan([each.public, each.private]).any()]:
        found = f"{metric} of {undefined[0]} is undefined in one half, where nothing happens"
        raise UserError(f"{found}: type a larger drill.share, or another drill.seed")
    sign = -1 if greater_is_better else 1
    return sorted(runs, key=lambda each: (sign * each.private, each.name))


def graded(run: Run, hidden: Config, split: PublicPrivateSplit) -> Graded | str:
    """A finished run with its scores, or why it cannot be graded."""
    dataset, competition = read_data(hidden), hidden.competition
    if competition.finds_segments:  # frames are those of the run's own rate
        options = written_options(run.config_file)
        if options is None:
            return "does not say at which rate it reads: its config.yaml is missing or old"
        dataset = at_rate_of(hidden, dataset, config_of(options, run.name).sequences.rate)
    answers = hidden_answers(competition, dataset)
    frame = run.test().sort_values("id", ignore_index=True)
    if fault := id_fault(frame["id"], answers.index):
        return f"answers other rows: {fault}"
    frame = frame.assign(fold=0, target=frame["id"].map(answers))
    groups = frame["id"].map(dataset.test.set_index("id")["group"])
    by_row = row_scorer(competition.metric, frame, dataset.classes, groups.map(split.numbers))
    frames = None
    if competition.finds_segments:
        frames = split.scores(by_row)
        cv, scorer = segment_grades(run, competition, dataset, frame, split)
    else:
        cv, scorer = score_of_run(run, competition.metric), by_row
    if cv is None or np.isnan(cv):
        return "has no score out of fold"
    return Graded(run.name, cv, *split.scores(scorer), scorer, described(run.metrics), frames)


def segment_grades(
    run: Run, competition: CompetitionOptions, dataset: Dataset, frame: pd.DataFrame, split: PublicPrivateSplit
) -> tuple[float | None, Scorer]:
    """(out-of-fold score, scorer of other videos) of a run by the segments that it would submit.

    Post-processing was chosen on the videos that the run was trained on.
    """
    metric, background = competition.segment_metric, competition.background
    detection = run.metrics.get("detection", {})
    if detection.get("chosen_by") != metric:
        detection = detection_scores(competition, dataset, run.oof())["detection"]
    found = segments_of(dataset, frame, background, DetectionSettings(**detection["settings"]))
    assert dataset.items is not None
    videos = dataset.items[dataset.items["split"] == "test"]
    found = build_segments(found, ends=dict(zip(videos["video"], videos["ends"], strict=True)), header=None)
    numbers = dict(zip(videos["video"], videos["group"].map(split.numbers), strict=True))
    return detection["scores"][metric], video_scorer(metric, found, hidden_segments(dataset), background, numbers)


# --- in words ------------------------------------------------------------------------------------------------------


def show(board: Leaderboard) -> list[str]:
    """The leaderboard as a table."""
    runs, public, private = board.runs, board.ranks("public"), board.ranks("private")
    why = ["", *(told(difference(each.described, runs[0].described)) for each in runs[1:])]
    lines = [
        (
            each.name, *(f"{score:.4f}" for score in (each.cv, each.public, each.private, *(each.frames or ()))),
            f"{public[n]} -> {private[n]}", "{}-{}".format(*board.shake.ranks[n]), board.medals[n], why[n],
        )
        for n, each in enumerate(runs)
    ]  # fmt: skip
    frames = ("frames public", "frames private") if runs[0].frames else ()
    header = ("run", "out of fold", "public", "private", *frames, "rank", "by chance", "medal")
    return table((*header, "differs from the first in"), lines)


def describe(board: Leaderboard) -> list[str]:
    """What a public score would have been worth, in words."""
    competition, shake, rows, what = board.competition, board.shake, "rows", f"{board.split.items} hidden rows"
    if competition.finds_segments:
        rows, metrics = competition.noun, f"ordered by {competition.segment_metric}, frames: {competition.metric}"
        what = f"{board.split.items} hidden {rows} in {len(board.split.is_public)} groups, {metrics}"
    if len(board.runs) == 1:
        return [
            f"{what}; one run has no order: add others with 'drill.runs=[RUN,RUN]', or with this command "
            "and another model, training or seed"
        ]
    gold, silver, bronze = medal_ranks(board.teams)
    spread = "" if board.teams == len(board.runs) else ", if theirs are spread as these runs are"
    return [
        f"{what}; by the public half one would choose {' or '.join(board.winners('public'))}; best in the private "
        f"half: {' and '.join(board.winners('private'))}",
        f"with other {rows} of the kind ({shake.draws} draws of those hidden) the public order chooses a wrong run "
        f"{in_words(shake.by_public)}, the order out of fold {in_words(shake.by_cv)}",
        f"medals of {board.teams} teams{spread}: gold to rank {gold}, silver to {silver}, bronze to {bronze}",
    ]


def in_words(choice: SelectionRegret) -> str:
    """As in `in 31 % or more (0.0042 lost on average)`."""
    return f"in {choice.wrong:.0%} or more ({choice.lost:.4f} lost on average)".replace("%", " %")


def as_json(board: Leaderboard) -> dict[str, Any]:
    """Content of drill.json, but for the settings."""
    shake, public = board.shake, board.ranks("public")
    private, medals = board.ranks("private"), board.medals
    return {
        "metric": deciding_metric(board.competition)[0],
        "rows": board.split.items,
        "groups": len(board.split.is_public),
        "runs": [
            {
                "run": each.name,
                "out_of_fold": each.cv,
                "public": each.public,
                "private": each.private,
                **(dict(zip(("public_frames", "private_frames"), each.frames, strict=True)) if each.frames else {}),
                "public_rank": public[n],
                "private_rank": private[n],
                "private_ranks_by_chance": shake.ranks[n].tolist(),
                "medal": medals[n] or None,
            }
            for n, each in enumerate(board.runs)
        ],
        "draws": shake.draws,
        "by_public": {"wrong": shake.by_public.wrong, "lost": shake.by_public.lost},
        "by_out_of_fold": {"wrong": shake.by_cv.wrong, "lost": shake.by_cv.lost},
    }
