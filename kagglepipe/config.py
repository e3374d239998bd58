"""The shape of the configuration: one dataclass an area, registered behind the YAML values in `conf/`.

A misspelt key, a word where a number belongs or an unknown choice fails here, before any work. Imports neither
torch nor pandas, since every command passes through.
"""

import codecs
import difflib
import math
import os
import re
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from kagglepipe.competitions.contract import Competition, demand
from kagglepipe.errors import UserError
from kagglepipe.files import expanded

POLICIES = ("none", "light", "strong", "resolution", "paste")  # images.augment.POLICIES, without its imports
# predictions.blend.METHODS, and what predictions.weights fits, without their imports
METHODS = ("auto", "mean", "rank_mean", "geometric_mean", "power_mean", "hill_climb", "nnls", "logistic")
CALIBRATIONS = ("none", "auto", "temperature", "platt", "isotonic")  # predictions.calibration.CALIBRATIONS
METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "log_loss", "roc_auc")  # predictions.metrics.METRICS
# segments.metrics.SEGMENT_SCORES, without its imports
SEGMENT_METRICS = (
    "f1_10", "f1_25", "f1_50", "edit", *(f"map_{tiou}" for tiou in range(10, 80, 10)), "map_activitynet",
)  # fmt: skip
SHORT_SIDE = 256  # pixels, of decoded images for networks that need no more
MOST_RATE = 10_000  # samples in a unit of time
TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")  # training.trackers.TRACKERS, without its imports
ENGINES = ("auto", "torch", "openvino")
SAMPLERS = ("tpe", "cmaes", "grid", "random", "nsga2")  # sweeps.samplers.SAMPLERS, without its imports
OBJECTIVES = ("score", "log_loss", "seconds", "latency")  # sweeps.objectives.MEASURES, without its imports
CELLS = ("mean", "conv", "elman", "gru", "lstm")  # models.temporal, without its imports


def positive(key: str, value: float, *, zero: bool = False) -> None:
    """Raises UserError unless `value` is above zero (or zero, where allowed)."""
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise UserError(f"{key}={value} must be {'0 or more' if zero else 'more than 0'}")


def at_least(key: str, value: float, least: float) -> None:
    """Raises UserError unless `value` is `least` or more, and finite."""
    if not least <= value < math.inf:
        raise UserError(f"{key}={value} must be at least {least}")


