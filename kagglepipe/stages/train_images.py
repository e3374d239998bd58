"""The part of stage=train that knows images: a head on features of a frozen backbone, or the whole network."""

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from kagglepipe import distributed
from kagglepipe.distributed import is_rank_zero
from kagglepipe.files import exclusive_lock
from kagglepipe.runs.identity import augmentation_policy
from kagglepipe.stages.session import Fitted, Session

if TYPE_CHECKING:
    from kagglepipe.images.cache import PixelCache, PixelReader
    from kagglepipe.training.head import Head, HeadFitter

UNSEEN_BUT_TUNED = -20.0  # what fine-tuning begins with for a class of no training row: next to no probability
WEIGHT_BESIDE_PASTED = 4.0  # of a clean view: pasted ones are for photos from elsewhere (docs/elsewhere.md)


class ImageSession(Session):
    """Folds of an image competition."""

    @property
    def is_shared(self) -> bool:
        """Fine-tuning is; heads take less time than telling others of them."""
        return self.mode == "finetune"

    def prepare(self) -> None:
        """Features of the frozen network, for the heads; the pixels of all images, to be read in fine-tuning."""
        if is_rank_zero():
            _ = self.fitter
            if self.mode == "finetune":
                _ = self.cache

    def fit_fold(self, fold: int) -> Fitted:
        """Fits a head and, in fine-tuning, goes on from it."""
        pseudo = self.pseudo(fold)
        head = distributed.broadcast_object(self.fit_head(fold, pseudo) if distributed.is_rank_zero() else None)
        return self.keep_head(fold, head) if self.mode == "head" else self.finetune(fold, head, pseudo)

    def reader(self, rows: pd.DataFrame) -> "PixelReader":
        """The images of `rows`, from the cache."""
        from kagglepipe.images.cache import PixelReader

        side = self.config.short_side
        paths, digests = self.prepared.paths(rows), rows["sha256"].tolist()
        return PixelReader(paths, digests, short_side=side, cache=self.cache, bits=self.prepared.bits)

    @cached_property
    def cache(self) -> "PixelCache | None":
        """The pixels of all images of the table, in the size that the network needs; made where that lacks.

        It stays the same for all folds, whatever another command prepares. None if `cache.max_gb=0` wants none.
        """
        from kagglepipe.images.cache import PixelCache, make_cache

        side, limit = self.config.short_side, self.config.pixels_limit
        folder, table = self.config.pixels_dir(side), self.prepared.table
        if not limit:
            return None
        if not is_rank_zero():  # which has made it before the others train
            return PixelCache.open(folder, side, self.prepared.bits)
        files = dict(zip(table["sha256"], self.prepared.paths(table), strict=True))
        with exclusive_lock(folder, f"train: pixels of {side}"):
            return make_cache(
                folder, files, short_side=side, max_bytes=limit, bits=self.prepared.bits, workers=self.workers,
                progress=lambda pixels, count: tqdm(
                    pixels, f"pixels of {side}", count, unit="image", leave=False, disable=None
                ),
            )  # fmt: skip

    @cached_property
    def transform(self) -> Any:
        """The augmentation at this network's size."""
        from kagglepipe.images.augment import Transform
        from kagglepipe.images.paste import Backgrounds

        p = self.model.preprocessing
        policy = augmentation_policy(self.config, self.mode)
        rows, folds = self.train, self.folds
        if self.config.training.teacher is not None:  # photos to classify have each other for a ground
            rows, folds = pd.concat([rows, self.test]), np.append(folds, np.full(len(self.test), -1))
        backgrounds = Backgrounds(self.reader(rows), rows["id"].tolist(), folds) if policy == "paste" else None
        mirror = self.config.augmentation.mirror
        return Transform(policy, p.size, mirror=mirror, backgrounds=backgrounds)

    def features(self, rows: pd.DataFrame, view: int, name: str) -> Any:
        """(N, F) features of view number `view` (0: clean) of the rows, from the store where it has them."""
        from kagglepipe.training.features import FeatureStore, Item, image_batch, image_key, stored_features

        keys = [image_key(id, digest) for id, digest in zip(rows["id"], rows["sha256"], strict=True)]
        if not keys:
            return np.zeros((0, self.model.head.in_features), np.float32)
        views = self.image_views(self.reader(rows), rows)
        found = stored_features(
            FeatureStore(self.feature_folder(view)), self.model, lambda item, *_: views[item.row, view][None],
            [Item(key, row=row) for row, key in enumerate(keys)], backend=self.backend,
            batch_size=image_batch(self.backend), workers=self.workers, progress=name, unit="image",
        )  # fmt: skip
        return np.concatenate(found)

    def image_views(self, reader: "PixelReader", rows: pd.DataFrame) -> Any:
        """Views of the images of `rows`."""
        ids = rows["id"].tolist()
        return self.model.preprocessing.views(reader, ids=ids, transform=self.transform, seed=self.config.seed)

    def feature_folder(self, view: int) -> Path:
        """Where the features of one view are kept: the name holds all that they depend on save the image."""
        from kagglepipe.files import sha256
        from kagglepipe.images.paste import PASTE
        from kagglepipe.models.weights import FEATURE_VERSION

        draw = [] if view == 0 else [str(self.transform.serialised()), str(self.config.seed), str(view)]
        if draw and self.transform.backgrounds is not None:  # which photo is pasted on which
            draw += [PASTE, self.prepared.table_hash, self.prepared.folds_hash]
        key = sha256(*self.frozen_network, self.prepared.decoder, FEATURE_VERSION, *draw)[:8]
        return self.config.features_dir / f"features-{self.config.model.name.split('/')[-1]}-{key}"

    @cached_property
    def fitter(self) -> "HeadFitter":
        """Heads for all folds, on features computed once."""
        from kagglepipe.training.head import HeadFitter

        count = self.config.training.views
        views = [self.features(self.train, view, f"features {view}/{count}") for view in range(count + 1)]
        grid = self.config.training.regularisation
        clean = 1.0 if self.transform.backgrounds is None else WEIGHT_BESIDE_PASTED
        return HeadFitter(views, self.labels, self.folds, grid=grid, classes=len(self.classes), clean=clean)

    def fit_head(self, fold: int, pseudo: pd.DataFrame) -> "Head":
        """A fold's head, from the other folds and what a teacher has labelled."""
        from kagglepipe.training.head import ExtraRows

        if pseudo.empty:
            return self.fitter.fit(fold)
        places = self.test["id"].isin(pseudo["id"]).to_numpy()
        views = [view[places] for view in self.test_views]
        return self.fitter.fit(fold, ExtraRows(views, self.numbered(pseudo["target"])))

    @cached_property
    def test_views(self) -> list[Any]:
        """Features of the images to classify in every view, the clean one first."""
        views = range(1, self.config.training.views + 1)
        return [self.test_features, *(self.features(self.test, view, f"features {view} of test") for view in views)]

    @cached_property
    def test_features(self) -> Any:
        """Clean features of the images to classify."""
        return self.features(self.test, 0, "features of test")

    def keep_head(self, fold: int, head: "Head") -> Fitted:
        """Saves a head on the frozen backbone: (log rows, out-of-fold and test probabilities)."""
        import torch

        from kagglepipe.training.checkpoint import save_checkpoint

        self.keep_backbone()
        self.model.head.weight.data = torch.from_numpy(head.weight)
        self.model.head.bias.data = torch.from_numpy(head.bias)
        self.open_fold(fold)
        save_checkpoint(self.run / f"fold_{fold}", self.model, shared_backbone=True, meta=self.meta(fold))
        clean = self.fitter.views[0][self.folds == fold]
        history = [{"regularisation": c, "inner_log_loss": loss} for c, loss in self.fitter.inner_log_loss(fold)]
        return Fitted(history, head.probabilities(clean), head.probabilities(self.test_features))

    def finetune(self, fold: int, head: "Head", pseudo: pd.DataFrame) -> Fitted:
        """Trains the whole network from `head` on: (log rows, out-of-fold and test probabilities)."""
        import torch

        from kagglepipe.images.dataset import TrainingImages
        from kagglepipe.training.checkpoint import read_checkpoints, save_checkpoint
        from kagglepipe.training.fit import fit
        from kagglepipe.training.head import UNSEEN_BIAS
        from kagglepipe.training.inference import run_probabilities

        model = copy.deepcopy(self.model)
        model.head.weight.data = torch.from_numpy(head.weight).to(self.device)
        bias = np.where(head.bias == UNSEEN_BIAS, np.float32(UNSEEN_BUT_TUNED), head.bias)
        model.head.bias.data = torch.from_numpy(bias).to(self.device)
        rows = pd.concat([self.train, pseudo])
        reader, labels = self.reader(rows), self.numbered(rows["target"])
        own, added = np.arange(len(self.train)), np.arange(len(self.train), len(rows))
        history = fit(
            model,
            TrainingImages(self.image_views(reader, rows), labels),
            train=np.append(own[self.folds != fold], added),
            valid=own[self.folds == fold],
            options=self.config.training,
            seed=self.config.seed,
            precision=self.training_precision,
            workers=self.loader_workers,
            name=f"train: fold {fold}",
            runtime=self.fit_runtime(fold),
            metric=self.config.competition.metric,
        )
        folder = self.run / f"fold_{fold}"
        if distributed.is_rank_zero():
            self.open_fold(fold)
            save_checkpoint(folder, model, shared_backbone=False, meta=self.meta(fold))
        distributed.barrier()  # the others read it
        checkpoint = [c for c in read_checkpoints(self.run) if c.folder == folder]

        def predict(reader: "PixelReader", rows: Sequence[int]) -> Any:
            def part_of(part: Sequence[int]) -> Any:
                return run_probabilities(
                    checkpoint, reader, part, backend=self.backend, workers=self.workers,
                )  # fmt: skip

            return distributed.map_and_gather(part_of, rows)

        oof = predict(reader, own[self.folds == fold].tolist())
        test = predict(self.reader(self.test), range(len(self.test)))
        return Fitted([epoch.row() for epoch in history], oof, test)

    @property
    def loader_workers(self) -> int:
        """Processes that augment: none beside a network that trains on the same cores."""
        return 0 if self.device.type == "cpu" else self.workers
