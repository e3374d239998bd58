"""The configuration: all groups of options together, and the folders that follow from them.

A misspelt key, a word where a number belongs or an unknown choice fails here, before any work. Imports neither
torch nor pandas, since every command passes through.
"""

import difflib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from kagglepipe.errors import UserError
from kagglepipe.files import absolute
from kagglepipe.options import (
    DEFAULT_RATE,
    DEFAULT_SOUND_RATE,
    NAMED,
    POLICIES,
    AugmentationOptions,
    AugmentOptions,
    BundleOptions,
    CacheOptions,
    ColumnsOptions,
    CompetitionOptions,
    CourseOptions,
    DescribeOptions,
    DetectOptions,
    DownloadOptions,
    DrillOptions,
    EnsembleOptions,
    FoldOptions,
    KaggleOptions,
    ModelOptions,
    Options,
    PathsOptions,
    PredictOptions,
    PrepareOptions,
    ReportOptions,
    RunsOptions,
    SequenceOptions,
    SubmitOptions,
    SweepOptions,
    TrainingOptions,
    option,
)

CONF = next(
    folder for folder in (Path(__file__).parent / "conf", Path(__file__).parent.parent / "conf") if folder.is_dir()
)
POLICY_OF_MODE = {"head": "strong", "finetune": "light"}  # augmentation=auto; the figures are in docs/design.md
SHORT_SIDE = 256  # pixels, of decoded images for networks that need no more