def duration(key: str, text: str) -> float:
    """Seconds of `90s`, `20m`, `1.5h` or `1h30m`. Raises UserError for anything else.

    >>> duration("training.budget", "1h30m")
    5400.0
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UserError(f"{key}={text} is no time: type it as 90s, 20m, 2h or 1h30m")
    return sum(float(number) * {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[unit] for number, unit in parts)


@dataclass
class Paths:
    """root: folder under which everything is read and written, save a source read in place.
    outputs: where runs go, and the features that they are made of; None takes `outputs` in the root, and features lie
    with the data.
    """

    root: str = "."
    outputs: str | None = None


@dataclass
class Download:
    """max_gb and max_entries: an archive that unpacks to more is refused. encoding: of the names in a zip that are not
    UTF-8, as `cp437`, `cp1252` or `cp932`; None: they are asked about.
    """

    max_gb: float = 100.0
    max_entries: int = 1_000_000
    encoding: str | None = None

    def __post_init__(self) -> None:
        positive("download.max_gb", self.max_gb)
        positive("download.max_entries", self.max_entries)
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                raise UserError(
                    f"download.encoding={self.encoding} is unknown; type a name as cp437, cp1252, cp932 or gbk"
                ) from error


@dataclass
class Prepare:
    """max_side: pixels a side above which an image is refused.
    near_bits: perceptual hashes (128 bits) that differ in at most so many may be near-duplicates, mirrored or not.
    """

    max_side: int = 20_000
    near_bits: int = 16

    def __post_init__(self) -> None:
        positive("prepare.max_side", self.max_side)
        positive("prepare.near_bits", self.near_bits, zero=True)


@dataclass
class Cache:
    """max_gb: decoded pixels kept on disk, for each short side; images beyond it are decoded each time, 0 keeps none.
    short_side: pixels to which the short side of an image, or of a frame that is augmented or cropped, is reduced when
    it is decoded; None: 256, or what the network needs where that is more.
    """

    max_gb: float = 8.0
    short_side: int | None = None

    def __post_init__(self) -> None:
        positive("cache.max_gb", self.max_gb, zero=True)
        if self.short_side is not None:
            at_least("cache.short_side", self.short_side, 8)


@dataclass
class Folds:
    """count and seed: how folds.csv is made, once; count may be `groups`: leave one group out.
    file: a CSV of `id,fold` to use instead.
    only: train these folds now, the rest another time; empty trains all.
    remake: replace a folds.csv that disagrees with count, seed, the images or their groups.
    """

    count: int | str = 5
    seed: int = 0
    file: str | None = None
    only: list[int] = field(default_factory=list)
    remake: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.count, str):
            demand("folds.count", self.count, ("groups", "2", "3", "5 or any number"))
        else:
            at_least("folds.count", self.count, 2)


@dataclass
class Augmentation:
    """policy: how training images are varied (`stage=augment` shows it); `auto` is `strong` for heads, which cannot
    forget what the network knows, and `light` for fine-tuning, which can. mirror: whether views are flipped left to
    right half of the time, by every policy but `none`; false where only the side tells classes apart.
    """

    policy: str = "auto"
    mirror: bool = True

    def __post_init__(self) -> None:
        demand("augmentation.policy", self.policy, ("auto", *POLICIES))


@dataclass
class Augment:
    """images: rows of the contact sheet. views: augmented views in each row."""

    images: int = 8
    views: int = 6

    def __post_init__(self) -> None:
        at_least("augment.images", self.images, 1)
        at_least("augment.views", self.views, 1)


@dataclass
class Temporal:
    """What stands between the frames of a video or series and its labels (models.temporal).

    cell: `lstm`, `gru`, `elman`, `conv` (dilated convolutions) or `mean`, a linear model that knows no order.
    differences: whether how much each input changed since the frame before is an input too.
    shuffled: frames in random order: what the same model reaches when it cannot see time (not for detect).
    hidden, layers, bidirectional, dropout: of the recurrent module or of the convolutions.
    reduce: principal components kept of the inputs; 0 keeps the inputs. pooling: how a clip's frames become one,
    `mean` (the only one of cell=mean), `max`, `mean_max` (both) or `last`. window: frames that cell=mean averages
    around each, where every frame is classified.
    """

    cell: str = "lstm"
    differences: bool = True
    shuffled: bool = False
    hidden: int = 64
    layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.3
    reduce: int = 64
    pooling: str = "mean_max"
    window: int = 8

    def __post_init__(self) -> None:
        demand("model.temporal.cell", self.cell, CELLS)
        demand("model.temporal.pooling", self.pooling, ("mean", "max", "mean_max", "last"))
        for name in ("hidden", "layers", "window"):
            at_least(f"model.temporal.{name}", getattr(self, name), 1)
        at_least("model.temporal.reduce", self.reduce, 0)
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.temporal.dropout={self.dropout} must lie in 0…1, below 1")
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


@dataclass
class Model:
    """name: any timm model. kwargs: passed to timm as they are; img_size makes a network for images of that size.
    weights: `auto` (bundled where shipped, else the hub), `bundled`, `hub`, `none` or a .safetensors file.
    image_size: pixels a side; None takes the model's own. crop: `squash`, `center` or `border` (images.view).
    temporal: for video and series; a series has no other part, and no use for a name.
    """

    name: str = "tf_efficientnet_lite0"
    weights: str = "auto"
    kwargs: dict[str, Any] = field(default_factory=dict)
    image_size: int | None = None
    crop: str = "squash"
    temporal: Temporal = field(default_factory=Temporal)

    def __post_init__(self) -> None:
        if not self.name:
            raise UserError("model=timm needs a name, as model=timm model.name=resnet18")
        demand("model.crop", self.crop, ("squash", "center", "border"))
        if ours := sorted(set(OWN_KWARGS) & set(self.kwargs)):
            raise UserError(f"model.kwargs.{ours[0]} is not read: {OWN_KWARGS[ours[0]]}; leave it out")
        if self.image_size is not None:
            at_least("model.image_size", self.image_size, 16)
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
        """Pixels a side of the images that the network is to see; None: those that it was made for."""
        return self.image_size or self.kwargs.get("img_size")


@dataclass
class Training:
    """mode: `head` fits a linear head on frozen features, `finetune` goes on to train the whole network, `auto`
    is `head` on a CPU and `finetune` on a GPU.

    Head: views: augmented views of each training image beside the clean one; regularisation: the values of C
    among which out-of-fold log loss inside the training rows chooses.
    Fine-tuning: epochs; lr: peak rate of the last layers; layer_decay: factor a layer further down;
    frozen_below: layers whose factor would be less are left as they came, which saves time (0 trains all);
    warmup: share of the steps; schedule: `cosine` or `onecycle`; clip: gradient norm; patience: epochs without
    a better fold score before it stops; batch_size: images a step.

    Pseudo-labels: teacher: a finished run whose answers label the rows to classify, for each fold those of the networks
    that have not seen it; the run is submitted in its teacher's place if it is surely better. confidence: the
    probability from which on an answer counts as a label.

    What follows decides how training goes about it, not what comes out. budget: time for all of stage=train, as
    `20m`, `2h` or `90s`; it ends with the best so far. micro_batch: images of a batch that go through the network at
    a time; None: all, or what the memory holds, on a CPU what its cache holds. deterministic: the same bits twice on
    a GPU too, slower. compile: let torch compile the network. trackers: any of `tensorboard`, `wandb`, `mlflow`,
    `trackio`, as [wandb,mlflow]. rival: a JSON file with the score of every fold of another run (a sweep writes one);
    training stops after the fold by which it cannot beat them (predictions.racing).
    """

    mode: str = "auto"
    views: int = 1
    regularisation: list[float] = field(default_factory=lambda: [0.01, 0.1, 1.0, 10.0])
    epochs: int = 3
    lr: float = 1e-4
    batch_size: int = 16
    layer_decay: float = 0.8
    frozen_below: float = 0.1
    weight_decay: float = 0.01
    warmup: float = 0.1
    schedule: str = "cosine"
    clip: float = 1.0
    label_smoothing: float = 0.0
    patience: int = 3
    budget: str | None = None
    micro_batch: int | None = None
    deterministic: bool = False
    compile: bool = False
    trackers: list[str] = field(default_factory=list)
    rival: str | None = None
    teacher: str | None = None
    confidence: float = 0.9

    def __post_init__(self) -> None:
        demand("training.mode", self.mode, ("auto", "head", "finetune"))
        demand("training.schedule", self.schedule, ("cosine", "onecycle"))
        positive("training.views", self.views, zero=True)
        for name in ("epochs", "batch_size", "patience"):
            at_least(f"training.{name}", getattr(self, name), 1)
        for name in ("lr", "clip"):
            positive(f"training.{name}", getattr(self, name))
        for name in ("layer_decay", "frozen_below", "warmup", "label_smoothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"training.{name}={getattr(self, name)} must lie in 0…1")
        if not 0 < self.confidence <= 1:
            raise UserError(f"training.confidence={self.confidence} must be more than 0 and at most 1")
        positive("training.weight_decay", self.weight_decay, zero=True)
        if self.micro_batch is not None:
            at_least("training.micro_batch", self.micro_batch, 1)
        for tracker in self.trackers:
            demand("training.trackers", tracker, TRACKERS)
        if self.budget is not None:
            positive("training.budget", duration("training.budget", self.budget))
        if not self.regularisation or not all(0 < value < math.inf for value in self.regularisation):
            raise UserError("training.regularisation needs one or more values above 0, as [0.01,0.1,1]")


@dataclass
class Sequences:
    """How video and series are read, and how a temporal model is fitted on the features of their frames.

    rate: frames (of a series: samples) a second, or a unit of time where `competition.unit` is another.
    motion: whether the encoder also sees pictures of what changed since the frame before, at twice the cost.
    views: times that the frames of a training video are seen augmented, one draw for all its frames.
    steps, lr, batch_size, weight_decay, label_smoothing: of that fit; it has no early stopping. members: networks
    from different seeds whose probabilities a fold averages. window: frames of a long item that are trained on at
    a time. crop: shortest share of a clip that is looked at; speed: factor by which it may be faster or slower;
    drop: share of the frames that are lost, the one before standing in; noise: its deviation on standardised inputs.
    clip_frames: frames of a clip that fine-tuning sees at a time.
    """

    rate: float = 8.0
    motion: bool = False
    views: int = 0
    steps: int = 300
    lr: float = 2e-3
    batch_size: int = 16
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    members: int = 3
    window: int = 64
    crop: float = 0.8
    speed: float = 1.25
    drop: float = 0.1
    noise: float = 0.1
    clip_frames: int = 8

    def __post_init__(self) -> None:
        for name in ("rate", "lr"):
            positive(f"sequences.{name}", getattr(self, name))
        for name in ("views", "weight_decay", "noise"):
            positive(f"sequences.{name}", getattr(self, name), zero=True)
        for name in ("steps", "batch_size", "members", "clip_frames"):
            at_least(f"sequences.{name}", getattr(self, name), 1)
        at_least("sequences.window", self.window, 2)
        if self.rate > MOST_RATE:
            raise UserError(
                f"sequences.rate={self.rate:g} is more frames in a unit of time than {MOST_RATE}; type less"
            )
        at_least("sequences.speed", self.speed, 1)
        if not 0 < self.crop <= 1:
            raise UserError(f"sequences.crop={self.crop} must lie in 0…1, above 0")
        for name in ("drop", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"sequences.{name}={getattr(self, name)} must lie in 0…1, below 1")


@dataclass
class Detect:
    """file: the CSV of segments to write; None takes outputs/<slug>/detect/<input>/segments.csv. video: whether to
    write the input with what was found drawn into it. seconds: of a live stream to watch; None: until it ends or
    Ctrl-C.
    """

    file: str | None = None
    video: bool = True
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None:
            positive("detect.seconds", self.seconds)


@dataclass
class Ensemble:
    """runs: members: run names or patterns (`*lite*`), run folders, `best:8` (the best finished runs), or pairs
    `oof.csv+test.csv` from elsewhere; empty takes the run that the configuration describes.
    method: `auto` keeps equal weights unless something else is better beyond noise on folds that it was not fitted
    on; `mean`, `rank_mean`, `geometric_mean`, `power_mean` fit nothing, `hill_climb`, `nnls`, `logistic` fit weights.
    power: the exponent of `power_mean`. calibrate: `temperature`, `platt`, `isotonic`, or `auto`, any of them; kept
    only if cross-fitted log loss gains. threshold: `auto` moves what is answered towards the metric, if it gains.
    """

    runs: list[str] = field(default_factory=list)
    method: str = "auto"
    power: float = 2.0
    calibrate: str = "none"
    threshold: str = "none"

    def __post_init__(self) -> None:
        demand("ensemble.method", self.method, METHODS)
        demand("ensemble.calibrate", self.calibrate, CALIBRATIONS)
        demand("ensemble.threshold", self.threshold, ("none", "auto"))
        positive("ensemble.power", self.power)


@dataclass
class Submit:
    """file: the CSV to write; None takes submissions/<run>.csv. upload: whether to send it to Kaggle. wait: seconds
    to wait for the score; 0 does not. message: what stands beside it there; None: the run and its score.
    again: send it although the same bytes were sent before.
    """

    file: str | None = None
    upload: bool = False
    wait: float = 600.0
    message: str | None = None
    again: bool = False

    def __post_init__(self) -> None:
        positive("submit.wait", self.wait, zero=True)


@dataclass
class Kaggle:
    """endpoint: where Kaggle's API is; http:// on this machine alone. timeout: seconds without an answer or a byte
    after which a request is given up. patience: seconds that requests are repeated for before an error is told.
    input: folder that a Kaggle notebook finds its data in.
    """

    endpoint: str = "https://api.kaggle.com"
    timeout: float = 30.0
    patience: float = 60.0
    input: str = "/kaggle/input"

    def __post_init__(self) -> None:
        positive("kaggle.timeout", self.timeout)
        positive("kaggle.patience", self.patience, zero=True)


@dataclass
class Runs:
    """leaderboard: show the head of the public leaderboard, and where this team stands, instead of the runs.
    file: a CSV to write with all that is known of every run. compare: two runs (or `oof.csv+test.csv`) to hold against
    each other, row by row.
    """

    leaderboard: bool = False
    file: str | None = None
    compare: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.compare and len(self.compare) != 2:
            raise UserError(
                f"runs.compare=[{','.join(self.compare)}] names {len(self.compare)}: type two, as [RUN,RUN]"
            )
        if self.file is not None and not self.file.lower().endswith(".csv"):
            raise UserError(f"runs.file={self.file} is to be a CSV: give a name that ends in .csv")


@dataclass
class Drill:
    """share, seed: how much of the labelled items is hidden, and which. runs: runs to be trained anew on the rest, by
    name or pattern, as ["*"]; empty trains the configured one. public: share of what is hidden that is shown as the
    public leaderboard. teams: on the leaderboard, for medals; None: as many as there are runs. draws: of either half.
    """

    share: float = 0.2
    seed: int = 0
    runs: list[str] = field(default_factory=list)
    public: float = 0.5
    teams: int | None = None
    draws: int = 2000

    def __post_init__(self) -> None:
        for name, value in (("share", self.share), ("public", self.public)):
            if not 0.05 <= value <= 0.9:
                raise UserError(f"drill.{name}={value:g} must be a share from 0.05 to 0.9")
        at_least("drill.seed", self.seed, 0)
        at_least("drill.draws", self.draws, 1)
        if self.teams is not None:
            at_least("drill.teams", self.teams, 1)


@dataclass
class Bundle:
    """folder: where the bundle is written; None takes outputs/<slug>/bundle. python: version of Kaggle's image."""

    folder: str | None = None
    python: str = "3.12"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"3\.(1[1-9]|[2-9]\d)", self.python):
            raise UserError(f"bundle.python={self.python} must be 3.11 or later, such as 3.12")


