"""Learner of images: a linear head on features of the frozen network, or the whole network fine-tuned from there on."""

import copy
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax

from kagglepipe import distributed
from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.targets import Truth
from kagglepipe.console import progress
from kagglepipe.files import exclusive_lock, read_json
from kagglepipe.images.augment import Transform
from kagglepipe.images.cache import PixelCache, PixelReader, check_rows, make_cache
from kagglepipe.images.dataset import ImageBatches, TrainingImages, lost_workers
from kagglepipe.images.paste import PASTE, Backgrounds
from kagglepipe.images.views import Views
from kagglepipe.models.classifier import Classifier
from kagglepipe.options import TrainingOptions
from kagglepipe.predictions.decisions import plain_answers
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.tasks import task_of_truth
from kagglepipe.predictions.top_classes import FULL_CLASSES
from kagglepipe.training.checkpoint import Checkpoint, load_classifier, save_checkpoint
from kagglepipe.training.column_heads import SOLVERS, ColumnHeadFitter
from kagglepipe.training.cosine_head import FEW_ROWS, CosineFitter
from kagglepipe.training.device import Precision, autocast
from kagglepipe.training.discriminant import DiscriminantFitter
from kagglepipe.training.features import (
    Features,
    FeatureStore,
    Item,
    compute_features,
    image_batch,
    image_key,
    stored_features,
)
from kagglepipe.training.head import UNSEEN_BIAS, ExtraRows, Head, HeadFitter
from kagglepipe.training.interpolation import interpolate, weights_of
from kagglepipe.training.learner import FoldResult, LearnerOptions, PretrainedNetwork, Probs, Runtime, fit_runtime
from kagglepipe.training.links import CLASSES, LINKS
from kagglepipe.training.loop import FitRuntime, train_epochs
from kagglepipe.training.losses import CROSS_ENTROPY, Loss
from kagglepipe.training.mixing import mixing_of
from kagglepipe.training.optimise import make_optimiser
from kagglepipe.training.resume import Epoch
from kagglepipe.training.sampling import order_of
from kagglepipe.training.target_scale import TargetScale, scale_of
from kagglepipe.training.weighted_losses import loss_of_options

log = logging.getLogger(__name__)
UNSEEN_BUT_TUNED = -20.0  # bias with which fine-tuning begins for a class of no training row
WEIGHT_BESIDE_PASTED = 4.0  # of a clean view: pasted ones are for photos from elsewhere (docs/elsewhere.md)


