"""stage=ensemble: blend runs into one more run.

Reads the members' oof.parquet and test.parquet, or a pair of CSVs from elsewhere. Writes
outputs/<slug>/ensemble-<method>-<hash>/{config.yaml, oof.parquet, test.parquet, reliability.png, metrics.json (last)}.
Weights and maps are scored on folds that had no part in their fit; oof.parquet has the cross-fitted probabilities.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import write_parquet
from kagglepipe.options import CompetitionOptions, EnsembleOptions
from kagglepipe.predictions.blend import Stack, combine
from kagglepipe.predictions.calibration import calibration_error, reliability
from kagglepipe.predictions.crossfit import Candidate, calibrated, make_candidate
from kagglepipe.predictions.ensemble_table import best_member, ensemble_table, header, table_cells
from kagglepipe.predictions.evaluation import EvalRows
from kagglepipe.predictions.frame import Probs, id_fault, oof_frame, probabilities, test_frame
from kagglepipe.predictions.methods import check_methods, methods_of
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.selection import adjusted, choose, gain_over, redundant_members, score_of
from kagglepipe.predictions.slices import slice_scores
from kagglepipe.predictions.tasks import row_losses
from kagglepipe.predictions.uncertainty import format_difference, format_score
from kagglepipe.predictions.weights import FITTED
from kagglepipe.runs.configured import ends_with_summary, ensemble_run, find_members, read_data
from kagglepipe.runs.decision import decide as decide_answers
from kagglepipe.runs.describe import log_scores, or_nan
from kagglepipe.runs.provenance import write_config
from kagglepipe.runs.run import Run
from kagglepipe.runs.scores import groups_hash, is_scored, rows_of, score_test_again, scores_of, with_test_scores
from kagglepipe.runs.stack import read_ids, read_stack
from kagglepipe.runs.store import Member, check_one_rate
from kagglepipe.sequences.grid import at_rate
from kagglepipe.text import table

log = logging.getLogger(__name__)


def check(config: Config) -> None:
    """Raises UserError, before any work, for a method that the task does not have."""
    if config.ensemble.runs:
        check_methods(config.ensemble, config.competition.task)


def run(config: Config) -> float | None:
    """Blend `ensemble.runs` into a run. Returns its out-of-fold score; None when there is nothing to blend."""
    competition = config.competition
    if not config.ensemble.runs:
        log.info("ensemble: one run, nothing to blend (for more: ensemble.runs=[RUN,RUN] or ensemble.runs=[best:8])")
        return None
    dataset = read_data(config)
    members = find_members(config, dataset)
    if competition.finds_segments:
        dataset = at_rate_of_members(competition, dataset, members)
    run = ensemble_run(config, dataset, members)
    if run.is_finished and is_scored(run.metrics, competition, dataset):
        log.info("ensemble: %s is finished already", run.name)
        if score_test_again(competition, dataset, run):
            log.info("ensemble: its test is scored again, by the answers as they are now")
    else:
        make_ensemble(config, dataset, members, run)
    metrics = run.metrics
    if not ends_with_summary(config):
        log_scores("ensemble", metrics)
    return float(or_nan(metrics["score"]))


def make_ensemble(config: Config, dataset: Dataset, members: list[Member], run: Run) -> None:
    """Align the members by id, blend them and write the run."""
    competition, classes, train = config.competition, dataset.classes, dataset.train
    check_members(members, dataset)
    stack, rows = read_stack(members, train, classes), rows_of(dataset, competition.metric)
    names = [member.name for member in members]
    chosen, about = decide(config.ensemble, stack, rows, names)
    del stack  # as large as all members: not kept in memory beside that of the test
    maps, weights = chosen.maps[-1], chosen.weights[-1]
    test_probs = combine(read_stack(members, dataset.test, classes), weights, chosen.method, maps, task=rows.task)
    oof, task = chosen.cross_fitted(rows.folds), dataset.task
    blended = oof_frame(train["id"].tolist(), train["fold"].tolist(), train["target"].tolist(), oof, classes, task)
    blended_test = test_frame(dataset.test["id"].tolist(), test_probs, classes, task)
    write_parquet(run.oof_file, blended)
    write_parquet(run.test_file, blended_test)
    error = draw_calibration(oof, rows, run)
    write_config(replace(config, input=None), run.config_file)
    groups = train.set_index("id")["group"]
    answers, decision = decide_answers(competition, dataset, blended)
    scores = scores_of(blended, competition, classes, groups, dataset=dataset, decided=(answers, decision))
    scores = with_test_scores(scores, competition, dataset, blended_test)
    slices = slice_scores(train, oof, rows.truth, rows.metric, probabilities(answers, classes))
    log_worst(slices, rows, scores["log_loss"])
    about |= {
        "run": run.name,
        "task": rows.task.name,
        "classes": classes,  # in the order of the numbers in `maps`
        "method": chosen.method,
        "members": names,
        "weights": weights.tolist(),
        "maps": maps,
        "calibration_error": error,
        "slices": slices,
        "groups_sha256": groups_hash(dataset),
        "identity": {member.name: member.run and member.run.metrics.get("identity") for member in members},
        **baseline_of(members, dataset, competition.metric),
    }
    run.save_metrics({**scores, **about})


def draw_calibration(oof: Probs, rows: EvalRows, run: Run) -> float | None:
    """Draw reliability.png of probabilities, of tags those of yes and no, and return their error; None for numbers."""
    from kagglepipe.reports.plots import draw_reliability

    if not rows.task.is_probability:
        return None
    probs, truth = rows.task.view.open(oof), rows.task.view.truth(rows.truth)
    error = calibration_error(probs, truth)
    title = f"Out of fold, {len(probs)} {'rows' if len(probs) == len(oof) else 'tags of rows'}: error {error:.4f}"
    draw_reliability(run.folder / "reliability.png", reliability(probs, truth), title=title)
    return error


def log_worst(slices: list[dict[str, Any]], rows: EvalRows, whole: float) -> None:
    """Log the slice with the largest loss, if there are slices. whole: the loss of all rows."""
    if not slices:
        return
    worst = {**slices[0], "metric": rows.metric, "whole": whole, "loss": rows.task.loss}
    worst["score"] = format_score(worst["score"])
    what = "%(rows)d rows: %(metric)s %(score)s, %(loss)s %(log_loss).4f (all rows %(whole).4f)"
    log.info(f"ensemble: worst slice by %(loss)s: %(by)s %(value)s, {what}", worst)


def at_rate_of_members(competition: CompetitionOptions, dataset: Dataset, members: list[Member]) -> Dataset:
    """Convert the dataset to frames at the members' `sequences.rate`. Raises UserError unless they have one rate."""
    rates = {run.name: rate for member in members if (run := member.run) for rate in run.rates.values()}
    check_one_rate(rates)
    rate = next(iter(rates.values()), dataset.rate)
    if rate is None or rate == dataset.rate:
        return dataset
    log.info("ensemble: its members were trained at sequences.rate=%g, which counts here", rate)
    return at_rate(dataset, rate, competition)