@dataclass
class Predict:
    """file: the CSV to write; None takes outputs/<slug>/predict/<input>.csv. picture: images in the picture grid."""

    file: str | None = None
    picture: int = 24

    def __post_init__(self) -> None:
        positive("predict.picture", self.picture, zero=True)


@dataclass
class Sweep:
    """What `-m sweep=…` tries, and how; without `sweep=` Hydra's own sweeper runs every combination once.

    space: option -> its values as they are typed: `a,b`, choice(), range(), interval(), tag(log,interval()); what the
    command line says takes their place. trials: how many are tried, all commands together; None: 20, or the whole grid.
    sampler: what chooses them: `tpe`, `cmaes` (for numbers), `grid`, `random`, or `nsga2`, for several objectives.
    objectives: one or more of `score` (the competition's metric), `log_loss`, `seconds` (of training) and `latency`
    (milliseconds that an image takes where the run is used). jobs: trials at a time; None: as many as the launcher has
    workers. race: whether a trial stops after the fold by which it cannot beat the best. fail_fast: whether the first
    failure ends the sweep. finalists, seeds: how many of the best are trained with how many seeds before the best is
    named; 1 repeats none. folds_apart: whether each fold of a trial is a job of its own; nothing races then.
    trial: set by the sweeper: the number of the trial that a job is.
    """

    space: dict[str, str] = field(default_factory=dict)
    trials: int | None = None
    sampler: str = "tpe"
    objectives: list[str] = field(default_factory=lambda: ["score"])
    jobs: int | None = None
    race: bool = True
    fail_fast: bool = False
    finalists: int = 3
    seeds: int = 1
    folds_apart: bool = False
    trial: int | None = None

    def __post_init__(self) -> None:
        demand("sweep.sampler", self.sampler, SAMPLERS)
        for name in ("trials", "jobs", "finalists", "seeds"):
            if getattr(self, name) is not None:
                at_least(f"sweep.{name}", getattr(self, name), 1)
        for objective in self.objectives:
            demand("sweep.objectives", objective, OBJECTIVES)
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise UserError("sweep.objectives needs one or more different ones, as [score] or [score,seconds]")
        if self.sampler == "nsga2" and len(self.objectives) == 1:
            raise UserError("sweep.sampler=nsga2 weighs objectives: type 'sweep.objectives=[score,latency]' as well")
        if self.sampler == "cmaes" and len(self.objectives) > 1:
            raise UserError("sweep.sampler=cmaes has one objective: type sweep.sampler=nsga2 for several")


