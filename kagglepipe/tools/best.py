"""training=best: several runs in the order of what they cost, their blend, and the best of all, within a time limit.

Heads come first, on the configured network and on larger ones, each also with test-time augmentation, then fine-tuning
with it; for video and series temporal models. A network larger than one that was no gain comes last. The columns of the
tables, if there are any, are added to the best. Each is scored out of fold; what does not fit into the time left is not
begun. Writes outputs/<slug>/best.json, the table of what was tried, and the submission of the best.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from kagglepipe.config import Config
from kagglepipe.distributed import world_size
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, write_json
from kagglepipe.models.weights import BUNDLED
from kagglepipe.options import ModelOptions, seconds_of
from kagglepipe.predictions.methods import check_methods
from kagglepipe.predictions.own_metric import is_greater_better
from kagglepipe.predictions.uncertainty import format_interval, format_score
from kagglepipe.runs.configured import ensemble_run, find_members, read_data, run_of, store_of
from kagglepipe.runs.describe import log_scores
from kagglepipe.runs.run import Run, is_submittable
from kagglepipe.stages import train
from kagglepipe.stages.pipeline import run_stages
from kagglepipe.text import table
from kagglepipe.tools.columns import add_columns

log = logging.getLogger(__name__)
LARGER = 1.7  # times the cost of the network before it
TUNING = 8.0  # times the cost of a head, that fine-tuning takes at least
RESERVE = 0.05  # of the budget, for the blend and the submission
CELLS = ("mean", "lstm", "gru", "conv")  # of temporal models
LINEAR = 0.2  # times the cost of a recurrent network, that the cell `mean` takes
STAGES = ("all", "train", "ensemble", "submit")  # commands that training=best serves


Tried = tuple[str, Run, float]  # name for people, run, seconds


@dataclass(frozen=True)
class Step:
    """A run to try: its name for people, its configuration, its cost relative to the first.

    is_rung: whether networks are compared by it, as the head of each is.
    """

    name: str
    config: Config
    cost: float
    is_rung: bool = True


@dataclass
class Clock:
    """Time limit: seconds from now; None for none."""

    limit: float | None
    now: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.start = self.now()

    @property
    def left(self) -> float:
        """Seconds left for training."""
        return math.inf if self.limit is None else self.limit * (1 - RESERVE) - (self.now() - self.start)


def is_asked(config: Config) -> bool:
    """Whether the command is one that training=best serves. Raises UserError for a command that it does not."""
    if config.training.mode != "best" or config.run is not None:
        return False
    stage = config.stage
    if stage in ("drill", "bundle"):
        raise UserError(f"training=best makes several runs, stage={stage} needs one: name it with run=NAME")
    if world_size() > 1:
        raise UserError("training=best is one process: leave torchrun away")
    if config.folds.only:
        raise UserError("training=best compares whole runs: leave folds.only out")
    return stage in STAGES


def run(config: Config) -> float | None:
    """Check all steps, try them, blend, and submit the best; returns its out-of-fold score."""
    check_methods(config.ensemble, config.competition.task)
    for step in steps_of(config):
        train.check(step.config)
    budget = config.training.budget
    clock = Clock(None if budget is None else seconds_of("training.budget", budget))
    run_stages(config, ("download", "prepare"))
    tried, left_out = try_steps(config, clock)
    tried += try_columns(config, clock, best_of(config, [one for _, one, _ in tried]), left_out)
    kept = [one for _, one, _ in tried if is_submittable(one.metrics)]  # without columns that gain nothing
    different = list({file_sha256(one.oof_file): one for one in reversed(kept)}.values())  # nor views that do not
    if len(different) > 1:
        tried.append(blend(config, different[::-1]))
        kept.append(tried[-1][1])
    best = best_of(config, kept)
    report(config, tried, left_out, best)
    if config.stage in ("all", "submit"):
        run_stages(replace(plain(config), run=best.name), ("submit",))
    score, _ = scored(config, best)
    return None if score is None else float(score)


def plain(config: Config, **training: Any) -> Config:
    """The configuration with a mode of training that is one run's; training: other options of `training`."""
    return replace(config, training=replace(config.training, **{"mode": "head", "budget": None, **training}))


def steps_of(config: Config) -> list[Step]:
    """What can be tried, in the order of cost."""
    if config.competition.kind != "image":
        return temporal_steps(config)
    predict = config.predict
    steps, is_turned = [], config.mirror and not predict.tta
    turned = replace(config, predict=replace(predict, tta=["auto"])) if is_turned else config
    views = " with turned views" if is_turned else ""
    for size, name in enumerate(larger_networks(config.model)):
        model, cost = replace(config.model, name=name), LARGER**size
        steps.append(Step(f"head on {name}", plain(replace(config, model=model)), cost))
        if is_turned:
            steps.append(Step(f"head on {name}{views}", plain(replace(turned, model=model)), cost, is_rung=False))
        tuned = plain(replace(turned, model=model), mode="finetune")
        steps.append(Step(f"fine-tuning of {name}{views}", tuned, TUNING * cost, is_rung=False))
    return sorted(steps, key=lambda one: one.cost)


def larger_networks(model: ModelOptions) -> list[str]:
    """The configured network and those larger of its family whose weights are bundled.

    >>> larger_networks(ModelOptions(name="tf_efficientnet_lite1"))
    ['tf_efficientnet_lite1', 'tf_efficientnet_lite2']
    """
    family = list(BUNDLED)
    if model.name not in family or model.weights not in ("auto", "bundled") or model.image_size is not None:
        return [model.name]
    return family[family.index(model.name) :]


