"""stage=drill: a leaderboard of one's own, to see how far a public one can be believed, and what medals it would give.

Hides `drill.share` of the labelled items, whole groups and every class, trains the configured run, or those of
`drill.runs` with their own configurations, on the rest, and grades every run there is of it with the hidden answers.
Reads data/<slug>-<share>-percent-hidden-seed-<seed>/, a competition of its own, whose runs lie in
outputs/<slug>-<share>-percent-hidden-seed-<seed>/. Writes drill.json beside them, last.
"""

import logging
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from kagglepipe.competitions.folds import hidden_part
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json
from kagglepipe.launch import size
from kagglepipe.predictions.drill import Choice, Shake, medal, medal_ranks, rank_among, shake_up
from kagglepipe.predictions.frame import id_fault, read_frame
from kagglepipe.predictions.metrics import METRICS, score
from kagglepipe.stages import walk
from kagglepipe.stages.places import Prepared, configured_run, finished_runs, read_prepared
from kagglepipe.stages.recipe import config_of, written_options
from kagglepipe.stages.run_facts import described, difference, told
from kagglepipe.stages.scores import hidden_answers
from kagglepipe.stages.text_table import table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Graded:
    """A run on the leaderboard: its scores out of fold and in both halves, its predictions with the answers, and how it
    was configured.
    """

    name: str
    cv: float
    public: float
    private: float
    frame: pd.DataFrame
    described: dict[str, str]


def check(config: Config) -> None:
    """Raises UserError for what cannot be drilled, before anything is downloaded."""
    if size() > 1:
        raise UserError("a drill is one process: leave torchrun away")
    if config.run:
        raise UserError(f"a drill trains: type 'drill.runs=[{config.run}]' for the configuration of that run")
    with_part_hidden(config)


def run(config: Config) -> None:
    """Hides, trains, grades and tells."""
    hidden = with_part_hidden(config)
    walk(hidden, ("prepare",))
    for each in configurations(config):
        made = train(each, hidden)
        if each.name != made.name and config.drill.runs:
            log.info("drill: %s is called %s here", each.name, made.name)
    prepared = read_prepared(hidden)
    runs = grade(hidden, prepared, config)
    groups = runs[0].frame["id"].map(prepared.table.set_index("id")["group"]).tolist()
    shake = shake_up(
        hidden.competition.metric,
        [each.frame for each in runs],
        prepared.classes,
        groups,
        [each.cv for each in runs],
        public=config.drill.public,
        draws=config.drill.draws,
        seed=config.drill.seed,
    )
    tell(config, hidden, runs, shake)


def with_part_hidden(config: Config) -> Config:
    """The configuration of the competition in which a part of the labels is hidden."""
    competition = replace(config.competition, hidden=config.drill.share, hidden_seed=config.drill.seed)
    return replace(config, competition=competition, stage="train")


# --- what is trained -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replay:
    """A run to be trained anew: its configuration and, of an ensemble, those of its members."""

    name: str
    config: Config
    members: "tuple[Replay, ...]" = ()


def configurations(config: Config) -> list[Replay]:
    """What `drill.runs` names, or the configured run."""
    if not config.drill.runs:
        return [Replay("the configured run", config)]
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
    members = read_json(folder / "metrics.json").get("members", [])
    if strange := [name for name in members if not (folder.parent / name / "metrics.json").exists()]:
        raise UserError(f"drill.runs: {folder.name} has the member {strange[0]}, which is no run that can be trained")
    made = config_of(options, folder.name)
    return Replay(folder.name, made, tuple(replay_of(folder.parent / name) for name in members))


def train(replay: Replay, hidden: Config) -> Path:
    """The run's folder in the competition with a hidden part, trained there unless it is finished."""
    log.info("drill: %s, on what is not hidden", replay.name)
    folds = replace(
        replay.config.folds, file=None, only=[], remake=False, count=hidden.folds.count, seed=hidden.folds.seed
    )
    config = replace(
        replay.config,
        run=None,
        stage="train",
        paths=hidden.paths,
        workers=hidden.workers,
        competition=hidden.competition,
        folds=folds,
    )
    if replay.members:
        made = [train(member, hidden).name for member in replay.members]
        config = replace(config, stage="ensemble", ensemble=replace(config.ensemble, runs=made))
        walk(config, ("ensemble",))
    else:
        config = replace(config, ensemble=replace(config.ensemble, runs=[]))
        walk(config, ("train",))
    return configured_run(config, read_prepared(config))


# --- grades --------------------------------------------------------------------------------------------------------


def grade(hidden: Config, prepared: Prepared, config: Config) -> list[Graded]:
    """Every finished run of the competition with a hidden part, the best of the private half first."""
    answers, metric = hidden_answers(hidden), hidden.competition.metric
    seen = public_ids(prepared, answers, config)
    runs = []
    for folder in finished_runs(hidden):
        frame = read_frame(folder / "test.parquet").sort_values("id", ignore_index=True)
        metrics = read_json(folder / "metrics.json")
        if fault := id_fault(frame["id"], answers.index):
            log.warning("drill: %s is left out, since it answers other rows: %s", folder.name, fault)
            continue
        cv = score_out_of_fold(folder, metrics, metric, prepared.classes)
        if cv is None:
            log.warning("drill: %s is left out, since it has no score out of fold", folder.name)
            continue
        frame = frame.assign(fold=0, target=frame["id"].map(answers))
        shown = frame["id"].isin(seen)
        public, private = (score(metric, part, prepared.classes) for part in (frame[shown], frame[~shown]))
        runs.append(Graded(folder.name, cv, public, private, frame, described(metrics)))
    if not runs:
        raise UserError(f"there is no run to grade in {hidden.runs_dir}: folds.only=[] trains all folds")
    sign = -1 if METRICS[metric].greater_is_better else 1
    return sorted(runs, key=lambda each: (sign * each.private, each.name))