@dataclass
class Config:
    """All of it. stage: what to do. input: for predict, detect and annotations. run: a trained run by name; None:
    the one configured. submission: a CSV that was made here, or the JSON of its origin, for reproduce.
    device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`. engine: what looks through a network that is not being trained:
    `torch`, `openvino` (an extra, for CPUs) or `auto`, which is the faster one of those installed. workers: threads or
    processes that read images; None: one a core.
    """

    stage: str = "all"
    input: str | None = None
    run: str | None = None
    submission: str | None = None
    seed: int = 0
    device: str = "auto"
    engine: str = "auto"
    workers: int | None = None
    paths: Paths = field(default_factory=Paths)
    competition: Competition = field(default_factory=Competition)
    download: Download = field(default_factory=Download)
    prepare: Prepare = field(default_factory=Prepare)
    cache: Cache = field(default_factory=Cache)
    folds: Folds = field(default_factory=Folds)
    augmentation: Augmentation = field(default_factory=Augmentation)
    augment: Augment = field(default_factory=Augment)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    sequences: Sequences = field(default_factory=Sequences)
    ensemble: Ensemble = field(default_factory=Ensemble)
    submit: Submit = field(default_factory=Submit)
    predict: Predict = field(default_factory=Predict)
    detect: Detect = field(default_factory=Detect)
    kaggle: Kaggle = field(default_factory=Kaggle)
    runs: Runs = field(default_factory=Runs)
    drill: Drill = field(default_factory=Drill)
    bundle: Bundle = field(default_factory=Bundle)
    sweep: Sweep = field(default_factory=Sweep)

    def __post_init__(self) -> None:
        demand("competition.metric", self.competition.metric, METRICS)
        demand("competition.segment_metric", self.competition.segment_metric, SEGMENT_METRICS)
        if self.competition.per_class is not None and self.competition.finds_segments:
            raise UserError("competition.per_class counts items with one label, which frames of a video are not")
        if self.training.teacher is not None and self.competition.finds_segments:
            raise UserError("training.teacher labels whole items, which frames of a video are not: leave it out")
        if self.seed < 0:
            raise UserError(f"seed={self.seed} must be 0 or more")
        if self.workers is not None:
            at_least("workers", self.workers, 1)
        if self.device not in ("auto", "cpu", "mps") and not self.device.startswith("cuda"):
            raise UserError(f"device={self.device} is unknown; choose auto, cpu, cuda, cuda:1 or mps")
        demand("engine", self.engine, ENGINES)
        if self.competition.augmentation is not None:
            demand("competition.augmentation", self.competition.augmentation, POLICIES)
        if "paste" in (self.augmentation.policy, self.competition.augmentation) and self.competition.kind != "image":
            raise UserError("augmentation=paste puts photos on photos, not frames on frames: choose light or strong")

    @property
    def root(self) -> Path:
        """The folder under which everything lies, absolute."""
        return absolute(self.paths.root)

    @property
    def base_slug(self) -> str:
        """The competition's folder name under data/: its slug or, without one, the name of its source."""
        competition = self.competition
        if competition.slug is None and competition.source is None:
            raise UserError("this competition has no name yet: give its folder or zip, as competition.source=~/photos")
        return competition.slug or absolute(competition.source or "").name.removesuffix(".zip")

    @property
    def slug(self) -> str:
        """`base_slug`, and which part of the labels is used where not all are."""
        if self.competition.hidden is not None:
            percent = f"{100 * self.competition.hidden:g}"
            return f"{self.base_slug}-{percent}-percent-hidden-seed-{self.competition.hidden_seed}"
        if self.competition.per_class is None:
            return self.base_slug
        return f"{self.base_slug}-{self.competition.per_class}-per-class-seed-{self.seed}"

    @property
    def base_dir(self) -> Path:
        """data/<base slug>/: the images, whatever part of their labels is used."""
        return self.root / "data" / self.base_slug

    @property
    def data_dir(self) -> Path:
        """data/<slug>/"""
        return self.root / "data" / self.slug

    @property
    def runs_dir(self) -> Path:
        """outputs/<slug>/"""
        return (absolute(self.paths.outputs) if self.paths.outputs else self.root / "outputs") / self.slug

    @property
    def features_dir(self) -> Path:
        """Where what frozen networks see is kept: data/<base slug>/cache/."""
        return self.runs_dir / "cache" if self.paths.outputs else self.base_dir / "cache"

    @property
    def short_side(self) -> int:
        """Pixels of the short side of decoded images; timm is asked where `known_short_side` is None."""
        return self.known_short_side or max(SHORT_SIDE, network_side(self.model))

    @property
    def known_short_side(self) -> int | None:
        """The same where options and bundled networks tell it; None where only timm knows the network's own size."""
        from kagglepipe.models.weights import BUNDLED

        if self.cache.short_side is not None:
            return self.cache.short_side
        size, is_bundled = self.model.side, self.model.name in BUNDLED
        is_told = size is not None and (size <= SHORT_SIDE or self.model.crop != "center")
        return max(SHORT_SIDE, network_side(self.model)) if is_bundled or is_told else None

    @property
    def weights_dir(self) -> Path:
        """data/weights/: first weights, as safetensors, and what is made of them, for all competitions."""
        return self.root / "data" / "weights"

    @property
    def backend_dir(self) -> Path | None:
        """Cache of inference backends; None for untrained networks, which are never worth compiling."""
        return None if self.model.weights == "none" else self.weights_dir


