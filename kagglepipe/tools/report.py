"""report: one page, report.html, about a finished run: scores, data, doubtful labels, curves, what fails, origin.

Reads the run's folder and, where they are there, table, near-duplicates and pictures. Writes report.html, MODEL_CARD.md
and suspects.csv into the run's folder, or beside `report.file`, after whose name they are called then. All that a page
says is by the configuration that made its run. Runs at the end of stage=all, too.
"""

import logging
import math
import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe import __version__, console
from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.fold_file import near_duplicates
from kagglepipe.competitions.spreadsheet import read_spreadsheet
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import file_state, sha256
from kagglepipe.images.cache import PixelCache
from kagglepipe.kaggle.ledger import read_ledger
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.frame import class_columns
from kagglepipe.predictions.label_errors import COLUMNS, suspects
from kagglepipe.predictions.own_metric import is_out_of_reach
from kagglepipe.predictions.top_classes import FULL_CLASSES
from kagglepipe.reports import looks
from kagglepipe.reports.activity import along
from kagglepipe.reports.blocks import Section, Text
from kagglepipe.reports.charts import Interval
from kagglepipe.reports.class_sheet import read_picture
from kagglepipe.reports.failures import Predicted, failures
from kagglepipe.reports.learning import FoldFacts, learning
from kagglepipe.reports.looked_at import lay_over, looked
from kagglepipe.reports.page import (
    Origin,
    Overview,
    check_page,
    model_card,
    origin,
    overview,
    render,
    write_if_changed,
    write_page,
)
from kagglepipe.reports.segments_found import Found, events_found, segments_found
from kagglepipe.reports.thumbnails import Album, picture_reader, with_keys
from kagglepipe.runs.configured import (
    beside_page,
    finished_run,
    identity_of,
    inference_backend,
    is_prepared,
    make_learner,
    own_config,
    page_file,
    read_data,
    store_of,
)
from kagglepipe.runs.describe import describe_scores, or_nan
from kagglepipe.runs.identity import identity_hash
from kagglepipe.runs.looked_at import looked_at, network_of
from kagglepipe.runs.provenance import flat, written_options
from kagglepipe.runs.run import Run
from kagglepipe.runs.timelines import timelines_of
from kagglepipe.runs.typed_words import folder_words, training_words
from kagglepipe.segments.events import EventSettings, pick_events
from kagglepipe.segments.postprocess import DetectionSettings, detect_segments
from kagglepipe.sequences.grid import item_lengths

log = logging.getLogger(__name__)
TYPED = "python -m kagglepipe"
MOST_MAPS = 300  # pictures, each of which passes a network
MOST_FRAMES = 120  # pictures of videos, each of which is opened for it
MOST_STEPS = 2000  # of an item whose frames pass a network
CACHED_SIDE = 256  # pixels, of the cache that `prepare` fills
BASELINES = {"baseline": "size, format, length", "linear": "linear baseline", "constant": "always the same"}


def check(config: Config) -> None:
    """Raises UserError for a command that asks for a page and for none."""
    if not is_at_end(config) and not config.report.write:
        raise UserError("report.write=false writes no page: leave it out")


def run(config: Config) -> None:
    """Write the page of the configured run or that of `run=`; that of stage=all is written by its summary."""
    if not is_at_end(config):
        log.info("report: %s", write_report(config, find_run(config)))


def page_at_end(config: Config) -> tuple[int, str] | None:
    """Write the page of stage=all: level and words of the last line, its path or why there is none; None elsewhere."""
    if not (is_at_end(config) and config.report.write):
        return None
    try:
        run = find_run(config)
        page = page_file(config, run)
        if is_current(page, inputs_hash(config, run)) and beside_page(page, run, "MODEL_CARD.md").exists():
            return logging.INFO, str(page)
        with console.working("report"):
            return logging.INFO, str(write_report(config, run))
    except Exception as error:  # the submission is there, which no fault of a page may hide
        if not isinstance(error, UserError):
            log.exception("report: the page was not written")
        return logging.WARNING, f"the page was not written: {error}"


def is_at_end(config: Config) -> bool:
    """Whether the page is the end of stage=all, not what was asked for."""
    return config.stage == "all"


