"""fastai, Lightning and AutoGluon as their tutorials use them: what benchmarks/train.py measures beside kagglepipe.

Each runs in an environment of its own, since they need other versions of timm, so that this file imports kagglepipe
nowhere and a library only in its function. benchmarks/train.py starts it with the interpreter of that environment.
"""

import argparse
import json
import logging
import resource
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

START = time.perf_counter()  # imports count
NAME, SIZE, BATCH = "tf_efficientnet_lite0", 224, 16
MEAN = STD = (0.5, 0.5, 0.5)
Pass = Callable[[], object]  # once through all photos
Note = Callable[[np.ndarray], None]  # is given the probabilities (M, C) of the held-out photos after each epoch


@dataclass(frozen=True)
class Photos:
    """Files, and their classes (N,) as numbers."""

    files: list[Path]
    labels: np.ndarray

    def of(self, rows: np.ndarray) -> "Photos":
        return Photos([self.files[row] for row in np.flatnonzero(rows)], self.labels[rows])


@dataclass(frozen=True)
class Learning:
    """A fold of `fine-tuning`. valid: held-out photos. epochs: of all layers."""

    train: Photos
    valid: Photos
    epochs: int
    note: Note


def labelled(folder: Path, count: int) -> Photos:
    """JPEG files of the classes in turn."""
    kinds = sorted(kind for kind in folder.rglob("Train/*") if kind.is_dir())
    lists = [sorted(kind.glob("*.jpg"))[: count // len(kinds)] for kind in kinds]
    files = [file for several in zip(*lists, strict=False) for file in several]
    return Photos(files, np.arange(len(files)) % len(kinds))


def load(backbone: Any, weights: Path) -> Any:
    """timm's network without classifier, with the weights that all systems begin with."""
    import torch

    backbone.load_state_dict(torch.load(weights / "pytorch_model.bin", weights_only=True), strict=False)
    return backbone


# --- fastai --------------------------------------------------------------------------------------------------------


def fastai_learner(train: Photos, valid: Photos, weights: Path) -> Any:
    """DataBlock and vision_learner."""
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        ImageBlock,
        IndexSplitter,
        Normalize,
        Resize,
        aug_transforms,
        vision_learner,
    )
    from torch import device

    files = [*train.files, *valid.files]
    label = dict(zip(files, [*train.labels.tolist(), *valid.labels.tolist()], strict=True))
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock), get_y=lambda file: label[file],
        splitter=IndexSplitter(range(len(train.files), len(files))), item_tfms=Resize(SIZE),
        batch_tfms=[*aug_transforms(), Normalize.from_stats(MEAN, STD)],
    )  # fmt: skip
    learner = vision_learner(block.dataloaders(files, bs=BATCH, device=device("cpu")), NAME, pretrained=False)
    load(learner.model[0].model, weights)
    return learner


@contextmanager
def without_bars(learner: Any) -> Iterator[None]:
    with learner.no_bar(), learner.no_logging():
        yield


def fastai(work: str, photos: Photos, weights: Path) -> Pass:
    """fit_one_cycle, get_preds, or tta."""
    few = Photos(photos.files[::50], photos.labels[::50])  # validation of each epoch
    learner = fastai_learner(photos, few, weights)
    test = learner.dls.test_dl(photos.files)
    learner.freeze() if work == "head" else learner.unfreeze()

    def once() -> None:
        with without_bars(learner):
            if work in ("head", "fine-tuning"):
                learner.fit_one_cycle(1)
            elif work == "inference":
                learner.get_preds(dl=test)
            else:
                learner.tta(dl=test)

    return once


def fastai_learns(fold: Learning, weights: Path) -> None:
    """fine_tune: an epoch of the head alone, then all layers."""
    from fastai.vision.all import Callback

    class Noted(Callback):
        def before_validate(self) -> None:
            self.found: list[np.ndarray] = []

        def after_pred(self) -> None:
            if not self.training:
                self.found.append(self.pred.softmax(dim=1).detach().numpy())

        def after_validate(self) -> None:
            fold.note(np.concatenate(self.found))

    learner = fastai_learner(fold.train, fold.valid, weights)
    with without_bars(learner):
        learner.fine_tune(fold.epochs, cbs=Noted())


