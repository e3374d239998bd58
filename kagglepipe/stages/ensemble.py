"""stage=ensemble: blends runs into one that looks like any other run.

Reads the members' oof.parquet and test.parquet, or a pair of CSVs from elsewhere. Writes
outputs/<slug>/ensemble-<method>-<hash>/{config.yaml, oof.parquet, test.parquet, reliability.png, metrics.json (last)}.
What is fitted is judged on folds that it was not fitted on, and oof.parquet holds the probabilities of those.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.config import Config, Ensemble
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json, write_parquet
from kagglepipe.predictions.blend import Stack
from kagglepipe.predictions.calibration import ARGMAX_METRICS, calibration_error, reliability
from kagglepipe.predictions.crossfit import (
    Candidate,
    Rows,
    adjusted,
    calibrated,
    choose,
    combine,
    gain_over,
    make_candidate,
    prune,
    score_of,
)
from kagglepipe.predictions.frame import (
    class_columns,
    id_fault,
    name_three,
    oof_frame,
    probabilities,
    read_frame,
    test_frame,
)
from kagglepipe.predictions.paired import row_losses
from kagglepipe.predictions.slices import slice_scores
from kagglepipe.predictions.verdict import best_member, compare, describe
from kagglepipe.predictions.weights import FITTED
from kagglepipe.stages.places import Member, Prepared, ensemble_dir, find_members, read_prepared, write_config
from kagglepipe.stages.scores import describe_scores, is_scored, rows_of, scores_of

log = logging.getLogger(__name__)


def run(config: Config) -> float | None:
    """The blend of `ensemble.runs`, written as a run. Its out-of-fold score; None when there is nothing to blend."""
    if not config.ensemble.runs:
        log.info("ensemble: one run, nothing to blend (for more: ensemble.runs=[RUN,RUN] or ensemble.runs=[best:8])")
        return None
    prepared = read_prepared(config)
    members = find_members(config, prepared)
    folder = ensemble_dir(config, prepared, members)
    done = folder / "metrics.json"
    if done.exists() and is_scored(read_json(done), config.competition):
        log.info("ensemble: %s is finished already", folder.name)
    else:
        make_ensemble(config, prepared, members, folder)
    metrics = read_json(folder / "metrics.json")
    for line in describe_scores(metrics, config.competition.metric):
        log.info("ensemble: %s", line)
    return float(metrics["score"])


def make_ensemble(config: Config, prepared: Prepared, members: list[Member], folder: Path) -> None:
    """Aligns the members by id, blends them and writes the run."""
    classes, train = prepared.classes, prepared.train
    stack = read_stack(members, train, classes)
    rows = rows_of(prepared, config.competition.metric)
    names = [member.name for member in members]
    chosen, used, about = decide(config, stack, rows, names)
    del stack  # as large as all members: the test's need not lie beside it
    test_stack = read_stack([members[number] for number in used], prepared.test, classes)
    maps = [step[-1] for step in chosen.maps]
    weights = chosen.weights[-1]
    test_probs = combine(test_stack, weights, chosen.method, config.ensemble.power, maps)
    oof = chosen.cross_fitted(rows.folds)
    blended = oof_frame(train["id"].tolist(), train["fold"].tolist(), train["target"].tolist(), oof, classes)
    blended_test = test_frame(prepared.test["id"].tolist(), test_probs, classes)
    write_parquet(folder / "oof.parquet", blended)
    write_parquet(folder / "test.parquet", blended_test)
    draw_trust(folder / "reliability.png", oof, rows)
    write_config(replace(config, input=None), folder)
    groups = train.set_index("id")["group"]
    scores = scores_of(
        blended, config.competition, classes, groups, test=blended_test, config=config, prepared=prepared
    )
    slices = slice_scores(train, oof, rows.truth, rows.metric)
    tell_worst(slices, scores, rows.metric)
    about |= {
        "run": folder.name,
        "method": chosen.method,
        "power": config.ensemble.power,
        "members": [names[number] for number in used],
        "weights": weights.tolist(),
        "maps": maps,
        "calibration_error": calibration_error(oof, rows.truth),
        "slices": slices,
        "identity": {member.name: identity_of(member) for member in members},
        **baseline_of(config, members),
    }
    write_json(folder / "metrics.json", {**scores, **about})


# --- members ---------------------------------------------------------------------------------------------------


def read_stack(members: Sequence[Member], rows: pd.DataFrame, classes: list[str]) -> Stack:
    """The members' probabilities (M, N, C) for `rows`, in their order; one member's frame in memory at a time.

    Raises UserError naming a member that does not hold these rows or classes.
    """
    stack = np.empty((len(members), len(rows), len(classes)))
    short = [member.name for member in members]
    for number, member in enumerate(members):
        file = member.oof if "fold" in rows else member.test
        name = member.name if short.count(member.name) == 1 else str(member.oof.parent)
        stack[number] = probabilities(aligned(name, read_frame(file), rows, classes), classes)
    return stack


def aligned(name: str, frame: pd.DataFrame, rows: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """A member's frame with the ids of `rows` in their order. Raises UserError naming it where it differs."""
    if sorted(class_columns(frame)) != sorted(classes):
        raise UserError(f"ensemble member {name} has the classes {class_columns(frame)}; {classes} are needed")
    ids = rows["id"].reset_index(drop=True)
    if fault := id_fault(frame["id"], ids):
        raise UserError(f"{name} does not hold the ids of the table: {fault}; leave {name} out or train it again")
    ordered = frame if frame["id"].equals(ids) else frame.set_index("id").loc[ids].reset_index()
    if "target" in frame and "fold" in rows:
        differ = (ordered["target"] != rows["target"].reset_index(drop=True)).to_numpy()
        if differ.any():
            three = name_three(ids[differ])
            raise UserError(f"{name} and the table have different targets for {three}; train {name} again")
    return ordered