PATH_KEYS = (
    "competition.source",
    "competition.labels",
    "competition.files",
    "competition.answers",
    "competition.sample_submission",
    "paths.root",
    "paths.outputs",
    "submission",
    "input",
    "folds.file",
    "model.weights",
    "submit.file",
    "predict.file",
    "detect.file",
    "kaggle.input",
    "bundle.folder",
    "training.rival",
    "training.teacher",
    "runs.file",
    "run",
)


def absolute(path: str) -> Path:
    """`path` with `~` expanded, seen from the shell's folder."""
    return Path(os.path.abspath(expanded(path)))  # noqa: PTH100  # `..` goes, symbolic links stay


def hydra_string(value: str) -> str:
    """The text in quotes, so that Hydra's grammar and OmegaConf read the very same text again.

    >>> hydra_string("it's")
    "'it\\\\'s'"
    """
    escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # OmegaConf's escape, then that of Hydra's quotes
    escaped = re.sub(r"(\\*)(')", r"\1\1\\\2", escaped)
    if trailing := len(escaped) - len(escaped.rstrip("\\")):
        escaped += "\\" * trailing
    return f"'{escaped}'"


def option_names(node: Any = None, prefix: str = "") -> list[str]:
    """Every option as it is typed: `seed`, `training.lr`, …

    >>> "training.lr" in option_names()
    True
    """
    node = Config if node is None else node
    names: list[str] = []
    for f in fields(node):
        inner = f.default_factory if is_dataclass(f.default_factory) else None
        names += option_names(inner, f"{prefix}{f.name}.") if inner else [prefix + f.name]
    return names