def check_members(members: Sequence[Member], dataset: Dataset) -> None:
    """Log members of other or unknown folds or files. Raises UserError for test predictions of other rows."""
    ids = dataset.test["id"].reset_index(drop=True)
    for member in members:
        run, name = member.run, member.name
        if run is None or member.oof.suffix == ".csv":
            log.warning(
                "ensemble: %s comes from elsewhere: predictions of rows by networks that were trained on them make "
                "its score and weight meaningless, and that cannot be checked", name,
            )  # fmt: skip
        else:
            if not run.is_ensemble and run.identity.get("folds") != dataset.folds_hash:
                log.warning("ensemble: %s was trained on other folds than those of the dataset", name)
            if run.tables - {dataset.table_hash}:
                log.warning("ensemble: %s was made of other files or labels than those of the dataset", name)
        if fault := id_fault(read_ids(member.test), ids):
            raise UserError(f"{member.test} does not hold the rows to classify: {fault}; leave {name} out")


def decide(
    options: EnsembleOptions, stack: Stack, rows: EvalRows, names: list[str]
) -> tuple[Candidate, dict[str, Any]]:
    """(selected blend, entries of metrics.json about the selection); logs the reason."""
    singles = [make_candidate(stack[[number]], rows, "mean") for number in range(len(stack))]
    for name, single in zip(names, singles, strict=True):
        loss = row_losses(single.in_sample, rows.truth).mean()
        found = (name, rows.metric, format_score(score_of(single, rows)), rows.task.loss, format_score(loss))
        log.info("ensemble: member %s: %s %s, %s %s", *found)
    chosen, about = singles[0], {"dropped": list[str]()}
    if len(stack) > 1:
        chosen, about = choose_blend(options, stack, rows, names, singles)
    chosen, kept = with_maps(options, chosen, rows)
    return chosen, {"asked": options.method, **about, **kept}


