"""stage=drill: simulate a leaderboard on hidden labels, to see how far a public score can be trusted.

Hides `drill.share` of the labelled items, in whole groups and of every class; trains the configured run, or those of
`drill.runs` with their own configurations, on the rest; scores every finished run on a public and a private half of the
hidden items, by the competition's metric or, on long videos, by `competition.segment_metric`.
Reads data/<slug>-<share>-percent-hidden-seed-<seed>/. Its runs lie in outputs/, under the same name, and drill.json
beside them, written last.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.folds import hidden_groups
from kagglepipe.competitions.tag_folds import hidden_rows
from kagglepipe.competitions.units import classes_of
from kagglepipe.config import Config
from kagglepipe.distributed import world_size
from kagglepipe.errors import UserError
from kagglepipe.files import write_json
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.drill import Scorer, ShakeUp, medal, medal_ranks, rank_among, row_scorer, shake_up
from kagglepipe.predictions.frame import id_fault
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.submission import build_segments
from kagglepipe.runs.answers import hidden_answers, hidden_segments
from kagglepipe.runs.configured import read_data, run_of, submitted_run
from kagglepipe.runs.decision import with_decision
from kagglepipe.runs.provenance import config_of, described, difference, in_brief, written_options
from kagglepipe.runs.run import Run
from kagglepipe.runs.scores import detection_scores, segments_of
from kagglepipe.runs.store import RunStore, score_of_run
from kagglepipe.segments.metrics import video_scorer
from kagglepipe.segments.postprocess import DetectionSettings
from kagglepipe.sequences.grid import at_rate
from kagglepipe.stages.pipeline import run_stages
from kagglepipe.text import table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Graded:
    """Scores of a run: `out_of_fold`, `public`, `private` and, on long videos, those two of its frames.

    scorer: of draws of hidden groups. settings: decide the results of the run.
    """

    name: str
    scores: dict[str, float]
    scorer: Scorer
    settings: dict[str, str]


def check(config: Config) -> None:
    """Raises UserError, before any download, for a drill that is impossible."""
    if world_size() > 1:
        raise UserError("a drill is one process: leave torchrun away")
    if config.run:
        raise UserError(f"a drill trains: type 'drill.runs=[{config.run}]' for the configuration of that run")
    if config.competition.finds_events:
        raise UserError("a drill grades classes and segments, not events yet: score them by competition.answers=FILE")
    with_part_hidden(config)


def run(config: Config) -> None:
    """Hide a part of the labels, train, grade and report."""
    hidden, drill = with_part_hidden(config), config.drill
    run_stages(hidden, ("prepare",))
    dataset, competition, store = read_data(hidden), hidden.competition, RunStore(hidden.runs_dir)
    is_public = split_hidden(dataset, competition, public=drill.public, seed=drill.seed)
    for replay in replays(config):
        made = train(replay, hidden)
        if replay.name != made.name and drill.runs:
            log.info("drill: %s has the name %s here", replay.name, made.name)
    metric, greater_is_better = ranking_metric(competition)
    runs = grade(store, dataset, competition, is_public)
    shake = shake_up(
        *([one.scorer for one in runs], len(is_public), [one.scores["out_of_fold"] for one in runs]),
        greater_is_better=greater_is_better, public=drill.public, draws=drill.draws, seed=drill.seed,
    )  # fmt: skip
    teams, items = drill.teams or len(runs), len(hidden_items(dataset, competition))
    board = leaderboard(runs, shake, greater_is_better=greater_is_better, teams=teams)
    for line in show(board, runs):
        log.info("%s", line)
    for line in describe(board, shake, competition, items, len(is_public), teams):
        log.info("drill: %s", line)
    found = {
        "metric": metric,
        "rows": items,
        "groups": len(is_public),
        "runs": board.to_dict("records"),
        "draws": shake.draws,
        "by_public": vars(shake.by_public),
        "by_out_of_fold": vars(shake.by_cv),
        "settings": {name: getattr(drill, name) for name in ("share", "seed", "public", "teams", "draws")},
    }
    write_json(store.folder / "drill.json", found)


def with_part_hidden(config: Config) -> Config:
    """Make the configuration of the competition with a hidden part."""
    competition = replace(config.competition, hidden=config.drill.share, hidden_seed=config.drill.seed)
    folds = replace(config.folds, file=None, only=[])  # own folds contain the hidden items
    return replace(config, competition=competition, folds=folds, stage="train")


def ranking_metric(competition: CompetitionOptions) -> tuple[str, bool]:
    """Name of the leaderboard's metric, and whether greater is better."""
    if competition.finds_segments:
        return competition.segment_metric, True
    return competition.metric, find_metric(competition.metric).greater_is_better