# --- what is taken -----------------------------------------------------------------------------------------------


def decide(config: Config, stack: Stack, rows: Rows, names: list[str]) -> tuple[Candidate, list[int], dict[str, Any]]:
    """(the blend to take, which members it has, what metrics.json keeps of the decision); says why."""
    options, by_group = config.ensemble, config.competition.kind != "image"
    singles = [make_candidate(stack[[number]], rows, "mean") for number in range(len(stack))]
    for name, single in zip(names, singles, strict=True):
        loss = row_losses(single.in_sample, rows.truth).mean()
        log.info("ensemble: member %s: %s %.4f, log loss %.4f", name, rows.metric, score_of(single, rows), loss)
    if len(stack) == 1:
        chosen, used = singles[0], [0]
        about: dict[str, Any] = {}
    else:
        chosen, used, about = choose_blend(options, stack, rows, names, singles, by_group=by_group)
    chosen, kept = with_maps(options, chosen, rows)
    dropped = [name for number, name in enumerate(names) if number not in used]
    return chosen, used, {"asked": options.method, "dropped": dropped, **about, **kept}


def choose_blend(
    options: Ensemble, stack: Stack, rows: Rows, names: list[str], singles: list[Candidate], *, by_group: bool
) -> tuple[Candidate, list[int], dict[str, Any]]:
    """(the blend, which members it has, the table of all that was tried) of two members or more."""
    methods = tried(options.method, rows.metric)
    candidates = [make_candidate(stack, rows, method, options.power) for method in methods]
    equal, number = candidates[0], best_member(singles, rows)
    chosen = choose(candidates, rows) if options.method == "auto" else candidates[-1]
    used = list(range(len(stack)))
    if chosen.method in FITTED:
        chosen, used = prune(stack, rows, chosen)
    shown = [replace(singles[number], method="best run"), *candidates]
    if len(used) < len(stack):
        shown.append(replace(chosen, method=f"{chosen.method}, {len(used)} members"))
    comparison = compare(shown, equal, singles[number], rows, by_group=by_group)
    for line in describe(comparison, rows.metric):
        log.info("ensemble: %s", line)
    log.info("ensemble: best run: %s (the best of %d by these very rows, which flatters it)", names[number], len(stack))
    tell_choice(options.method, chosen, equal, rows)
    tell_members(chosen, used, names)
    return chosen, used, {"comparison": comparison, "best_run": names[number]}


def tried(method: str, metric: str) -> list[str]:
    """The methods that are compared, equal weights first; all that are sensible for the metric if it is `auto`.

    Ranks are no probabilities: they are tried only where nothing but order counts.

    >>> tried("auto", "accuracy")
    ['mean', 'geometric_mean', 'hill_climb', 'nnls', 'logistic']
    """
    if method == "auto":
        return ["mean", "geometric_mean", *(["rank_mean"] if metric == "roc_auc" else []), *FITTED]
    return list(dict.fromkeys(["mean", method]))


