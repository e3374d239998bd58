"""Train the reference runs, and compare the bits of their out-of-fold predictions with those in reference.json.

    python -m tests.guards.reference            trains them, says which differ, and exits with 1 if any does
    python -m tests.guards.reference NAME…      these alone, and the runs that they need
    python -m tests.guards.reference --write    keeps what they give on this machine, beside what other machines gave

Bits depend on the libraries' versions and on the instructions that their kernels choose. So all of it happens in one
process that runs one thread, the most common instructions and float32, and the hashes are kept by the `arithmetic` of
that process: where nobody has kept any for it, nothing can be compared.
"""

import hashlib
import json
import os
import platform
import runpy
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SOURCES = Path(__file__).parent / "sources"  # images, clips, long videos, series
KEPT = Path(__file__).with_name("reference.json")
ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
    "OPENCV_CPU_DISABLE": "AVX,AVX2,FMA3,FP16,AVX512_SKX",
    "OPENCV_IPP": "disabled",
    "HYDRA_FULL_ERROR": "1",
}
LIBRARIES = ("torch", "torchvision", "timm", "numpy", "scipy", "pandas", "scikit-learn", "albumentations", "av")
LIBRARIES += ("opencv-python-headless",)

NETWORK = ("model.name=test_efficientnet", "model.weights=none", "+model.kwargs.channel_multiplier=0.25",
           "model.image_size=32")  # fmt: skip
COMMON = ("device=cpu", "engine=torch", "workers=1", "folds.count=2")
IMAGES = ("competition=image_folder", f"competition.source='{SOURCES / 'images'}'", "competition.slug=images", *NETWORK)
CLIPS = ("competition=video_folder", f"competition.source='{SOURCES / 'clips'}'", "competition.slug=clips",
         "model=cnn_lstm", *NETWORK, "sequences.steps=20", "sequences.lr=1e-2")  # fmt: skip
LONG = ("competition=video_folder_untrimmed", f"competition.source='{SOURCES / 'long'}'", "competition.slug=long",
        "competition.answers=answers.csv", "competition.sample_submission=sample_submission.csv", "model=cnn_lstm",
        *NETWORK, "sequences.steps=20", "sequences.lr=1e-2", "sequences.members=1")  # fmt: skip
SERIES = ("competition=video_folder", f"competition.source='{SOURCES / 'series'}'", "competition.slug=series",
          "competition.kind=series", "model=lstm", "sequences.steps=20", "sequences.lr=1e-2")  # fmt: skip
TUNED = (
    "training=finetune",
    "training.epochs=2",
    "training.batch_size=8",
    "training.lr=1e-3",
    "training.frozen_below=0",
)
ENDED = ("training.interpolation=[1]",)  # the weights at the end, as before version 0.4.0
RUNS = {
    "image-head": (*IMAGES, "training=head"),
    "image-finetune": (*IMAGES, *TUNED, *ENDED),
    "pseudo-labels": (*IMAGES, "training=head", "training.teacher=TEACHER", "training.confidence=0.4"),
    "clips": (*CLIPS, "training=head"),
    "clips-finetune": (*CLIPS, *TUNED, "sequences.clip_frames=4"),
    "long-videos": (*LONG, "training=head", "sequences.motion=true"),
    "series": SERIES,
}


def run_command(*arguments: str) -> None:
    """Run a command line in this process."""
    sys.argv = ["kagglepipe", *arguments]
    try:
        runpy.run_module("kagglepipe", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"{arguments}: {end.code}") from end


def train(name: str, root: Path, teacher: str = "") -> Path:
    """Train a run of RUNS by its command line, in this process. Returns its folder."""
    before = set(root.glob("outputs/*/*/metrics.json"))
    options = [option.replace("TEACHER", teacher) for option in RUNS[name]]
    run_command("stage=train", f"paths.root='{root}'", *COMMON, *options)
    (finished,) = set(root.glob("outputs/*/*/metrics.json")) - before
    return finished.parent


def bits(table: pd.DataFrame) -> str:
    """SHA-256 of a table's columns, their types and the bytes of their values, in order."""
    digest = hashlib.sha256()
    for column in table:
        values = table[column].to_numpy()
        is_text = not np.issubdtype(values.dtype, np.number)
        data = json.dumps(values.tolist()).encode() if is_text else values.tobytes()
        digest.update(f"{column} {'text' if is_text else values.dtype} ".encode() + data)
    return digest.hexdigest()


