"""Training and inference beside what else could be used, in one run: images a second, ratio to bare PyTorch, memory.

    pip install 'kagglepipe[bench]'
    python benchmarks/train.py ARCHIVE.zip [--images 256] [--rounds 2] [--works head,fine-tuning,inference,flips,folds]

fastai (the extra `bench`), Lightning and AutoGluon may have an environment of their own, whose interpreter is given;
without one there are no rows of Lightning and AutoGluon:

    python -m venv L && L/bin/pip install lightning torchvision timm
    python -m venv A && A/bin/pip install autogluon.multimodal
    python -m venv F && F/bin/pip install fastai timm
    python benchmarks/train.py ARCHIVE.zip --lightning L/bin/python --autogluon A/bin/python --fastai F/bin/python

One network (EfficientNet-Lite0, 224 pixels, batches of 16) and its ImageNet weights for all. `bare` has its photos as
tensors in memory and does nothing but the network's work, once as PyTorch comes and once with freed memory kept, as our
command keeps it (kagglepipe/memory.py); all others read JPEG files. Each cell is a process of its own, which first does
a pass that does not count; systems take turns, and the best round is printed.

head: every photo once through the frozen network, and a linear classifier (fastai, Lightning: an epoch of the frozen
network). fine-tuning: an epoch of forward, backward and AdamW over all layers; `kagglepipe, as it comes` leaves the
lower ones; AutoGluon's has two validations and an average of weights. inference: probabilities of every photo. flips:
of every photo and its mirror image (fastai: its `tta`, of five views).

folds: seconds until the log loss out of fold is at most --log-loss (0.02), on the same photos and five folds, which are
those of `kagglepipe training=head`: its whole command, near-duplicates and page included. `bare, head` is features and
scikit-learn's logistic regression; all others train for --epochs (3) epochs of all layers. Seconds are those of all
folds to the end of an epoch, with imports, decoding and the predictions of held-out photos (AutoGluon: of the last
epoch alone). One round.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from libraries import BATCH, NAME, SIZE, Learning, Pass, Photos, labelled, load, out_of_fold, rate, read_job
from measure import make_parser, run_process
from photos import TEMPORARY, PhotoFiles, make_classifier, read_photo, unpacked

from kagglepipe.memory import keep_freed_memory

KEPT = "bare, freed memory kept"
ROWS = {
    "head": ("bare", KEPT, "kagglepipe", "kagglepipe, torch alone", "timm's loader", "fastai", "Lightning"),
    "fine-tuning": ("bare", KEPT, "kagglepipe", "kagglepipe, as it comes", "timm's loader", "fastai", "Lightning",
                    "AutoGluon"),
    "inference": ("bare", KEPT, "kagglepipe", "kagglepipe, torch alone", "timm's loader", "fastai", "Lightning",
                  "AutoGluon"),
    "flips": ("bare", "timm's loader", "fastai"),
    "folds": ("kagglepipe", "bare, head", "bare, fine-tuning", "fastai", "Lightning", "AutoGluon"),
}  # fmt: skip
LIBRARIES = Path(__file__).with_name("libraries.py")
Interpreters = dict[str, str]  # library -> interpreter of the environment where it is


def fit_linear(features: np.ndarray, labels: np.ndarray) -> None:
    """What comes after the network's work for `head`."""
    from sklearn.linear_model import LogisticRegression

    LogisticRegression(max_iter=1000).fit(features, labels)


def network(classes: int) -> torch.nn.Module:
    """As timm makes it; untrained weights take as long."""
    import timm

    return timm.create_model(NAME, num_classes=classes).to(memory_format=torch.channels_last)


def weights_folder(place: Path) -> Path:
    """The bundled weights as all load them: of timm's network without classifier, in the form that AutoGluon reads."""
    import timm

    backbone = make_classifier(NAME).backbone
    torch.save(backbone.state_dict(), place / "pytorch_model.bin")
    known = timm.get_pretrained_cfg(NAME).to_dict()
    told = {"architecture": NAME, "num_features": backbone.num_features, "pretrained_cfg": known}
    (place / "config.json").write_text(json.dumps(told))
    return place


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
    images, truth = tensors(files), torch.from_numpy(labels)
    return plain(work, lambda: zip(images.split(BATCH), truth.split(BATCH), strict=True))


