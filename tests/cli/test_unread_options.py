"""Options that the chosen stage, kind or mode does not read are named, and no others."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from kagglepipe.cli.unread_options import check_unread_options, option_paths, trains, typed_options, why_unread
from kagglepipe.config import CONF, Config
from kagglepipe.errors import UserError
from tests.composing import changed

Configure = Callable[..., Config]
IMAGE, VIDEO, SERIES = (f"competition.kind={kind}" for kind in ("image", "video", "series"))
LONG = VIDEO + " competition.form=segments competition.background=none"
EVENTS, TAGS, NUMBERS = (
    LONG.replace("segments", "events"), "competition.task=multilabel", "competition.task=regression")  # fmt: skip
HEAD, TUNED, BEST, MEAN = (
    "training=head",
    "training=finetune",
    "training=best",
    "model.temporal.cell=mean model.temporal.pooling=mean",
)
IS_CHOICE = {"training=": "training.mode=", "augmentation=": "augmentation.policy=", "model=": "model.name="}


def unread(*words: str) -> str | None:
    """Why the last of these options is not read, and what to type; None where it is."""
    options = [one for word in words for one in word.split(" ")]
    for choice, option in IS_CHOICE.items():
        options = [one.replace(choice, option) if one.startswith(choice) else one for one in options]
    config = changed(Config(), *options)
    (name,) = typed_options(words[-1:])
    mode = config.training_mode if config.training.mode == "best" else config.training.mode
    return why_unread(config, name, mode if trains(config) and mode != "auto" else None)


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ((IMAGE, HEAD, "training.epochs=3"), "add training=finetune"),
        ((IMAGE, HEAD, "training.budget=20m"), "add training=finetune"),
        (("stage=course", "training.epochs=3"), "by stage=course, but by train, drill, bundle: type train, or leave"),
        (("stage=course", "competition.source=a.zip"), "by stage=course, but by download"),
        ((IMAGE, HEAD, "training.micro_batch=4"), "add training=finetune"),
        ((IMAGE, "competition.files=videos.csv"), "correct competition.kind"),
        ((IMAGE, "competition.columns.group=person"), "add competition.labels="),
        ((IMAGE, "competition.background=none"), "correct competition.kind"),
        ((IMAGE, "competition.ranks=3"), "without competition.form=ranking: type it too"),
        ((IMAGE, "stage=predict", "competition.label_separator=;"), "without competition.task=multilabel or"),
        ((LONG, "competition.event_width=2"), "without competition.form=events: type it too"),
        ((IMAGE, "competition.event_tolerances=[1]"), "without competition.form=events"),
        ((VIDEO, "competition.segment_metric=f1_10"), "without competition.form=segments or competition.form=events"),
        ((IMAGE, "competition.metadata_key=img"), "add competition.metadata=FILE.csv"),
        ((IMAGE, "competition.hidden_seed=1"), "add competition.hidden=0.2"),
        ((IMAGE, TUNED, NUMBERS, "training.label_smoothing=0.1"), "which has no classes"),
        ((SERIES, HEAD, NUMBERS, "sequences.label_smoothing=0"), "which has no classes"),
        ((IMAGE, "sequences.rate=4"), "leave it out"),
        ((IMAGE, "model.temporal.hidden=4"), "leave it out"),
        ((IMAGE, "model=lstm"), "leave it out"),
        ((IMAGE, "training.confidence=0.8"), "add training.teacher=RUN"),
        ((IMAGE, "ensemble.threshold=auto"), "add ensemble.runs=[best:8], or leave it out"),
        ((IMAGE, NUMBERS, "ensemble.calibrate=platt"), "without runs to blend"),
        ((IMAGE, "stage=submit", "ensemble.method=nnls"), "without runs to blend"),
        ((IMAGE, "competition.mirror=false", "predict.tta=[auto]"), "name the views, as [vertical], or leave it out"),
        ((IMAGE, "ensemble.power=3"), "power mean was removed"),
        ((IMAGE, "folds.file=folds.csv", "folds.count=3"), "leave one of them out"),
        ((IMAGE, "folds.count=groups", "folds.seed=3"), "leave it out"),
        ((VIDEO, HEAD, "training.epochs=3"), "add training=finetune"),
        ((VIDEO, HEAD, "training.lr=1e-3"), "type sequences.lr instead"),
        ((VIDEO, HEAD, "training.views=2"), "type sequences.views instead"),
        ((VIDEO, HEAD, "sequences.clip_frames=4"), "add training=finetune"),
        ((VIDEO, HEAD, "augmentation=strong"), "add sequences.views=1 or training=finetune"),
        ((VIDEO, HEAD, MEAN, "sequences.steps=9"), "leave it out"),
        ((VIDEO, HEAD, MEAN, "model.temporal.hidden=9"), "choose another cell"),
        ((VIDEO, HEAD, "sequences.window=32"), "leave it out"),
        ((VIDEO, TUNED, "training.patience=2"), "leave it out"),
        ((VIDEO, TUNED, "training.mixup=0.2"), "leave it out"),
        ((IMAGE, TUNED, NUMBERS, "training.sampling=balanced"), "which has no classes"),
        ((VIDEO, "prepare.near_bits=8"), "leave it out"),
        ((SERIES, HEAD, "training.epochs=3"), "leave it out"),
        ((SERIES, HEAD, "training.budget=5m"), "leave it out"),
        ((SERIES, BEST, "training.epochs=3"), "leave it out"),
        ((VIDEO, BEST, "training.epochs=3"), "leave it out"),
        ((SERIES, HEAD, "training.lr=1e-3"), "type sequences.lr instead"),
        ((SERIES, "model.image_size=64"), "leave it out"),
        ((SERIES, "augmentation=strong"), "leave it out"),
        ((SERIES, "sequences.motion=true"), "leave it out"),
        ((IMAGE, "stage=train", "ensemble.runs=[a]"), "type ensemble"),
        ((IMAGE, "stage=train", "submit.upload=true"), "type submit"),
        ((IMAGE, "stage=predict", "detect.file=a.csv"), "type detect"),
        ((IMAGE, "stage=runs", "drill.share=0.5"), "type drill"),
        ((IMAGE, "input=photos"), "type predict"),
        ((IMAGE, "stage=prepare", "run=lite0"), "type train"),
        ((IMAGE, "stage=submit", "run=lite0", "ensemble.method=mean"), "leave one of them out"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, tuple) else "",
)
def test_what_is_not_read_is_named_with_what_to_type(words: tuple[str, ...], advice: str) -> None:
    why = unread(*words)
    assert why is not None
    assert advice in why


@pytest.mark.parametrize(
    "words",
    [
        (IMAGE, TUNED, "training.epochs=3"),
        (IMAGE, TUNED, "training.regularisation=[1.0]"),
        (IMAGE, HEAD, "training.views=0"),
        (IMAGE, HEAD, "training.deterministic=true"),
        (IMAGE, HEAD, "augmentation=strong"),
        (IMAGE, HEAD, "seed=1"),
        ("stage=course", "lesson=digits", "seed=1"),
        ("stage=course", "lesson=digits", "course.quick=true"),
        (IMAGE, "competition.labels=labels.csv", "competition.columns.group=person"),
        (IMAGE, "training.teacher=lite0", "training.confidence=0.8"),
        (IMAGE, "ensemble.runs=[a]"),
        (IMAGE, "ensemble.runs=[a]", "ensemble.threshold=auto"),
        (IMAGE, BEST, "ensemble.threshold=auto"),
        (IMAGE, BEST, "training.epochs=2"),
        (IMAGE, BEST, "training.budget=5m"),
        (VIDEO, BEST, "training.budget=5m"),
        (SERIES, BEST, "training.budget=5m"),
        (VIDEO, BEST, "sequences.members=2"),
        (SERIES, BEST, "training.regularisation=[1.0]"),
        (SERIES, BEST, MEAN, "model.temporal.hidden=9"),
        (IMAGE, "competition.mirror=false", "predict.tta=[vertical]"),
        (IMAGE, "predict.tta=[auto]"),
        (IMAGE, "stage=bundle", "ensemble.runs=[a]"),
        (IMAGE, "stage=submit", "run=lite0"),
        (IMAGE, "stage=predict", "input=photos"),
        (IMAGE, "stage=predict", "training.epochs=3"),  # the words of the training, typed again
        (IMAGE, "stage=drill", "drill.runs=[a]"),
        (IMAGE, "device=cpu"),
        (IMAGE, "model.kwargs.drop_rate=0.1"),
        (VIDEO, HEAD, "sequences.views=1"),
        (VIDEO, HEAD, "sequences.views=1", "augmentation=strong"),
        (VIDEO, HEAD, "model=mean_pool"),
        (VIDEO, HEAD, MEAN, "training.regularisation=[1.0]"),
        (VIDEO, HEAD, "training.clip=2"),
        (VIDEO, TUNED, "sequences.clip_frames=4"),
        (VIDEO, TUNED, "training.epochs=4"),
        (VIDEO, TUNED, "training.ema=0.9"),
        (LONG, HEAD, "sequences.window=32"),
        (LONG, "competition.background=none"),
        (LONG, "competition.segment_metric=f1_10"),
        (EVENTS, "competition.event_width=2"),
        (IMAGE, "competition.form=ranking", "competition.ranks=3"),
        (IMAGE, "competition.form=ranking", "competition.label_separator=;"),
        (IMAGE, TAGS, "competition.label_separator=;"),
        (IMAGE, TUNED, TAGS, "training.label_smoothing=0.1"),
        (IMAGE, "competition.hidden=0.5", "competition.hidden_seed=1"),
        (SERIES, "model=lstm"),
        (SERIES, HEAD, "sequences.lr=1e-3"),
        (SERIES, "competition.columns.values=joints"),
    ],
    ids=lambda words: " ".join(words[1:]),
)
def test_what_is_read_passes(words: tuple[str, ...]) -> None:
    assert unread(*words) is None


def test_options_with_the_same_fault_are_named_together() -> None:
    config = Config()
    with pytest.raises(UserError, match=r"training\.epochs, training\.lr are not read while only a head is fitted"):
        check_unread_options(config, {"training.epochs": "", "training.lr": ""}, "head")
    with pytest.raises(UserError, match=r"sequences\.rate, which competition=mine sets, is not read"):
        check_unread_options(config, {"sequences.rate": "competition=mine"}, None)


def test_another_form_leaves_the_fields_of_its_own_in_a_yaml_alone(command: Callable[..., Any]) -> None:
    """humpback.yaml sets ranks, which form=name does not read; typed they are refused, as in a YAML of one's own."""
    other = ("competition=humpback", "competition.form=name", "competition.metric=accuracy")
    said = command(*other, "competition.source=nowhere")
    assert "nowhere" in said.err[0]
    said = command(*other, "competition.ranks=5")
    assert "competition.ranks is not read without competition.form=ranking" in said.err[0]
    Path("own.yaml").write_text("ranks: 5\n")
    assert "competition.ranks, which own.yaml sets, is not read" in command("competition=own.yaml").err[0]