FREE = (
    "model.kwargs",
    "competition.layout",
    "competition.columns",
    "competition.skeleton",
    "sweep.space",
)  # options whose keys are the user's own


def demand_options(values: Any, prefix: str = "") -> None:
    """Raises UserError for a key that is no option, as `+training.lrr=1` would slip in.

    >>> demand_options({"seed": 1, "model": {"kwargs": {"anything": 1}}})
    """
    known = option_names()
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, dict) and name not in FREE:
            demand_options(value, name + ".")
        elif name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.6)
            raise UserError(f"{name} is not an option" + (f"; did you mean {near[0]}?" if near else ""))


def demand_quoted(file: Path) -> None:
    """Raises UserError for a word of a competition's YAML file that YAML reads as something else than it is written.

    That is names of classes, folders, columns and all that is text. `off` and `no` are read as False, `010` as 8, `1e3`
    as 1000.0; what stands in quotes is read as it is. `null` and `~` are nothing, as they are meant, where an option
    may be left out.
    """
    import yaml
    from omegaconf import OmegaConf

    options = _mapping(yaml.compose(file.read_text("utf-8"), Loader=yaml.SafeLoader))
    options = _mapping(options["competition"]) if "competition" in options else options
    words = [word for one in fields(Competition) if one.name in options for word in _words(options[one.name], one.type)]
    for node, is_optional in words:
        if node.style is not None or "${" in node.value:
            continue
        value = OmegaConf.create(f"- {node.value}")[0]
        is_nothing = value is None and (is_optional or not node.value)
        if not is_nothing and (value is None or str(value) != node.value):
            raise UserError(
                f"{file}, line {node.start_mark.line + 1}: {node.value} is no name to YAML, but "
                f"{type(value).__name__} {value}: quote it, as '{node.value}'"
            )