def hidden_items(dataset: Dataset, competition: CompetitionOptions) -> pd.DataFrame:
    """`id` and `group` of each hidden row or long video."""
    column = "video" if competition.finds_segments else "id"
    return dataset.test.drop_duplicates(column)[[column, "group"]].rename(columns={column: "id"})


def split_hidden(dataset: Dataset, competition: CompetitionOptions, *, public: float, seed: int) -> "pd.Series[bool]":
    """Draw the public half: about a share `public` of the hidden items, with every class.

    Returns by name of the G groups, sorted, whether they are public.
    """
    items, noun = hidden_items(dataset, competition), "videos" if competition.finds_segments else "rows"
    if competition.finds_segments:
        rows = classes_of(items, hidden_segments(dataset), competition.background)
        part: Callable[..., set[str]] = partial(hidden_groups, least=1)
    else:
        rows, part = items.assign(target=items["id"].map(hidden_answers(competition, dataset))), hidden_rows
        part = partial(part, task=competition.task)
    try:
        ids = part(*(rows[name].tolist() for name in ("id", "target", "group")), share=public, seed=seed)
    except UserError as error:
        found = f"{len(items)} hidden {noun} are too few for two halves"
        raise UserError(f"{found}: type a larger drill.share, or drill.public nearer to 0.5") from error
    return items["id"].isin(ids).groupby(items["group"]).any()  # groups are whole


# --- training ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replay:
    """Configuration of a run to train again, with those of an ensemble's members and of a teacher."""

    name: str
    config: Config
    members: "list[Replay]" = field(default_factory=list)
    teacher: "Replay | None" = None


def replays(config: Config) -> list[Replay]:
    """Find the runs of `drill.runs` or, without them, the configured run.

    A pattern leaves out runs that cannot be trained again. Raises UserError for a run by its name that cannot, and
    where nothing is left.
    """
    store, patterns = RunStore(config.runs_dir), config.drill.runs
    if not patterns:
        teacher = config.training.teacher
        found = None if teacher is None else replay_of(store.named(teacher, f"training.teacher={teacher}"))
        return [Replay("the configured run", config, teacher=found)]
    finished, chosen = {run.name: run for run in store.finished()}, dict[str, Replay]()
    for pattern in patterns:
        matching = [name for name in finished if fnmatchcase(name, pattern)]
        if not matching:
            there = ", ".join(finished) or "none"
            raise UserError(f"drill.runs={pattern} is no finished run in {store.folder}; there are: {there}")
        for name in matching:
            try:
                chosen[name] = replay_of(finished[name])
            except UserError as error:
                if matching == [pattern]:
                    raise UserError(f"drill.runs: {error}") from error
                log.warning("drill: %s is left out: %s", name, error)
    if not chosen:
        raise UserError("drill.runs: none of these runs can be trained again: name others")
    return list(chosen.values())


