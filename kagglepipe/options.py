"""All options: a dataclass per group, with description, default, limits and uses of each field.

Checks, path options, the identity of runs, `--help` and `docs/options.md` are derived from these. The library takes
the groups as arguments. Imports neither torch nor pandas, which would slow down every command.
"""

import codecs
import math
import operator
import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import Field, dataclass, field, fields, is_dataclass
from numbers import Real
from typing import Any, ClassVar

from kagglepipe.errors import UserError
from kagglepipe.files import absolute

POLICIES = ("none", "light", "strong", "resolution", "dihedral", "elastic", "paste")
POLICY_FILES = (".yaml", ".yml", ".json")  # a policy of the user's own
SEGMENT_SCORES = ("f1_10", "f1_25", "f1_50", "edit", *(f"map_{tiou}" for tiou in range(10, 80, 10)), "map_activitynet")
EVENT_SCORE = "event_ap"  # of form=events
TTA_VIEWS = ("flip", "vertical", "transpose")
CROPS = ("squash", "center", "border")
FORMS = ("index", "name", "probability", "probabilities", "pairs", "ranking", "tags", "numbers", "segments", "events")
ID_FORMS = ("name", "stem", "path", "column")
TASKS = ("multiclass", "multilabel", "ordinal", "regression", "ranking")
FORMS_OF_TASK = {  # the likeliest first
    "multiclass": ("index", "name", "probability", "probabilities", "ranking", "segments", "events"),
    "ordinal": ("index", "name", "probabilities"),
    "ranking": ("ranking", "name", "index", "probabilities"),
    "multilabel": ("tags", "probabilities", "pairs"),
    "regression": ("numbers",),
}
DEFAULT_RATE = 8.0  # of `sequences.rate`
DEFAULT_SOUND_RATE = 100.0
JOINTS = ("hip", "neck", "left_hip", "right_hip")
# stages and tools that find the folder of a competition by its name
NAMED = (
    "download | prepare | augment | train | ensemble | submit | columns | predict | detect | runs | report | export | "
    "drill | bundle | describe"
)
COLUMNS = ("item", "id", "answer_id", "label", "labels", "group", "split", "fold", "start", "end", "values", "time",
           "video", "file")  # fmt: skip
NUMBERS = (int, int | None, float, float | None)
LOG_LOSS_CLIP = 1e-15  # Kaggle's
COLUMN_LISTS = ("labels", "values")  # columns that may be several
OPTIONAL_COLUMNS = ("group", "split", "fold", "start", "end")  # read by their names alone, unless null


def option(
    default: Any,
    doc: str,
    *,
    least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: Sequence[str] = (),
    files: Sequence[str] = (),
    path: bool = False,
    text: bool = False,
    changes_results: bool = True,
    read_by: str = "",
    stages: str = "",
    added: str = "",
) -> Any:
    """Define a dataclass field with a description, limits and uses in its metadata.

    Bounds and choices hold for each item of a list; None is allowed. files: suffixes of files that may be named beside
    the choices. path: `~` is expanded, and Hydra's grammar is not applied; text: nor to this sentence. changes_results:
    another value makes another run. read_by: alternatives of words that must all be true of a run
    (`runs.identity.run_words`), as "image | video finetune"; empty: always read. stages: the stages and tools that read
    the option or group, as "train | predict"; empty: as the group. added: the version that added an option which
    changes results, as "0.4.0": it is part of a run's identity only where it differs from its default, so that runs of
    older versions keep their names; empty: always part of it, as the options of version 0.3.0.
    """
    facts = {
        "doc": doc, "least": least, "above": above, "at_most": at_most, "below": below, "choices": tuple(choices),
        "files": tuple(files), "path": path, "text": text, "changes_results": changes_results,
        "read_by": tuple(filter(None, read_by.split(" | "))), "stages": tuple(filter(None, stages.split(" | "))),
        "added": added,
    }  # fmt: skip
    if is_dataclass(default):
        return field(default_factory=default, metadata=facts)  # type: ignore[arg-type]
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=facts)
    return field(default=default, metadata=facts)


def default_value(one: Field[Any]) -> Any:
    """Return the default of an option, given its field."""
    return one.default_factory() if callable(one.default_factory) else one.default


class Options:
    """A group of options; `prefix` as `training.` in `training.lr`."""

    prefix: ClassVar[str] = ""

    def __init_subclass__(cls, *, group: str = "") -> None:
        cls.prefix = group and f"{group}."

    def __post_init__(self) -> None:
        """Raise UserError for a value out of its bounds or choices."""
        for one in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            check_number(self.prefix + one.name, getattr(self, one.name), one.type)
            check_option(self.prefix + one.name, getattr(self, one.name), one.metadata)


@dataclass(frozen=True)
class PathsOptions(Options, group="paths"):
    """Folders."""

    root: str = option(".", "Folder of data/, outputs/ and submissions/.", path=True)
    outputs: str | None = option(None, "Folder of runs and features; null: outputs/ and data/ in the root.", path=True)


