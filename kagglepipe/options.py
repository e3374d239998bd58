"""Every option: a dataclass for each group, with the meaning, the default, the limits and the readers of each field.

What else is known of options is derived from these: checks, paths, what names a run, `--help`, `docs/options.md`.
The library takes the groups as they are. Imports neither torch nor pandas, since every command passes through.
"""

import codecs
import math
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar

from kagglepipe.errors import UserError

POLICIES = ("none", "light", "strong", "resolution", "paste")
SEGMENT_SCORES = ("f1_10", "f1_25", "f1_50", "edit", *(f"map_{tiou}" for tiou in range(10, 80, 10)), "map_activitynet")
FORMS = ("index", "name", "probability", "probabilities", "segments")
ID_FORMS = ("name", "stem", "path")
JOINTS = ("hip", "neck", "left_hip", "right_hip")
COLUMNS = ("video", "start", "end", "label", "group", "split", "values", "time", "file")


def option(
    default: Any,
    doc: str,
    *,
    least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: Sequence[str] = (),
    path: bool = False,
    changes_results: bool = True,
    read_by: Sequence[str] = (),
    stages: Sequence[str] = (),
) -> Any:
    """A field with its facts in the metadata.

    Bounds and choices hold for each item of a list; None passes. path: `~` is expanded, and Hydra's grammar leaves the
    text alone. changes_results: whether another value gives another run. read_by: alternatives, each of words that
    must all be true of a run (`runs.identity.run_words`), as ("image", "video finetune"); empty: always read.
    stages: the stages and tools that read an option, or a group, which stands at the top.
    """
    facts = {
        "doc": doc, "least": least, "above": above, "at_most": at_most, "below": below, "choices": tuple(choices),
        "path": path, "changes_results": changes_results, "read_by": tuple(read_by), "stages": tuple(stages),
    }  # fmt: skip
    if is_dataclass(default):
        return field(default_factory=default, metadata=facts)  # type: ignore[arg-type]
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=facts)
    return field(default=default, metadata=facts)


class Options:
    """A group of options; `prefix` is what they are typed behind, as `training.` in `training.lr`."""

    prefix: ClassVar[str] = ""

    def __init_subclass__(cls, *, group: str = "") -> None:
        cls.prefix = group and f"{group}."

    def __post_init__(self) -> None:
        """Raises UserError for a value out of its bounds or choices."""
        for one in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            check_option(self.prefix + one.name, getattr(self, one.name), one.metadata)


@dataclass(frozen=True)
class PathsOptions(Options, group="paths"):
    """Where everything lies."""

    root: str = option(".", "Folder of data/, outputs/ and submissions/.", path=True)
    outputs: str | None = option(
        None, "Folder of runs and of cached features; null: outputs/ in the root, features beside the data.", path=True
    )


