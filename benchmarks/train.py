"""Training and inference beside what else could be used, in one run: images a second, ratio to bare PyTorch, memory.

    pip install 'kagglepipe[bench]'
    python benchmarks/train.py ARCHIVE.zip [--images 256] [--rounds 2]

One network (EfficientNet-Lite0, 224 pixels, batches of 16) for all. `bare` has its photos as tensors in memory and does
nothing but the network's work; all others read JPEG files. Each cell is a process of its own, which first does a
pass that does not count; systems take turns, and the best round is printed.

head: every photo once through the frozen network, and a linear classifier (fastai: an epoch of its frozen body).
fine-tuning: an epoch of forward, backward and AdamW over all layers; `kagglepipe, as it comes` leaves the lower ones.
inference: probabilities of every photo. flips: of every photo and its mirror image (fastai: its `tta`, of five views).
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from measure import make_parser
from photos import TEMPORARY, PhotoFiles, make_classifier, read_photo, unpacked

NAME, SIZE, BATCH = "tf_efficientnet_lite0", 224, 16
ROWS = {
    "head": ("bare", "kagglepipe", "kagglepipe, torch alone", "timm's loader", "fastai"),
    "fine-tuning": ("bare", "kagglepipe", "kagglepipe, as it comes", "timm's loader", "fastai"),
    "inference": ("bare", "kagglepipe", "kagglepipe, torch alone", "timm's loader", "fastai"),
    "flips": ("bare", "timm's loader", "fastai"),
}
Pass = Callable[[], object]  # once through all photos


def labelled(folder: Path, count: int) -> tuple[list[Path], np.ndarray]:
    """JPEG files of both classes in turn, and their labels."""
    kinds = sorted(kind for kind in folder.rglob("Train/*") if kind.is_dir())
    lists = [sorted(kind.glob("*.jpg"))[: count // len(kinds)] for kind in kinds]
    files = [file for several in zip(*lists, strict=False) for file in several]
    return files, np.arange(len(files)) % len(kinds)


def fit_linear(features: np.ndarray, labels: np.ndarray) -> None:
    """What comes after the network's work for `head`."""
    from sklearn.linear_model import LogisticRegression

    LogisticRegression(max_iter=1000).fit(features, labels)


def network(classes: int) -> torch.nn.Module:
    """As timm makes it; untrained weights take as long."""
    import timm

    return timm.create_model(NAME, num_classes=classes).to(memory_format=torch.channels_last)


def plain(work: str, batches: Callable[[], Iterator[tuple[torch.Tensor, torch.Tensor]]]) -> Pass:
    """The loop that anybody would write, over batches of normalised images."""
    if work == "fine-tuning":
        model = network(2).train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)

        def epoch() -> None:
            for images, truth in batches():
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(model(images), truth).backward()
                optimiser.step()

        return epoch
    model = network(0 if work == "head" else 2).eval()

    @torch.inference_mode()
    def look() -> None:
        found, truths = [], []
        for images, truth in batches():
            out = model(images) if work == "head" else model(images).softmax(dim=1)
            if work == "flips":
                out = (out + model(images.flip(3)).softmax(dim=1)) / 2
            found.append(out.numpy())
            truths.append(truth.numpy())
        if work == "head":
            fit_linear(np.concatenate(found), np.concatenate(truths))

    return look


def bare(work: str, files: list[Path], labels: np.ndarray) -> Pass:
    """Photos as float tensors in memory."""
    from kagglepipe.images.views import clean_view

    views = np.stack([clean_view(read_photo(file), SIZE) for file in files])
    images = (torch.from_numpy(views).permute(0, 3, 1, 2).float() - 127.5) / 127.5
    images, truth = images.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels)
    return plain(work, lambda: zip(images.split(BATCH), truth.split(BATCH), strict=True))


def timm_loader(work: str, files: list[Path], labels: np.ndarray) -> Pass:
    """timm's dataset and loader, with worker processes, before the same plain loop."""
    from timm.data import create_loader
    from timm.data.dataset import ImageDataset
    from timm.data.readers.reader import Reader

    class Files(Reader):
        def __getitem__(self, row: int) -> tuple[object, int]:
            return files[row].open("rb"), int(labels[row])

        def __len__(self) -> int:
            return len(files)

        def _filename(self, row: int, basename: bool = False, absolute: bool = False) -> str:
            return str(files[row])

    loader = create_loader(
        ImageDataset(str(files[0].parent), reader=Files()), (3, SIZE, SIZE), BATCH, is_training=work == "fine-tuning",
        use_prefetcher=False, num_workers=2, mean=(0.5,) * 3, std=(0.5,) * 3, persistent_workers=True,
    )  # fmt: skip
    return plain(work, lambda: ((i.contiguous(memory_format=torch.channels_last), t) for i, t in loader))