def replay_of(run: Run) -> Replay:
    """Recorded configuration of a run, its members and its teacher. Raises UserError without one."""
    options, members = written_options(run.config_file), run.members
    if run.metrics.get("method") == "power_mean":
        raise UserError(f"{run.name} is a blend by ensemble.method=power_mean, which is no longer available")
    if options is None:
        raise UserError(f"the configuration of {run.name} is unknown: its config.yaml is missing or old")
    if missing := [member.name for member in members if not member.is_finished]:
        raise UserError(f"{run.name} has the member {missing[0]}, which cannot be trained")
    teacher = replay_of(Run(run.folder.parent / run.teacher)) if run.teacher else None
    return Replay(run.name, config_of(options, run.name), [replay_of(member) for member in members], teacher)


def train(replay: Replay, hidden: Config) -> Run:
    """Train a run in the competition with a hidden part, unless it is finished there."""
    log.info("drill: %s, trained without the hidden items", replay.name)
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
        names = [train(member, hidden).name for member in replay.members]
        config = replace(config, stage="ensemble", ensemble=replace(config.ensemble, runs=names))
        run_stages(config, ("ensemble",))
        return submitted_run(config, read_data(config))
    teacher = train(replay.teacher, hidden).name if replay.teacher else None
    config = replace(config, training=replace(config.training, teacher=teacher))
    run_stages(config, ("train",))
    return run_of(config, read_data(config))


# --- scores --------------------------------------------------------------------------------------------------------


def grade(
    store: RunStore, dataset: Dataset, competition: CompetitionOptions, is_public: "pd.Series[bool]"
) -> list[Graded]:
    """Scores of every finished run that has them, best private score first. Raises UserError without one."""
    metric, greater_is_better = ranking_metric(competition)
    runs = []
    for run in store.finished():
        try:
            runs.append(graded(run, dataset, competition, is_public))
        except UserError as error:
            log.warning("drill: %s is left out: %s", run.name, error)
    if not runs:
        raise UserError(f"there is no run to grade in {store.folder}: folds.only=[] trains all folds")
    if undefined := [one.name for one in runs if np.isnan([one.scores["public"], one.scores["private"]]).any()]:
        found = f"{metric} of {undefined[0]} is undefined in one half, where nothing happens"
        raise UserError(f"{found}: type a larger drill.share, or another drill.seed")
    sign = -1 if greater_is_better else 1
    return sorted(runs, key=lambda one: (sign * one.scores["private"], one.name))


def graded(run: Run, dataset: Dataset, competition: CompetitionOptions, is_public: "pd.Series[bool]") -> Graded:
    """Scores of a finished run. Raises UserError where it has none."""
    if competition.finds_segments:  # its frames are at its own rate
        options = written_options(run.config_file)
        if options is None:
            raise UserError("the rate of its frames is unknown, since its config.yaml is missing or old")
        dataset = at_rate(dataset, config_of(options, run.name).sequences.samples_per_unit, competition)
    answers = hidden_answers(competition, dataset)
    frame = run.test().sort_values("id", ignore_index=True)
    if fault := id_fault(frame["id"], answers.index):
        raise UserError(f"it predicts other rows: {fault}")
    frame = with_decision(run.metrics, frame).assign(fold=0, target=frame["id"].map(answers))
    groups = frame["id"].map(dataset.test.set_index("id")["group"])
    scorer = row_scorer(competition.metric, frame, dataset.classes, is_public.index.get_indexer(pd.Index(groups)))
    cv, halves, frames = score_of_run(run, competition.metric), np.stack([is_public, ~is_public]).astype(np.int64), []
    if competition.finds_segments:
        frames = scorer(halves).tolist()
        cv, scorer = segment_grades(run, competition, dataset, frame, is_public.index)
    if cv is None or np.isnan(cv):
        raise UserError("it has no score out of fold")
    names = ("out_of_fold", "public", "private", "public_frames", "private_frames")
    scores = dict(zip(names, (cv, *scorer(halves).tolist(), *frames), strict=False))
    return Graded(run.name, scores, scorer, described(run.metrics))