@dataclass(frozen=True)
class CompetitionOptions(Options, group="competition"):
    """Files, labels, metric and submission of a competition: a YAML file in conf/competition, no code."""

    slug: str | None = option(
        None, "Kaggle's name of the competition, and of its folders in data/ and outputs/; null: the source's name."
    )
    title: str = option("", "Name for people.")
    kind: str = option("image", "What an item is.", choices=("image", "video", "series"))
    classes: list[str] = option([], "Class names in the order of their index; empty: the class folders, sorted.")
    layout: dict[str, str] = option(
        {}, "Class name: folder of its training images in the archive; empty: every folder of `train`, or of the root."
    )
    test: str | None = option(None, "Folder of the test images; null: there is no test set.")
    labels: str | None = option(
        None,
        "CSV in the source instead of class folders: `file,label[,group][,split]` for images, "
        "`video[,start,end],label[,group][,split]` for video and series.",
        path=True,
    )
    files: str | None = option(
        None, "CSV `video[,group][,split]` with every video or series.", path=True, read_by=("video", "series")
    )
    columns: dict[str, str] = option(
        {}, f"Names of the columns in these CSVs, or of the arrays in npz files: {', '.join(COLUMNS)}."
    )
    background: str | None = option(
        None, "Class of unlabelled time, or of clips without an action.", read_by=("video", "series")
    )
    skeleton: dict[str, int] = option({}, f"Index of the joints {', '.join(JOINTS)}, or empty.", read_by=("series",))
    unit: str = option("s", "Unit of a series' times, such as s or frames.", read_by=("video", "series"))
    time_axis: int | None = option(
        None,
        "Time axis of the arrays, 0 to 2; null: the first, unless another is 8 times as long.",
        read_by=("series",),
    )
    segment_metric: str = option(
        "f1_50",
        "Score of segments by which smoothing and thresholds are chosen.",
        choices=SEGMENT_SCORES,
        read_by=("video", "series"),
    )
    id: str = option("name", "What identifies an image: file name, stem, or relative path.", choices=ID_FORMS)
    id_column: str = option("id", "Column of the ids in the submission.")
    target_column: str = option("label", "Column of the answers in the submission.")
    metric: str = option(
        "accuracy", "The competition's score.",
        choices=("accuracy", "balanced_accuracy", "f1_macro", "log_loss", "roc_auc"),
    )  # fmt: skip
    form: str = option(
        "index",
        "Answers of the submission: class index, class name, probability of the second class of two (without classes: "
        "of the class after which the column is named), probabilities (a column a class), or segments "
        "`video,start,end,label,score`, for which every frame is classified.",
        choices=FORMS,
    )
    sample_submission: str | None = option(
        None, "File in the source with the rows, their order and the names of the columns.", path=True
    )
    answers: str | None = option(
        None, "CSV with the true classes of the test, in the submission's form; for scores only.", path=True
    )
    sample_slug: str | None = option(None, "Slug of the built-in sample that stands in for missing data.")
    augmentation: str | None = option(
        None, "Policy of augmentation=auto while only a head is fitted.", choices=POLICIES, read_by=("image", "video")
    )
    origin: str | None = option(None, "Where the files can be had, if not at Kaggle.")
    source: str | None = option(
        None, "Zip or folder to read instead of downloading; null: data/<slug>/ first.", path=True
    )
    refresh: bool = option(False, "Accept a source whose bytes differ from those that were prepared.")
    per_class: int | None = option(
        None, "Labelled images a class to train on, drawn by seed; the other ones become the test.", least=1
    )
    hidden: float | None = option(
        None, "Share of labelled items (whole groups, every class) to hide as a test set.", least=0.05, at_most=0.9
    )
    hidden_seed: int = option(0, "Seed of the hidden items.", least=0)
    on_bad_image: str = option(
        "error",
        "Stop at an undecodable file, or skip and list it; a skipped test image is answered by the class shares.",
        choices=("error", "skip"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "test", relative_folder("competition.test", self.test) if self.test else None)
        layout = {name: relative_folder(f"competition.layout.{name}", at) for name, at in self.layout.items()}
        object.__setattr__(self, "layout", layout)
        if self.form == "segments" and (self.kind == "image" or self.background is None):
            raise UserError(
                "competition.form=segments needs kind=video or series, and a name for competition.background"
            )
        if self.form == "segments" and self.classes and self.background not in self.classes:
            raise UserError(
                f"competition.background={self.background} is missing from competition.classes={self.classes[:8]}"
            )
        if self.kind == "video" and self.unit != "s":
            raise UserError(
                f"competition.unit={self.unit} is for series, times of videos are in seconds: divide frame numbers by "
                "the frame rate, start and end alike, and leave competition.unit out"
            )
        if self.time_axis not in (None, 0, 1, 2):
            raise UserError(f"competition.time_axis={self.time_axis} must be 0, the first axis, 1 or 2")
        for column in self.columns:
            check_choice("competition.columns", column, COLUMNS)
        if self.skeleton and set(self.skeleton) != set(JOINTS):
            raise UserError(f"competition.skeleton names {sorted(self.skeleton)}; it needs {', '.join(JOINTS)}")
        if self.hidden is not None and self.per_class is not None:
            raise UserError("competition.hidden and competition.per_class cannot be combined: leave one of them away")
        if self.per_class is not None and self.finds_segments:
            raise UserError("competition.per_class counts items with one label, which frames of a video are not")

    @property
    def finds_segments(self) -> bool:
        """Whether every frame is classified and segments are predicted, instead of a class for each item."""
        return self.form == "segments"

    @property
    def noun(self) -> str:
        """The plural of its items."""
        return {"image": "images", "video": "videos", "series": "series"}[self.kind]

    @property
    def is_part(self) -> bool:
        """Whether some labelled items are made the test set, in place of the competition's own."""
        return self.per_class is not None or self.hidden is not None

    @property
    def is_sample(self) -> bool:
        """Whether the images are the built-in sample's, drawn by code."""
        return self.slug is not None and self.slug == self.sample_slug


@dataclass(frozen=True)
class DownloadOptions(Options, group="download"):
    """Limits of what is unpacked."""

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

    max_side: int = option(
        20_000, "Pixels a side above which an image is refused.", above=0, read_by=("image", "video")
    )
    near_bits: int = option(
        16, "Differing bits, of 128, up to which perceptual hashes are near-duplicates.", least=0, read_by=("image",)
    )


@dataclass(frozen=True)
class CacheOptions(Options, group="cache"):
    """Decoded pixels on disk."""

    max_gb: float = option(
        8.0, "Size of the cache for each short side; images beyond it are decoded each time.", least=0,
        changes_results=False, read_by=("image",),
    )  # fmt: skip
    short_side: int | None = option(
        None,
        "Pixels to which the short side of an image, or of a frame to augment or crop, is reduced; null: 256, or what "
        "the network needs if more.",
        least=8,
        read_by=("image", "augmented", "cropped"),
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
        if isinstance(self.count, str):
            check_choice("folds.count", self.count, ("groups", "2", "3", "5 or any number"))


@dataclass(frozen=True)
class AugmentationOptions(Options, group="augmentation"):
    """Random changes of training images."""

    policy: str = option(
        "auto",
        "Policy; stage=augment draws it. auto: strong for a head on frozen features, light for fine-tuning.",
        choices=("auto", *POLICIES),
    )
    mirror: bool = option(True, "Horizontal flips; false where left and right tell classes apart.")


@dataclass(frozen=True)
class AugmentOptions(Options, group="augment"):
    """The contact sheet of stage=augment."""

    images: int = option(8, "Rows: images.", least=1)
    views: int = option(6, "Augmented views in each row.", least=1)


@dataclass(frozen=True)
class TemporalOptions(Options, group="model.temporal"):
    """The temporal model between the features of frames and the labels of a video or series."""

    cell: str = option(
        "lstm", "Recurrent cell, dilated convolutions (conv), or the mean of all frames (a linear model).",
        choices=("mean", "conv", "elman", "gru", "lstm"),
    )  # fmt: skip
    differences: bool = option(True, "Add each feature's difference from the frame before.")
    shuffled: bool = option(
        False, "Shuffle the frames: the score of the same model without time.", read_by=("network",)
    )
    hidden: int = option(64, "Hidden units, or channels.", least=1, read_by=("network",))
    layers: int = option(1, "Layers.", least=1, read_by=("network",))
    bidirectional: bool = option(False, "Read the frames in both directions.", read_by=("network",))
    dropout: float = option(0.3, "Dropout.", least=0, below=1, read_by=("network",))
    reduce: int = option(
        64, "Principal components kept of the features; 0: all features.", least=0, read_by=("network",)
    )
    pooling: str = option(
        "mean_max", "How the frames of a clip become one vector; cell=mean takes mean.",
        choices=("mean", "max", "mean_max", "last"), read_by=("network",),
    )  # fmt: skip
    window: int = option(8, "Frames averaged around each one by cell=mean.", least=1, read_by=("mean segments",))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cell == "mean" and (self.pooling != "mean" or self.shuffled):
            raise UserError("model.temporal.cell=mean needs pooling=mean and shuffled=false: type model=mean_pool_diff")


OWN_KWARGS = {  # arguments of timm's models that are set here, and what sets them
    "in_chans": "images are read with three channels",
    "num_classes": "the classes are the competition's",
    "pretrained": "model.weights says where the weights come from",
    "checkpoint_path": "model.weights=FILE.safetensors gives a file",
    "features_only": "the network ends in its pooled features",
    "global_pool": "the network ends in its pooled features",
}


@dataclass(frozen=True)
class ModelOptions(Options, group="model"):
    """The network."""

    name: str = option("tf_efficientnet_lite0", "Any timm model.", read_by=("image", "video"))
    weights: str = option(
        "auto", "auto (bundled, else the hub), bundled, hub, none, or a .safetensors file.", path=True,
        read_by=("image", "video"),
    )  # fmt: skip
    kwargs: dict[str, Any] = option(
        {}, "Arguments for timm's model; img_size builds it for another image size.", read_by=("image", "video")
    )
    image_size: int | None = option(
        None, "Pixels a side of the input; null: the model's own.", least=16, read_by=("image", "video")
    )
    crop: str = option(
        "squash", "How an image becomes a square: squash, center crop, or border of padding.",
        choices=("squash", "center", "border"), read_by=("image", "video"),
    )  # fmt: skip
    temporal: TemporalOptions = option(TemporalOptions, "", read_by=("video", "series"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name:
            raise UserError("model=timm needs a name, as model=timm model.name=resnet18")
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
    def side(self) -> int | None:
        """Pixels a side of the network's input; None: the model's own."""
        return self.image_size or self.kwargs.get("img_size")


@dataclass(frozen=True)
class TrainingOptions(Options, group="training"):
    """Fitting a linear head on frozen features, and fine-tuning the whole network."""

    mode: str = option(
        "auto", "head: a linear head on frozen features; finetune: then the network too; auto: finetune on a GPU.",
        choices=("auto", "head", "finetune"), changes_results=False,
    )  # fmt: skip
    views: int = option(
        1, "Augmented views of each image for the head, beside the clean one.", least=0, read_by=("image",)
    )
    regularisation: list[float] = option(
        [0.01, 0.1, 1.0, 10.0], "Values of C for the head; log loss inside the training rows chooses.", above=0,
        read_by=("image", "mean"),
    )  # fmt: skip
    epochs: int = option(3, "Epochs of fine-tuning.", least=1, read_by=("finetune",))
    lr: float = option(1e-4, "Peak learning rate of the last layers.", above=0, read_by=("finetune",))
    batch_size: int = option(16, "Images a step.", least=1, read_by=("finetune",))
    layer_decay: float = option(
        0.8, "Factor on the learning rate for each layer further down.", least=0, at_most=1, read_by=("finetune",)
    )
    frozen_below: float = option(
        0.1, "Layers whose factor is less stay frozen; 0 trains all.", least=0, at_most=1, read_by=("finetune",)
    )
    weight_decay: float = option(0.01, "Weight decay of AdamW.", least=0, read_by=("finetune",))
    warmup: float = option(0.1, "Share of the steps with a rising rate.", least=0, at_most=1, read_by=("finetune",))
    schedule: str = option(
        "cosine", "Schedule of the learning rate.", choices=("cosine", "onecycle"), read_by=("finetune",)
    )
    clip: float = option(1.0, "Maximum norm of the gradient.", above=0, read_by=("finetune", "network"))
    label_smoothing: float = option(0.0, "Label smoothing.", least=0, at_most=1, read_by=("finetune",))
    patience: int = option(
        3, "Epochs without a better score of the fold before it stops.", least=1, read_by=("image finetune",)
    )
    budget: str | None = option(
        None, "Time for stage=train, as 20m, 2h or 90s; it ends with the best so far.", changes_results=False,
        read_by=("finetune",),
    )  # fmt: skip
    micro_batch: int | None = option(
        None, "Images of a batch in one forward pass; null: what fits the memory.", least=1, changes_results=False,
        read_by=("finetune",),
    )  # fmt: skip
    deterministic: bool = option(False, "Same bits twice on a GPU too, slower.", changes_results=False)
    compile: bool = option(False, "torch.compile the network.", changes_results=False, read_by=("finetune",))
    trackers: list[str] = option(
        [], "Experiment trackers, as [wandb,mlflow].", choices=("tensorboard", "wandb", "mlflow", "trackio"),
        changes_results=False,
    )  # fmt: skip
    rival: str | None = option(
        None, "JSON with another run's score a fold (a sweep writes it); stop after a fold that cannot beat it.",
        path=True, changes_results=False,
    )  # fmt: skip
    teacher: str | None = option(
        None,
        "Finished run whose predictions become pseudo-labels of the test rows; each fold takes those of the networks "
        "that have not seen it.",
        path=True,
    )
    confidence: float = option(0.9, "Least probability of a pseudo-label.", above=0, at_most=1, read_by=("teacher",))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget is not None and seconds_of("training.budget", self.budget) <= 0:
            raise UserError(f"training.budget={self.budget} must be more than 0")
        if not self.regularisation:
            raise UserError("training.regularisation needs one or more values above 0, as [0.01,0.1,1]")


@dataclass(frozen=True)
class SequenceOptions(Options, group="sequences"):
    """Sampling of video and series, and the fit of the temporal model on the features of their frames."""

    rate: float = option(8.0, "Frames (of a series: samples) a second, or a competition.unit.", above=0, at_most=10_000)
    motion: bool = option(
        False, "Encode pictures of the change since the frame before too, at twice the cost.", read_by=("video",)
    )
    views: int = option(
        0, "Augmented views of each training video, one draw for all its frames.", least=0, read_by=("video",)
    )
    steps: int = option(300, "Steps of the fit.", least=1, read_by=("network",))
    lr: float = option(2e-3, "Peak learning rate.", above=0, read_by=("network",))
    batch_size: int = option(16, "Clips or windows a step.", least=1, read_by=("network",))
    weight_decay: float = option(0.01, "Weight decay of AdamW.", least=0, read_by=("network",))
    label_smoothing: float = option(0.1, "Label smoothing.", least=0, below=1, read_by=("network",))
    members: int = option(
        3, "Networks of a fold, from different seeds, whose probabilities are averaged.", least=1,
        read_by=("network head",),
    )  # fmt: skip
    window: int = option(64, "Frames of a long item in a training window.", least=2, read_by=("network segments",))
    crop: float = option(
        0.8, "Shortest share of a clip in a random crop.", above=0, at_most=1, read_by=("network", "finetune")
    )
    speed: float = option(1.25, "Largest factor of random speed.", least=1, read_by=("network", "finetune"))
    drop: float = option(
        0.1, "Share of frames replaced by the frame before.", least=0, below=1, read_by=("network", "finetune")
    )
    noise: float = option(
        0.1, "Standard deviation of noise on standardised features.", least=0, read_by=("network", "finetune")
    )
    clip_frames: int = option(8, "Frames of a clip in fine-tuning.", least=1, read_by=("video finetune",))


@dataclass(frozen=True)
class DetectOptions(Options, group="detect"):
    """Output of stage=detect."""

    file: str | None = option(None, "CSV to write; null: outputs/<slug>/detect/<input>/segments.csv.", path=True)
    video: bool = option(True, "Write the input with the segments drawn into it.")
    seconds: float | None = option(None, "Length of a live stream; null: to its end or Ctrl-C.", above=0)


@dataclass(frozen=True)
class EnsembleOptions(Options, group="ensemble"):
    """Blending runs into one."""

    runs: list[str] = option(
        [],
        "Run names or patterns (`*lite*`), run folders, best:8, or pairs oof.csv+test.csv; empty: the configured run.",
    )
    method: str = option(
        "auto",
        "How members are blended. auto: equal weights unless another method is significantly better on held-out folds; "
        "hill_climb, nnls and logistic fit weights, the means do not.",
        choices=("auto", "mean", "rank_mean", "geometric_mean", "hill_climb", "nnls", "logistic"),
    )  # fmt: skip
    power: float = option(2.0, "No effect; read in the config.yaml of older runs.", above=0)
    calibrate: str = option(
        "none", "Calibration of the blend, kept if cross-fitted log loss gains; auto tries each.",
        choices=("none", "auto", "temperature", "platt", "isotonic"),
    )  # fmt: skip
    threshold: str = option(
        "none", "auto: thresholds fitted to the metric, kept if cross-fitted score gains.", choices=("none", "auto")
    )


@dataclass(frozen=True)
class SubmitOptions(Options, group="submit"):
    """The submission, and its upload."""

    file: str | None = option(None, "CSV to write; null: submissions/<run>.csv.", path=True)
    upload: bool = option(False, "Send it to Kaggle.")
    wait: float = option(600.0, "Seconds to wait for the score; 0: do not wait.", least=0)
    message: str | None = option(None, "Kaggle's description of the submission; null: the run and its score.")
    again: bool = option(False, "Send bytes that were sent before.")


@dataclass(frozen=True)
class PredictOptions(Options, group="predict"):
    """Output of stage=predict."""

    file: str | None = option(None, "CSV to write; null: outputs/<slug>/predict/<input>.csv.", path=True)
    picture: int = option(24, "Images in the picture grid.", least=0, read_by=("image",))


@dataclass(frozen=True)
class KaggleOptions(Options, group="kaggle"):
    """Kaggle's API."""

    endpoint: str = option("https://api.kaggle.com", "Address of the API; http:// on this machine only.")
    timeout: float = option(30.0, "Seconds without a byte after which a request is given up.", above=0)
    patience: float = option(60.0, "Seconds of retries before an error is shown.", least=0)
    input: str = option("/kaggle/input", "Folder of a Kaggle notebook's data.", path=True)


@dataclass(frozen=True)
class RunsOptions(Options, group="runs"):
    """The table of runs."""

    leaderboard: bool = option(False, "Show the public leaderboard and this team's place instead.")
    file: str | None = option(None, "CSV to write with all that is known of every run.", path=True)
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
class DrillOptions(Options, group="drill"):
    """A leaderboard simulated on hidden labels."""

    share: float = option(0.2, "Share of the labelled items to hide.", least=0.05, at_most=0.9)
    seed: int = option(0, "Seed of the hidden items.", least=0)
    runs: list[str] = option(
        [], 'Runs to train again on the rest, by name or pattern, as ["*"]; empty: the configured.'
    )
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
class SweepOptions(Options, group="sweep"):
    """Search of `-m sweep=…`; without `sweep=` Hydra's own sweeper runs every combination once."""

    space: dict[str, str] = option(
        {},
        "Option: its values as typed: a,b, choice(), range(), interval() or tag(log,interval()); the command line "
        "takes precedence.",
    )
    trials: int | None = option(None, "Trials of all commands together; null: 20, or the whole grid.", least=1)
    sampler: str = option(
        "tpe", "Optuna's sampler; cmaes for numbers, nsga2 for several objectives.",
        choices=("tpe", "cmaes", "grid", "random", "nsga2"),
    )  # fmt: skip
    objectives: list[str] = option(
        ["score"],
        "One or more of the competition's score, log loss, seconds of training, and latency in milliseconds an image.",
        choices=("score", "log_loss", "seconds", "latency"),
    )
    jobs: int | None = option(None, "Trials at a time; null: the launcher's workers.", least=1)
    race: bool = option(True, "Stop a trial after the fold by which it cannot beat the best.")
    fail_fast: bool = option(False, "End the sweep at the first failure.")
    finalists: int = option(3, "Best trials to repeat with other seeds.", least=1)
    seeds: int = option(1, "Seeds of each finalist; 1: no repeats.", least=1)
    folds_apart: bool = option(False, "Make each fold of a trial a job of its own, without racing.")
    trial: int | None = option(None, "Number of the trial of this job; the sweeper sets it.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise UserError("sweep.objectives needs one or more different ones, as [score] or [score,seconds]")
        if self.sampler == "nsga2" and len(self.objectives) == 1:
            raise UserError("sweep.sampler=nsga2 weighs objectives: type 'sweep.objectives=[score,latency]' as well")
        if self.sampler == "cmaes" and len(self.objectives) > 1:
            raise UserError("sweep.sampler=cmaes has one objective: type sweep.sampler=nsga2 for several")


# --- checks ------------------------------------------------------------------------------------------------------


def check_option(name: str, value: Any, facts: Any) -> None:
    """Raises UserError unless each value of an option is among its choices and within its bounds."""
    for one in value if isinstance(value, list) else [value]:
        if facts.get("choices") and one is not None:
            check_choice(name, one, facts["choices"])
        if limits := " and ".join(limits_of(facts)):
            is_number = isinstance(one, int | float)
            if is_number and not (math.isfinite(one) and is_within(one, facts)):
                raise UserError(f"{name}={value} must be {limits}")


def is_within(value: float, facts: Any) -> bool:
    """Whether a number is within an option's bounds."""
    least, above, at_most, below = (facts[name] for name in ("least", "above", "at_most", "below"))
    is_enough = (least is None or value >= least) and (above is None or value > above)
    return is_enough and (at_most is None or value <= at_most) and (below is None or value < below)


def limits_of(facts: Any) -> Iterator[str]:
    """The bounds of an option in words."""
    for bound, words in (("least", "at least"), ("above", "more than"), ("at_most", "at most"), ("below", "less than")):
        if facts.get(bound) is not None:
            yield f"{words} {facts[bound]:g}"


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises UserError unless `value` is one of `choices`."""
    if value not in choices:
        raise UserError(f"{name}={value} is unknown; choose one of: {', '.join(choices)}")


def is_read(read_by: Sequence[str], words: AbstractSet[str]) -> bool:
    """Whether all words of one of the alternatives are true; without alternatives, always.

    >>> is_read(("image", "video finetune"), {"video", "finetune"}), is_read(("image",), {"video"})
    (True, False)
    """
    return not read_by or any(words >= set(one.split()) for one in read_by)


def seconds_of(name: str, text: str) -> float:
    """Seconds of `90s`, `20m`, `1.5h` or `1h30m`. Raises UserError for anything else.

    >>> seconds_of("training.budget", "1h30m")
    5400.0
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UserError(f"{name}={text} is no time: type it as 90s, 20m, 2h or 1h30m")
    return sum(float(number) * {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[unit] for number, unit in parts)


def folder_path(path: str) -> str:
    r"""A folder's relative path with `/` between its parts and nothing around them.

    >>> [folder_path(path) for path in ("test/", "./Test", "imgs\\test", "a//b", ".")]
    ['test', 'Test', 'imgs/test', 'a/b', '']
    """
    return "/".join(part for part in path.strip().replace("\\", "/").split("/") if part not in ("", "."))


def relative_folder(name: str, path: str) -> str:
    """`folder_path`. Raises UserError if it leads out of the source."""
    folder = folder_path(path)
    is_absolute = path.startswith(("/", "\\", "~")) or path[1:2] == ":"
    if is_absolute or not folder or ".." in folder.split("/"):
        raise UserError(
            f"{name}={path} must be a folder inside the source: give its path seen from there, as train/cat"
        )
    return folder