def fastai(work: str, files: list[Path], labels: np.ndarray) -> Pass:
    """As its tutorials do it: ImageDataLoaders, vision_learner, fit_one_cycle, get_preds, tta."""
    from fastai.vision.all import (
        ImageDataLoaders,
        Normalize,
        Resize,
        aug_transforms,
        vision_learner,
    )

    rows = {file: int(label) for file, label in zip(files, labels, strict=True)}
    loaders = ImageDataLoaders.from_path_func(
        files[0].parent, files, lambda file: rows[file], valid_pct=0.02, seed=0, bs=BATCH, item_tfms=Resize(SIZE),
        batch_tfms=[*aug_transforms(), Normalize.from_stats([0.5] * 3, [0.5] * 3)], device=torch.device("cpu"),
    )  # fmt: skip
    learner = vision_learner(loaders, NAME, pretrained=False)
    if work in ("head", "fine-tuning"):
        learner.freeze() if work == "head" else learner.unfreeze()
        with learner.no_bar(), learner.no_logging():
            return quietly(learner, lambda: learner.fit_one_cycle(1))
    test = loaders.test_dl(files)
    return quietly(learner, lambda: learner.get_preds(dl=test) if work == "inference" else learner.tta(dl=test))


def quietly(learner: object, work: Pass) -> Pass:
    """Without its bars."""

    def once() -> None:
        with learner.no_bar(), learner.no_logging():  # type: ignore[attr-defined]
            work()

    return once


def ours(work: str, files: list[Path], labels: np.ndarray, wanted: str, *, whole: bool) -> Pass:
    """What the stages call: features of files through the engine, or the training loop, which decodes each time."""
    from kagglepipe.files import file_sha256
    from kagglepipe.images.augment import Transform
    from kagglepipe.images.cache import PixelReader
    from kagglepipe.images.dataset import TrainingImages
    from kagglepipe.images.views import Views
    from kagglepipe.options import TrainingOptions
    from kagglepipe.training.backends import InferenceBackend
    from kagglepipe.training.device import choose_precision, use_fast_kernels
    from kagglepipe.training.features import compute_features
    from kagglepipe.training.head import Head
    from kagglepipe.training.image_learner import fit
    from kagglepipe.training.loop import FitRuntime

    use_fast_kernels()
    device, model = torch.device("cpu"), make_classifier(NAME)
    if work == "fine-tuning":
        reader = PixelReader(files, [file_sha256(file) for file in files], short_side=256)
        images = TrainingImages(
            Views(reader, SIZE, ids=[file.name for file in files], transform=Transform("light", SIZE)), labels
        )
        recipe = TrainingOptions(epochs=1, batch_size=BATCH, frozen_below=0.0 if whole else 0.1)
        rows = np.arange(len(files))
        return lambda: fit(
            model, images, train=rows, valid=rows[:4], options=recipe, seed=0,
            precision=choose_precision(device, training=True), workers=0, name="fit", runtime=FitRuntime(),
        )  # fmt: skip
    backend = InferenceBackend(device, choose_precision(device), wanted, TEMPORARY)
    head = Head(np.zeros((2, model.head.in_features), np.float32), np.zeros(2, np.float32), 1.0)

    views = Views(PhotoFiles(files), SIZE)

    def look() -> None:
        features = compute_features(model, views, range(len(files)), backend=backend)
        fit_linear(features, labels) if work == "head" else head.predict(features)

    return look


SYSTEMS: dict[str, Callable[[str, list[Path], np.ndarray], Pass]] = {
    "bare": bare,
    "kagglepipe": lambda *a: ours(*a, wanted="auto", whole=True),
    "kagglepipe, torch alone": lambda *a: ours(*a, wanted="torch", whole=True),
    "kagglepipe, as it comes": lambda *a: ours(*a, wanted="auto", whole=False),
    "timm's loader": timm_loader,
    "fastai": fastai,
}


def cell(work: str, system: str, folder: Path, count: int) -> None:
    """One cell: prints images a second and peak memory in GB, without that of workers, as JSON."""
    torch.manual_seed(0)
    files, labels = labelled(folder, count)
    once = SYSTEMS[system](work, files, labels)
    once()
    start = time.perf_counter()
    once()
    taken = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"rate": len(files) / taken, "peak": peak}))


def main(archive: Path, count: int, rounds: int, works: list[str]) -> None:
    """Prints the table."""
    threads = f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    print(f"{threads}; {count} photos, batches of {BATCH}")
    print(f"{'':<14}{'':<26}{'images/s':>9}{'to bare':>9}{'peak memory':>13}")
    with unpacked(archive) as folder:
        for work in works:
            best: dict[str, dict[str, float]] = {}
            for _ in range(rounds):
                for system in ROWS[work]:
                    command = [sys.executable, __file__, str(folder), "--one", work, system, "--images", str(count)]
                    done = subprocess.run(command, capture_output=True, text=True)
                    if done.returncode:
                        raise SystemExit(f"{work}, {system}: {done.stderr[-2000:]}")
                    found = json.loads(done.stdout.splitlines()[-1])
                    if found["rate"] > best.get(system, {"rate": 0.0})["rate"]:
                        best[system] = found
            for system, found in best.items():
                ratio = found["rate"] / best["bare"]["rate"]
                print(f"{work:<14}{system:<26}{found['rate']:>9.1f}{ratio:>9.2f}{found['peak']:>10.2f} GB", flush=True)


if __name__ == "__main__":
    parser = make_parser(__doc__, images=256, rounds=2)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--works", default=",".join(ROWS))
    parser.add_argument("--one", nargs=2, metavar=("WORK", "SYSTEM"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        cell(*options.one, options.archive, options.images)
    else:
        main(options.archive, options.images, options.rounds, options.works.split(","))
