"""Make the finished runs in tests/guards/runs: a head, a fine-tuned network, their ensemble, and an LSTM on clips.

They stand for what users have on their disks. They were made by version 0.3.0 at commit b0d118b, in float32:

    python -m tests.guards.run_folders
"""

import shutil
import tempfile
from pathlib import Path

from tests.guards.reference import CLIPS, COMMON, ENDED, IMAGES, SOURCES, TUNED, run_command

KEPT = Path(__file__).with_name("runs")  # outputs/ as in a root, submissions/, predictions/<run>.csv
RUNS = {
    "head": (*IMAGES, "training=head"),
    "finetune": (*IMAGES, *TUNED, *ENDED),
    "ensemble": (*IMAGES, "ensemble.runs=['test_efficientnet-*']", "ensemble.method=mean"),
    "clips": (*CLIPS, "training=head", "model.temporal.hidden=8", "sequences.members=2"),
}
COMPETITIONS = {"images": IMAGES[:3], "clips": CLIPS[:3]}  # by slug, as what follows
INPUT = {"images": SOURCES / "images" / "test", "clips": SOURCES / "clips" / "test"}


def make_runs(root: Path) -> None:
    """Train, blend and submit RUNS, and predict the images or clips to classify with each of them."""
    place = (*COMMON, f"paths.root='{root}'")
    for options in RUNS.values():
        run_command("stage=submit", *place, *options)
    for metrics in sorted(root.glob("outputs/*/*/metrics.json")):
        run, slug = metrics.parent, metrics.parent.parent.name
        file = root / "predictions" / f"{run.name}.csv"
        run_command("stage=predict", *place, *COMPETITIONS[slug], f"run={run.name}", f"input='{INPUT[slug]}'",
                    f"predict.file='{file}'")  # fmt: skip


def keep_runs(root: Path) -> None:
    """Copy what was made to KEPT, without pictures, caches, locks and the paths of this machine."""
    shutil.rmtree(KEPT, ignore_errors=True)
    unwanted = shutil.ignore_patterns("*.png", "cache", "*.lock", ".*")
    for part in ("outputs", "predictions"):
        shutil.copytree(root / part, KEPT / part, ignore=unwanted)
    (KEPT / "submissions").mkdir()
    for file in root.glob("submissions/*.csv"):
        shutil.copy(file, KEPT / "submissions")
    for file in KEPT.rglob("*.yaml"):
        text = file.read_text().replace(str(SOURCES), "/home/someone/sources").replace(str(root), "/home/someone")
        file.write_text(text)


def main() -> None:
    import torch

    torch.cpu.get_capabilities = dict  # none: where a CPU multiplies bfloat16, that would be chosen
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder))
        keep_runs(Path(folder))


if __name__ == "__main__":
    main()
