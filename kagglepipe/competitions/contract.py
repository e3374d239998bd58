"""What a competition is: how its files are laid out, what is scored, and what its submission looks like.

A competition is a YAML file of these fields (`conf/competition/`); no code belongs to one.
"""

from dataclasses import dataclass, field

from kagglepipe.errors import UserError

KINDS = ("image", "video", "series")
FORMS = ("index", "name", "probability", "probabilities", "segments")
ID_FORMS = ("name", "stem", "path")
COLUMNS = ("video", "start", "end", "label", "group", "split", "values", "time", "file")
JOINTS = ("hip", "neck", "left_hip", "right_hip")


@dataclass
class Competition:
    """The contract between a competition and the pipeline.

    slug: Kaggle's name of the competition, and the folder's name under `data/` and `outputs/`; None takes the
        name of `source`.
    classes: class names in the order of their index; empty takes the sorted names of the class folders.
    layout: class name -> folder of its training images, relative to the archive's root, any case; empty means
        every sub-folder of `train` (or of the root) is a class.
    test: folder of the images to classify, any case; a competition without it ends after training.
    kind: `image`, `video`, or `series` (arrays with a time axis: skeletons, sensors).
    labels: CSV instead of class folders, relative to the source; None for folders. Images:
        `file,label[,group][,split]`. Video and series: `video[,start,end],label[,group][,split]`.
    files: CSV with `video[,group][,split]`, which lists the videos (or series) of `labels` and says whose they are.
    columns: what these CSVs, or the arrays of an npz file, call their columns: `file` (images), `video`, `start`,
        `end`, `label`, `group`, `split`, and `values`, `time`.
    background: the class that stands for nothing happening: unlabelled time, or clips without an action.
    skeleton: which joints of a series of joints are `hip`, `neck`, `left_hip`, `right_hip`; empty: it is none.
    unit: what times of series are counted in, as `s` or `frames`; those of videos are seconds.
    time_axis: which axis of the arrays of series is time, 0 or 1; None: the first one, unless another one is at least
        eight times as long in all files.
    segment_metric: the score of segments by which smoothing and thresholds are chosen (segments.metrics).
    id: what identifies an image: `name` (file name), `stem` (without extension) or `path` (relative path).
    metric: a name of `predictions.metrics.METRICS`.
    form: what a submission holds: class `index`, class `name`, `probability` of the second class of two (without
        `classes`, of the one after which the column is called), `probabilities`, one column per class, or `segments`,
        for which every frame is classified and pieces of video are found: `video,start,end,label,score`.
    sample_submission: file that gives rows, order and the spelling of columns, relative to the source; None if none
        is shipped.
    answers: CSV with the test photos' true class in the form of a submission; used for scoring only, at any time.
    sample_slug: slug of the built-in sample that stands in when no data can be found; None: there is none.
    augmentation: the policy that `augmentation=auto` stands for here when only a head is fitted; None: the usual one.
    origin: where its files can be had, for a competition that is not at Kaggle.
    source: zip or folder to read instead of downloading; None looks in `data/<slug>/` first.
    refresh: take the source's bytes although they differ from what was prepared.
    per_class: train on so many labelled images per class, chosen by `seed`; the other training images become
        the test with known answers. None uses all.
    hidden: share of the labelled items, whole groups and every class, that becomes the test; their answers, or what
        happens when in them, are kept from everything but stage=drill. None hides nothing. hidden_seed: which ones.
    on_bad_image: `error` stops at a file that cannot be decoded, `skip` lists it and goes on; one to classify is then
        answered by the class shares of those to train on.
    """

    slug: str | None = None
    title: str = ""
    kind: str = "image"
    classes: list[str] = field(default_factory=list)
    layout: dict[str, str] = field(default_factory=dict)
    test: str | None = None
    labels: str | None = None
    files: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    background: str | None = None
    skeleton: dict[str, int] = field(default_factory=dict)
    unit: str = "s"
    time_axis: int | None = None
    segment_metric: str = "f1_50"
    id: str = "name"
    id_column: str = "id"
    target_column: str = "label"
    metric: str = "accuracy"
    form: str = "index"
    sample_submission: str | None = None
    answers: str | None = None
    sample_slug: str | None = None
    augmentation: str | None = None
    origin: str | None = None
    source: str | None = None
    refresh: bool = False
    per_class: int | None = None
    hidden: float | None = None
    hidden_seed: int = 0
    on_bad_image: str = "error"

    def __post_init__(self) -> None:
        self.test = relative_folder("competition.test", self.test) if self.test else None
        self.layout = {name: relative_folder(f"competition.layout.{name}", at) for name, at in self.layout.items()}
        demand("competition.kind", self.kind, KINDS)
        demand("competition.form", self.form, FORMS)
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
            demand("competition.columns", column, COLUMNS)
        if self.skeleton and set(self.skeleton) != set(JOINTS):
            raise UserError(f"competition.skeleton names {sorted(self.skeleton)}; it needs {', '.join(JOINTS)}")
        demand("competition.id", self.id, ID_FORMS)
        demand("competition.on_bad_image", self.on_bad_image, ("error", "skip"))
        if self.per_class is not None and self.per_class < 1:
            raise UserError(f"competition.per_class={self.per_class} must be at least 1")
        if self.hidden is not None and not 0.05 <= self.hidden <= 0.9:
            raise UserError(f"competition.hidden={self.hidden:g} must be a share from 0.05 to 0.9")
        if self.hidden_seed < 0:
            raise UserError(f"competition.hidden_seed={self.hidden_seed} must be 0 or more")
        if self.hidden is not None and self.per_class is not None:
            raise UserError("competition.hidden and competition.per_class cannot be combined: leave one of them away")

    @property
    def finds_segments(self) -> bool:
        """Whether every frame is classified and pieces of video are found, rather than whole items."""
        return self.form == "segments"

    @property
    def noun(self) -> str:
        """What its items are called, many of them."""
        return {"image": "images", "video": "videos", "series": "series"}[self.kind]

    @property
    def is_part(self) -> bool:
        """Whether some of the labelled items are made the test, instead of what the competition asks to classify."""
        return self.per_class is not None or self.hidden is not None

    @property
    def is_sample(self) -> bool:
        """Whether the images are the built-in sample's, drawn by code."""
        return self.slug is not None and self.slug == self.sample_slug


def demand(key: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises UserError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise UserError(f"{key}={value} is unknown; choose one of: {', '.join(allowed)}")


def folder_path(path: str) -> str:
    r"""A folder's relative path as it is compared: `/` between its parts, none at the end, nothing before it.

    >>> [folder_path(path) for path in ("test/", "./Test", "imgs\\test", "a//b", ".")]
    ['test', 'Test', 'imgs/test', 'a/b', '']
    """
    return "/".join(part for part in path.strip().replace("\\", "/").split("/") if part not in ("", "."))


def relative_folder(key: str, path: str) -> str:
    """`path` with `/` between its parts and none at the end. Raises UserError if it leads out of the source."""
    folder = folder_path(path)
    is_absolute = path.startswith(("/", "\\", "~")) or path[1:2] == ":"
    if is_absolute or not folder or ".." in folder.split("/"):
        raise UserError(f"{key}={path} must be a folder inside the source: give its path seen from there, as train/cat")
    return folder