def temporal_steps(config: Config) -> list[Step]:
    """The linear temporal model first, which takes the least time, then the configured one, then the others."""
    own = config.model.temporal
    cells = [own.cell, *(cell for cell in CELLS if cell != own.cell)]
    if config.competition.finds_segments and own.cell != "mean":
        cells.remove("mean")
    steps = []
    for number, cell in enumerate(cells):
        pooling = "mean" if cell == "mean" else "mean_max" if own.cell == "mean" else own.pooling
        temporal = own if number == 0 else replace(own, cell=cell, pooling=pooling)
        trained = plain(replace(config, model=replace(config.model, temporal=temporal)))
        steps.append(Step(f"temporal model {cell}", trained, LINEAR if cell == "mean" else 1.0))
    return sorted(steps, key=lambda one: one.cost)


def try_steps(config: Config, clock: Clock) -> tuple[list[Tried], list[str]]:
    """(the steps that were done, names of those for which there was no time)."""
    todo, done, left_out = steps_of(config), list[Tried](), list[str]()
    unit, head = 0.0, None
    while todo:
        step = todo.pop(0)
        if done and step.cost * unit > clock.left:
            left_out.append(step.name)
            continue
        log.info("best: %s%s", step.name, "" if math.isinf(clock.left) else f", {clock.left / 60:.1f} min left")
        is_tuned = step.config.training.mode == "finetune"
        own = step.config
        if is_tuned and not math.isinf(clock.left):
            own = replace(own, training=replace(own.training, budget=f"{max(1, int(clock.left))}s"))
        start = clock.now()
        run_stages(own, ("train",))
        found, seconds = run_of(own, read_data(own)), clock.now() - start
        if not found.is_finished:
            continue
        log_scores("train", found.metrics)
        unit = unit or cost_of(found, seconds) / step.cost
        if step.is_rung:
            if head is not None and best_of(config, [head, found]) == head:
                todo.sort(key=lambda one: one.config.model.name == step.config.model.name)
            head = found
        dropped = not found.tta and "tta" in found.metrics
        done.append((step.name + " (not kept)" * dropped, found, seconds))
    return done, left_out


def cost_of(run: Run, seconds: float) -> float:
    """Seconds of a run, now or when it was finished; of temporal models, which share features, of the folds alone."""
    of_folds = sum(fold.metrics.get("seconds") or 0.0 for fold in run.finished_folds)
    return of_folds if run.kind != "image" and of_folds else max(seconds, run.metrics.get("seconds") or 0.0, of_folds)


def try_columns(config: Config, clock: Clock, best: Run, left_out: list[str]) -> list[Tried]:
    """The best run with the columns of the tables, if there are any and time for them, else nothing."""
    if config.competition.kind != "image":
        return []
    if clock.left <= 0:
        left_out.append("columns of the tables")
        return []
    start = clock.now()
    try:
        made = add_columns(replace(plain(config), run=best.name))
    except UserError as error:
        log.info("best: without columns of the tables: %s", error)
        return []
    dropped = " (not kept)" * (not is_submittable(made.metrics))
    return [(f"the best of these with the columns of the tables{dropped}", made, clock.now() - start)]


def best_of(config: Config, runs: list[Run]) -> Run:
    """The run of the best out-of-fold score, of equal ones the first; undefined ones are last."""
    competition = config.competition
    greater = competition.finds_segments or is_greater_better(competition.metric, [one.metrics for one in runs])

    def worth(one: Run) -> float:
        score, _ = scored(config, one)
        return -math.inf if score is None else score if greater else -score

    return max(runs, key=worth)


def scored(config: Config, run: Run) -> tuple[float | None, list[float | None]]:
    """(score, its interval) by what the competition scores: of segments and events not the frames' metric."""
    name, metrics = config.competition.segment_metric, run.metrics
    if "detection" not in metrics:
        return metrics["score"], metrics["interval"] or [None, None]
    return metrics["detection"]["scores"][name], metrics["detection"]["intervals"].get(name, [None, None])


def blend(config: Config, runs: list[Run]) -> Tried:
    """Blend the runs."""
    start = time.monotonic()
    own = plain(replace(config, ensemble=replace(config.ensemble, runs=[one.name for one in runs])))
    run_stages(own, ("ensemble",))
    dataset = read_data(own)
    made = ensemble_run(own, dataset, find_members(own, dataset))
    log_scores("ensemble", made.metrics)
    return "blend of all", made, time.monotonic() - start


def report(config: Config, tried: list[Tried], left_out: list[str], best: Run) -> None:
    """Log and write the table of what was tried."""
    competition = config.competition
    metric = competition.segment_metric if competition.finds_segments else competition.metric
    rows, facts = [], []
    for name, one, seconds in tried:
        score, ends = scored(config, one)
        low, high, shown = (math.nan if value is None else value for value in (*ends, score))
        rows.append((name, format_score(shown), format_interval(low, high), f"{seconds:.0f} s", "<" * (one == best)))
        facts.append({"step": name, "run": one.name, "score": score, "interval": ends, "seconds": round(seconds, 1)})
    for line in table(("tried", metric, "95 % interval", "time", "best"), rows):
        log.info("best: %s", line)
    for name in left_out:
        log.info("best: no time was left for %s: a larger training.budget tries it", name)
    log.info("best: %s, of %d tried: chosen by this score, thus a little optimistic", best.name, len(tried))
    folder = store_of(config).folder
    write_json(folder / "best.json", {"metric": metric, "tried": facts, "left_out": left_out, "best": best.name})
