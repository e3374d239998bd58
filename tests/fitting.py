"""A problem that a tiny network learns in a second, for the tests of training.

It stands in a module of its own so that processes which tests begin can import it.
"""

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from kagglepipe.images.augment import Transform
from kagglepipe.images.cache import PixelCache, PixelReader, cache_writer
from kagglepipe.images.dataset import TrainingImages
from kagglepipe.images.views import Views
from kagglepipe.models.classifier import Classifier, Preprocessing
from kagglepipe.options import TemporalOptions, TrainingOptions
from kagglepipe.training import image_learner as module
from kagglepipe.training import loop as loop_module
from kagglepipe.training.device import Precision
from kagglepipe.training.image_learner import fit
from kagglepipe.training.loop import FitRuntime, Loop
from kagglepipe.training.resume import Epoch
from tests.processes import Moment, Moments, die

SIZE, COUNT, CLASSES = 32, 36, 3
FLOAT32 = Precision(torch.float32, False, "tests compare bit by bit")
ROWS = np.arange(COUNT)
TRAIN, VALID = ROWS[:24], ROWS[24:]
RECIPE = TrainingOptions(
    epochs=4,
    lr=3e-3,
    batch_size=8,
    layer_decay=0.9,
    frozen_below=0.0,
    weight_decay=0.01,
    warmup=0.1,
    schedule="cosine",
    clip=1.0,
    label_smoothing=0.0,
    patience=4,
)

SHORTER = replace(RECIPE, epochs=3)
SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 2}
TRANSFORMERS: dict[str, dict[str, Any]] = {  # name -> what makes it small, and its images SIZE or a little less
    "vit_tiny_patch16_224": {**SMALL, "img_size": SIZE},
    # made for 518 pixels; with its own init_values, of which layer scale begins, untrained blocks add nothing
    "vit_small_patch14_dinov2": {**SMALL, "img_size": 28, "init_values": 1.0},
    "eva02_tiny_patch14_224": {**SMALL, "img_size": 28},
    "beit_base_patch16_224": {**SMALL, "img_size": SIZE},
    "swin_tiny_patch4_window7_224": {
        "embed_dim": 16, "depths": (1, 1, 2, 1), "num_heads": (1, 1, 2, 2), "img_size": SIZE, "window_size": 2,
    },
}  # fmt: skip


def make_images(folder: Path) -> TrainingImages:
    """Thirty-six noisy images of three colours; row n is of class n % 3. Their pixels lie in `folder`."""
    rng = np.random.default_rng(0)
    with cache_writer(folder, short_side=SIZE, max_bytes=10**7) as writer:
        for row in ROWS:
            image = rng.integers(0, 120, (SIZE, SIZE + 6, 3), dtype=np.uint8)
            image[..., row % CLASSES] += 100
            writer.add(f"{row:064}", image)
    return images_in(folder)


def images_in(folder: Path) -> TrainingImages:
    """What `make_images` has left there."""
    digests, cache = [f"{n:064}" for n in ROWS], PixelCache.open(folder, SIZE)
    reader = PixelReader([Path(f"{n}.png") for n in ROWS], digests, short_side=SIZE, cache=cache)
    views = Views(reader, SIZE, ids=[f"id{n}" for n in ROWS], transform=Transform("light", SIZE))
    return TrainingImages(views, ROWS % CLASSES)


def relabelled(images: TrainingImages, rows: NDArray[np.int64], shift: int = 1) -> TrainingImages:
    """The same images, those of `rows` with a wrong label."""
    labels = images.labels.copy()
    labels[rows] = (labels[rows] + shift) % CLASSES
    return TrainingImages(images.views, labels)


def network(name: str = "test_efficientnet", *, norms: bool = False, bits: int = 8, **options: Any) -> Classifier:
    """A tiny network, the same each time; norms: with random batch statistics. bits: of its images."""
    torch.manual_seed(0)
    backbone = timm.create_model(name, num_classes=0, **options)
    channels, size = options.get("in_chans", 3), options.get("img_size", SIZE)
    for buffer, value in backbone.named_buffers():
        if norms and buffer.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    return Classifier(
        backbone, CLASSES, Preprocessing(size, "squash", 1.0, (0.5,) * channels, (0.5,) * channels, SIZE, bits)
    )


def trained(
    model: Classifier, images: TrainingImages, options: TrainingOptions = RECIPE, *, seed: int = 0, workers: int = 0,
    runtime: FitRuntime | None = None, precision: Precision = FLOAT32, metric: str = "accuracy",
) -> list[Epoch]:  # fmt: skip
    """The history of a fit in place."""
    return fit(
        model, images, train=TRAIN, valid=VALID, options=options, seed=seed, precision=precision, workers=workers,
        name="test", runtime=runtime or FitRuntime(), metric=metric,
    )  # fmt: skip


def killed(images: TrainingImages, options: TrainingOptions, runtime: FitRuntime, *, after: int, **more: Any) -> None:
    """A fit that ends when so many epochs are saved, as by a kill."""

    def track(epoch: int, _: dict[str, float]) -> None:
        if epoch == after:
            raise InterruptedError

    with suppress(InterruptedError):
        trained(network(), images, options, runtime=replace(runtime, track=track), **more)
        raise AssertionError(f"there is no epoch {after}")


def temporal_options(**changes: Any) -> TemporalOptions:
    """Options of a tiny temporal model, by default an LSTM; `cell=mean` is a linear model, whatever else is asked."""
    linear = {"pooling": "mean", "shuffled": False} if changes.get("cell") == "mean" else {}
    plain = {"differences": False, "hidden": 4, "dropout": 0.0, "reduce": 0, "pooling": "mean", "window": 3}
    return TemporalOptions(**{**plain, **changes, **linear})