def find_run(config: Config) -> Run:
    """Find the run that `run=` names, else the configured one or, where that is not finished, the latest."""
    store = store_of(config)
    if name := config.run:
        return store.named(name)
    if (configured := finished_run(config)) is not None:
        return configured
    if not (finished := store.finished()):
        raise UserError(f"nothing is trained yet in {store.folder}: type stage=train first, or give run=PATH")
    log.info("report: of %s, the latest run", finished[-1].name)
    return finished[-1]


def write_report(config: Config, run: Run) -> Path:
    """Write the page of a run, its model card and suspected labels, all by the configuration that made the run.

    config: of the command. Raises UserError without out-of-fold rows, and for the page of another run.
    """
    command, config = config, own_config(run, config)
    competition = config.competition
    if not run.oof_file.exists() or (oof := run.oof()).empty:
        raise UserError(f"{run.name} has no out-of-fold rows, which a report is about: train it with folds.only=[]")
    path, title = page_file(config, run), f"{run.folder.parent.name}: {run.name}"
    if path != run.folder / "report.html":
        check_page(path, title)
    metrics: Mapping[str, Any] = run.metrics
    found = Predicted(oof, class_columns(oof), metrics.get("decision"))
    dataset, why = data_of(config, run)
    album = Album(None, 0) if dataset is None else album_of(config, competition, dataset, config.report.images)
    metric = str(metrics["metric"])
    last = failures(found, album, dataset.table if dataset else None, None if is_out_of_reach(metric) else metric)
    maps = looked_section(config, run, dataset, found, album) if dataset and competition.kind == "image" else []
    segments = segments_section(competition, run, dataset, found, album) if dataset else []
    if dataset and competition.kind != "image":
        segments += along_section(competition, run, dataset, found, album, inference_backend(config))
    suspected = beside_page(path, run, "suspects.csv")
    again = [] if competition.finds_segments or run.is_ensemble else training_words(config)
    again = [word for word in again if not word.startswith("competition.labels_patch=")]
    compared = ["runs", f"runs.compare=[NEW,{run.name}]", *folder_words(config)]
    typed = [[*again, f"competition.labels_patch={suspected}"], compared] if again else []
    steps = [f"{TYPED} {shlex.join(words)}" for words in typed]
    labels = looks.suspected(suspects_of(found, suspected), album, suspected.name, steps)
    pairs = near_duplicates(config.base_dir) if dataset is not None else None
    data = looks.data(
        None if dataset is None else with_keys(dataset.table), pairs, album, found.task.name, why,
        lambda rows: None if dataset is None else features_of(config, dataset, run, rows),
    )  # fmt: skip
    lines = submitted(config, run, dataset)
    facts, made = facts_of(config, run, dataset, lines), origin_of(run)
    sections = [overview(facts), data, labels, learning(*learned(run)), *maps, last, *segments, origin(made)]
    write_page(path, render(title, sections, album, inputs_hash(command, run)))
    write_if_changed(beside_page(path, run, "MODEL_CARD.md"), model_card(title, facts, made).encode())
    return path


def inputs_hash(config: Config, run: Run) -> str:
    """Hash what a page is made of: the states of the files that it reads, its options, and the package's version.

    config: of the command. Files are those of the run and of its members, the prepared tables, the submission and the
    ledger; pictures are not among them. A state is a size and times, so that a large run costs nothing.
    """
    page, sent = page_file(config, run), submission_files(config, run)
    files = {file for one in (run, *run.members) for file in one.folder.rglob("*")} | {*config.base_dir.glob("*")}
    files -= {page, beside_page(page, run, "MODEL_CARD.md")}
    files |= {beside_page(page, run, "suspects.csv"), *sent}
    states = {str(file): file_state(file) for file in sorted(files) if file.is_file()}
    return sha256(repr((__version__, config.report, states)))


def is_current(path: Path, inputs: str) -> bool:
    """Whether a page is made of these inputs."""
    return path.is_file() and f'"{inputs}"' in path.read_text(encoding="utf-8", errors="replace")[:2000]


# --- data and pictures ---------------------------------------------------------------------------------------------