def _mapping(node: Any) -> dict[str, Any]:
    """The values of a YAML mapping by key."""
    return {key.value: value for key, value in node.value} if getattr(node, "id", "") == "mapping" else {}


def _words(node: Any, kind: Any) -> list[tuple[Any, bool]]:
    """The scalars of an option that are text, each with whether it may be null. kind: the option's type."""
    if kind in (str, str | None) or (kind == list[str] and node.id == "scalar"):
        found = [(node, True)]
    elif kind == list[str] and node.id == "sequence":
        found = [(one, False) for one in node.value]
    elif kind == dict[str, str] and node.id == "mapping":
        found = [(one, False) for pair in node.value for one in pair]
    else:
        found = []
    return [(one, is_optional) for one, is_optional in found if one.id == "scalar"]


def network_side(model: Model) -> int:
    """Pixels that the short side of an image needs, so that none is enlarged: the network's input or, where that is
    larger than SHORT_SIDE and a crop of the middle, what it is cut from.

    >>> network_side(Model(image_size=384)), network_side(Model("tf_efficientnet_lite2", crop="center"))
    (384, 293)
    """
    from kagglepipe.models.weights import own_input

    size = model.side or own_input(model.name)[0]
    if model.crop != "center" or size <= SHORT_SIDE:
        return size
    return math.ceil(size / own_input(model.name)[1])
