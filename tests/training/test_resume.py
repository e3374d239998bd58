"""Killed at any moment and begun again, a fit ends as if nothing had been; what it keeps is whole, or ignored."""

import errno
import json
import logging
import math
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from kagglepipe.images.dataset import TrainingImages
from kagglepipe.models.classifier import Classifier
from kagglepipe.training.device import Precision
from kagglepipe.training.loop import FitRuntime, Loop
from kagglepipe.training.resume import (
    Epoch,
    Progress,
    capture,
    forget_progress,
    load_progress,
    part,
    restore,
    save_progress,
)
from tests.fitting import RECIPE, Job, assert_same, carry_out, killed, network, trained, untimed
from tests.processes import in_a_process

NAME = "resume.safetensors"
EXTRAS = replace(RECIPE, epochs=3, mixup=0.4, cutmix=1.0, ema=0.8, sampling="balanced", focal=1.0)


def stepped(steps: int = 2, seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A small network, channels last, and its optimiser, after so many steps."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    model.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    train(model, optimiser, steps)
    return model, optimiser


def train(model: nn.Module, optimiser: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimiser.zero_grad()
        model(torch.linspace(-1, 1, 96).reshape(2, 3, 4, 4)).square().sum().backward()
        optimiser.step()


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """The same names, and the same bits of the same kind under them."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.dtype == other[name].dtype, name
        assert torch.equal(value, other[name]), name


# --- what is kept --------------------------------------------------------------------------------------------------


def test_what_is_restored_goes_on_as_if_nothing_had_been() -> None:
    model, optimiser = stepped()
    kept = capture(model, optimiser)
    before = {name: value.clone() for name, value in kept.items()}
    train(model, optimiser, 3)
    assert_equal(kept, before)  # a copy
    undisturbed = capture(model, optimiser)
    other, its_optimiser = stepped(steps=0, seed=1)
    for _ in range(2):  # what is restored twice, as after a roll-back, is whole the second time too
        restore(kept, other, its_optimiser)
        assert_equal(capture(other, its_optimiser), kept)
        train(other, its_optimiser, 3)
        assert_equal(capture(other, its_optimiser), undisturbed)


def test_moments_go_by_the_names_of_parameters_and_in_older_files_by_number() -> None:
    """The order in which an optimiser numbers them depends on the groups that a version makes."""
    model, optimiser = stepped()
    kept, places = capture(model, optimiser), {name: n for n, (name, _) in enumerate(model.named_parameters())}
    numbered = {name: value for name, value in kept.items() if name.startswith("model.")}
    for name, value in part(kept, "optimiser").items():
        parameter, _, key = name.rpartition(".")
        numbered[f"optimiser.{places[parameter]}.{key}"] = value
    other, its_optimiser = stepped(steps=0, seed=1)
    backwards = torch.optim.AdamW(
        [{"params": [parameter]} for parameter in reversed(list(other.parameters()))], lr=0.01
    )
    for tensors, restored in ((kept, backwards), (numbered, its_optimiser)):
        restore(tensors, other, restored)
        assert_equal(capture(other, restored), kept)
    with pytest.raises(RuntimeError, match="has the shape"):
        restore(numbered, other, backwards)


def test_moments_lie_in_memory_as_they_did() -> None:
    """Else the first step after a kill would take another way through the arithmetic, and a slower one on a GPU."""
    model, optimiser = stepped()
    strides = [optimiser.state[p]["exp_avg"].stride() for p in model.parameters()]
    other, its_optimiser = stepped(steps=0)
    restore(capture(model, optimiser), other, its_optimiser)
    assert [its_optimiser.state[p]["exp_avg"].stride() for p in other.parameters()] == strides
    assert strides[0] == model[0].weight.stride() != model[0].weight.contiguous().stride()


def test_progress_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    model, optimiser = stepped()
    tensors = capture(model, optimiser)
    history = [Epoch(1, 0.1 + 0.2, math.nan, 0.5, 0.1, 1.0, lr_shortened=True)]
    scale = {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 3}
    best = {name: -value for name, value in part(tensors, "model").items()}
    progress = Progress(1, tensors, history, 0.1, scale, 4, best)
    save_progress(tmp_path / NAME, progress)
    found = load_progress(tmp_path / NAME)
    assert found is not None
    assert_equal(found.tensors, tensors)
    assert_equal(found.best, best)
    assert (found.epoch, found.lr_factor, found.scale, found.micro_batch) == (1, 0.1, scale, 4)
    assert repr(found.history) == repr(history)  # NaN and all
    with safe_open(tmp_path / NAME, framework="pt") as file:  # under the names of earlier versions
        header = json.loads(file.metadata()["progress"])
    assert list(header) == ["epoch", "history", "caution", "scale", "micro_batch", "classes"]
    assert list(header["history"][0]) == [
        "epoch", "train_loss", "valid_loss", "valid_accuracy", "lr", "rate", "ended_by", "hurried", "valid_score"
    ]  # fmt: skip


def test_what_killed_writes_have_left_goes_with_the_next_one(tmp_path: Path) -> None:
    assert load_progress(tmp_path / NAME) is None
    file, left, other = tmp_path / NAME, tmp_path / f".{NAME}.1234.tmp", tmp_path / ".log.csv.1234.tmp"
    for path in (left, other, tmp_path / ".tmpnKl3Ix"):  # the last one is named by safetensors
        path.write_bytes(b"half")
    save_progress(file, Progress(1, capture(*stepped())))
    assert sorted(tmp_path.iterdir()) == sorted([file, other])
    left.write_bytes(b"half")
    forget_progress(file)
    assert list(tmp_path.iterdir()) == [other]
    forget_progress(file)  # which is nothing to complain of


# --- what cannot be used -------------------------------------------------------------------------------------------


SHORT = replace(RECIPE, epochs=1)


@pytest.fixture(scope="module")
def fresh(images: TrainingImages) -> tuple[Classifier, list[Epoch]]:
    """What comes of a fit of one epoch that keeps nothing."""
    model = network()
    return model, untimed(trained(model, images, SHORT))


@pytest.fixture(scope="module")
def one_epoch(
    images: TrainingImages, fresh: tuple[Classifier, list[Epoch]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What the same fit keeps when it may, which changes nothing."""
    file, model = tmp_path_factory.mktemp("kept") / NAME, network()
    assert untimed(trained(model, images, SHORT, runtime=FitRuntime(file))) == fresh[1]
    assert_same(model, fresh[0])
    return file


def with_header(file: Path, **header: Any) -> None:
    save_file(load_file(file), file, {"progress": json.dumps(header)} if header else None)


def with_another_tensor(file: Path) -> None:
    progress = load_progress(file)
    assert progress is not None
    progress.tensors["optimiser.999.exp_avg"] = torch.zeros(3)
    save_progress(file, progress)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "empty": lambda file: file.write_bytes(b""),
    "zeros in the header": lambda file: file.write_bytes(file.read_bytes()[:8] + b"\0" * 32 + file.read_bytes()[40:]),
    "no header": with_header,
    "header of another version": lambda file: with_header(file, epoch=1, mood="good"),
    "history of another version": lambda file: with_header(file, epoch=1, history=[{"epoch": 1, "mood": 1.0}]),
    "another network": lambda file: save_progress(file, Progress(1, capture(*stepped()))),
    "another optimiser": with_another_tensor,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_cannot_be_used_is_named_and_ignored(
    damage: str, images: TrainingImages, one_epoch: Path, fresh: tuple[Classifier, list[Epoch]], tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    file, model = tmp_path / NAME, network()
    file.write_bytes(one_epoch.read_bytes())
    DAMAGES[damage](file)
    with caplog.at_level(logging.WARNING):
        history = trained(model, images, SHORT, runtime=FitRuntime(file))
    assert untimed(history) == fresh[1]
    assert_same(model, fresh[0])
    (told,) = caplog.messages
    assert str(file) in told
    assert "beginning" in told
    kept = load_progress(file)
    assert kept is not None
    assert kept.epoch == 1  # the next kill finds a whole file again


RGB, BGR = ["red", "green", "blue"], ["blue", "green", "red"]


@pytest.mark.parametrize(("stored", "default", "goes_on"), [(RGB, BGR, False), (None, RGB, False), (None, BGR, True)])
def test_a_finished_fit_is_not_trained_again_unless_its_classes_have_another_order(
    stored: list[str] | None, default: list[str], goes_on: bool, images: TrainingImages, one_epoch: Path,
    fresh: tuple[Classifier, list[Epoch]], tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Its head would answer with the wrong names. A file of an older version names none: it has the default ones."""
    kept, model = load_progress(one_epoch), network()
    assert kept is not None
    kept.classes = stored
    save_progress(tmp_path / NAME, kept)
    runtime = FitRuntime(tmp_path / NAME, classes=BGR, default_classes=default)
    if not goes_on:
        with caplog.at_level(logging.WARNING):
            assert untimed(trained(network(), images, SHORT, runtime=runtime)) == fresh[1]
        assert "has the classes red, green, blue, not blue, green, red: starting from the beginning" in caplog.text
    monkeypatch.setattr(Loop, "step", None)
    assert untimed(trained(model, images, SHORT, runtime=runtime)) == fresh[1]
    assert_same(model, fresh[0])


def test_progress_without_a_loss_scale_goes_on_with_one(images: TrainingImages, tmp_path: Path) -> None:
    """As when a command that was begun on a CPU is gone on with on a GPU that has float16 alone."""
    runtime, longer = FitRuntime(tmp_path / NAME), replace(RECIPE, epochs=2)
    trained(network(), images, replace(longer, epochs=1), runtime=runtime)
    half = Precision(torch.float16, True, "")
    history = trained(network(), images, longer, runtime=runtime, precision=half)
    assert [epoch.epoch for epoch in history] == [1, 2]
    kept = load_progress(tmp_path / NAME)
    assert kept is not None
    assert kept.scale["scale"] > 0


def test_mixing_sampling_and_averages_go_on_as_they_were(images: TrainingImages, tmp_path: Path) -> None:
    runtime, whole, found = FitRuntime(tmp_path / NAME, micro_batch=3), network(), network()
    history = trained(whole, images, EXTRAS, runtime=replace(runtime, resume=None))
    killed(images, EXTRAS, runtime, after=2)
    assert untimed(trained(found, images, EXTRAS, runtime=runtime)) == untimed(history)
    assert_same(found, whole)


# --- kills ---------------------------------------------------------------------------------------------------------

WAYS: dict[str, dict[str, Any]] = {
    "cosine": {},
    "onecycle": {"recipe": replace(RECIPE, epochs=3, schedule="onecycle")},
    "early stop": {"recipe": replace(RECIPE, epochs=6, patience=1), "misled": True},
    "loss scale": {"scaled": True},
    "nothing held out": {"held_out": False},
    "short of memory": {"crowded": True},
    "roll-back": {"blows_up": True},
    "extras": {"recipe": EXTRAS},
    "average, nothing held out": {"recipe": replace(RECIPE, epochs=3, ema=0.8), "held_out": False},
}
KINDS = [
    "after an image", "after an update", "before an evaluation", "before a checkpoint", "before a renaming",
    "after a renaming",
]  # fmt: skip


def outcome(folder: Path) -> tuple[dict[str, torch.Tensor], str, list[str]]:
    """(weights, history, moments) that a job has left."""
    with safe_open(folder / "outcome.safetensors", framework="pt") as file:
        told = file.metadata()
    return load_file(folder / "outcome.safetensors"), told["history"], json.loads(told["moments"])


RunJob = Callable[..., tuple[int | None, Path]]


@pytest.fixture(scope="module")
def run_job(processes: ForkServerContext, pixels: Path, tmp_path_factory: pytest.TempPathFactory) -> RunJob:
    """run_job(resume, way, …) -> (exit code, folder) of a process that does one job."""

    def run(resume: Path, way: str = "cosine", **options: Any) -> tuple[int | None, Path]:
        folder = tmp_path_factory.mktemp("job")
        code, _ = in_a_process(processes, carry_out, Job(pixels, folder, resume, **WAYS[way], **options))
        return code, folder

    return run


@pytest.fixture(scope="module")
def undisturbed(run_job: RunJob, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """undisturbed(way) -> the folder of a fit that nobody has killed."""
    known: dict[str, Path] = {}

    def folder_of(way: str) -> Path:
        if way not in known:
            code, known[way] = run_job(tmp_path_factory.mktemp("whole") / NAME, way)
            assert code == 0
        return known[way]

    return folder_of


def assert_same_outcome(folder: Path, whole: Path) -> None:
    (weights, history, _), (others, other_history, _) = outcome(folder), outcome(whole)
    assert_equal(weights, others)
    assert history == other_history


@pytest.mark.slow
def test_the_ways_do_what_their_names_say(undisturbed: Callable[[str], Path]) -> None:
    """Else kills would find nothing of it: a scale that changes, a halved batch, a roll-back, an early stop."""
    scale = outcome(undisturbed("loss scale"))[2].count("after an update")
    assert 0 < scale < outcome(undisturbed("cosine"))[2].count("after an update")  # a scaler leaves steps out
    assert "out of memory: micro-batch reduced to 4, " in (undisturbed("short of memory") / "log").read_text()
    assert "going on from the weights before it" in (undisturbed("roll-back") / "log").read_text()
    early = json.loads(outcome(undisturbed("early stop"))[1])
    assert (early[-1]["ended_by"], len(early) < 6) == ("patience", True)
    assert "before an evaluation" not in outcome(undisturbed("nothing held out"))[2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_at_any_kind_of_moment_changes_nothing(
    kind: str, run_job: RunJob, undisturbed: Callable[[str], Path], tmp_path: Path
) -> None:
    """In the second epoch, so that there is something to go on from."""
    whole = undisturbed("cosine")
    moments = outcome(whole)[2]
    first_epoch = moments[: moments.index("after a renaming") + 1]
    code, _ = run_job(tmp_path / NAME, at=(kind, first_epoch.count(kind) + 1))
    assert code == -9
    code, alive = run_job(tmp_path / NAME)
    assert code == 0
    assert "goes on after epoch" in (alive / "log").read_text()
    assert_same_outcome(alive, whole)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_kills_at_random_moments_change_nothing(
    way: str, run_job: RunJob, undisturbed: Callable[[str], Path], tmp_path: Path
) -> None:
    """Three kills in each of nine ways: twenty-seven moments, the same every time."""
    whole, kills = undisturbed(way), 0
    rng, moments = np.random.default_rng(list(WAYS).index(way)), len(outcome(whole)[2])
    for attempt in range(3):
        file = tmp_path / f"{attempt}.safetensors"
        code: int | None = -9
        while code == -9:
            at = ("any", int(rng.integers(1, moments // 2))) if kills < 3 else None
            code, folder = run_job(file, way, at=at)
            kills += code == -9
        assert code == 0
        assert_same_outcome(folder, whole)
        if kills == 3:
            break
    assert kills == 3


# --- a full disk ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(one_epoch: Path, tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, with room for one checkpoint and a half."""
    place, room = tmp_path / "disk", one_epoch.stat().st_size * 3 // 2
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a disk that is full needs the right to mount one")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_leaves_the_checkpoint_before_it_whole(
    small_disk: Path, run_job: RunJob, undisturbed: Callable[[str], Path]
) -> None:
    file = small_disk / NAME
    code, folder = run_job(file)
    assert code == 0
    assert (folder / "error").read_text() == f"{errno.ENOSPC} {file}"
    kept = load_progress(file)
    assert kept is not None
    assert kept.epoch == 1
    assert [path.name for path in small_disk.iterdir()] == [NAME]
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    code, folder = run_job(file)
    assert "goes on after epoch 1/3" in (folder / "log").read_text()
    assert_same_outcome(folder, undisturbed("cosine"))