class ImageLearner:
    """Fits folds of images. See `Learner`."""

    def __init__(self, dataset: Dataset, options: LearnerOptions, runtime: Runtime) -> None:
        check_rows(dataset.table, options.form)
        self.dataset, self.options, self.runtime = dataset, options, runtime
        self.train, self.test, self.classes = dataset.train, dataset.test, dataset.classes
        self.task = options.competition.task
        self.labels, self.folds = self.targets(self.train), self.train["fold"].to_numpy(np.int64)
        self.network = PretrainedNetwork(options, len(self.classes), runtime)

    def targets(self, rows: pd.DataFrame) -> NDArray[Any]:
        """What the outputs are fitted to: class indices (N,), or columns (N, O)."""
        return LINKS[self.task].targets(self.dataset.labels(rows), len(self.classes))

    @property
    def is_distributed(self) -> bool:
        """Only in fine-tuning: a head takes less time than a broadcast."""
        return self.options.is_finetuned

    @property
    def is_from_scratch(self) -> bool:
        """Whether all layers are trained from random weights, without a head before."""
        return self.options.is_finetuned and self.options.training.from_scratch

    @property
    def precision(self) -> Any:
        """Of features and predictions."""
        return self.runtime.backend.precision

    def prepare_features(self) -> None:
        """Compute the features of the training images and, for fine-tuning, fill the cache of pixels."""
        if distributed.is_rank_zero():
            if not self.is_from_scratch:
                _ = self.fitter
            if self.options.is_finetuned:
                _ = self.cache

    # --- views and features ------------------------------------------------------------------------------------

    @cached_property
    def cache(self) -> PixelCache | None:
        """Pixels of all images of the table, decoded on first use; None without a cache.

        It stays open for all folds, whatever another command prepares.
        """
        folder, side, bits = self.runtime.pixels_dir, self.options.short_side, self.dataset.bits
        form = self.options.form
        if folder is None or not self.runtime.pixels_limit:
            return None
        if not distributed.is_rank_zero():  # rank 0 has made it
            return PixelCache.open(folder, side, bits, form)
        table = self.dataset.table
        files = dict(zip(table["sha256"], self.dataset.paths(table), strict=True))
        with exclusive_lock(folder, f"train: pixels of {side}"):
            return make_cache(
                folder, files, short_side=side, max_bytes=self.runtime.pixels_limit, bits=bits, form=form,
                workers=self.runtime.own_workers,
                progress=lambda pixels, count: progress(pixels, f"pixels of {side}", total=count, unit="image"),
            )  # fmt: skip

    def reader(self, rows: pd.DataFrame) -> PixelReader:
        """Decoded images (H, W, C) of `rows`."""
        paths, digests, options = self.dataset.paths(rows), rows["sha256"].tolist(), self.options
        return PixelReader(
            paths, digests, short_side=options.short_side, cache=self.cache, bits=self.dataset.bits, form=options.form
        )

    def views(self, rows: pd.DataFrame) -> Views:
        """Views (S, S, C) of the images of `rows`, at the network's input size S."""
        return self.network.model.preprocessing.views(
            self.reader(rows), ids=self.names(rows), transform=self.transform, seed=self.options.seed
        )

    def names(self, rows: pd.DataFrame) -> list[str]:
        """Ids of `rows`, `test ID` for a test image whose id an image to train on has, too."""
        is_twice = (rows["split"] == "test") & rows["id"].isin(self.train["id"])
        return rows["id"].mask(is_twice, "test " + rows["id"]).tolist()

    @cached_property
    def transform(self) -> Transform:
        """The augmentation in the network's input size."""
        augmentation, rows, folds = self.options.augmentation, self.train, self.folds
        if self.options.training.teacher is not None:  # test images are pasted on one another
            rows, folds = pd.concat([rows, self.test]), np.append(folds, np.full(len(self.test), -1))
        pastes = augmentation.policy == "paste"
        backgrounds = Backgrounds(self.reader(rows), self.names(rows), folds) if pastes else None
        size = self.network.model.preprocessing.size
        mirror, form = augmentation.mirror, self.options.form
        return Transform(augmentation.policy, size, mirror=mirror, backgrounds=backgrounds, form=form)

    def features(self, rows: pd.DataFrame, view: int, name: str) -> Features:
        """Features (len(rows), F) of view number `view` (0: clean) by the frozen network, from the store."""
        model, views = self.network.model, self.views(rows)
        if rows.empty:
            return np.zeros((0, model.head.in_features), np.float32)
        keys = [image_key(id, digest) for id, digest in zip(self.names(rows), rows["sha256"], strict=True)]
        found = stored_features(
            FeatureStore(self.feature_folder(view)), model, lambda item, *_: views[item.row, view][None],
            [Item(key, row=row) for row, key in enumerate(keys)], backend=self.runtime.backend,
            batch_size=image_batch(self.runtime.backend), workers=self.runtime.own_workers, progress=name,
            unit="image",
        )  # fmt: skip
        return np.concatenate(found)

    def stored_features(self, rows: pd.DataFrame) -> Features | None:
        """Clean features (len(rows), F) by the frozen network, if all are in the store; nothing is computed."""
        if self.is_from_scratch:
            return None
        store = FeatureStore(self.feature_folder(0))
        store.refresh()
        items = [Item(image_key(id, digest)) for id, digest in zip(self.names(rows), rows["sha256"], strict=True)]
        return None if store.missing(items) else np.concatenate([store[item.key] for item in items])

    def feature_folder(self, view: int) -> Path:
        """Folder of the store of one view."""
        if view < 0:  # the clean view turned
            return self.network.feature_folder("features", self.dataset.decoder + self.options.form.suffix, str(view))
        draw = [] if view == 0 else [str(self.transform.serialised()), str(self.options.seed), str(view)]
        if draw and self.transform.backgrounds is not None:  # backgrounds are other rows of the fold
            draw += [PASTE, self.dataset.table_hash, self.dataset.folds_hash]
        return self.network.feature_folder("features", self.dataset.decoder + self.options.form.suffix, *draw)

    @cached_property
    def fitter(self) -> HeadFitter | DiscriminantFitter | ColumnHeadFitter | CosineFitter:
        """Fits the heads of all folds on features of all views, the clean one first."""
        training = self.options.training
        count = training.views
        views = [self.features(self.train, view, f"features {view}/{count}") for view in range(count + 1)]
        clean = 1.0 if self.transform.backgrounds is None else WEIGHT_BESIDE_PASTED
        if self.task in SOLVERS:
            return ColumnHeadFitter(
                views, self.labels, self.folds, task=self.task, grid=training.regularisation, clean=clean
            )
        if self.task == "ranking" and len(self.labels) < FEW_ROWS * len(self.classes):
            if training.regularisation != TrainingOptions().regularisation:
                log.warning("train: training.regularisation changes nothing: cosine similarity to class means has none")
            return CosineFitter(views, self.labels, self.folds, classes=len(self.classes), clean=clean)
        make_fitter = HeadFitter if len(self.classes) <= FULL_CLASSES else DiscriminantFitter
        return make_fitter(
            views, self.labels, self.folds, grid=training.regularisation, classes=len(self.classes), clean=clean
        )

    @cached_property
    def test_features(self) -> Features:
        """Clean features (N, F) of the test images."""
        return self.features(self.test, 0, "features of test")

    @cached_property
    def test_views(self) -> list[Features]:
        """Features (N, F) of the test images in every view, the clean one first."""
        views = range(1, self.options.training.views + 1)
        return [self.test_features, *(self.features(self.test, view, f"features {view} of test") for view in views)]

    # --- fitting -----------------------------------------------------------------------------------------------

    def fit_fold(self, fold: int, extra: pd.DataFrame, runtime: FitRuntime) -> FoldResult:
        """Fit a head and, in fine-tuning, train the whole network from it, or from scratch."""
        if self.is_from_scratch:
            return self.finetune(fold, None, extra, runtime)
        head = distributed.broadcast_object(self.fit_head(fold, extra) if distributed.is_rank_zero() else None)
        if self.options.is_finetuned:
            return self.finetune(fold, head, extra, runtime)
        return FoldResult(self.fitter.history(fold), head)

    def fit_head(self, fold: int, extra: pd.DataFrame) -> Head:
        """Fit the head of a fold; `extra` are test rows."""
        if extra.empty:
            return self.fitter.fit(fold)
        is_extra = self.test["id"].isin(extra["id"]).to_numpy()
        views = [view[is_extra] for view in self.test_views]
        return self.fitter.fit(fold, ExtraRows(views, self.targets(extra)))

    def finetune(self, fold: int, head: Head | None, extra: pd.DataFrame, runtime: FitRuntime) -> FoldResult:
        """Train the whole network, keeping the epoch that is best on the fold. head: to begin with; None: as drawn."""
        model = copy.deepcopy(self.network.model)
        if head is not None:
            bias = np.where(head.bias == UNSEEN_BIAS, np.float32(UNSEEN_BUT_TUNED), head.bias)
            set_head(model, head.weight, bias)
        rows, own = pd.concat([self.train, extra]), np.arange(len(self.train))
        valid, options, images = own[self.folds == fold], self.options, self.views(rows)
        targets, is_own, truth = self.targets(rows), self.folds != fold, self.dataset.labels(self.train)
        unit = scale_of(targets[: len(own)][is_own]) if LINKS[self.task].has_unit else None
        if unit is not None:  # else the steps of the optimiser would depend on the numbers' unit
            targets = unit.transform(targets)
            if head is not None:
                unit.from_unit(model.head)
        history = fit(
            model, TrainingImages(images, targets), valid=valid, truth=truth[valid], others=truth[is_own],
            task=self.task, loss=self.loss(targets[: len(own)][is_own]), unit=unit,
            train=np.append(own[is_own], np.arange(len(self.train), len(rows))), options=options.training,
            seed=options.seed, precision=self.runtime.training_precision, workers=self.runtime.loader_workers,
            name=f"train: fold {fold}", metric=options.competition.metric,
            runtime=fit_runtime(runtime, options, self.runtime, self.classes, len(self.test) + len(valid)),
        )  # fmt: skip
        if unit is not None:
            unit.to_unit(model.head)
        return FoldResult([epoch.row() for epoch in history], model)

    def loss(self, targets: NDArray[Any]) -> Loss:
        """Loss of fine-tuning, by the targets of the rows to train on."""
        return loss_of_options(self.task, targets, len(self.classes), self.options.training)

    def save_fold(self, result: FoldResult, folder: Path, meta: dict[str, Any]) -> None:
        """Save the fine-tuned network, or the head with the frozen backbone beside the folds."""
        bits = {"bits": self.dataset.bits} if self.dataset.bits else {}
        meta = {**self.options.meta(self.precision), **self.network.meta(), **bits, **meta}
        model = result.network
        if isinstance(result.network, Head):
            model = self.network.model
            set_head(model, result.network.weight, result.network.bias)
        save_checkpoint(folder, model, shared_backbone=not self.options.is_finetuned, meta=meta)

    def save_backbone(self, run: Path) -> None:
        """Save the frozen backbone into the run's folder, if folds share it."""
        if not self.options.is_finetuned:
            self.network.save_backbone(run)

    def predict(self, result: FoldResult, folder: Path, rows: pd.DataFrame, view: int = 0) -> Probs:
        """Predict (len(rows), C) training or test rows: by stored features, or through the saved fine-tuned network."""
        if isinstance(result.network, Head) and view:
            return result.network.predict(self.features(rows, view, f"features of turned view {-view}"))
        if isinstance(result.network, Head):
            is_test = bool((rows["split"] == "test").all())
            table, features = (self.test, self.test_features) if is_test else (self.train, self.fitter.views[0])
            return result.network.predict(features[table["id"].isin(rows["id"]).to_numpy()])
        model = load_classifier(Checkpoint(read_json(folder / "model.json"), folder))
        head = Head(model.head.weight.detach().numpy(), model.head.bias.detach().numpy(), 0.0, self.task)
        model, views = model.to(self.runtime.device), model.preprocessing.views(self.reader(rows))

        def predict_shard(part: Sequence[int]) -> Probs:
            features = compute_features(
                model, views, part, view=view, backend=self.runtime.backend.uncached, workers=self.runtime.own_workers,
                progress="predict",
            )  # fmt: skip
            return head.predict(features)

        probs: Probs = distributed.map_and_gather(predict_shard, range(len(rows)))
        return probs