def data_of(config: Config, run: Run) -> tuple[Dataset | None, str]:
    """(the data that a run was trained on, ""), or (None, why they are not at hand)."""
    if not is_prepared(config):
        return None, "The data of this run are not prepared here, so neither they nor pictures are shown."
    dataset = read_data(config)
    if run.tables and dataset.table_hash not in run.tables:
        return None, "The data here are not those that this run was trained on, so neither they nor pictures are shown."
    return dataset, ""


def album_of(config: Config, competition: CompetitionOptions, dataset: Dataset, most: int) -> Album:
    """An empty album over the pictures of the data. most: pictures in it."""
    if competition.kind != "image":
        most = min(most, MOST_FRAMES)
    folder = config.pixels_dir(CACHED_SIDE) if competition.kind == "image" else None
    cache = None if folder is None else PixelCache.open(folder, CACHED_SIDE, dataset.bits)
    return Album(picture_reader(dataset.table, dataset.images_root, competition, cache, dataset.bits), most)


def features_of(config: Config, dataset: Dataset, run: Run, rows: pd.DataFrame) -> NDArray[np.float32] | None:
    """Stored features of images of the table; None unless `run` is the configured one and all are there."""
    try:
        if run.is_ensemble or identity_hash(run.identity) != identity_hash(identity_of(config, dataset)):
            return None
    except UserError:  # its teacher or its weights are gone
        return None
    from kagglepipe.training.image_learner import ImageLearner

    learner = make_learner(config, dataset)
    return learner.stored_features(rows) if isinstance(learner, ImageLearner) else None


def suspects_of(found: Predicted, file: Path) -> pd.DataFrame | str:
    """Write suspects.csv, unless it holds decisions already; returns its rows, or why there are none."""
    if found.task.name == "regression":
        return "Numbers have no suspected labels: see the largest errors below."
    if len(found.classes) > FULL_CLASSES:
        return f"Labels of more than {FULL_CLASSES} classes are not compared."
    ids = found.oof["id"].astype(str).tolist()
    table = suspects(ids, np.asarray(found.probs), found.truth, found.classes)
    if file.exists():
        written = read_spreadsheet(file, {name: name for name in COLUMNS}, COLUMNS, is_renamable=False)
        if (written["decision"] != "").any():  # then the file is the user's, with all that was added to it
            return written
    write_if_changed(file, table.to_csv(index=False, lineterminator="\n").encode())
    return table


def looked_section(config: Config, run: Run, dataset: Dataset, found: Predicted, album: Album) -> list[Section]:
    """The section about what the networks looked at in the album's labelled pictures; none without networks."""
    if (network := network_of(run)) is None:
        return []
    places = [k for k, id in enumerate(found.oof["id"].astype(str)) if id in album.ids][:MOST_MAPS]
    ids, answers = found.oof["id"].astype(str).iloc[places].tolist(), found.answers[places]
    backend = inference_backend(config)
    try:
        seen = looked_at(network, dataset, ids, answers, found.classes, config.pixels_dir, backend)
    except (UserError, OSError) as error:  # its weights were removed, or changed
        return [Section("looked", "What it looked at", [Text(f"There are no maps: {error}")])]
    album.missing.update(seen.missing)
    lay_over(seen.maps, album, seen.crop, seen.crop_pct)
    names = dict(zip(ids, found.named(answers), strict=True))
    if found.task.name == "regression":
        names = dict.fromkeys(ids, f"more {found.classes[0]}")
    return [looked(seen.maps, names, album, network.name, is_exact=seen.is_exact)]


def segments_section(
    competition: CompetitionOptions, run: Run, dataset: Dataset, found: Predicted, album: Album
) -> list[Section]:
    """The section about segments or events; none where frames are not those of the run."""
    metrics, background = run.metrics, competition.background
    if "detection" not in metrics or dataset.annotations is None or not has_rate_of(run, dataset):
        return []
    chosen = metrics["detection"]["settings"]
    classes = [name for name in found.classes if name != background]
    lines = timelines_of(dataset.train, found.oof, classes, float(dataset.rate or 0))
    truth = dataset.annotations[dataset.annotations["label"].isin(classes) & dataset.annotations["video"].isin(lines)]
    if competition.finds_events:
        peaks = pick_events(lines, classes, None, EventSettings(**chosen)).rename(columns={"time": "start"})
        events = peaks.assign(end=peaks["start"])
        return [events_found(Found(lines, classes, events, truth, None, competition.event_tolerances))]
    settings, frames = DetectionSettings(**chosen), {}
    segments = [
        detect_segments(video, line.times, line.step, line.probs, classes, None, settings)
        for video, line in lines.items()
    ]
    if competition.kind == "video":
        rows = dataset.train.assign(middle=(dataset.train["start"] + dataset.train["end"]) / 2).sort_values("middle")
        frames = {str(video): own[["id", "middle"]] for video, own in rows.groupby("video")}
    return [segments_found(Found(lines, classes, pd.concat(segments), truth, settings.high, frames=frames), album)]