# --- Lightning -----------------------------------------------------------------------------------------------------


def lightning_loader(photos: Photos, *, training: bool) -> Any:
    """torchvision's transforms and torch's loader, as its documentation leaves both to the user."""
    import torch
    from PIL import Image
    from torchvision import transforms

    looks = [transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip()]
    looks = looks if training else [transforms.Resize((SIZE, SIZE))]
    shown = transforms.Compose([*looks, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    class Files(torch.utils.data.Dataset):
        def __getitem__(self, row: int) -> tuple[Any, int]:
            return shown(Image.open(photos.files[row]).convert("RGB")), int(photos.labels[row])

        def __len__(self) -> int:
            return len(photos.files)

    return torch.utils.data.DataLoader(Files(), BATCH, shuffle=training, num_workers=2, persistent_workers=True)


def lightning_module(weights: Path, *, frozen: bool, note: Note | None = None) -> Any:
    """A timm network and a linear layer; frozen: it extracts features, as in the guide to transfer learning."""
    import lightning
    import timm
    import torch

    class Network(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = load(timm.create_model(NAME, num_classes=0), weights)
            self.head = torch.nn.Linear(self.backbone.num_features, 2)
            self.found: list[np.ndarray] = []

        def forward(self, images: Any) -> Any:
            if frozen:
                self.backbone.eval()
            with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
                features = self.backbone(images)
            return self.head(features)

        def training_step(self, batch: Any, _: int) -> Any:
            return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

        def predict_step(self, batch: Any, _: int = 0) -> Any:
            return self(batch[0]).softmax(dim=1)

        def validation_step(self, batch: Any, _: int) -> None:
            self.found.append(self.predict_step(batch).numpy())

        def on_validation_epoch_end(self) -> None:
            if note is not None:
                note(np.concatenate(self.found))
            self.found = []

        def configure_optimizers(self) -> Any:
            learnt = self.head.parameters() if frozen else self.parameters()
            return torch.optim.AdamW(learnt, lr=1e-3 if frozen else 1e-4)

    return Network()


def lightning_trainer(epochs: int) -> Any:
    """Trainer without bars, files and a rehearsal of the validation."""
    import lightning

    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip


def lightning(work: str, photos: Photos, weights: Path) -> Pass:
    """Trainer.fit or Trainer.predict."""
    loader = lightning_loader(photos, training=work != "inference")
    network = lightning_module(weights, frozen=work == "head")
    if work == "inference":
        return lambda: lightning_trainer(1).predict(network, loader)
    return lambda: lightning_trainer(1).fit(network, loader)


def lightning_learns(fold: Learning, weights: Path) -> None:
    """All layers from the first epoch."""
    network = lightning_module(weights, frozen=False, note=fold.note)
    loaders = [lightning_loader(fold.train, training=True), lightning_loader(fold.valid, training=False)]
    lightning_trainer(fold.epochs).fit(network, *loaders)


# --- AutoGluon -----------------------------------------------------------------------------------------------------


@contextmanager
def autogluon_fitted(photos: Photos, weights: Path, epochs: int) -> Iterator[Any]:
    """MultiModalPredictor.fit with its own presets but for the network, the batch and the number of epochs."""
    from autogluon.multimodal import MultiModalPredictor

    place = tempfile.mkdtemp()
    try:
        predictor = MultiModalPredictor(label="label", problem_type="binary", path=f"{place}/model", verbosity=0)
        yield predictor.fit(
            autogluon_table(photos),
            hyperparameters={
                "model.names": ["timm_image"],
                "model.timm_image.checkpoint_name": str(weights),
                "env.num_gpus": 0,
                "env.batch_size": BATCH,
                "env.per_gpu_batch_size": BATCH,
                "optim.max_epochs": epochs,
            },
        )
    finally:
        shutil.rmtree(place)


def autogluon_table(photos: Photos) -> Any:
    import pandas as pd

    return pd.DataFrame({"image": [str(file) for file in photos.files], "label": photos.labels})


def autogluon(work: str, photos: Photos, weights: Path) -> Pass:
    """fit of an epoch, its validation and its averaging of weights included, or predict_proba."""
    if work == "inference":
        with autogluon_fitted(photos.of(np.arange(len(photos.files)) < 4 * BATCH), weights, 1) as predictor:
            return lambda: predictor.predict_proba(autogluon_table(photos))

    def once() -> None:
        with autogluon_fitted(photos, weights, 1):
            pass

    return once


def autogluon_learns(fold: Learning, weights: Path) -> None:
    """Noted at the end alone: it validates on a tenth of its own photos and averages the best weights."""
    with autogluon_fitted(fold.train, weights, fold.epochs) as predictor:
        fold.note(predictor.predict_proba(autogluon_table(fold.valid)).to_numpy())


# --- one system ----------------------------------------------------------------------------------------------------


PASSES: dict[str, Callable[[str, Photos, Path], Pass]] = {
    "fastai": fastai,
    "Lightning": lightning,
    "AutoGluon": autogluon,
}
LEARNERS: dict[str, Callable[[Learning, Path], None]] = {
    "fastai": fastai_learns,
    "Lightning": lightning_learns,
    "AutoGluon": autogluon_learns,
}


def rate(once: Pass, count: int) -> dict[str, float]:
    """Images a second of the second pass, and peak memory in GB, without that of workers."""
    once()
    start = time.perf_counter()
    once()
    taken = time.perf_counter() - start
    return {"rate": count / taken, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}


def out_of_fold(
    learn: Callable[[Learning, Path], None], photos: Photos, folds: np.ndarray, epochs: int, weights: Path
) -> list[tuple[float, float]]:
    """(seconds, log loss out of fold) after each epoch, had all folds been trained for so many.

    folds: (N,) of the photos. Seconds are those of all folds, predictions of held-out photos and imports included.
    """
    before = time.perf_counter() - START
    marks: list[list[tuple[float, float]]] = []
    for fold in np.unique(folds):
        start, valid = time.perf_counter(), photos.of(folds == fold)
        own: list[tuple[float, float]] = []

        def note(probs: np.ndarray, start: float = start, truth: np.ndarray = valid.labels, own: list = own) -> None:
            likely = probs[np.arange(len(truth)), truth].astype(np.float64).clip(1e-15)
            own.append((time.perf_counter() - start, -float(np.log(likely).sum())))

        learn(Learning(photos.of(folds != fold), valid, epochs, note), weights)
        marks.append(own)
    sums = np.array(marks).sum(axis=0)  # (epochs, 2)
    return [(before + seconds, loss / len(folds)) for seconds, loss in sums.tolist()]


def read_job(path: Path) -> tuple[Photos, np.ndarray]:
    """Photos and their folds, as benchmarks/train.py writes them."""
    job = json.loads(path.read_text())
    return Photos([Path(file) for file in job["files"]], np.array(job["labels"])), np.array(job["folds"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("system", choices=PASSES)
    parser.add_argument("work", help="head, fine-tuning, inference or flips; or folds: a JSON of files, labels, folds")
    parser.add_argument("place", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("number", type=int, help="of photos, or of epochs")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if chosen.work == "folds":
        found: Any = out_of_fold(LEARNERS[chosen.system], *read_job(chosen.place), chosen.number, chosen.weights)
    else:
        some = labelled(chosen.place, chosen.number)
        found = rate(PASSES[chosen.system](chosen.work, some, chosen.weights), len(some.files))
    print(json.dumps(found))