def segment_grades(
    run: Run, competition: CompetitionOptions, dataset: Dataset, frame: pd.DataFrame, groups: "pd.Index[Any]"
) -> tuple[float | None, Scorer]:
    """(out-of-fold score, scorer) of the segments that a run would submit; post-processing of the training videos."""
    metric, background = competition.segment_metric, competition.background
    detection = run.metrics.get("detection", {})
    if detection.get("chosen_by") != metric:
        detection = detection_scores(competition, dataset, run.oof())["detection"]
    found = segments_of(dataset, frame, background, DetectionSettings(**detection["settings"]))
    assert dataset.items is not None
    videos = dataset.items[dataset.items["split"] == "test"].set_index("video")
    found = build_segments(found, ends=dict(zip(videos.index, videos["ends"], strict=True)), header=None)
    codes = dict(zip(videos.index, groups.get_indexer(pd.Index(videos["group"])), strict=True))
    return detection["scores"][metric], video_scorer(metric, found, hidden_segments(dataset), background, codes)


def leaderboard(runs: list[Graded], shake: ShakeUp, *, greater_is_better: bool, teams: int) -> pd.DataFrame:
    """Make a row a run, in their order: scores, ranks from 1 (ties share the better), medal; None for a single run."""
    board = pd.DataFrame([{"run": one.name, **one.scores} for one in runs])
    for half in ("public", "private"):
        board[f"{half}_rank"] = board[half].rank(method="min", ascending=not greater_is_better).astype(int)
    board["private_ranks_by_chance"] = shake.ranks.tolist()
    medals = [medal(rank_among(rank, len(runs), teams), teams) or None for rank in board["private_rank"]]
    board["medal"] = pd.Series(medals if len(runs) > 1 else [None], dtype=object)
    return board


# --- in words ------------------------------------------------------------------------------------------------------


def show(board: pd.DataFrame, runs: list[Graded]) -> list[str]:
    """Format the leaderboard as a table."""
    scores, first = list(runs[0].scores), runs[0].settings
    rows = [
        (
            row["run"], *(f"{row[name]:z.4f}" for name in scores), f"{row['public_rank']} -> {row['private_rank']}",
            "{}-{}".format(*row["private_ranks_by_chance"]), row["medal"] or "",
            in_brief(difference(one.settings, first)),
        )
        for row, one in zip(board.to_dict("records"), runs, strict=True)
    ]  # fmt: skip
    columns = [name.replace("_", " ") for name in scores]
    return table(("run", *columns, "rank", "by chance", "medal", "differs from the first in"), rows)


def describe(
    board: pd.DataFrame, shake: ShakeUp, competition: CompetitionOptions, items: int, groups: int, teams: int
) -> list[str]:
    """Value of the public score for selection, and the ranks with medals, in words."""
    rows, hidden = "rows", f"{items} hidden rows"
    if competition.finds_segments:
        rows, metrics = competition.noun, f"ranked by {competition.segment_metric}, frames by {competition.metric}"
        hidden = f"{items} hidden {rows} in {groups} groups, {metrics}"
    if len(board) == 1:
        return [
            f"{hidden}; one run has no rank: add others with 'drill.runs=[RUN,RUN]', or with this command and another "
            "model, training or seed"
        ]
    public, private = (" and ".join(board.loc[board[f"{half}_rank"] == 1, "run"]) for half in ("public", "private"))
    by_public, by_cv = (
        f"in {regret.wrong:.0%} or more ({regret.lost:.4f} lost on average)".replace("%", " %")
        for regret in (shake.by_public, shake.by_cv)
    )
    gold, silver, bronze = medal_ranks(teams)
    spread = "" if teams == len(board) else ", if their scores are distributed as those of these runs"
    return [
        f"{hidden}; best in the public half: {public}; best in the private half: {private}",
        f"in {shake.draws} draws of such {rows} the best public score selects a wrong run {by_public}, the best score "
        f"out of fold {by_cv}",
        f"medals of {teams} teams{spread}: gold to rank {gold}, silver to {silver}, bronze to {bronze}",
    ]