def has_rate_of(run: Run, dataset: Dataset) -> bool:
    """Whether the frames of the data are those of the run."""
    return dataset.rate is not None and set(run.rates.values()) <= {dataset.rate}


def along_section(
    competition: CompetitionOptions, run: Run, dataset: Dataset, found: Predicted, album: Album, backend: Any
) -> list[Section]:
    """The section about recurrent cells along the item with the largest loss; none without such cells."""
    from kagglepipe.models.recurrent import CELLS
    from kagglepipe.runs.activity import activity_of

    network = network_of(run, "temporal")
    recurrent = [fold.number for fold in network.models if fold.model["temporal"]["cell"] in CELLS] if network else []
    if network is None or not recurrent or not has_rate_of(run, dataset):
        return []
    assert dataset.items is not None
    assert dataset.rate is not None
    lengths = item_lengths(dataset.items, dataset.rate)
    rows = dataset.train.set_index("id").loc[found.oof["id"]]
    losses = np.asarray(found.task.row_losses(found.probs, found.truth), np.float64)
    losses[(rows["video"].map(lengths) > MOST_STEPS) | ~rows["fold"].isin(recurrent)] = -1
    worst = int(losses.argmax())
    id, row = str(found.oof["id"].iloc[worst]), rows.iloc[worst]
    if losses[worst] < 0:
        return []
    try:
        seen = activity_of(network, dataset, id, backend)
    except (UserError, ValueError, OSError) as error:  # the file or the weights have moved or changed
        return [Section("along", "Along one item", [Text(f"There are no hidden units: {error}")])]
    if not seen.units:
        return []
    what = (
        f"{row['video']}, which has the frame with the largest loss,"
        if dataset.per_frame
        else f"{id} of {found.named(found.truth)[worst]}, answered {found.named(found.answers)[worst]},"
    )
    words = f"{what} in the network of fold {seen.fold}, which was not trained on it."
    path, tiles = dataset.images_root / str(row["path"]), []
    for time in np.linspace(seen.times[0], seen.times[-1], 6).tolist() if competition.kind == "video" else ():
        read = partial(read_picture, path, competition, time)
        tiles.append(album.tile(f"{id} at {time:.2f} s", name=f"{time:.2f} s", read=read))
    return [along(seen.times, seen.units, words, [one for one in tiles if one.number is not None])]


# --- facts of the run ----------------------------------------------------------------------------------------------


def facts_of(config: Config, run: Run, dataset: Dataset | None, lines: list[str]) -> Overview:
    """What the first section says. lines: what was submitted."""
    metrics, slug, competition = run.metrics, run.folder.parent.name, config.competition
    classes = metrics.get("classes") or class_columns(run.oof())
    metric = str(metrics["metric"])
    rows = f"{metrics.get('rows', 0):,} labelled {'frames' if dataset and dataset.per_frame else competition.noun}"
    words = TASK_WORDS[competition.task].format(len(classes)).replace("1 numbers", "a number")
    task = f"{slug}: {words}, {rows}. Run {run.name}."
    return Overview(
        task, metric, scores_of(metrics, metric),
        [line[:1].upper() + line[1:] for line in describe_scores(metrics, metric)],
        lines, next_steps(config, run, dataset),
    )  # fmt: skip


TASK_WORDS = {
    "multiclass": "one of {} classes for each item",
    "ordinal": "one of {} ordered classes for each item",
    "ranking": "a ranking of {} classes for each item",
    "multilabel": "tags for each item, of {}",
    "regression": "{} numbers for each item",
}