@dataclass(frozen=True)
class Config(Options):
    """All options, and the folders that follow from them."""

    stage: str = option("all", "Stage or tool to run.", changes_results=False)
    input: str | None = option(
        None,
        "File or folder to read; detect: also the URL of a stream, or camera.",
        path=True,
        changes_results=False,
        stages="predict | detect | annotations",
    )
    run: str | None = option(
        None,
        "Trained run, by name or folder, which says the competition, too; null: the configured one (report: if it is "
        "not finished, the latest one); predict, detect and export: the best.",
        path=True,
        changes_results=False,
        stages="train | ensemble | submit | columns | predict | detect | runs | report | export | bundle",
    )  # fmt: skip
    submission: str | None = option(
        None, "CSV made here, or its JSON.", path=True, changes_results=False, stages="reproduce"
    )
    lesson: str | None = option(None, "Lesson of the course; null: list them.", changes_results=False, stages="course")
    seed: int = option(
        0, "Seed of everything random in training.", least=0, stages="prepare | augment | train | drill | course"
    )
    device: str = option(
        "auto", "auto, cpu, cuda, cuda:1 or mps.", stages="train | submit | predict | detect | drill | doctor | course"
    )
    engine: str = option(
        "auto", "Inference backend; auto: the fastest installed.",
        choices=("auto", "torch", "openvino"), stages="train | submit | predict | detect | drill",
    )  # fmt: skip
    workers: int | None = option(
        None, "Threads or processes that read images; null: all cores.", least=1, changes_results=False,
        stages="prepare | train | submit | predict | reproduce | drill",
    )  # fmt: skip
    paths: PathsOptions = option(
        PathsOptions, "", changes_results=False, stages=f"{NAMED} | reproduce | doctor | course"
    )
    competition: CompetitionOptions = option(CompetitionOptions, "", stages="download | prepare | describe")
    download: DownloadOptions = option(DownloadOptions, "", changes_results=False, stages="download | describe")
    prepare: PrepareOptions = option(PrepareOptions, "", stages="prepare | train | predict")
    cache: CacheOptions = option(CacheOptions, "", read_by="image | video", stages="prepare | augment | train")
    folds: FoldOptions = option(FoldOptions, "", stages="prepare | train | drill | bundle")
    augmentation: AugmentationOptions = option(
        AugmentationOptions, "", read_by="image | video augmented", stages="augment | train | drill | bundle"
    )
    augment: AugmentOptions = option(
        AugmentOptions, "", changes_results=False, read_by="image | video", stages="augment"
    )
    model: ModelOptions = option(ModelOptions, "", stages="augment | train | drill | doctor | bundle")
    training: TrainingOptions = option(TrainingOptions, "", stages="train | drill | bundle")
    sequences: SequenceOptions = option(SequenceOptions, "", read_by="video | series | audio", stages="train | drill")
    ensemble: EnsembleOptions = option(EnsembleOptions, "", stages="ensemble | bundle")
    columns: ColumnsOptions = option(ColumnsOptions, "", changes_results=False, stages="columns")
    submit: SubmitOptions = option(SubmitOptions, "", changes_results=False, stages="submit")
    predict: PredictOptions = option(PredictOptions, "", stages="train | predict | bundle")
    describe: DescribeOptions = option(DescribeOptions, "", changes_results=False, stages="describe")
    detect: DetectOptions = option(
        DetectOptions, "", changes_results=False, read_by="video | series | audio", stages="detect"
    )
    kaggle: KaggleOptions = option(
        KaggleOptions, "", changes_results=False, stages="download | submit | runs | doctor | bundle"
    )
    runs: RunsOptions = option(RunsOptions, "", changes_results=False, stages="runs")
    report: ReportOptions = option(ReportOptions, "", changes_results=False, stages="report")
    drill: DrillOptions = option(DrillOptions, "", changes_results=False, stages="drill")
    bundle: BundleOptions = option(BundleOptions, "", changes_results=False, stages="bundle")
    course: CourseOptions = option(CourseOptions, "", changes_results=False, stages="course")
    sweep: SweepOptions = option(SweepOptions, "", changes_results=False, stages="train")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.training.teacher is not None and self.competition.finds_segments:
            raise UserError("training.teacher labels whole items, which frames of a video are not: leave it out")
        if self.device not in ("auto", "cpu", "mps") and not self.device.startswith("cuda"):
            raise UserError(f"device={self.device} is unknown; choose auto, cpu, cuda, cuda:1 or mps")
        if "paste" in (self.augmentation.policy, self.competition.augmentation) and self.competition.kind != "image":
            raise UserError("augmentation=paste puts photos on photos, not frames on frames: choose light or strong")
        if "paste" in (self.augmentation.policy, self.competition.augmentation) and not self.model.sees_rgb:
            raise UserError("augmentation=paste finds objects by colour, in RGB of 8 bits: type augmentation=strong")
        if self.training.from_scratch and self.model.weights != "none":
            raise UserError(
                f"training.from_scratch=true would not keep model.weights={self.model.weights}: type one of "
                "model.weights=none and training.from_scratch=false"
            )
        if self.sequences.rate is None:
            usual = DEFAULT_SOUND_RATE if self.competition.kind == "audio" else DEFAULT_RATE
            object.__setattr__(self, "sequences", replace(self.sequences, rate=usual))

    @property
    def root(self) -> Path:
        """Absolute path of the root folder."""
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
        """`base_slug`, with a suffix if only a part of the labels is used."""
        if self.competition.hidden is not None:
            percent = f"{100 * self.competition.hidden:g}"
            return f"{self.base_slug}-{percent}-percent-hidden-seed-{self.competition.hidden_seed}"
        if self.competition.per_class is None:
            return self.base_slug
        return f"{self.base_slug}-{self.competition.per_class}-per-class-seed-{self.seed}"

    @property
    def base_dir(self) -> Path:
        """data/<base slug>/: the images, shared by all parts of the labels."""
        return self.root / "data" / self.base_slug

    @property
    def data_dir(self) -> Path:
        """data/<slug>/"""
        return self.root / "data" / self.slug

    @property
    def runs_dir(self) -> Path:
        """outputs/<slug>/"""
        return self.outputs_dir / self.slug

    @property
    def outputs_dir(self) -> Path:
        """outputs/, or `paths.outputs`."""
        return absolute(self.paths.outputs) if self.paths.outputs else self.root / "outputs"

    @property
    def folds_file(self) -> Path:
        """The folds in force: `folds.file`, or data/<slug>/folds.csv."""
        return Path(self.folds.file) if self.folds.file else self.data_dir / "folds.csv"

    def pixels_dir(self, short_side: int, suffix: str = "") -> Path | None:
        """data/<base slug>/cache/pixels-<size>/: decoded images, for all parts of the labels; None for no cache.

        suffix: of a format that is not RGB of 8 bits, `PixelFormat.suffix`.
        """
        return self.base_dir / "cache" / f"pixels-{short_side}{suffix}" if self.pixels_limit else None

    @property
    def pixels_limit(self) -> int:
        """Size limit of a cache of decoded images, in bytes."""
        return int(self.cache.max_gb * 10**9)

    @property
    def ledger_file(self) -> Path:
        """submissions/ledger.csv: every uploaded submission and its scores."""
        return self.root / "submissions" / "ledger.csv"

    @property
    def features_dir(self) -> Path:
        """Features of frozen networks: data/<base slug>/cache/."""
        return self.runs_dir / "cache" if self.paths.outputs else self.base_dir / "cache"

    @property
    def short_side(self) -> int:
        """Pixels of the short side of decoded images; loads timm if `known_short_side` is None."""
        return self.known_short_side or max(SHORT_SIDE, network_side(self.model))

    @property
    def known_short_side(self) -> int | None:
        """The same without loading timm; None if only timm knows the network's input size."""
        from kagglepipe.models.weights import BUNDLED

        if self.cache.short_side is not None:
            return self.cache.short_side
        size, is_bundled = self.model.side, self.model.name in BUNDLED
        is_set = size is not None and (size <= SHORT_SIDE or self.model.crop != "center")
        return max(SHORT_SIDE, network_side(self.model)) if is_bundled or is_set else None

    @property
    def sees_what_prepare_decodes(self) -> bool:
        """Whether images are decoded for the network, as far as is known, as `prepare` decodes them: RGB of 256."""
        return self.known_short_side in (None, SHORT_SIDE) and self.model.sees_rgb

    @property
    def weights_dir(self) -> Path:
        """data/weights/: pretrained weights as safetensors and compiled networks, for all competitions."""
        return self.root / "data" / "weights"

    @property
    def backend_dir(self) -> Path | None:
        """Cache of compiled networks; None for untrained ones, which are not worth compiling."""
        return None if self.model.weights == "none" else self.weights_dir

    @property
    def training_mode(self) -> str:
        """`head` or `finetune`; `auto` depends on the device."""
        if not self.competition.has_encoder:
            if self.training.mode == "finetune":
                what = "a series has" if self.competition.kind == "series" else "sounds have"
                raise UserError(f"{what} no encoder to fine-tune: type training=head, which fits all there is")
            return "head"
        if self.training.mode == "best":  # all of its runs read what fine-tuning does, of videos what heads do
            return "finetune" if self.competition.kind == "image" else "head"
        if self.training.mode != "auto":
            return self.training.mode
        from kagglepipe.training.device import choose_device, gpu_is_possible

        if self.device == "cpu" or (self.device == "auto" and not gpu_is_possible()):
            return "head"
        return "head" if choose_device(self.device).type == "cpu" else "finetune"

    @property
    def mirror(self) -> bool:
        """Whether training views are flipped: not where the option says no, or the competition of our own policies."""
        has_own = self.augmentation.policy not in ("auto", *POLICIES)
        return self.augmentation.mirror and (self.competition.mirror or has_own)

    def augmentation_policy(self, mode: str) -> str:
        """Augmentation policy of training in `mode`, `auto` resolved."""
        if self.augmentation.policy != "auto":
            return self.augmentation.policy
        return self.competition.augmentation or POLICY_OF_MODE[mode]

    @property
    def interpolation(self) -> list[float]:
        """`training.interpolation`, null resolved."""
        training = self.training
        return training.interpolation or ([0.5, 1.0] if training.mode == "auto" else [1.0])