def with_maps(options: Ensemble, chosen: Candidate, rows: Rows) -> tuple[Candidate, dict[str, Any]]:
    """(the blend, calibrated and adjusted where that gains beyond noise, the calibration errors of what was tried)."""
    about: dict[str, Any] = {}
    if options.calibrate != "none":
        others = calibrated(chosen, rows, options.calibrate)
        found = choose([chosen, *others], rows)
        about["calibrations"] = [calibration_scores(one, rows) for one in (chosen, *others)]
        for told in about["calibrations"]:
            log.info("ensemble: %(kind)s: log loss %(log_loss).4f, calibration error %(calibration_error).4f", told)
        kept = "kept as it is: no gain that is sure" if found is chosen else f"by {found.maps[-1][-1]['kind']}"
        log.info("ensemble: calibration: %s", kept)
        chosen = found
    if options.threshold == "auto" and rows.metric not in ARGMAX_METRICS:
        log.info("ensemble: threshold: %s does not depend on the most probable class", rows.metric)
    elif options.threshold == "auto":
        other = adjusted(chosen, rows)
        log.info("ensemble: threshold: %s", "moved" if other else "kept as it is: no gain beyond noise")
        chosen = other or chosen
    return chosen, about


def calibration_scores(candidate: Candidate, rows: Rows) -> dict[str, Any]:
    """What calibration is judged by, cross-fitted."""
    probs = candidate.cross_fitted(rows.folds)
    return {
        "kind": candidate.maps[-1][-1]["kind"] if candidate.maps else "none",
        "log_loss": float(row_losses(probs, rows.truth).mean()),
        "calibration_error": calibration_error(probs, rows.truth),
    }


# --- in words ----------------------------------------------------------------------------------------------------


def tell_choice(asked: str, chosen: Candidate, equal: Candidate, rows: Rows) -> None:
    """Says which blend is taken and why."""
    if chosen is equal:
        log.info("ensemble: taken: equal weights%s", "" if asked != "auto" else "; nothing is surely better")
        return
    gain = gain_over(chosen, equal, rows)
    what = "ROC AUC" if rows.metric == "roc_auc" else "log loss"
    noise = (
        "" if asked == "auto" or gain.is_beyond_noise else ": no gain beyond noise, which ensemble.method=auto minds"
    )
    log.info(
        "ensemble: taken: %s, whose cross-fitted gain over equal weights is %+.4f (%+.4f to %+.4f) of %s%s",
        chosen.method, gain.value, gain.low, gain.high, what, noise,
    )  # fmt: skip


def tell_members(chosen: Candidate, used: list[int], names: list[str]) -> None:
    """Says what each member counts, and which are dropped."""
    if chosen.method in FITTED:
        counts = ", ".join(f"{names[m]} {w:.3f}" for m, w in zip(used, chosen.weights[-1], strict=True))
        log.info("ensemble: weights: %s", counts)
    if dropped := [name for number, name in enumerate(names) if number not in used]:
        log.info("ensemble: dropped, their gain is within noise: %s", ", ".join(dropped))


def tell_worst(slices: list[dict[str, Any]], scores: dict[str, Any], metric: str) -> None:
    """Says where the blend fails, if the table tells rows apart."""
    if slices:
        worst = slices[0]
        log.info(
            "ensemble: worst slice by log loss: %s %s, %d rows: %s %.4f, log loss %.4f (all rows %.4f)",
            worst["by"], worst["value"], worst["rows"], metric, worst["score"], worst["log_loss"], scores["log_loss"],
        )  # fmt: skip


def draw_trust(path: Path, probs: "np.ndarray[Any, np.dtype[np.float64]]", rows: Rows) -> None:
    """A picture of how often the blend is right when it is so and so sure."""
    from kagglepipe.reports.plots import draw_reliability

    error = calibration_error(probs, rows.truth)
    draw_reliability(path, reliability(probs, rows.truth), title=f"Out of fold, {len(probs)} rows: error {error:.4f}")


# --- what members know -------------------------------------------------------------------------------------------


def baseline_of(config: Config, members: list[Member]) -> dict[str, object]:
    """The metadata-only baseline that a member run has recorded; it depends on the table and folds alone."""
    for member in members:
        file = member.oof.parent / "metrics.json"
        metrics = read_json(file) if file.exists() else {}
        if "baseline" in metrics and metrics["metric"] == config.competition.metric:
            return {"baseline": metrics["baseline"]}
    return {}


def identity_of(member: Member) -> object:
    """What decided a member's results; None for predictions from elsewhere."""
    file = member.oof.parent / "metrics.json"
    return read_json(file).get("identity") if file.exists() else None
