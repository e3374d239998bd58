"""Where the files of a configuration lie, and what has been prepared: what every stage asks first."""

import difflib
import logging
import math
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.credentials import find_credentials
from kagglepipe.competitions.dataset import Dataset, Unreadable
from kagglepipe.config import Config, absolute
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, read_json
from kagglepipe.images.cache import PixelCache, PixelReader
from kagglepipe.images.decode import DECODER
from kagglepipe.runs.identity import identity_hash, older_run, run_identity, run_name
from kagglepipe.sequences.grid import tolerance
from kagglepipe.stages.account import is_kaggle_notebook, notebook_data
from kagglepipe.stages.ranking import best_network, can_follow, missing_network, rank_runs
from kagglepipe.text import first_three

log = logging.getLogger(__name__)
ENSEMBLE_VERSION = 3  # raise by hand what would blend the same members otherwise
MOST_NAMED = 6  # runs that an error lists


def with_sample_if_no_data(config: Config) -> Config:
    """The configuration, or the built-in sample's in its place when the competition's data is nowhere.

    Only competitions that name a sample have one, and only an absence leads here (no source, nothing taken before,
    no Kaggle notebook's data, no credentials): a source or a download that fails is an error.
    """
    competition = config.competition
    no_sample = competition.sample_slug is None or competition.source or competition.is_sample
    if no_sample or config.stage in ("annotations", "doctor", "bundle", "reproduce"):
        return config
    if config.submit.upload or config.runs.leaderboard:  # which is about Kaggle's, and is told what it takes
        return config
    if (config.root / "data" / str(competition.slug) / "source.json").exists():
        return config
    if config.stage in ("predict", "detect", "runs"):  # which needs a run, not data, and says what it uses
        own = any(config.runs_dir.glob("*/metrics.json"))
        return config if own else replace(config, competition=replace(competition, slug=competition.sample_slug))
    if notebook_data(config) is not None or is_kaggle_notebook() or find_credentials() is not None:
        return config
    log.info(
        "\n*** No data for %s was found: running on the BUILT-IN SAMPLE, images drawn by code.\n"
        "*** Its scores say nothing about the competition. For the real images add competition.source=PATH\n"
        "*** or Kaggle's token (`python -m kagglepipe doctor` says how).\n",
        competition.slug,
    )
    sample = replace(competition, slug=competition.sample_slug, answers="answers.csv")
    return replace(config, competition=sample)


def read_prepared(config: Config, *, frames: bool = True) -> Dataset:
    """What `prepare` left for this competition. Raises UserError if it has not run, or runs while this reads.

    prepared.json goes before anything else is written, and comes back last: one that has not changed proves the rest.
    frames: whether rows of video and series are told in frames; without, a long video is one row, sooner read.
    """
    file = config.data_dir / "prepared.json"
    if not file.exists():
        raise UserError(f"{file.parent} is not prepared: run stage=prepare first")
    try:
        report = read_json(file)
        prepared = read_tables(config, report, frames=frames)
        is_same = read_json(file) == report
    except FileNotFoundError:
        is_same = False
    if not is_same:
        raise UserError(f"{file.parent} was prepared by another command while it was read: type the same command again")
    return prepared


def read_tables(config: Config, report: dict[str, Any], *, frames: bool) -> Dataset:
    """What lies beside a prepared.json. Raises FileNotFoundError if a table does not, UserError for wrong folds."""
    folder, folds_path = config.data_dir, folds_file(config)
    table, items, annotations = pd.read_parquet(folder / "table.parquet"), None, None
    folds, folds_hash = read_fold_file(folds_path)
    demand_folds(table, folds, folds_path)
    if config.competition.kind != "image":
        from kagglepipe.competitions.annotations import read_annotations

        # a part of long videos has its own: what happens in those that are hidden is not in them
        of = config.data_dir if config.competition.finds_segments else config.base_dir
        items, annotations = pd.read_parquet(of / "items.parquet"), read_annotations(of / "annotations.csv")
        if frames:
            table, folds = with_frames(config, table, folds, items, annotations)
    return Dataset(
        table=table,
        folds=folds,
        classes=report["classes"],
        images_root=Path(folder / report["images_root"]),
        table_hash=report["table_hash"],
        folds_hash=folds_hash,
        decoder=report.get("decoder", DECODER),
        bits=report.get("bits"),
        items=items,
        annotations=annotations,
        unreadable=tuple(Unreadable(**one) for one in report.get("unreadable", [])),
    )