def tensors(files: list[Path]) -> torch.Tensor:
    """Normalised clean views (N, 3, S, S)."""
    from kagglepipe.images.views import clean_view

    views = np.stack([clean_view(read_photo(file), SIZE) for file in files])
    return ((torch.from_numpy(views).permute(0, 3, 1, 2).float() - 127.5) / 127.5).contiguous(
        memory_format=torch.channels_last
    )


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
    KEPT: bare,
    "kagglepipe": lambda *a: ours(*a, wanted="auto", whole=True),
    "kagglepipe, torch alone": lambda *a: ours(*a, wanted="torch", whole=True),
    "kagglepipe, as it comes": lambda *a: ours(*a, wanted="auto", whole=False),
    "timm's loader": timm_loader,
}


# --- time to a log loss --------------------------------------------------------------------------------------------


def whole_command(photos: Photos) -> tuple[float, float, np.ndarray]:
    """`kagglepipe training=head` on these photos in an empty folder: (seconds, log loss, fold of each photo)."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        ids = [f"{row}{file.suffix}" for row, file in enumerate(photos.files)]
        for file, id, label in zip(photos.files, ids, photos.labels, strict=True):
            (place / f"photos/{label}").mkdir(parents=True, exist_ok=True)
            (place / f"photos/{label}/{id}").symlink_to(file.resolve())
        command = [sys.executable, "-m", "kagglepipe", "competition=image_folder", "competition.id=name"]
        taken = run_process([*command, "competition.source=photos", "training=head"], place).seconds
        found = pd.read_parquet(next(place.glob("outputs/*/*/oof.parquet"))).set_index("id").loc[ids]
        likely = [row[row["target"]] for _, row in found.iterrows()]
        return taken, float(-np.log(np.array(likely, np.float64)).mean()), found["fold"].to_numpy()


@cache
def bare_features(weights: Path) -> dict[Path, np.ndarray]:
    """file -> features (F,) by the frozen network, of those that were encoded so far."""
    return {}


def bare_head(fold: Learning, weights: Path) -> None:
    """Features of the frozen network, of each photo once, and scikit-learn's logistic regression as it comes."""
    import timm
    from sklearn.linear_model import LogisticRegression

    known = bare_features(weights)
    if new := [file for file in [*fold.train.files, *fold.valid.files] if file not in known]:
        model = load(timm.create_model(NAME, num_classes=0), weights).eval().to(memory_format=torch.channels_last)
        with torch.inference_mode():
            found = torch.cat([model(batch) for batch in tensors(new).split(BATCH)]).numpy()
        known |= zip(new, found, strict=True)
    own, held_out = (np.stack([known[file] for file in some.files]) for some in (fold.train, fold.valid))
    fold.note(LogisticRegression(max_iter=1000).fit(own, fold.train.labels).predict_proba(held_out))


def bare_fine_tuning(fold: Learning, weights: Path) -> None:
    """The loop that anybody would write, without augmentation."""
    import timm

    torch.manual_seed(0)
    model = torch.nn.Sequential(load(timm.create_model(NAME, num_classes=0), weights), torch.nn.Linear(1280, 2))
    model.to(memory_format=torch.channels_last)
    own, held_out, truth = tensors(fold.train.files), tensors(fold.valid.files), torch.from_numpy(fold.train.labels)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _ in range(fold.epochs):
        model.train()
        for rows in torch.randperm(len(own)).split(BATCH):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(own[rows]), truth[rows]).backward()
            optimiser.step()
        with torch.inference_mode():
            model.eval()
            fold.note(torch.cat([model(batch).softmax(dim=1) for batch in held_out.split(BATCH)]).numpy())


LEARNERS = {"bare, head": bare_head, "bare, fine-tuning": bare_fine_tuning}