def scores_of(metrics: Any, metric: str) -> list[Interval]:
    """Scores to draw: out of fold, of baselines, of the test where its answers are known."""
    parts = {"out of fold": metrics, **{words: metrics[name] for name, words in BASELINES.items() if name in metrics}}
    if "test" in metrics:
        parts["test, by known answers"] = metrics["test"]
    found = []
    for name, one in parts.items():
        low, high = one.get("interval") or (None, None)
        found.append(Interval(name, or_nan(one.get("score")), or_nan(low), or_nan(high)))
    return [one for one in found if math.isfinite(one.value)]


def submission_files(config: Config, run: Run) -> tuple[Path, Path]:
    """The submission of a run, and the ledger."""
    return config.ledger_file.with_name(f"{run.name}.csv"), config.ledger_file


def submitted(config: Config, run: Run, dataset: Dataset | None) -> list[str]:
    """What was submitted, in sentences."""
    file, ledger = submission_files(config, run)
    rows = [row for row in read_ledger(ledger) if row["run"] == run.name]
    if not file.exists() and not rows:
        nothing = dataset is not None and dataset.nothing_to_classify
        return ["There is nothing to classify, so nothing is submitted." if nothing else "Nothing was submitted yet."]
    sent = [
        f"Sent on {row['time'][:16]}: {row['status']}, public score {row['public_score'] or 'unknown'}, private score "
        f"{row['private_score'] or 'unknown'}."
        for row in rows
    ]
    return [f"The submission is {file.name} in {file.parent.name}/.", *(sent or ["It was not sent from here."])]


def next_steps(config: Config, run: Run, dataset: Dataset | None) -> list[tuple[str, str]]:
    """(what to do next, command that can be pasted). config: of the run."""
    competition, named = config.competition, shlex.join([f"run={run.name}", *folder_words(config)])
    tool, steps = "detect" if competition.finds_segments else "predict", list[tuple[str, str]]()
    if run.missing_network() is None and not competition.finds_events:  # detect finds segments
        steps.append(("Predict your own files:", f"{TYPED} {tool} {named} input=PATH"))
    is_head = not run.is_ensemble and competition.kind == "image" and run.model.get("training") == "head"
    if is_head and (words := training_words(config, "finetune")):
        steps.append(("Fine-tune the network, which takes longer:", f"{TYPED} {shlex.join(words)}"))
    if dataset is not None and not dataset.nothing_to_classify and competition.slug and not competition.is_sample:
        steps.append(("Send the submission:", f"{TYPED} submit {named} submit.upload=true"))
    return [*steps, ("Compare all runs:", f"{TYPED} runs {named}")]


def learned(run: Run) -> tuple[list[FoldFacts], list[tuple[str, str]]]:
    """Logs and scores of the folds, and what the run cost."""
    folds = [FoldFacts(fold.number, log_of(fold.folder / "log.csv"), fold.metrics) for fold in run.finished_folds]
    metrics = run.metrics
    machine = metrics.get("machine") or {}
    units = "cores" if machine.get("device") == "cpu" else "devices"
    cost = {
        "seconds of the command that finished it": metrics.get("seconds"),
        "peak memory, GB": metrics.get("peak_memory_gb"),
        "cut short by a budget of": metrics.get("cut_by_budget"),
        **{units if name == "devices" else name: fact for name, fact in machine.items()},
    }
    return folds, [(name, str(value)) for name, value in cost.items() if value is not None]


def log_of(file: Path) -> pd.DataFrame:
    """Rows of a log.csv; none without one."""
    has_rows = file.exists() and bool(file.read_text(encoding="utf-8").strip().strip('"'))
    return pd.read_csv(file) if has_rows else pd.DataFrame()


def origin_of(run: Run) -> Origin:
    """Where the run comes from: what differs from the defaults, versions, hashes."""
    metrics, model = run.metrics, run.model
    versions = {**(model.get("versions") or {}), "git commit": model.get("git_commit")}
    tables = {
        "Options that differ from their defaults": flat(written_options(run.config_file) or {}),
        "Versions": {name: str(value) for name, value in versions.items() if value},
        "Members": dict(zip(metrics.get("members", []), map(str, metrics.get("weights", [])), strict=False)),
        "Settings and hashes that decide the result": flat(metrics.get("identity") or {}),
    }
    return Origin({caption: list(rows.items()) for caption, rows in tables.items()})