@dataclass(frozen=True)
class CompetitionOptions(Options, group="competition"):
    """Files, labels, metric and submission of a competition: a YAML file in conf/competition, no code."""

    slug: str | None = option(
        None, "Kaggle's name, and folder in data/ and outputs/; null: the source's name.", stages=f"{NAMED} | doctor"
    )
    title: str = option("", "Name for people.", text=True)
    task: str = option(
        "multiclass",
        "Type of the answers: one class, several tags (multilabel), a class of an order (ordinal), numbers "
        "(regression), or the likeliest of many classes (ranking).",
        choices=TASKS,
        stages=f"{NAMED} | doctor",
    )
    kind: str = option(
        "image", "Type of the items.", choices=("image", "video", "series", "audio"), stages=f"{NAMED} | doctor"
    )
    classes: list[str] = option(
        [], "Class names in the order of their index; empty: the folders, sorted.", stages="prepare | train | submit"
    )
    layout: dict[str, str] = option({}, "Folder of each class in the archive; empty: all in `train`, or in the root.")
    test: str | None = option(
        None, "Folder of the test items, or a CSV or text file that lists them; null: there is no test set."
    )
    labels: str | None = option(
        None,
        "CSV or JSON in the source instead of class folders: `item,label[,group][,split][,fold]`, and for pieces of "
        "video and series `start,end`; columns of other names: competition.columns.",
        path=True,
    )
    labels_patch: str | None = option(
        None,
        "CSV `id,suggested,decision` of labels to correct, as suspects.csv beside a run's page; the decision is keep, "
        "change or drop.",
        path=True,
        stages="prepare | train",
        added="0.4.0",
    )
    label_from: str | None = option(
        None, "Pattern of the file names that holds the labels, as `{label}.{number}.jpg`, instead of class folders."
    )
    group_from: str | None = option(
        None,
        "Pattern of the file names that holds what they come from, as `{group}_{number}.jpg`, for folds that keep it "
        "whole; with a `/` it is one of paths, as `*/{group}_{number}.jpg`.",
        added="0.4.0",
    )
    label_separator: str = option(
        " ",
        "What separates the tags of an item, in the labels and the submission, or ranked classes.",
        text=True,
        read_by="task=multilabel | form=ranking",
        stages="prepare | submit | predict",
    )
    metadata: str | None = option(
        None, "A second CSV, with groups, splits or folds of the items that are labelled elsewhere.", path=True
    )
    metadata_key: str | None = option(
        None, "Column by which `metadata` is joined to `labels`; null: that of the items (columns.item)."
    )
    items: str | None = option(
        None,
        "CSV that holds the training items themselves: an image in each row, a column a pixel, or all series, each the "
        "rows with one value of columns.item. `test` is then such a CSV, too.",
        read_by="image | series",
    )
    exclude: list[str] = option(
        [],
        "Patterns of files that are no items, as `masks/*` or `*.tif`: masks, thumbnails, a second format. `*` is any "
        "letters, also `/`.",
        stages="download | prepare | train",
    )
    files: str | None = option(
        None, "CSV `item[,group][,split]` of all items.", path=True, read_by="video | series | audio"
    )
    columns: dict[str, Any] = option(
        {},
        f"Columns in these tables, or arrays in npz files: {', '.join(COLUMNS[:-2])}. `labels` is a list of "
        "columns of one-hot classes, tags or numbers, `video` and `file` stand for `item`; `answer_id` is that of "
        "several images, the mean of whose predictions is the answer; "
        f"null: {', '.join(OPTIONAL_COLUMNS)} of that name are not read.",
        stages="prepare | train",
    )
    background: str | None = option(
        None,
        "Class of unlabelled time, or of idle clips.",
        read_by="video | series | audio",
        stages="prepare | train | ensemble | submit | drill | report",
    )
    ignore_labels: list[str] = option(
        [],
        "Labels of segments or events that are no class.",
        read_by="video | series | audio",
        stages="prepare | train",
        added="0.4.0",
    )
    bounds: list[str] = option(
        [],
        "For form=events: the labels that begin and end each annotated part of a video, as [start,end]; the time "
        "outside is neither learnt nor scored.",
        read_by="form=events",
        stages="prepare | train",
        added="0.4.0",
    )
    skeleton: dict[str, int] = option(
        {}, f"Index of the joints {', '.join(JOINTS)}, or empty.", read_by="series", stages="prepare | train"
    )
    unit: str = option("s", "Unit of a series' times, such as s or frames.", read_by="video | series | audio")
    time_axis: int | None = option(
        None, "Time axis, 0 to 2; null: 0, unless another is 8 times as long.", read_by="series"
    )
    segment_metric: str = option(
        "f1_50",
        "Score of segments by which smoothing and thresholds are chosen.",
        choices=(*SEGMENT_SCORES, EVENT_SCORE),
        read_by="form=segments | form=events",
        stages="train | ensemble | runs | drill",
    )
    event_width: float = option(
        0.5,
        "For form=events: time to either side of an event whose frames are learnt as its class, in competition.unit.",
        above=0,
        read_by="form=events",
        stages="train | ensemble | submit",
    )
    event_tolerances: list[float] = option(
        [0.3, 0.4, 0.5, 0.6, 0.7],
        "For form=events: tolerances of time over which event_ap is averaged, in competition.unit.",
        above=0,
        read_by="form=events",
        stages="train | ensemble | submit | report",
    )
    id: str = option(
        "name",
        "Identity of an item: file name, stem, relative path, or columns.id in `labels` and in the list of test items.",
        choices=ID_FORMS,
        stages="prepare | train | submit",
    )
    shares: bool = option(
        False, "Answer each class as often as in training.", read_by="task=multiclass", stages="submit", added="0.4.0"
    )
    id_column: str = option("id", "Column of the ids in the submission.", stages="prepare | submit")
    target_column: str = option("label", "Column of the answers in the submission.", stages="prepare | submit")
    metric: str = option(
        "accuracy",
        "The competition's score (docs/competitions.md).",
        path=True,
        stages="train | ensemble | submit | columns | predict | detect | runs | export | reproduce | drill | bundle",
    )
    log_loss_clip: float = option(
        LOG_LOSS_CLIP,
        "For metric=log_loss: how far probabilities are moved from 0 and 1, at least.",
        above=0,
        below=0.5,
        stages="train | ensemble | submit | predict | detect | runs | drill",
    )
    form: str = option(
        "index",
        "Answers of the submission: class index, class name, probability of the second class of two (without classes: "
        "of the class after which the column is named), probabilities (a column a class), pairs (a row for each item "
        "and tag, `ID_12_epidural`, as the labels are then written, too), ranking (the likeliest "
        "classes, `competition.ranks` of them), tags, numbers, or segments `video,start,end,label,score` and events "
        "`video,time,event,score`, for which every frame is classified.",
        choices=FORMS,
        stages="prepare | train | ensemble | submit | drill",
    )
    first_index: int = option(
        0,
        "For form=index: number of the first class, as 1 where classes are numbered from 1.",
        least=0,
        stages="prepare | train | ensemble | submit | drill",
        added="0.4.0",
    )
    ranks: int = option(
        5, "For form=ranking: classes of an answer, likeliest first.", least=1, read_by="form=ranking", stages="submit"
    )
    sample_submission: str | None = option(
        None, "File in the source with the rows and columns, in order.", path=True, stages="prepare | submit"
    )
    answers: str | None = option(
        None, "CSV of true test classes; only for scores.", path=True, stages="prepare | train | ensemble | submit"
    )
    sample_slug: str | None = option(
        None, "Slug of the built-in sample that stands in for missing data.", stages="download"
    )
    augmentation: str | None = option(
        None, "Policy of augmentation=auto.", choices=POLICIES, read_by="image | video", stages="augment | train"
    )
    mirror: bool = option(
        True,
        "Whether items keep their class in a mirror; false for digits, letters, left and right: no view is flipped.",
        read_by="image | video",
        stages="augment | train",
    )
    origin: str | None = option(None, "Origin of the files, if not Kaggle.", stages="download")
    source: str | None = option(
        None, "Zip or folder to read; null: data/<slug>/, else Kaggle.", path=True, stages=f"{NAMED} | doctor"
    )
    refresh: bool = option(False, "Accept a source whose bytes differ from those that were prepared.")
    per_class: int | None = option(
        None, "Images per class to train on, drawn by seed; the rest is the test set.", least=1, stages=NAMED
    )
    hidden: float | None = option(
        None, "Share of items (whole groups) to hide as test.", least=0.05, at_most=0.9, stages=NAMED
    )
    hidden_seed: int = option(0, "Seed of the hidden items.", least=0, stages=NAMED)
    on_bad_image: str = option(
        "error",
        "Stop at an undecodable file, a row of labels or of the test whose file is missing, or an image without a "
        "label; or skip and list it (in the test: predict the class shares).",
        choices=("error", "skip"),
        stages="download | prepare | predict | detect",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in FORMS_OF_TASK[self.task]:
            fitting = FORMS_OF_TASK[self.task]
            if self.form != "index":  # the default
                raise UserError(
                    f"competition.form={self.form} does not fit competition.task={self.task}: type "
                    f"competition.form={' or '.join(fitting)}"
                )
            object.__setattr__(self, "form", fitting[0])
        if not self.label_separator:
            raise UserError("competition.label_separator is empty: type what stands between two tags, as ','")
        if self.metric == "log_loss" and self.log_loss_clip != LOG_LOSS_CLIP:  # scores of two clips are two metrics
            object.__setattr__(self, "metric", f"log_loss#{self.log_loss_clip:g}")
        object.__setattr__(self, "test", relative_folder("competition.test", self.test) if self.test else None)
        layout = {name: relative_folder(f"competition.layout.{name}", at) for name, at in self.layout.items()}
        object.__setattr__(self, "layout", layout)
        if self.finds_segments and (self.kind == "image" or self.background is None):
            raise UserError(
                f"competition.form={self.form} needs kind=video, series or audio, and a name for competition.background"
            )
        if self.metric == EVENT_SCORE or (self.finds_segments and self.metric in SEGMENT_SCORES):
            object.__setattr__(self, "segment_metric", self.metric)
            object.__setattr__(self, "metric", "accuracy")  # of frames
        if self.finds_events:
            if self.segment_metric not in (CompetitionOptions.segment_metric, EVENT_SCORE):
                raise UserError(f"competition.segment_metric={self.segment_metric} is for form=segments: leave it out")
            object.__setattr__(self, "segment_metric", EVENT_SCORE)
        elif self.segment_metric == EVENT_SCORE:
            raise UserError(f"{EVENT_SCORE} is a metric of competition.form=events: type that too")
        if self.bounds and len(set(self.bounds)) != 2:
            raise UserError(f"competition.bounds={self.bounds} needs two labels, as [start,end]")
        if self.finds_events and not self.event_tolerances:
            raise UserError("competition.event_tolerances is empty: type some, as [0.3,0.5]")
        if self.finds_segments and self.classes and self.background not in self.classes:
            raise UserError(
                f"competition.background={self.background} is missing from competition.classes={self.classes[:8]}"
            )
        if self.shares and self.finds_segments:
            raise UserError("competition.shares is of rows with a class each, not of segments: leave it out")
        if self.kind in ("video", "audio") and self.unit != "s":
            raise UserError(
                f"competition.unit={self.unit} is for series, times of {self.noun} are in seconds: divide frame "
                "numbers by the frame rate, start and end alike, and leave competition.unit out"
            )
        if self.time_axis not in (None, 0, 1, 2):
            raise UserError(f"competition.time_axis={self.time_axis} must be 0, the first axis, 1 or 2")
        for column, name in self.columns.items():
            check_choice("competition.columns", column, COLUMNS)
            names = name if isinstance(name, list) and column in COLUMN_LISTS else [name]
            if name is None and column in OPTIONAL_COLUMNS:
                continue
            if not all(isinstance(one, str) for one in names):
                raise UserError(f"competition.columns.{column}={name} must name a column, in quotes if it is a number")
        if "answer_id" in self.columns and (self.kind != "image" or self.finds_segments):
            raise UserError(
                "competition.columns.answer_id is of several images with one answer, not videos or series: leave it out"
            )
        if self.skeleton and set(self.skeleton) != set(JOINTS):
            raise UserError(f"competition.skeleton names {sorted(self.skeleton)}; it needs {', '.join(JOINTS)}")
        if self.hidden is not None and self.per_class is not None:
            raise UserError("competition.hidden and competition.per_class cannot be combined: leave one of them out")
        if self.per_class is not None and self.finds_segments:
            raise UserError("competition.per_class counts items with one label, which frames of a video are not")
        if self.labels_patch is not None:  # that of a run is found from any folder
            object.__setattr__(self, "labels_patch", str(absolute(self.labels_patch)))
        if self.labels_patch is not None and self.finds_segments:
            raise UserError("competition.labels_patch mends labels of whole items, not segments: mend those in the CSV")

    def column(self, name: str) -> str:
        """Name in the user's tables of one of our columns.

        >>> CompetitionOptions(columns={"file": "image_id"}).column("item"), CompetitionOptions().column("label")
        ('image_id', 'label')
        """
        names = (name, "video", "file") if name == "item" else (name,)
        return str(next((self.columns[one] for one in names if one in self.columns), name))

    def columns_read(self, names: Iterable[str]) -> dict[str, str]:
        """Some of our columns -> their names in the user's tables, without those that are null.

        >>> CompetitionOptions(columns={"start": None, "end": "stop"}).columns_read(["start", "end", "group"])
        {'end': 'stop', 'group': 'group'}
        """
        return {name: self.column(name) for name in names if self.columns.get(name, name) is not None}

    @property
    def finds_segments(self) -> bool:
        """Whether segments or events are predicted, by classifying every frame, instead of a class for each item."""
        return self.form in ("segments", "events")

    @property
    def finds_events(self) -> bool:
        """Whether what is found are points of time, not segments."""
        return self.form == "events"

    @property
    def detection_choice(self) -> str:
        """Score by which settings of post-processing are chosen, of events with its tolerances."""
        if not self.finds_events:
            return self.segment_metric
        return f"{self.segment_metric} within {', '.join(f'{one:g}' for one in self.event_tolerances)}"

    @property
    def has_encoder(self) -> bool:
        """Whether a network encodes its images or frames; numbers over time and sounds need none."""
        return self.kind in ("image", "video")

    @property
    def noun(self) -> str:
        """The plural noun of its items."""
        return {"image": "images", "video": "videos", "series": "series", "audio": "sounds"}[self.kind]

    @property
    def is_part(self) -> bool:
        """Whether some labelled items replace the competition's own test set."""
        return self.per_class is not None or self.hidden is not None

    @property
    def is_sample(self) -> bool:
        """Whether this is the built-in sample."""
        return self.slug is not None and self.slug == self.sample_slug


@dataclass(frozen=True)
class DownloadOptions(Options, group="download"):
    """Limits of unpacking."""

    max_gb: float = option(100.0, "Unpacked size above which an archive is refused.", above=0)
    max_entries: int = option(1_000_000, "Number of files above which an archive is refused.", above=0)
    encoding: str | None = option(None, "Encoding of names in a zip that are not UTF-8, as cp437, cp1252 or cp932.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                raise UserError(
                    f"download.encoding={self.encoding} is unknown; type a name as cp437, cp1252, cp932 or gbk"
                ) from error


@dataclass(frozen=True)
class PrepareOptions(Options, group="prepare"):
    """Checks of the images."""

    max_side: int = option(20_000, "Pixels a side above which an image is refused.", above=0, read_by="image | video")
    near_bits: int = option(16, "Maximum Hamming distance of near-duplicates, of 128 bits.", least=0, read_by="image")


@dataclass(frozen=True)
class CacheOptions(Options, group="cache"):
    """Decoded pixels on disk."""

    max_gb: float = option(
        8.0, "Size limit; further images are decoded each time.", least=0, changes_results=False, read_by="image"
    )
    short_side: int | None = option(
        None,
        "Pixels of the short side of decoded images; null: 256, or more if the network needs it.",
        least=8,
        read_by="image | augmented | cropped",
    )


@dataclass(frozen=True)
class FoldOptions(Options, group="folds"):
    """Cross-validation, made once and kept in folds.csv."""

    count: int | str = option(5, "Number of folds, or groups: leave one group out.", least=2)
    seed: int = option(0, "Seed of the split.")
    file: str | None = option(None, "CSV `id,fold` to use instead.", path=True)
    only: list[int] = option([], "Folds to train now; empty: all.")
    remake: bool = option(False, "Replace a folds.csv that disagrees with count, seed, images or groups.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.file:  # that of a run is found from any folder
            object.__setattr__(self, "file", str(absolute(self.file)))
        if isinstance(self.count, str):
            check_choice("folds.count", self.count, ("groups", "2", "3", "5 or any number"))


@dataclass(frozen=True)
class AugmentationOptions(Options, group="augmentation"):
    """Random changes of training images."""

    policy: str = option(
        "auto",
        "Policy, or a YAML file of your own; stage=augment draws it. auto: competition.augmentation, else strong for a "
        "head on frozen features and light for fine-tuning.",
        choices=("auto", *POLICIES),
        files=POLICY_FILES,
        path=True,
    )
    mirror: bool = option(True, "Horizontal flips; false where left and right distinguish classes.")


@dataclass(frozen=True)
class AugmentOptions(Options, group="augment"):
    """The contact sheet of stage=augment."""

    images: int = option(8, "Rows: images.", least=1)
    views: int = option(6, "Augmented views in each row.", least=1)


@dataclass(frozen=True)
class TemporalOptions(Options, group="model.temporal"):
    """The temporal model between the features of frames and the labels of a video or series."""

    cell: str = option(
        "lstm", "Recurrent cell, conv: dilated convolutions, mean: a linear model, auto: mean or lstm, chosen for each "
        "fold inside its training rows.", choices=("auto", "mean", "conv", "elman", "gru", "lstm"),
    )  # fmt: skip
    differences: bool = option(True, "Add each feature's difference from the frame before.")
    shuffled: bool = option(False, "Shuffle the frames, as an ablation of their order.", read_by="network")
    hidden: int = option(64, "Hidden units, or channels.", least=1, read_by="network")
    layers: int = option(
        1, "Recurrent layers, one on the other; cell=conv has two more convolutions.", least=1, read_by="network"
    )
    bidirectional: bool = option(False, "Read the frames in both directions.", read_by="network")
    dropout: float = option(
        0.3, "Probability of dropout before, between and after the layers.", least=0, below=1, read_by="network"
    )
    reduce: int = option(64, "Principal components of the features; 0: all features.", least=0, read_by="network")
    pooling: str = option(
        "mean_max", "Pooling over frames; cell=mean needs mean.",
        choices=("mean", "max", "mean_max", "last"), read_by="network",
    )  # fmt: skip
    window: int = option(8, "Frames averaged around each one by cell=mean.", least=1, read_by="mean segments")
    bands: int = option(
        0, "Channels of convolutions over time and bands of a sound before the cell; 0: none.", least=0,
        read_by="audio network", added="0.4.0",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bands and self.cell != "mean" and (self.differences or self.reduce):
            raise UserError(
                "model.temporal.bands needs the bands of a sound as they are: type model.temporal.differences=false "
                "model.temporal.reduce=0"
            )
        if self.cell == "mean" and (self.pooling != "mean" or self.shuffled):
            raise UserError("model.temporal.cell=mean needs pooling=mean and shuffled=false: type model=mean_pool_diff")


OWN_KWARGS = {  # timm arguments that other settings determine
    "in_chans": "type model.in_chans, which images are read by as well",
    "num_classes": "the classes are the competition's",
    "pretrained": "model.weights says where the weights come from",
    "checkpoint_path": "model.weights=FILE.safetensors gives a file",
    "features_only": "the network ends in its pooled features",
    "global_pool": "the network ends in its pooled features",
}


@dataclass(frozen=True)
class ModelOptions(Options, group="model"):
    """The network."""

    name: str = option("tf_efficientnet_lite0", "Any timm model.", read_by="image | video")
    weights: str = option(
        "auto", "auto (bundled, else hub), bundled, hub, none, or a file: .safetensors, .pth or .pt.", path=True,
        read_by="image | video", stages="train | drill | doctor | bundle",
    )  # fmt: skip
    kwargs: dict[str, Any] = option(
        {}, "Arguments of timm.create_model, such as img_size.", read_by="image | video",
        stages="augment | train | drill | bundle",
    )  # fmt: skip
    image_size: int | None = option(
        None, "Input size in pixels; null: the model's own.", least=16, read_by="image | video",
        stages="augment | train | drill | bundle",
    )  # fmt: skip
    crop: str = option(
        "squash", "Squash to a square, center crop, or padded border.",
        choices=CROPS, read_by="image | video", stages="augment | train | drill | bundle",
    )  # fmt: skip
    in_chans: int = option(
        3, "Channels of the images: 1 grey, 3 RGB, 4 with a fourth one, or as many as the files have.", least=1,
        at_most=128, read_by="image", stages="augment | train | drill | bundle", added="0.4.0",
    )  # fmt: skip
    in_bits: int = option(
        8, "Bits of a channel: 8, or 16 to keep the values of 16-bit files.", least=8, at_most=16, read_by="image",
        stages="augment | train | drill | bundle", added="0.4.0",
    )  # fmt: skip
    temporal: TemporalOptions = option(
        TemporalOptions, "", read_by="video | series | audio", stages="train | drill | bundle"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name:
            raise UserError("model=timm needs a name, as model=timm model.name=resnet18")
        if self.in_bits not in (8, 16):
            raise UserError(f"model.in_bits={self.in_bits} must be 8 or 16")
        if ours := sorted(set(OWN_KWARGS) & set(self.kwargs)):
            raise UserError(f"model.kwargs.{ours[0]} is not read: {OWN_KWARGS[ours[0]]}; leave it out")
        if (made_for := self.kwargs.get("img_size")) is not None:
            if not isinstance(made_for, int):
                raise UserError(f"model.kwargs.img_size={made_for} must be one number: images are squares here")
            if self.image_size not in (None, made_for):
                raise UserError(
                    f"model.image_size={self.image_size} and model.kwargs.img_size={made_for} are two sizes: leave "
                    "one of them out"
                )

    @property
    def sees_rgb(self) -> bool:
        """Whether its images are RGB of 8 bits, as photos are."""
        return self.in_chans == 3 and self.in_bits == 8

    @property
    def side(self) -> int | None:
        """Input size of the network in pixels; None: the model's own."""
        return self.image_size or self.kwargs.get("img_size")


@dataclass(frozen=True)
class TrainingOptions(Options, group="training"):
    """Fitting a linear head on frozen features, and fine-tuning the whole network."""

    mode: str = option(
        "auto", "head: a linear head on frozen features; finetune: then all layers; auto: finetune on a GPU; best: "
        "these, larger networks and their blend, within training.budget.",
        choices=("auto", "head", "finetune", "best"), changes_results=False,
    )  # fmt: skip
    views: int = option(1, "Augmented views of each image for the head, plus the clean one.", least=0, read_by="image")
    regularisation: list[float] = option(
        [0.01, 0.1, 1.0, 10.0],
        "Values of C for the head, chosen by its loss inside the training rows; for numbers, where the penalty is "
        "features / C, half decades from a tenth of the least to 10,000 times the largest.", above=0,
        read_by="image | mean",
    )  # fmt: skip
    epochs: int = option(3, "Epochs of fine-tuning.", least=1, read_by="finetune")
    lr: float = option(1e-4, "Peak learning rate of the last layers.", above=0, read_by="finetune")
    batch_size: int = option(16, "Images per step.", least=1, read_by="finetune")
    from_scratch: bool = option(
        False, "Train all layers at one rate from random weights (model.weights=none), with statistics of batch norms "
        "that are learnt and no head fitted before.", read_by="image finetune", added="0.4.0",
    )  # fmt: skip
    layer_decay: float = option(0.8, "Factor on the learning rate, per layer.", least=0, at_most=1, read_by="finetune")
    frozen_below: float = option(
        0.1, "Layers with a smaller factor stay frozen.", least=0, at_most=1, read_by="finetune"
    )
    weight_decay: float = option(0.01, "Weight decay of AdamW.", least=0, read_by="finetune")
    warmup: float = option(0.1, "Share of the steps with a rising rate.", least=0, at_most=1, read_by="finetune")
    schedule: str = option("cosine", "Learning rate schedule.", choices=("cosine", "onecycle"), read_by="finetune")
    clip: float = option(1.0, "Maximum norm of the gradient.", above=0, read_by="finetune | network")
    label_smoothing: float = option(
        0.0, "Share of each target, spread evenly over all classes.", least=0, at_most=1, read_by="finetune classes"
    )
    class_weights: str = option(
        "none", "Weights of classes, or of each tag's presence and absence, in the loss; balanced: as if all were as "
        "frequent.", choices=("none", "balanced"), read_by="image finetune", added="0.4.0",
    )  # fmt: skip
    focal: float = option(
        0.0, "Exponent of the focal loss, which weighs down rows that are predicted well; 0: cross-entropy.", least=0,
        at_most=10, read_by="image finetune", added="0.4.0",
    )  # fmt: skip
    huber: float | None = option(
        None, "For numbers: error, in standard deviations, above which the loss is linear; null: squared everywhere.",
        above=0, read_by="image finetune", added="0.4.0",
    )  # fmt: skip
    mixup: float | None = option(
        None, "Mix the images of a batch, and their losses, in pairs, by shares drawn from Beta(alpha, alpha): alpha, "
        "as 0.2; null: no.", above=0, read_by="image finetune", added="0.4.0",
    )  # fmt: skip
    cutmix: float | None = option(
        None, "The same with a rectangle of the other image, as 1; with mixup each batch gets one of the two.", above=0,
        read_by="image finetune", added="0.4.0",
    )  # fmt: skip
    ema: float | None = option(
        None, "Decay of an exponential moving average of the weights, which is what is validated and saved, as 0.95; "
        "null: no.", above=0, below=1, read_by="finetune", added="0.4.0",
    )  # fmt: skip
    interpolation: list[float] | None = option(
        None, "Weights to save, in parts of the way from the network with its head alone (0) to the fine-tuned one "
        "(1): of several those of least loss on the fold's own rows. training=finetune: [0.5,1]; null: the same where "
        "training=auto fine-tunes, else [1].", above=0, at_most=1, read_by="image finetune", added="0.4.0",
    )  # fmt: skip
    sampling: str = option(
        "uniform", "Rows of an epoch; balanced: as many, as often from each class, or tag.",
        choices=("uniform", "balanced"), read_by="image finetune classes", added="0.4.0",
    )  # fmt: skip
    patience: int = option(3, "Epochs without improvement before a fold stops.", least=1, read_by="image finetune")
    budget: str | None = option(
        None, "Time limit of stage=train, as 20m, 2h or 90s.", changes_results=False, read_by="finetune | best"
    )
    micro_batch: int | None = option(
        None, "Images per forward pass; null: as many as fit.", least=1, changes_results=False, read_by="finetune"
    )
    deterministic: bool = option(False, "Bit-for-bit reproducible on a GPU too, slower.", changes_results=False)
    compile: bool = option(False, "torch.compile the network.", changes_results=False, read_by="finetune")
    trackers: list[str] = option(
        [], "Experiment trackers, as [wandb,mlflow].", choices=("tensorboard", "wandb", "mlflow", "trackio"),
        changes_results=False,
    )  # fmt: skip
    prune_against: str | None = option(
        None, "JSON with the fold scores of a run to beat, written by sweeps; training stops once it cannot.",
        path=True, changes_results=False,
    )  # fmt: skip
    rival: str | None = option(None, "Old name of training.prune_against.", path=True, changes_results=False)
    teacher: str | None = option(
        None, "Finished run whose out-of-fold test predictions become pseudo-labels.", path=True
    )
    confidence: float = option(0.9, "Least probability of a pseudo-label.", above=0, at_most=1, read_by="teacher")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rival is not None:  # typed, or from a config.yaml of an older version
            object.__setattr__(self, "prune_against", self.prune_against or self.rival)
            object.__setattr__(self, "rival", None)
        if self.budget is not None and seconds_of("training.budget", self.budget) <= 0:
            raise UserError(f"training.budget={self.budget} must be more than 0")
        if self.class_weights == self.sampling == "balanced":
            raise UserError(
                "training.class_weights and training.sampling both balance the classes: leave one of them out"
            )
        if not self.regularisation:
            raise UserError("training.regularisation needs one or more values above 0, as [0.01,0.1,1]")
        if self.interpolation == []:
            raise UserError("training.interpolation needs one or more values above 0, as [0.5,1]")


@dataclass(frozen=True)
class SequenceOptions(Options, group="sequences"):
    """Sampling of video and series, and the fit of the temporal model on the features of their frames."""

    rate: float | None = option(
        None, "Frames per second; for series, samples per unit of time. null: 8, of sounds 100.", above=0,
        at_most=10_000,
    )  # fmt: skip
    centred: bool = option(
        False, "Subtract the mean over time of each band of a sound: a voice's or a microphone's colour.",
        read_by="audio",
    )  # fmt: skip
    group_mean: bool = option(
        False, "With centred=true: learn from sounds less the mean of their group (a speaker), and less a share of "
        "each mean, too; predict by the mean of both. The test is one group.", read_by="audio", added="0.4.0",
    )  # fmt: skip
    silence: float | None = option(
        None, "Powers of ten below its loudest band where a sound is silent, and is cut off at both ends; null: it is "
        "not.", above=0, at_most=4.5, read_by="audio", added="0.4.0",
    )  # fmt: skip
    motion: bool = option(False, "Encode frame differences too, at twice the cost.", read_by="video")
    views: int = option(
        0, "Augmented views of each video, one draw for all frames; of each sound, at other pitches.", least=0,
        read_by="video | audio",
    )  # fmt: skip
    steps: int = option(300, "Steps of the fit.", least=1, read_by="network")
    lr: float = option(2e-3, "Peak learning rate.", above=0, read_by="network")
    batch_size: int = option(16, "Clips or windows per step.", least=1, read_by="network")
    weight_decay: float = option(0.01, "Weight decay of AdamW.", least=0, read_by="network")
    label_smoothing: float = option(
        0.1, "Share of each target, spread evenly over all classes.", least=0, below=1, read_by="network classes"
    )
    members: int = option(3, "Networks per fold, with different seeds, averaged.", least=1, read_by="network head")
    window: int = option(64, "Frames of a long item in a training window.", least=2, read_by="network segments")
    crop: float = option(
        0.8, "Smallest random crop, as a share of the clip.", above=0, at_most=1, read_by="network | finetune"
    )
    speed: float = option(1.25, "Largest factor of random speed.", least=1, read_by="network | finetune")
    drop: float = option(
        0.1, "Share of frames replaced by the one before.", least=0, below=1, read_by="network | finetune"
    )
    noise: float = option(0.1, "Standard deviation of feature noise.", least=0, read_by="network | finetune")
    vtlp: float = option(
        1.0, "Largest factor of a sound's frequencies, drawn anew each time, as of another speaker; 1: none.", least=1,
        at_most=2, read_by="audio network", added="0.4.0",
    )  # fmt: skip
    freq_mask: int = option(
        0, "Most bands of each of two masks of a sound; 0: none.", least=0, at_most=64, read_by="audio network",
        added="0.4.0",
    )  # fmt: skip
    time_mask: float = option(
        0.0, "Most seconds of each of two masks of a sound, a third of it at most; 0: none.", least=0,
        read_by="audio network", added="0.4.0",
    )  # fmt: skip
    clip_frames: int = option(8, "Frames of a clip in fine-tuning.", least=1, read_by="video finetune")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.group_mean and not self.centred:
            raise UserError("sequences.group_mean needs centred sounds: type sequences.centred=true")

    @property
    def samples_per_unit(self) -> float:
        """`rate`, or its default for video and series; `Config` knows that of the kind, and sets it."""
        return DEFAULT_RATE if self.rate is None else self.rate


@dataclass(frozen=True)
class DescribeOptions(Options, group="describe"):
    """Output of stage=describe."""

    file: str | None = option(None, "YAML to write, for competition=FILE.yaml; null: it is only printed.", path=True)
    sheet: str | None = option(
        None, "Picture to write, .png or .jpg, of a few items a class; null: beside describe.file, if that is given.",
        path=True,
    )  # fmt: skip


@dataclass(frozen=True)
class DetectOptions(Options, group="detect"):
    """Output of stage=detect."""

    file: str | None = option(None, "CSV to write; null: outputs/<slug>/detect/<input>/segments.csv.", path=True)
    video: bool = option(True, "Write the input with the segments drawn into it.")
    seconds: float | None = option(None, "Length of a live stream; null: to its end or Ctrl-C.", above=0)


@dataclass(frozen=True)
class EnsembleOptions(Options, group="ensemble"):
    """Blending runs into one."""

    runs: list[str] = option([], "Run names, patterns, folders, best:8, or oof.csv+test.csv; empty: the configured.")
    method: str = option(
        "auto",
        "Equal (means) or fitted weights. auto: mean, unless another is significantly better on held-out folds.",
        choices=("auto", "mean", "median", "rank_mean", "geometric_mean", "hill_climb", "nnls", "logistic"),
    )  # fmt: skip
    power: float = option(
        2.0, "Only in the config.yaml of ensembles by power_mean, of older versions; to type it is an error.", above=0
    )
    calibrate: str = option(
        "none", "Calibration, kept if cross-fitted log loss improves; auto tries each.",
        choices=("none", "auto", "temperature", "platt", "isotonic"),
    )  # fmt: skip
    threshold: str = option("none", "auto: fit thresholds, keep them if they improve.", choices=("none", "auto"))

    def __post_init__(self) -> None:
        if self.method == "power_mean":
            raise UserError("ensemble.method=power_mean was removed: type ensemble.method=geometric_mean, or mean")
        super().__post_init__()


@dataclass(frozen=True)
class ColumnsOptions(Options, group="columns"):
    """A model of the tables' columns beside the predictions of a run."""

    names: list[str] = option([], "Columns of training and test items, as [age,sex]; empty: all that both have.")
    model: str = option(
        "auto", "boosting: gradient-boosted trees; auto: the one of least cross-validated loss.",
        choices=("auto", "boosting", "linear"),
    )  # fmt: skip


@dataclass(frozen=True)
class SubmitOptions(Options, group="submit"):
    """The submission, and its upload."""

    file: str | None = option(None, "CSV to write; null: submissions/<run>.csv.", path=True)
    upload: bool = option(False, "Send it to Kaggle.")
    wait: float = option(600.0, "Seconds to wait for the score; 0: do not wait.", least=0)
    message: str | None = option(None, "Description for Kaggle; null: the run and its score.", text=True)
    again: bool = option(False, "Send the same bytes again.")
    constant: bool = option(False, "Submit one answer for all rows, although the run's predictions differ.")


@dataclass(frozen=True)
class PredictOptions(Options, group="predict"):
    """Output of stage=predict."""

    file: str | None = option(
        None, "CSV to write; null: outputs/<slug>/predict/<input>.csv.", path=True, changes_results=False,
        stages="predict",
    )  # fmt: skip
    picture: int = option(
        24, "Images in the picture grid.", least=0, changes_results=False, read_by="image", stages="predict"
    )
    tta: list[str] = option(
        [], "Turned views whose predictions are averaged with those of the clean one, as [flip], by training, too; "
        "[auto]: a flip, or all turns with augmentation=dihedral, kept if the out-of-fold predictions gain.",
        choices=("auto", *TTA_VIEWS), read_by="image", stages="train | bundle", added="0.4.0",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if "auto" in self.tta and len(self.tta) > 1:
            raise UserError(f"predict.tta={self.tta}: auto chooses the views, so type [auto] alone, or name views")


@dataclass(frozen=True)
class KaggleOptions(Options, group="kaggle"):
    """Kaggle's API."""

    endpoint: str = option("https://api.kaggle.com", "Address of the API; http:// on this machine only.")
    timeout: float = option(30.0, "Seconds without a byte until a request fails.", above=0)
    patience: float = option(60.0, "Seconds of retries before an error is shown.", least=0)
    input: str = option("/kaggle/input", "Folder of a Kaggle notebook's data.", path=True)


@dataclass(frozen=True)
class RunsOptions(Options, group="runs"):
    """The table of runs."""

    leaderboard: bool = option(False, "Show the public leaderboard and this team's place instead.")
    file: str | None = option(None, "CSV to write, with all details of every run.", path=True)
    report: bool = option(False, "Also write outputs/<slug>/runs.html, a page that compares the runs.")
    compare: list[str] = option([], "Two runs, or pairs oof.csv+test.csv, to compare row by row, as [RUN,RUN].")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compare and len(self.compare) != 2:
            raise UserError(
                f"runs.compare=[{','.join(self.compare)}] names {len(self.compare)}: type two, as [RUN,RUN]"
            )
        if self.file is not None and not self.file.lower().endswith(".csv"):
            raise UserError(f"runs.file={self.file} is to be a CSV: give a name that ends in .csv")


@dataclass(frozen=True)
class ReportOptions(Options, group="report"):
    """The page about a run, report.html."""

    write: bool = option(True, "Write the page at the end of stage=all.")
    file: str | None = option(None, "Page to write, .html; null: report.html in the run's folder.", path=True)
    images: int = option(300, "Most pictures in the page.", least=0, at_most=1000)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.file is not None and not self.file.lower().endswith((".html", ".htm")):
            raise UserError(f"report.file={self.file} is to be a page: give a name that ends in .html")


@dataclass(frozen=True)
class DrillOptions(Options, group="drill"):
    """A leaderboard simulated on hidden labels."""

    share: float = option(0.2, "Share of the labelled items to hide.", least=0.05, at_most=0.9)
    seed: int = option(0, "Seed of the hidden items.", least=0)
    runs: list[str] = option([], 'Runs to train again, by name or pattern, as ["*"]; empty: the configured.')
    public: float = option(0.5, "Share of the hidden items on the public leaderboard.", least=0.05, at_most=0.9)
    teams: int | None = option(None, "Teams on the leaderboard, for medals; null: as many as runs.", least=1)
    draws: int = option(2000, "Random splits into public and private.", least=1)


@dataclass(frozen=True)
class BundleOptions(Options, group="bundle"):
    """A folder for a Kaggle notebook without internet."""

    folder: str | None = option(None, "Folder to write; null: outputs/<slug>/bundle.", path=True)
    python: str = option("3.12", "Python version of Kaggle's image.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"3\.(1[1-9]|[2-9]\d)", self.python):
            raise UserError(f"bundle.python={self.python} must be 3.11 or later, such as 3.12")


@dataclass(frozen=True)
class CourseOptions(Options, group="course"):
    """The lessons of `course lesson=NAME`."""

    quick: bool = option(False, "A smaller run of the lesson, in seconds.")
    source: str | None = option(
        None, "Data of the lesson, a file or folder; null: what is drawn or written for it.", path=True
    )
    minutes: float | None = option(None, "Minutes of training of a text lesson; null: the lesson's own.", above=0)
    model: str | None = option(None, "Folder of a finished lesson, whose model is loaded, not trained.", path=True)
    heldout: str | None = option(None, "Text, digits or sounds that the lesson is tested on.", path=True)
    text: str | None = option(None, "Beginning to continue, or sentence to look at.", text=True)
    translate: str | None = option(None, "Text to translate, a sentence a line.", path=True)
    file: str | None = option(None, "Text to write the translations to; null: print them.", path=True)


@dataclass(frozen=True)
class SweepOptions(Options, group="sweep"):
    """Search of `-m sweep=…`; without `sweep=` Hydra's own sweeper runs every combination once."""

    space: dict[str, str] = option({}, "Option: values, as a,b, choice(), range(), interval(), tag(log,interval()).")
    trials: int | None = option(None, "Trials of all commands together; null: 20, or the whole grid.", least=1)
    sampler: str = option(
        "tpe", "Optuna's sampler; nsga2 for several objectives.", choices=("tpe", "cmaes", "grid", "random", "nsga2")
    )
    objectives: list[str] = option(
        ["score"],
        "One or more; seconds: of training; latency: ms per image.",
        choices=("score", "log_loss", "seconds", "latency"),
    )
    jobs: int | None = option(None, "Trials at a time; null: the launcher's workers.", least=1)
    race: bool = option(True, "Stop a trial as soon as it cannot beat the best.")
    fail_fast: bool = option(False, "End the sweep at the first failure.")
    finalists: int = option(3, "Best trials to repeat with other seeds.", least=1)
    seeds: int = option(1, "Seeds of each finalist; 1: no repeats.", least=1)
    folds_apart: bool = option(False, "Run each fold of a trial as a job, without racing.")
    trial: int | None = option(None, "Number of the trial of this job; the sweeper sets it.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise UserError("sweep.objectives needs one or more different ones, as [score] or [score,seconds]")
        if self.sampler == "nsga2" and len(self.objectives) == 1:
            raise UserError("sweep.sampler=nsga2 weighs objectives: type 'sweep.objectives=[score,latency]' as well")
        if self.sampler == "cmaes" and len(self.objectives) > 1:
            raise UserError("sweep.sampler=cmaes has one objective: type sweep.sampler=nsga2 for several")


BOUNDS = {"least": (operator.ge, "at least"), "above": (operator.gt, "more than"),
          "at_most": (operator.le, "at most"), "below": (operator.lt, "less than")}  # fmt: skip

# --- checks ------------------------------------------------------------------------------------------------------


def check_number(name: str, value: Any, asked: Any) -> None:
    """Raise UserError for no number where an option's annotation `asked` is of numbers, as Python might give."""
    if asked in NUMBERS and not isinstance(value, Real) and not (value is None and isinstance(None, asked)):
        what = "a whole number" if asked in NUMBERS[:2] else "a number"
        raise UserError(f"{name}={value!r} must be {what}")


def usual_model(kind: str | None, form: str | None) -> str | None:
    """Choose `model=` for inferred fields; None: the default. Frames and sounds keep a recurrent model.

    >>> usual_model("video", "name"), usual_model("video", "segments"), usual_model("audio", None)
    ('auto', 'cnn_lstm', 'lstm')
    """
    if kind in ("video", "series") and form not in ("segments", "events"):
        return "auto"
    return {"video": "cnn_lstm", "series": "lstm", "audio": "lstm"}.get(kind or "image")


def check_option(name: str, value: Any, facts: Any) -> None:
    """Raise UserError unless each value of an option is among its choices and within its bounds."""
    for one in value if isinstance(value, list) else [value]:
        if facts["choices"] and one is not None and not str(one).endswith(facts["files"] or "\0"):
            check_choice(name, one, facts["choices"])
        if isinstance(one, int | float) and not is_within(one, facts):
            raise UserError(f"{name}={value} must be {limits_text(facts)}")


def is_within(value: float, facts: Any) -> bool:
    """Whether a number is finite and within an option's bounds; any number is, if there are none."""
    bounds = [(holds, facts[name]) for name, (holds, _) in BOUNDS.items() if facts[name] is not None]
    return not bounds or (math.isfinite(value) and all(holds(value, bound) for holds, bound in bounds))


def limits_text(facts: Any) -> str:
    """Format the bounds of an option, such as `at least 0 and less than 1`."""
    return " and ".join(f"{words} {facts[name]:g}" for name, (_, words) in BOUNDS.items() if facts[name] is not None)


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise UserError unless `value` is one of `choices`."""
    if value not in choices:
        raise UserError(f"{name}={value} is unknown; choose one of: {', '.join(choices)}")


def is_own_metric(metric: str) -> bool:
    """Whether a metric is a function in a file of the user's own.

    >>> is_own_metric("metrics/pairs.py:score"), is_own_metric("log_loss")
    (True, False)
    """
    return ".py:" in metric or metric.endswith(".py")


def is_recorded_metric(metric: str) -> bool:
    """Whether a metric is named as runs record one of the user's own: by its file's name and hash, without the folder.

    >>> is_recorded_metric("pairs.py:score#1f2e3d4c"), is_recorded_metric("metrics/pairs.py:score")
    (True, False)
    """
    return re.fullmatch(r"[^/\\]+\.py:\w+#[0-9a-f]{8}", metric) is not None


def is_read(read_by: Sequence[str], words: AbstractSet[str]) -> bool:
    """Whether all words of one of the alternatives are true; without alternatives, always.

    >>> is_read(("image", "video finetune"), {"video", "finetune"}), is_read(("image",), {"video"})
    (True, False)
    """
    return not read_by or any(words >= set(one.split()) for one in read_by)


def seconds_of(name: str, text: str) -> float:
    """Parse `90s`, `20m`, `1.5h` or `1h30m` to seconds. Raises UserError for anything else.

    >>> seconds_of("training.budget", "1h30m")
    5400.0
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UserError(f"{name}={text} is not a time: type it as 90s, 20m, 2h or 1h30m")
    return sum(float(number) * {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[unit] for number, unit in parts)


def folder_path(path: str) -> str:
    r"""Normalise a relative folder path to parts with `/` between them.

    >>> [folder_path(path) for path in ("test/", "./Test", "imgs\\test", "a//b", ".")]
    ['test', 'Test', 'imgs/test', 'a/b', '']
    """
    return "/".join(part for part in path.strip().replace("\\", "/").split("/") if part not in ("", "."))


def relative_folder(name: str, path: str) -> str:
    """Normalise as `folder_path`. Raises UserError for a path that leads out of the source."""
    folder = folder_path(path)
    is_absolute = path.startswith(("/", "\\", "~")) or path[1:2] == ":"
    if is_absolute or not folder or ".." in folder.split("/"):
        raise UserError(f"{name}={path} must be a folder inside the source: give its path from there, as train/cat")
    return folder