def test_what_is_set_to_nothing_is_not_typed() -> None:
    words = ["competition.files=null", "~competition.test", "ensemble.runs=[]", "run=null", "training=head"]
    assert typed_options(words) == {}


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "competition").glob("*.yaml")))
def test_every_competition_of_ours_sets_what_is_read(name: str, configure: Configure, tmp_path: Path) -> None:
    """With its own model and mode, as its file says; a mode that depends on the device is tried both ways."""
    config = configure(f"competition={name}", f"competition.source={tmp_path}")
    file = CONF / "competition" / f"{name}.yaml"
    is_global = "@package _global_" in file.read_text()
    values = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(values, dict)
    values.pop("defaults", None)
    typed = dict.fromkeys(option_paths(values, "" if is_global else "competition."), "")
    assert typed
    depends = config.training.mode == "auto" and config.competition.has_encoder
    for mode in ("head", "finetune") if depends else (config.training_mode,):
        check_unread_options(replace(config, stage="train"), typed, mode)


def test_the_choice_of_a_yaml_file_is_no_option() -> None:
    check_unread_options(Config(), {"experiment": "", "hydra/launcher": ""}, "head")


@pytest.mark.parametrize("kind", [IMAGE, VIDEO, SERIES])
def test_a_layout_is_read_of_class_folders_of_any_kind(kind: str) -> None:
    assert unread(kind, "competition.layout.cat=a") is None