def arithmetic() -> str:
    """A hash of this process' arithmetic: the libraries' versions, and the bits of some of their results."""
    import albumentations
    import av
    import cv2
    import torch
    from sklearn.linear_model import LogisticRegression
    from torch import nn

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 3, groups=8), nn.GELU()
    )
    features = nn.functional.gelu(network(torch.randn(4, 3, 32, 32))).flatten(2).transpose(1, 2)
    lstm, gru = nn.LSTM(8, 16, batch_first=True), nn.GRU(16, 16, batch_first=True)
    logits = nn.Linear(16, 3)(gru(lstm(features)[0])[0])
    logits.logsumexp(-1).mean().backward()
    x = rng.normal(size=(60, 24))
    fitted = LogisticRegression(C=0.1).fit(x, rng.integers(0, 3, 60)).coef_
    image = cv2.imread(str(SOURCES / "images/red/red0.jpg"))
    warped = albumentations.Affine(rotate=(20, 20), p=1)(image=image)["image"]
    with av.open(str(SOURCES / "long/train/v0.mp4")) as video:
        frame = next(video.decode(video=0)).to_ndarray(format="rgb24")
    results = [logits.detach().numpy(), *(p.grad.numpy() for p in network.parameters()), fitted, np.exp(x), x @ x.T]
    results += [np.linalg.svd(x)[1], image, cv2.resize(image, (23, 17), interpolation=cv2.INTER_AREA), warped, frame]
    digest = hashlib.sha256(json.dumps(about()).encode())
    for result in results:
        digest.update(np.ascontiguousarray(result).tobytes())
    return digest.hexdigest()[:16]


def about() -> dict[str, str]:
    """The processor's family and instructions, and the versions of the libraries that results depend on."""
    return {
        "machine": platform.machine(),
        "instructions": vector_instructions(),
        **{name: version(name) for name in LIBRARIES},
    }


def vector_instructions() -> str:
    """The processor's wide instructions, by which oneDNN and MKL choose kernels; empty outside Linux."""
    file = Path("/proc/cpuinfo")
    words = file.read_text("utf-8").split() if file.exists() else []
    return " ".join(sorted({word for word in words if word.startswith(("avx", "amx", "fma"))}))


def train_all(names: list[str]) -> dict[str, Any]:
    """Name -> {"run": its name, "oof": bits of its oof.parquet, "test": bits of its test.parquet}."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            start = time.perf_counter()
            run = train(name, Path(folder), found.get("image-head", {}).get("run", ""))
            tables = {part: bits(pd.read_parquet(run / f"{part}.parquet")) for part in ("oof", "test")}
            found[name] = {"run": run.name, **tables}
            print(f"# {name}: {run.name}, {time.perf_counter() - start:.1f} s", file=sys.stderr)
    return found


def in_own_process(names: list[str]) -> tuple[str, dict[str, str], dict[str, Any]]:
    """(arithmetic, about, what `train_all` gives) of a process with ENVIRONMENT."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        command = [sys.executable, "-m", "tests.guards.reference", "--in-this-process", str(file), *names]
        done = subprocess.run(
            command, cwd=Path(__file__).parents[2], env=os.environ | ENVIRONMENT, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{done.stdout}{done.stderr}"[-5000:])
        print("\n".join(line for line in done.stderr.splitlines() if line.startswith("# ")), file=sys.stderr)
        found = json.loads(file.read_text())
    return found["arithmetic"], found["about"], found["runs"]


def differences(found: dict[str, Any], kept: dict[str, Any]) -> list[str]:
    """What differs from what was kept, a line each."""
    return [
        f"{name}: {part} is {value[part][:40]}, was {kept[name][part][:40]}"
        for name, value in found.items()
        for part in value
        if value[part] != kept[name][part]
    ]


def main() -> int:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--in-this-process"]:
        import torch

        torch.cpu.get_capabilities = dict  # none: where a CPU multiplies bfloat16, that would be chosen
        key = arithmetic()
        result = {"arithmetic": key, "about": about(), "runs": train_all(arguments[2:])}
        Path(arguments[1]).write_text(json.dumps(result))
        return 0
    asked = {name for name in arguments if name != "--write"}
    if unknown := sorted(asked - RUNS.keys()):
        sys.exit(f"{unknown[0]} is no reference run; there are {', '.join(RUNS)}")
    names = [name for name in RUNS if not asked or name in asked]
    if "pseudo-labels" in names and "image-head" not in names:
        names = ["image-head", *names]
    key, versions, found = in_own_process(names)
    known = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if "--write" in arguments:
        kept = known.setdefault(key, {"about": versions, "runs": {}})
        kept["runs"] |= found
        KEPT.write_text(json.dumps(known, indent=1) + "\n")
        print(f"{KEPT} has the bits of {len(found)} runs by {key}")
        return 0
    if key not in known:
        print(f"nothing is kept for arithmetic {key}: at a commit that is right, type the same with --write")
        return 2
    wrong = differences(found, known[key]["runs"])
    print("\n".join(wrong) or f"{len(found)} reference runs keep every bit")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