def time_to_log_loss(photos: Photos, systems: list[str], python: Interpreters, weights: Path, goal: float,
                     epochs: int) -> None:  # fmt: skip
    """Prints when each reaches `goal`, and where it ends."""
    taken, loss, folds = whole_command(photos)
    tell_when("kagglepipe", [(taken, loss)], goal)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as job:
        files = [str(file.resolve()) for file in photos.files]
        json.dump({"files": files, "labels": photos.labels.tolist(), "folds": folds.tolist()}, job)
        job.flush()
        for system in systems[1:]:
            tell_when(system, started(system, "folds", job.name, weights, epochs, python), goal)


def tell_when(system: str, marks: list[tuple[float, float]], goal: float) -> None:
    """Prints a row. marks: (seconds, log loss out of fold) after each epoch."""
    reached = [f"after {taken:.0f} s" for taken, loss in marks if loss <= goal]
    ends = ", ".join(f"{loss:.4f} after {taken:.0f} s" for taken, loss in marks)
    print(f"{'folds':<14}{system:<26}log loss {goal:g} {reached[0] if reached else 'not reached'}: {ends}", flush=True)


# --- all of them ---------------------------------------------------------------------------------------------------


def started(system: str, work: str, place: str, weights: Path, number: int, python: Interpreters) -> Any:
    """What a process of its own prints as JSON: a cell of the table, or marks of `folds`."""
    own = [python[system], str(LIBRARIES)] if system in python else [sys.executable, __file__, "--one"]
    done = subprocess.run([*own, system, work, place, str(weights), str(number)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{work}, {system}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def one(system: str, work: str, place: str, weights: str, number: str) -> Any:
    """What `started` asks for, of a system of this file."""
    torch.manual_seed(0)
    if work == "folds":
        return out_of_fold(LEARNERS[system], *read_job(Path(place)), int(number), Path(weights))
    if system == KEPT or system.startswith("kagglepipe"):  # as the command does
        keep_freed_memory()
    photos = labelled(Path(place), int(number))
    return rate(SYSTEMS[system](work, photos.files, photos.labels), len(photos.files))


def main(archive: Path, count: int, rounds: int, works: list[str], python: Interpreters, goal: float,
         epochs: int) -> None:  # fmt: skip
    """Prints the table."""
    threads = f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    print(f"{threads}; {count} photos, batches of {BATCH}")
    print(f"{'':<14}{'':<26}{'images/s':>9}{'to bare':>9}{'peak memory':>13}")
    with unpacked(archive) as folder, tempfile.TemporaryDirectory() as place:
        weights = weights_folder(Path(place))
        for work in works:
            systems = [one for one in ROWS[work] if one in SYSTEMS | LEARNERS or one in python]
            if work == "folds":
                time_to_log_loss(labelled(folder, count), systems, python, weights, goal, epochs)
                continue
            best: dict[str, dict[str, float]] = {}
            for _ in range(rounds):
                for system in systems:
                    found = started(system, work, str(folder), weights, count, python)
                    if found["rate"] > best.get(system, {"rate": 0.0})["rate"]:
                        best[system] = found
            for system, found in best.items():
                ratio = found["rate"] / best["bare"]["rate"]
                print(f"{work:<14}{system:<26}{found['rate']:>9.1f}{ratio:>9.2f}{found['peak']:>10.2f} GB", flush=True)


if __name__ == "__main__":
    parser = make_parser(__doc__, images=256, rounds=2, epochs=3)
    parser.add_argument("archive", type=Path, nargs="?")
    parser.add_argument("--works", default="head,fine-tuning,inference,flips")
    parser.add_argument("--log-loss", type=float, default=0.02)
    for library in ("fastai", "Lightning", "AutoGluon"):
        parser.add_argument(f"--{library.lower()}", dest=library, metavar="PYTHON", help=f"where {library} is")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*options.one)))
    else:
        given = {library: getattr(options, library) for library in ("fastai", "Lightning", "AutoGluon")}
        given["fastai"] = given["fastai"] or (sys.executable if find_spec("fastai") else None)
        known = {library: python for library, python in given.items() if python}
        main(options.archive, options.images, options.rounds, options.works.split(","), known, options.log_loss,
             options.epochs)  # fmt: skip