def set_head(model: Classifier, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """Copy weight (C, F) and bias (C,) into the network's head, on its device."""
    device = model.head.weight.device
    model.head.weight.data = torch.tensor(weight, device=device)
    model.head.bias.data = torch.tensor(bias, device=device)


# --- fine-tuning ---------------------------------------------------------------------------------------------------


def fit(
    model: Classifier,
    images: TrainingImages,
    *,
    train: NDArray[np.int64],
    valid: NDArray[np.int64],
    options: TrainingOptions,
    seed: int,
    precision: Precision,
    workers: int,
    name: str,
    runtime: FitRuntime = FitRuntime(),
    metric: str = "accuracy",
    truth: Truth | None = None,
    others: Truth | None = None,
    task: str = "multiclass",
    loss: Loss = CROSS_ENTROPY,
    unit: TargetScale | None = None,
) -> list[Epoch]:
    """Fine-tune `model` in place on the rows `train` (N,) of `images`, and return its history.

    The weights of the epoch with the best score on the rows `valid` (M,) by `metric` stay, or some between these and
    those before, see `interpolate`. truth: of these rows; None:
    the labels of `images`. others: of the other labelled rows, for the plain decision. task: of the truth. unit: of
    numbers, if the labels are standardised. workers: processes of the data loader. With several ranks, each trains on
    its shard of every batch, and all end with the same weights.
    """
    on_gpu = model.head.weight.device.type == "cuda"
    parts = options.interpolation or [1.0]
    start = weights_of(model) if parts != [1] and not options.from_scratch else {}
    batches = ImageBatches(
        images, train, batch_size=options.batch_size, seed=seed, workers=workers, pinned=on_gpu,
        draw=order_of(train, images.labels[train], task, options),
    )  # fmt: skip

    def evaluate_with(batch_size: int) -> tuple[float, float, float]:
        return evaluate(
            model, images, valid, precision, batch_size=batch_size, metric=metric, truth=truth, others=others,
            task=task, unit=unit,
        )  # fmt: skip

    with lost_workers(workers):  # torch raises the error in whatever is running
        history = train_epochs(
            model, batches, make_optimiser(model, options), options=options, seed=seed, precision=precision, name=name,
            unit="image", metric=metric, loss=loss, mixing=mixing_of(options, seed), evaluate=evaluate_with,
            runtime=replace(runtime, rows_after=runtime.rows_after + len(valid)),
        )  # fmt: skip
    if start:
        size = runtime.micro_batch or options.batch_size
        interpolate(model, start, parts, lambda: evaluate_with(size)[0], name)
    return history


def evaluate(
    model: Classifier, images: TrainingImages, rows: NDArray[np.int64], precision: Precision, *, batch_size: int,
    metric: str = "accuracy", truth: Truth | None = None, others: Truth | None = None, task: str = "multiclass",
    unit: TargetScale | None = None,
) -> tuple[float, float, float]:  # fmt: skip
    """(loss, accuracy, score by `metric`) on the clean views of `rows` (N,); of numbers the accuracy is NaN.

    Tags, an order and numbers are scored by the plain decision, since a fitted one needs the other folds. others: truth
    of other rows, which it depends on; None: none is known. unit: of numbers, if the network answers standardised ones.
    """
    compute = partial(clean_logits, model, images, precision, batch_size)
    logits = distributed.map_and_gather(compute, rows.tolist()).astype(np.float64)
    labels = images.labels[rows] if truth is None else truth
    logits = logits if unit is None else unit.inverse(logits)
    if LINKS[task] is not CLASSES:
        predictions, of_task = LINKS[task].predict(torch.from_numpy(logits)).numpy(), task_of_truth(labels)
        right = float(of_task.hits(predictions, labels).mean()) if of_task.hits else math.nan
        losses = of_task.row_losses(predictions, labels)
        answers = plain_answers(predictions, labels[:0] if others is None else others, metric, task)
        return float(losses.mean()), right, find_metric(metric).function(answers, labels)
    log_probs = log_softmax(logits, axis=-1)
    loss = -log_probs[np.arange(len(rows)), labels].mean()
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    return float(loss), accuracy, find_metric(metric).function(np.exp(log_probs), labels)


@torch.inference_mode()
def clean_logits(
    model: Classifier, images: TrainingImages, precision: Precision, batch_size: int, rows: Sequence[int]
) -> NDArray[np.float32]:
    """Logits (N, C) of the clean views of `rows`."""
    device = model.head.weight.device
    model.eval()
    logits = []
    for start in range(0, len(rows), batch_size):
        views = [images.views[row, 0] for row in rows[start : start + batch_size]]
        with autocast(device, precision):
            logits.append(model(torch.from_numpy(np.stack(views)).to(device)).float().cpu().numpy())
    return np.concatenate(logits)
