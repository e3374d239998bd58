"""stage=ensemble: blends runs into one that looks like any other run.

Reads the members' oof.parquet and test.parquet, or a pair of CSVs from elsewhere. Writes
outputs/<slug>/ensemble-<method>-<hash>/{config.yaml, oof.parquet, test.parquet, metrics.json (last)}.
"""

import logging
from dataclasses import replace
from pathlib import Path

import pandas as pd

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json, write_parquet
from kagglepipe.predictions.blend import blend
from kagglepipe.predictions.frame import align, class_columns, read_frame
from kagglepipe.stages.places import Member, Prepared, ensemble_dir, find_member, read_prepared, write_config
from kagglepipe.stages.scores import describe_scores, is_scored, scores_of

log = logging.getLogger(__name__)


def run(config: Config) -> float | None:
    """The blend of `ensemble.runs`, written as a run. Its out-of-fold score; None when there is nothing to blend."""
    if not config.ensemble.runs:
        log.info("ensemble: one run, nothing to blend (for more: ensemble.runs=[RUN,RUN])")
        return None
    prepared = read_prepared(config)
    members = [find_member(config, name) for name in config.ensemble.runs]
    if twice := [m.name for n, m in enumerate(members) if m.oof in [other.oof for other in members[:n]]]:
        raise UserError(f"ensemble.runs names {twice[0]} twice; name each member once")
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
    classes, metric = prepared.classes, config.competition.metric
    short = [member.name for member in members]
    names = [m.name if short.count(m.name) == 1 else str(m.oof.parent) for m in members]
    oof = aligned(dict(zip(names, [member.oof for member in members], strict=True)), prepared.train, classes)
    test = aligned(dict(zip(names, [member.test for member in members], strict=True)), prepared.test, classes)
    folds = prepared.train.set_index("id")["fold"]
    groups = prepared.train.set_index("id")["group"]
    with_folds = [frame.assign(fold=frame["id"].map(folds)) for frame in oof.values()]
    blended = blend(with_folds, classes, config.ensemble.method)
    blended_test = blend(list(test.values()), classes, config.ensemble.method)
    for member, frame in zip(members, with_folds, strict=True):
        summary = scores_of(frame, config.competition, classes, groups)
        log.info("ensemble: member %s: %s", member.name, describe_scores(summary, metric)[0])
    write_parquet(folder / "oof.parquet", blended)
    write_parquet(folder / "test.parquet", blended_test)
    write_config(replace(config, input=None), folder)
    scores = scores_of(
        blended, config.competition, classes, groups, test=blended_test, config=config, prepared=prepared
    )
    about = {
        "run": folder.name,
        "method": config.ensemble.method,
        "members": [member.name for member in members],
        "identity": {member.name: identity_of(member) for member in members},
        **baseline_of(config, members),
    }
    write_json(folder / "metrics.json", {**scores, **about})


def aligned(files: dict[str, Path], rows: pd.DataFrame, classes: list[str]) -> dict[str, pd.DataFrame]:
    """The members' frames with the ids of `rows`, all in one order. Raises UserError naming who differs."""
    reference = pd.DataFrame({"id": rows["id"], **{name: 1 / len(classes) for name in classes}})
    frames = {name: read_frame(file) for name, file in files.items()}
    for name, frame in frames.items():
        if sorted(class_columns(frame)) != sorted(classes):
            raise UserError(f"ensemble member {name} has the classes {class_columns(frame)}; {classes} are needed")
    if "fold" in rows:  # out of fold: whoever sends ids and probabilities alone gets target and fold from the table
        known = rows.set_index("id")[["fold", "target"]]
        reference = reference.join(known, on="id")
        frames = {n: f if "target" in f else f.join(known.fillna(""), on="id") for n, f in frames.items()}
        frames = {n: f.assign(target=f["target"].fillna("?"), fold=f["fold"].fillna(-1)) for n, f in frames.items()}
    return {k: v for k, v in align({"the table": reference, **frames}).items() if k != "the table"}


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