class Listed:
    """The same batches in each epoch, of which it notes the numbers."""

    def __init__(self, *batches: Sequence[Tensor]) -> None:
        self.batches, self.epochs = batches, []

    def __len__(self) -> int:
        return len(self.batches)

    def __call__(self, epoch: int) -> Sequence[Sequence[Tensor]]:
        self.epochs.append(epoch)
        return self.batches

    def contents(self, epoch: int, number: int) -> list[str]:
        return []


def untimed(history: list[Epoch]) -> list[Epoch]:
    """A history without the speed, which no two fits share."""
    return [replace(epoch, rate=0.0) for epoch in history]


def assert_same(one: Classifier, other: Classifier) -> None:
    """Equal weights, bit by bit."""
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


# --- what goes wrong -----------------------------------------------------------------------------------------------


class Crowded(Classifier):
    """A network on a device that holds `most` rows, as long as `crowded()`."""

    most = COUNT
    crowded: Callable[[], bool] = staticmethod(lambda: True)
    told: Callable[[], Exception] = staticmethod(lambda: torch.OutOfMemoryError("CUDA out of memory."))

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.most and self.crowded():
            raise self.told()
        return super().forward(images)


def crowd(model: Classifier, most: int, **options: Any) -> Classifier:
    """The same network, on a device that holds no more than so many rows."""
    model.__class__ = Crowded
    for name, value in {"most": most, **options}.items():
        setattr(model, name, value)
    return model


def seed_of(epoch: int) -> int:
    """What torch's generator begins an epoch with, which tells epochs from one another."""
    return int(np.random.default_rng([0, epoch]).integers(2**63))


class Clock:
    """Says how late it is: later by `step` seconds after each step, by half a second after each evaluation.

    put: as `setattr`, which puts all that into place.
    """

    def __init__(self, put: Callable[..., None] = setattr, step: Callable[[int], float] = lambda _: 1.0) -> None:
        self.now, self.steps = 1000.0, 0
        make_step, look = Loop.step, module.evaluate

        def slow_step(loop: Loop, *arguments: Any) -> tuple[float, int, int]:
            self.now, self.steps = self.now + step(self.steps), self.steps + 1
            return make_step(loop, *arguments)

        def slow_look(*arguments: Any, **options: Any) -> tuple[float, float, float]:
            self.now += 0.5
            return look(*arguments, **options)

        put(Loop, "step", slow_step)
        put(module, "evaluate", slow_look)
        put(loop_module, "time", SimpleNamespace(perf_counter=self))

    def __call__(self) -> float:
        return self.now


# --- processes that are killed -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One fit of the images in `pixels`, whose outcome is left in `folder`, for a process of its own.

    at: the moment at which it kills itself; None lives to the end. scaled: in float16, with a loss scale that
    changes all the time. held_out: whether anything is evaluated. misled: by wrong labels of what is held out. crowded:
    the memory holds half a batch, in the first epoch alone. blows_up: in the second epoch, unless the rate is low.
    """

    pixels: Path
    folder: Path
    resume: Path
    recipe: TrainingOptions = SHORTER
    at: Moment | None = None
    scaled: bool = False
    held_out: bool = True
    misled: bool = False
    crowded: bool = False
    blows_up: bool = False


def carry_out(job: Job) -> None:
    """Leaves weights and history in outcome.safetensors and the moments that there were; or the error that ended it."""
    logging.basicConfig(filename=job.folder / "log", level=logging.INFO, format="%(message)s", force=True)
    moments, model, images = Moments(job.at, die), network(drop_rate=0.2), images_in(job.pixels)
    if job.misled:
        images = relabelled(images, VALID)
    if job.crowded:
        crowd(model, 4, crowded=lambda: torch.initial_seed() == seed_of(1))
    if job.blows_up:
        make_it_blow_up()
    if job.scaled:
        scaler = partial(torch.amp.GradScaler, "cpu", init_scale=2.0**18, growth_interval=2)
        Loop.new_scaler = lambda loop: scaler()  # type: ignore[method-assign]
    if not job.held_out:
        module.train_epochs = partial(unjudged, module.train_epochs)
    moments.watch()
    precision = Precision(torch.float16 if job.scaled else torch.float32, job.scaled, "")
    try:
        history = trained(model, images, job.recipe, runtime=FitRuntime(job.resume), precision=precision)
    except OSError as error:
        (job.folder / "error").write_text(f"{error.errno} {error.filename}")
        return
    told = {"history": json.dumps([asdict(epoch) for epoch in untimed(history)]), "moments": json.dumps(moments.kinds)}
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, job.folder / "outcome.safetensors", told)


def unjudged(train_epochs: Callable[..., list[Epoch]], *arguments: Any, **options: Any) -> list[Epoch]:
    """As `train_epochs`, without a look at what is held out."""
    return train_epochs(*arguments, **{**options, "evaluate": None})


def make_it_blow_up() -> None:
    """Steps of the second epoch lose every number at more than a tenth of the rate."""
    step = Loop.step

    def weak(self: Loop, *arguments: Any) -> tuple[float, int, int]:
        too_fast = self.optimiser.param_groups[-1]["lr"] > 0.1 * self.options.lr
        return (float("nan"), 0, 8) if too_fast and torch.initial_seed() == seed_of(2) else step(self, *arguments)

    Loop.step = weak  # type: ignore[method-assign]