def score_out_of_fold(folder: Path, metrics: dict[str, Any], metric: str, classes: list[str]) -> float | None:
    """A run's score in this metric; None if it cannot be told."""
    if metrics["metric"] == metric:
        return None if metrics["score"] is None else float(metrics["score"])
    oof = folder / "oof.parquet"
    return score(metric, read_frame(oof), classes) if oof.exists() else None


def public_ids(prepared: Prepared, answers: "pd.Series[Any]", config: Config) -> set[str]:
    """The hidden rows that are shown: whole groups, and every class."""
    group = prepared.table.set_index("id")["group"]
    ids = sorted(answers.index)
    targets, groups = [answers[id] for id in ids], [group[id] for id in ids]
    try:
        return hidden_part(ids, targets, groups, share=config.drill.public, seed=config.drill.seed)
    except UserError as error:
        raise UserError(f"{len(ids)} hidden rows are too few for two halves: type a larger drill.share") from error


# --- in words ------------------------------------------------------------------------------------------------------


def tell(config: Config, hidden: Config, runs: list[Graded], shake: Shake) -> None:
    """The leaderboard, the shake-up and what may be learnt from it, in words and as drill.json."""
    metric = hidden.competition.metric
    ranks = {half: places(runs, half, metric) for half in ("public", "private")}
    medals = medals_of(ranks["private"], config.drill.teams)
    why = ["", *(told(difference(each.described, runs[0].described)) for each in runs[1:])]
    lines = [
        (
            each.name, f"{each.cv:.4f}", f"{each.public:.4f}", f"{each.private:.4f}",
            f"{ranks['public'][n]} -> {ranks['private'][n]}", "{}-{}".format(*shake.ranks[n]), medals[n], why[n],
        )
        for n, each in enumerate(runs)
    ]  # fmt: skip
    header = ("run", "out of fold", "public", "private", "rank", "by chance", "medal", "differs from the first in")
    for line in table(header, lines):
        log.info("%s", line)
    for line in describe(config, runs, shake, ranks):
        log.info("drill: %s", line)
    write_json(hidden.runs_dir / "drill.json", kept(config, runs, shake, ranks, medals, metric))


def medals_of(ranks: list[int], teams: int | None) -> list[str]:
    """The medal of each run by its private rank; none for a run alone, which has beaten nobody."""
    if len(ranks) == 1:
        return [""]
    among = teams or len(ranks)
    return [medal(rank_among(rank, len(ranks), among), among) for rank in ranks]


def places(runs: list[Graded], half: str, metric: str) -> list[int]:
    """The rank of each run in one half; level runs share the better one."""
    sign = 1 if METRICS[metric].greater_is_better else -1
    scores = [sign * getattr(each, half) for each in runs]
    return [1 + sum(other > own for other in scores) for own in scores]


def describe(config: Config, runs: list[Graded], shake: Shake, ranks: dict[str, list[int]]) -> list[str]:
    """What the numbers say."""
    rows, teams = len(runs[0].frame), config.drill.teams or len(runs)
    if len(runs) == 1:
        return [
            f"{rows} hidden rows; one run has no order: add others with 'drill.runs=[RUN,RUN]', or with this command "
            "and another model, training or seed"
        ]
    first = {half: [each.name for each, rank in zip(runs, ranks[half], strict=True) if rank == 1] for half in ranks}
    gold, silver, bronze = medal_ranks(teams)
    spread = "" if teams == len(runs) else ", if theirs are spread as these runs are"
    return [
        f"{rows} hidden rows; by the public half one would choose {' or '.join(first['public'])}; best in the private "
        f"half: {' and '.join(first['private'])}",
        f"with other rows of the kind ({shake.draws} draws of those hidden) the public order chooses a wrong run "
        f"{in_words(shake.by_public)}, the order out of fold {in_words(shake.by_cv)}",
        f"medals of {teams} teams{spread}: gold to rank {gold}, silver to {silver}, bronze to {bronze}",
    ]


def in_words(choice: Choice) -> str:
    """As in `in 31 % (0.0042 lost on average)`."""
    return f"in {choice.wrong:.0%} ({choice.lost:.4f} lost on average)".replace("%", " %")


def kept(
    config: Config, runs: list[Graded], shake: Shake, ranks: dict[str, list[int]], medals: list[str], metric: str
) -> dict[str, Any]:
    """All of it, for a file."""
    return {
        "metric": metric,
        "settings": {name: getattr(config.drill, name) for name in ("share", "seed", "public", "teams", "draws")},
        "rows": len(runs[0].frame),
        "runs": [
            {
                "run": each.name,
                "out_of_fold": each.cv,
                "public": each.public,
                "private": each.private,
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