def demand_folds(table: pd.DataFrame, folds: pd.DataFrame, path: Path) -> None:
    """Raises UserError unless every labelled row has a fold."""
    missing = set(table.loc[table["split"] == "train", "id"]) - set(folds["id"])
    if missing:
        raise UserError(
            f"{path} has no fold for {len(missing)} labelled items, such as {first_three(sorted(missing))}: type "
            "stage=prepare, or again if another command prepares them"
        )


def cache_dir(config: Config, short_side: int) -> Path:
    """Where decoded pixels of this size are kept, for whatever part of the competition's labels."""
    return config.base_dir / "cache" / f"pixels-{short_side}"


def cache_limit(config: Config) -> int:
    """Bytes of pixels that a cache may hold."""
    return int(config.cache.max_gb * 10**9)


def image_reader(config: Config, prepared: Dataset, rows: pd.DataFrame, short_side: int) -> PixelReader:
    """The images of `rows`, from the pixel cache of this size where there is one (and not `cache.max_gb=0`)."""
    bits = prepared.bits
    cache = PixelCache.open(cache_dir(config, short_side), short_side, bits) if cache_limit(config) else None
    return PixelReader(prepared.paths(rows), rows["sha256"].tolist(), short_side=short_side, cache=cache, bits=bits)


def with_frames(
    config: Config, table: pd.DataFrame, folds: pd.DataFrame, items: pd.DataFrame, annotations: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(table, folds) with, in each row, where its frames lie among those of its item at the configured rate.

    `position` is the first and `frames` their number; a row of a long video becomes one row for each frame.
    """
    from kagglepipe.competitions.annotations import frame_rows
    from kagglepipe.segments.labels import frame_labels

    rate, background = config.sequences.rate, config.competition.background or ""
    origin, length = first_positions(items, rate), item_lengths(items, rate)
    if config.competition.finds_segments:
        times = {video: (origin[video] + np.arange(n)) / rate for video, n in length.items()}
        of_video = dict(iter(annotations.groupby("video")))
        targets = {v: frame_labels(at, of_video.get(v, annotations[:0]), background) for v, at in times.items()}
        frames = frame_rows(items, times, targets).merge(items[["video", "sha256"]], on="video")
        fold_of = dict(zip(folds["id"], folds["fold"], strict=True))
        train = frames[frames["split"] == "train"]
        return frames.assign(frames=1), pd.DataFrame({"id": train["id"], "fold": train["video"].map(fold_of)})
    pieces = [
        piece(start, end, rate, origin=origin[video], length=length[video])
        for video, start, end in zip(table["video"], table["start"], table["end"], strict=True)
    ]
    return table.assign(position=[first for first, _ in pieces], frames=[count for _, count in pieces]), folds


def piece(start: float, end: float, rate: float, *, origin: int, length: int) -> tuple[int, int]:
    """(which frame of its item is the first with start <= time < end, how many there are); NaN: no limit.

    origin, length: of the item, as `first_positions` and `item_lengths`. A piece between two frames has the earlier.

    >>> piece(1.0, 1.5, 4, origin=0, length=20), piece(1.1, 1.2, 4, origin=2, length=20)
    ((4, 2), (2, 1))
    """
    first = 0 if math.isnan(start) else math.ceil(start * rate - 1e-6) - origin
    stop = length if math.isnan(end) else min(length, math.ceil(end * rate - 1e-6) - origin)
    first = max(0, min(first, stop - 1))
    return first, max(1, stop - first)


def first_positions(items: pd.DataFrame, rate: float) -> dict[str, int]:
    """video -> k of its first frame or sample, on the grid k/rate: the first not before it begins."""
    begins = dict(zip(items["video"], items["begins"], strict=True))
    before = {video: math.floor(time * rate) for video, time in begins.items()}
    return {video: k + (k / rate < begins[video]) for video, k in before.items()}


def item_lengths(items: pd.DataFrame, rate: float) -> dict[str, int]:
    """video -> how many frames or samples it has on the grid k/rate, one at least."""
    origin, ends = first_positions(items, rate), zip(items["video"], items["ends"], strict=True)
    return {video: max(1, math.ceil((end - tolerance(rate)) * rate) - origin[video]) for video, end in ends}


def folds_file(config: Config) -> Path:
    """The folds in force: the user's own, or folds.csv."""
    return absolute(config.folds.file) if config.folds.file else config.data_dir / "folds.csv"


def read_fold_file(path: Path) -> tuple[pd.DataFrame, str]:
    """(the folds in `path`, a CSV of id and fold; the SHA-256 of that file)."""
    from kagglepipe.competitions.folds import read_folds

    digest = file_sha256(path) if path.is_file() else ""  # of which read_folds says what to do
    folds = read_folds(path)
    if file_sha256(path) != digest:
        raise UserError(f"{path} was written by another command while it was read: type the same command again")
    return folds, digest


def identity_of(config: Config, prepared: Dataset) -> dict[str, Any]:
    """Everything that decides the results of the configured run, its teacher's answers too."""
    return run_identity(config, prepared, find_teacher(config, prepared) if config.training.teacher else None)


def run_dir(config: Config, prepared: Dataset) -> Path:
    """The folder of the run that `run=` names or, without it, that the configuration describes."""
    if config.run:
        return named_run(config, config.run)
    identity = identity_of(config, prepared)
    run = config.runs_dir / run_name(config, identity)
    return run if run.exists() else older_run(config, prepared, identity) or run


def named_run(config: Config, name: str, asked: str | None = None) -> Path:
    """The folder of a finished run, given by its name or as a path. Raises UserError, naming what asked, if none is."""
    for folder in (config.runs_dir / name, absolute(name)):
        if (folder / "metrics.json").exists():
            return folder
    known = [path.name for path in finished_runs(config)]
    near = [one for one in known if name.lower() in one.lower()] or difflib.get_close_matches(name, known, 3, 0.5)
    found = f"near it: {', '.join(near[:3])}; " if near and len(known) > MOST_NAMED else ""
    more = f" and {len(known) - MOST_NAMED} more, which `runs` lists" if len(known) > MOST_NAMED else ""
    there = ", ".join(known[-MOST_NAMED:]) + more if known else "none: type stage=train first"
    raise UserError(f"{asked or f'run={name}'} is not a finished run in {config.runs_dir}; {found}there are: {there}")


def finished_run(config: Config) -> str | None:
    """The name of the configured run, if this competition is prepared and it is finished."""
    if not (config.data_dir / "prepared.json").exists() or not folds_file(config).exists():
        return None
    run = configured_run(config, read_prepared(config))
    return run.name if (run / "metrics.json").exists() else None


def find_teacher(config: Config, prepared: Dataset) -> Path:
    """The run of `training.teacher`, one of this competition's.

    Raises UserError for one that has no network for each of the present folds, which alone have not seen its rows; and
    for one that has given way to a teacher itself.
    """
    assert config.training.teacher is not None
    key = f"training.teacher={config.training.teacher}"
    teacher = named_run(config, config.training.teacher, key)
    if teacher.parent.resolve() != config.runs_dir.resolve():
        raise UserError(f"{key} lies elsewhere: name a run in {config.runs_dir}")
    folds = {f"fold_{fold}" for fold in prepared.folds["fold"].unique()}
    if not fold_answers(teacher):
        raise UserError(f"{key} has no network of its own for each fold: name a trained run, as a member of that blend")
    identity = read_json(teacher / "metrics.json")["identity"]
    if (identity["table"], identity["folds"]) != (prepared.table_hash, prepared.folds_hash):
        raise UserError(f"{key} was trained on other data or folds: train it on the present ones first")
    if missing := sorted(folds - {file.parent.name for file in fold_answers(teacher)}):
        raise UserError(f"{key} lacks {missing[0]}/test.parquet: delete its metrics.json and train it again")
    if not is_kept(teacher):
        better = read_json(teacher / "metrics.json")["over_teacher"]["teacher"]
        raise UserError(f"{key} is not surely better than its own teacher: type training.teacher={better}")
    if prepared.test.empty:
        raise UserError(f"{key} has nothing to label: this competition has no rows to classify")
    return teacher


def fold_answers(run: Path) -> list[Path]:
    """What each fold's network says of the rows to classify; of a blend, which has none, nothing."""
    return sorted(run.glob("fold_*/test.parquet"))


def finished_runs(config: Config) -> list[Path]:
    """The finished runs of this competition, the latest last."""
    found = [path.parent for path in config.runs_dir.glob("*/metrics.json")]
    return sorted(found, key=lambda folder: (folder / "metrics.json").stat().st_mtime_ns)


def trained_run(config: Config, *, live: bool = False) -> Path:
    """The run to predict other files with: `run=`, or the best of this competition by its metric, which is said.

    Ensembles take part as far as all of their members that count have networks. A run that gives way to its teacher
    does not. live: of runs that can follow a stream, as long as there are any. Raises UserError if there is none.
    """
    if config.run:
        run = named_run(config, config.run)
        if "members" in read_json(run / "metrics.json") and (why := missing_network(run)):
            raise UserError(f"run={config.run} cannot predict other files: {why}; name another run")
        return run
    runs = []
    for run in finished_runs(config):
        why = missing_network(run)
        if why is None and is_kept(run):
            runs.append(run)
        elif why and "members" in read_json(run / "metrics.json"):
            log.info("%s: passed over the ensemble %s: %s", config.stage, run.name, why)
    if not runs:
        raise UserError(f"nothing is trained yet in {config.runs_dir}: type stage=train first, or give run=PATH")
    causal = [run for run in runs if can_follow(run)] if live else []
    return best_network(causal or runs, present_data(config), config.competition, config.stage)


def present_data(config: Config) -> tuple[str, str] | None:
    """The hashes of the table and the folds in force; None where nothing is prepared."""
    report, folds = config.data_dir / "prepared.json", folds_file(config)
    return (read_json(report)["table_hash"], file_sha256(folds)) if report.exists() and folds.exists() else None


def find_items(source: Path, kind: str, *, skip_bad: bool = False) -> tuple[Path, list[str]]:
    """(folder that names are relative to, the files of that kind in it). Raises UserError if there are none."""
    from kagglepipe.competitions.source import SUFFIXES, check_name, list_files

    check_name(source)
    if not source.exists():
        raise UserError(f"input={source}: nothing is there; give a {kind} or a folder of them")
    if source.is_file():
        return source.parent, [source.name]
    files, _ = list_files(source, skip_bad=skip_bad)
    names = [file.relative_to(source).as_posix() for file in files if file.suffix.lower() in SUFFIXES[kind]]
    if not names:
        raise UserError(f"input={source} holds {len(files)} files and no {kind} ({', '.join(SUFFIXES[kind][:6])} …)")
    return source, names


@dataclass(frozen=True)
class Member:
    """A name, and the files with its out-of-fold and test predictions."""

    name: str
    oof: Path
    test: Path


def find_member(config: Config, name: str) -> Member:
    """The member called `name`: a run, or `oof.csv+test.csv`. Raises UserError if it is not there."""
    if "+" in name and not (config.runs_dir / name).exists():
        files = [absolute(part) for part in name.split("+")]
        if len(files) != 2:
            raise UserError(f"ensemble member {name} is not a run, and not a pair of files as oof.csv+test.csv")
        if missing := [file for file in files if not file.is_file()]:
            raise UserError(f"ensemble member {name}: {missing[0]} is not there; give two files, as oof.csv+test.csv")
        return Member(name, *files)
    folder = named_run(config, name)
    return Member(folder.name, folder / "oof.parquet", folder / "test.parquet")


def find_members(config: Config, prepared: Dataset) -> list[Member]:
    """The members that `ensemble.runs` asks for, sorted: the order in which they were typed has no say.

    A pattern, and `best:8`, stand for finished runs of the present table and folds, never for ensembles: else the
    same command would blend its own result the second time.
    Raises UserError for a member that is not there or is typed twice.
    """
    typed, found = [], []
    for name in config.ensemble.runs:
        if name.startswith("best:"):
            if not name.removeprefix("best:").isdecimal():
                raise UserError(f"ensemble.runs={name} needs a number, as best:8")
            found += best_runs(config, prepared, int(name.removeprefix("best:")))
        elif set("*?[") & set(name) and "+" not in name:
            found += matching_runs(config, prepared, name)
        else:
            typed.append(find_member(config, name))
    if twice := [one.name for n, one in enumerate(typed) if one.oof in [other.oof for other in typed[:n]]]:
        raise UserError(f"ensemble.runs names {twice[0]} twice; name each member once")
    for one in (*found, *typed):
        if missing := [file for file in (one.oof, one.test) if not file.exists()]:
            raise UserError(
                f"{missing[0]} is missing, which {one.name} needs: delete its metrics.json and train it again"
            )
    known = {member.oof.resolve(): member for member in (*found, *typed)}
    return sorted(known.values(), key=lambda one: (one.name, file_sha256(one.oof), file_sha256(one.test)))


def best_runs(config: Config, prepared: Dataset, count: int) -> list[Member]:
    """The `count` best finished runs by the competition's metric, or all if there are fewer; see `rank_runs`."""
    metric = config.competition.metric
    ranked = rank_runs(comparable_runs(config, prepared), metric)
    if count < 1 or not ranked:
        raise UserError(
            f"ensemble.runs=[best:{count}] chose none of {len(ranked)} finished runs of the present table and folds "
            f"with a score in {metric}: type stage=train first, and best:1 or more"
        )
    return [find_member(config, str(one.folder)) for one in ranked[:count]]


def matching_runs(config: Config, prepared: Dataset, pattern: str) -> list[Member]:
    """The finished runs whose name, or folder, matches a pattern as `*lite*`. Raises UserError if none does."""
    runs = comparable_runs(config, prepared)
    found = [run for run in runs if fnmatchcase(run.name, pattern) or fnmatchcase(str(run), str(absolute(pattern)))]
    if not found:
        names = ", ".join(run.name for run in runs) or "none"
        raise UserError(
            f"ensemble.runs={pattern} matches no finished run of the present table and folds in {config.runs_dir}; "
            f"there are: {names}"
        )
    return [find_member(config, str(folder)) for folder in found]


def comparable_runs(config: Config, prepared: Dataset) -> list[Path]:
    """The finished runs of the present table and folds that are no ensembles, and give way to no teacher."""
    runs = []
    for folder in finished_runs(config):
        metrics = read_json(folder / "metrics.json")
        identity = metrics.get("identity") or {}
        ours = (identity.get("table"), identity.get("folds")) == (prepared.table_hash, prepared.folds_hash)
        rate = config.sequences.rate
        if config.competition.finds_segments and rates_of(folder).get(folder.name, rate) != rate:
            continue  # its rows are other frames
        if ours and "members" not in metrics and is_kept(folder):
            runs.append(folder)
    return runs


def tables_of(identity: Any) -> set[str]:
    """The tables that a run, or the members of an ensemble, were trained on, as far as they are known.

    >>> sorted(tables_of({"one": {"table": "a"}, "other": {"table": "b"}, "csv": None}))
    ['a', 'b']
    """
    if not isinstance(identity, dict):
        return set()
    if isinstance(identity.get("table"), str):
        return {identity["table"]}
    return {table for member in identity.values() for table in tables_of(member)}


def rates_of(run: Path) -> dict[str, float]:
    """Name -> `sequences.rate` of a run of video or series, or of an ensemble's members, as far as it is told."""
    metrics = read_json(run / "metrics.json")
    identity = metrics.get("identity") or {}
    identities = identity if "members" in metrics else {run.name: identity}
    found = {name: ((one or {}).get("sequences") or {}).get("rate") for name, one in identities.items()}
    for file in run.glob("fold_*/model.json"):  # which has frames made at this rate, whatever the identity tells
        found[run.name] = read_json(file).get("rate", found.get(run.name))
    return {name: float(rate) for name, rate in found.items() if rate is not None}


def demand_one_rate(rates: dict[str, float]) -> None:
    """Raises UserError for runs at several rates, of which no two classify the same frames of a video."""
    if len(set(rates.values())) > 1:
        told = ", ".join(f"{name} at sequences.rate={rate:g}" for name, rate in rates.items())
        raise UserError(f"these runs classify other frames: {told}; blend runs of one rate")


def ensemble_dir(config: Config, prepared: Dataset, members: list[Member]) -> Path:
    """The ensemble's folder: named by its method and a hash of all that decides it, its members in any order."""
    options, predictions = config.ensemble, [file_sha256(one.oof) + file_sha256(one.test) for one in members]
    identity: dict[str, Any] = {"method": options.method, "members": sorted(predictions), "table": prepared.table_hash}
    identity |= {"folds": prepared.folds_hash, "metric": config.competition.metric, "version": ENSEMBLE_VERSION}
    identity |= {"calibrate": options.calibrate, "threshold": options.threshold}
    return config.runs_dir / f"ensemble-{options.method.replace('_', '-')}-{identity_hash(identity)}"


def configured_run(config: Config, prepared: Dataset) -> Path:
    """The finished run to submit: `run=`, else the ensemble of `ensemble.runs`, else the configured run.

    A run with a teacher that is not surely better than it gives way to it.
    """
    if config.ensemble.runs and not config.run:
        return ensemble_dir(config, prepared, find_members(config, prepared))
    run = run_dir(config, prepared)
    if config.run or config.training.teacher is None or not (run / "metrics.json").exists():
        return run
    return run if is_kept(run) else find_teacher(config, prepared)


def is_kept(run: Path) -> bool:
    """Whether a finished run is surely better than its teacher, or has none."""
    return is_surely_better(read_json(run / "metrics.json"))


def is_surely_better(metrics: dict[str, Any]) -> bool:
    """The same, told by its metrics."""
    return bool(metrics.get("over_teacher", {}).get("is_kept", True))