def hydra_string(value: str) -> str:
    """Quote a text so that Hydra's grammar and OmegaConf read it back unchanged.

    >>> hydra_string("it's")
    "'it\\\\'s'"
    """
    escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # OmegaConf's escape, then that of Hydra's quotes
    escaped = re.sub(r"(\\*)(')", r"\1\1\\\2", escaped)
    if trailing := len(escaped) - len(escaped.rstrip("\\")):
        escaped += "\\" * trailing
    return f"'{escaped}'"


def schema(config: Any = Config) -> Any:
    """Convert an options class, or an instance, to an OmegaConf node that Hydra and files can override.

    OmegaConf makes nodes of frozen dataclasses read-only, so that flag is removed.
    """
    from omegaconf import OmegaConf

    def unlock(node: Any) -> None:
        OmegaConf.set_readonly(node, None)
        for child in (node._get_node(key) for key in node):
            if OmegaConf.is_dict(child):
                unlock(child)

    made = OmegaConf.structured(config)
    unlock(made)
    return made


def option_fields(group: Any = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Iterate over (dotted name, dataclass field) of every option."""
    for one in fields(group):
        if is_dataclass(one.default_factory):
            yield from option_fields(one.default_factory, f"{prefix}{one.name}.")
        else:
            yield prefix + one.name, one


def option_names() -> list[str]:
    """Dotted names of all options.

    >>> "training.lr" in option_names()
    True
    """
    return [name for name, _ in option_fields()]


def option_facts(name: str) -> list[Any]:
    """Metadata of an option's groups, the outermost first, then its own; empty for an unknown name.

    >>> [facts["read_by"] for facts in option_facts("model.temporal.window")]
    [(), ('video', 'series', 'audio'), ('mean segments',)]
    """
    group: Any = Config
    facts = []
    for part in name.split("."):
        one = next((one for one in fields(group) if one.name == part), None)
        if one is None:
            return []
        facts.append(one.metadata)
        if not is_dataclass(one.default_factory):
            break
        group = one.default_factory
    return facts


def stages_reading(name: str) -> tuple[str, ...]:
    """List the stages and tools that read an option: those of its own facts, else of its group.

    >>> stages_reading("competition.on_bad_image"), stages_reading("detect.video")
    (('download', 'prepare', 'predict', 'detect'), ('detect',))
    """
    return next((facts["stages"] for facts in reversed(option_facts(name)) if facts["stages"]), ())


PATH_KEYS = tuple(name for name, one in option_fields() if one.metadata["path"])
TEXT_KEYS = tuple(name for name, one in option_fields() if one.metadata["text"])
STRING_KEYS = tuple(  # names that people choose: of columns, classes, files
    name for name, one in option_fields() if re.match(r"<class 'str'>|str \||list\[str\]", str(one.type))
)
LIST_KEYS = tuple(name for name, one in option_fields() if str(one.type).startswith("list"))
DICT_OPTIONS = tuple(name for name, one in option_fields() if str(one.type).startswith("dict"))  # with any keys


def check_option_names(values: Any, prefix: str = "") -> None:
    """Raise UserError for a key that is no option, as `+training.lrr=1` would add.

    >>> check_option_names({"seed": 1, "model": {"kwargs": {"anything": 1}}})
    """
    known = option_names()
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, dict) and name not in DICT_OPTIONS:
            check_option_names(value, name + ".")
        elif name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.6)
            raise UserError(f"{name} is not an option" + (f"; did you mean {near[0]}?" if near else ""))


def network_side(model: ModelOptions) -> int:
    """Pixels that the short side of an image needs, so that none is enlarged: the network's input or, where that is
    larger than SHORT_SIDE and a crop of the middle, the side before cropping.

    >>> network_side(ModelOptions(image_size=384)), network_side(ModelOptions("tf_efficientnet_lite2", crop="center"))
    (384, 293)
    """
    from kagglepipe.models.weights import own_input

    size = model.side or own_input(model.name)[0]
    if model.crop != "center" or size <= SHORT_SIDE:
        return size
    return math.ceil(size / own_input(model.name)[1])