def choose_blend(
    options: EnsembleOptions, stack: Stack, rows: EvalRows, names: list[str], singles: list[Candidate]
) -> tuple[Candidate, dict[str, Any]]:
    """(blend, table of all candidates) of two members or more."""
    methods, loss = methods_of(rows.task, rows.metric), rows.task.loss
    if options.method != "auto":
        methods = list(dict.fromkeys(["mean", options.method]))
    candidates = [make_candidate(stack, rows, method) for method in methods]
    equal, number = candidates[0], best_member(singles, rows)
    chosen, shown = candidates[-1], [replace(singles[number], method="best run"), *candidates]
    if options.method == "auto":
        if rows.block_count < 3:
            log.warning("ensemble: too few folds to select a method: equal weights; or type ensemble.method=…")
        chosen = choose(candidates, rows).candidate
        shown.append(replace(chosen, method="auto, choice included"))
    comparison = ensemble_table(shown, equal, singles[number], rows)
    tested = "right answers" if rows.task.hits else loss
    log.info("ensemble: %s; gains are of %s, cross-fitted, 95 %%; p: of %s", rows.metric, loss, tested)
    for line in table(header(loss), table_cells(comparison)):
        log.info("%s", line)
    best = names[number]
    log.info("ensemble: best run: %s (selected among %d on these rows: its score is optimistic)", best, len(stack))
    log_choice(options.method, chosen, equal, rows)
    taken = next(one for one in candidates if one.method == chosen.method)  # `chosen` may mix methods of several folds
    about = {"comparison": comparison, "best_run": best, "dropped": log_members(taken, stack, rows, names)}
    return chosen, about


def with_maps(options: EnsembleOptions, chosen: Candidate, rows: EvalRows) -> tuple[Candidate, dict[str, Any]]:
    """(blend, calibrated and with thresholds where that is significantly better, scores of the calibrations)."""
    about: dict[str, Any] = {}
    if options.calibrate != "none":
        tries = [chosen, *calibrated(chosen, rows, options.calibrate)]
        choice = choose(tries, rows)
        chosen = choice.candidate
        about["calibrations"] = [calibration_scores(tried, rows) for tried in tries]
        for one in about["calibrations"]:
            log.info("ensemble: %(kind)s: log loss %(log_loss).4f, calibration error %(calibration_error).4f", one)
        kind = about["calibrations"][choice.picks[-1]]["kind"]
        log.info("ensemble: calibration: %s", "none: no significant gain" if choice.picks_first else f"by {kind}")
    if options.threshold == "auto" and not find_metric(rows.metric).is_of_labels:
        log.info("ensemble: threshold: %s does not depend on the most probable class alone", rows.metric)
    elif options.threshold == "auto":
        choice = adjusted(chosen, rows)
        log.info("ensemble: threshold: %s", "none: no significant gain" if choice.picks_first else "moved")
        chosen = choice.candidate
    return chosen, about


def calibration_scores(candidate: Candidate, rows: EvalRows) -> dict[str, Any]:
    """Kind of the last map, cross-fitted log loss and calibration error."""
    probs, maps, view = candidate.cross_fitted(rows.folds), candidate.maps[-1], rows.task.view
    return {
        "kind": maps[-1]["kind"] if maps else "none",
        "log_loss": float(row_losses(probs, rows.truth).mean()),
        "calibration_error": calibration_error(view.open(probs), view.truth(rows.truth)),
    }


def log_choice(asked: str, chosen: Candidate, equal: Candidate, rows: EvalRows) -> None:
    """Log the selected blend and its gain."""
    if chosen.method == equal.method:
        why = "; no method is significantly better" if asked == "auto" else ""
        log.info("ensemble: selected: equal weights%s", why)
        return
    gain = gain_over(chosen, equal, rows)
    what = rows.metric if find_metric(rows.metric).is_of_order else rows.task.loss
    is_kept = asked == "auto" or gain.is_beyond_noise
    noise = "" if is_kept else ": not significant, ensemble.method=auto would keep equal weights"
    log.info(
        "ensemble: selected: %s, whose cross-fitted gain over equal weights is %s of %s%s",
        chosen.method, format_difference(gain.value, gain.low, gain.high), what, noise,
    )  # fmt: skip


def log_members(chosen: Candidate, stack: Stack, rows: EvalRows, names: list[str]) -> list[str]:
    """Log weights and redundant members. Returns the members with weight 0."""
    if chosen.method not in FITTED:
        return []
    final = chosen.weights[-1]
    log.info("ensemble: weights: %s", ", ".join(f"{n} {w:.3f}" for n, w in zip(names, final, strict=True) if w))
    dropped = [name for name, weight in zip(names, final, strict=True) if not weight]
    if dropped:
        log.info("ensemble: dropped, with weight 0: %s", ", ".join(dropped))
    if spare := [names[number] for number in redundant_members(stack, rows, chosen) if final[number]]:
        log.info("ensemble: redundant, without a significant gain beside the others: %s", ", ".join(spare))
    return dropped


def baseline_of(members: list[Member], dataset: Dataset, metric: str) -> dict[str, object]:
    """Find the metadata baseline from a member's metrics.json; it depends on table and folds only."""
    for run in filter(None, (member.run for member in members)):
        metrics = run.metrics
        is_here = run.data == {(dataset.table_hash, dataset.folds_hash)} and not run.is_ensemble
        if is_here and "baseline" in metrics and metrics["metric"] == metric:
            return {"baseline": metrics["baseline"]}
    return {}
