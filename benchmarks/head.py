"""What `stage=all training=head` costs beside the bare work, measured in one run.

    python benchmarks/head.py [ARCHIVE.zip or FOLDER] [--rounds 3] [--engine torch]

Bare work: import torch, timm and OpenCV, decode every file once, one forward pass of the same network over every
image, in the same precision and batch size. Each round runs, as processes of their own: bare, bare with freed memory
kept as the command keeps it (kagglepipe/memory.py), the command on an empty folder, the command again with everything
cached. Ratios are to the first and the second. Without an argument the built-in sample is used, once as
it is and once ten times as large, which shows how memory grows.
"""

import sys
import tempfile
import zipfile
from pathlib import Path
from statistics import median

from measure import make_parser, run_process

KEEP = "from kagglepipe.memory import keep_freed_memory; keep_freed_memory()"
BARE = """
import sys, pathlib
from concurrent.futures import ThreadPoolExecutor
import cv2, numpy as np, timm, torch
from kagglepipe.competitions.source import list_files
from kagglepipe.images.decode import ImageError, decode
from kagglepipe.images.views import clean_view
from kagglepipe.training.device import choose_device, choose_precision

def read(path):
    try:
        return clean_view(decode(path.read_bytes(), short_side=256), 224)
    except ImageError:
        return np.zeros((224, 224, 3), np.uint8)

files = [f for f in list_files(pathlib.Path(sys.argv[1]))[0] if f.suffix.lower() in (".jpg", ".jpeg", ".png")]
device = choose_device()
dtype = choose_precision(device).dtype
model = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval().to(device, dtype)
model.to(memory_format=torch.channels_last)
with ThreadPoolExecutor() as pool, torch.inference_mode():
    views = list(pool.map(read, files))
    for start in range(0, len(views), 16):
        batch = torch.from_numpy(np.stack(views[start : start + 16])).to(device).permute(0, 3, 1, 2)
        model(batch.to(dtype).sub_(127.5).div_(127.5))
print(len(files))
"""


def compare(name: str, images: Path, source: Path, rounds: int, options: list[str]) -> None:
    """Prints one line a round and one of medians."""
    ours = [sys.executable, "-m", "kagglepipe", "training=head", f"competition.source={source}", *options]
    rows = []
    heads = f"{'bare':>12}{'memory kept':>13}{'command':>12}{'ratios':>14}{'cached':>9}{'peak memory':>14}"
    print(f"\n{name}\n{'':8}{heads}")
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            bare, kept = (
                run_process([sys.executable, "-c", start + BARE, str(images)], Path(folder)).seconds
                for start in ("", KEEP)
            )
            fresh, memory, _ = run_process(ours, Path(folder))
            again = run_process(ours, Path(folder)).seconds
        rows.append((bare, kept, fresh, fresh / bare, fresh / kept, again, memory))
        show(f"round {number + 1}", rows[-1])
    show("median", tuple(median(column) for column in zip(*rows, strict=True)))


def show(name: str, row: tuple[float, ...]) -> None:
    bare, kept, fresh, *ratios, again, memory = row
    times = f"{bare:10.1f} s{kept:11.1f} s{fresh:10.1f} s{ratios[0]:8.2f}{ratios[1]:6.2f}"
    print(f"{name:8}{times}{again:7.1f} s{memory:11.2f} GB", flush=True)


def main() -> None:
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("source", nargs="?", type=Path)
    parser.add_argument("--engine", default="auto", help="of the command")
    arguments = parser.parse_args()
    options = [f"engine={arguments.engine}"]
    with tempfile.TemporaryDirectory() as folder:
        if arguments.source is None:
            from kagglepipe.samples.photos import make_photos

            for times in (1, 10):
                images = Path(folder) / f"sample-{times}"
                make_photos(images, per_class=80 * times, test=60 * times)
                compare(
                    f"built-in sample × {times}", images, images, arguments.rounds, [*options, "competition.slug=bench"]
                )
            return
        source = arguments.source.resolve()
        images = source
        if source.suffix == ".zip":
            images = Path(folder) / "images"
            with zipfile.ZipFile(source) as archive:
                archive.extractall(images)
        compare(source.name, images, source, arguments.rounds, options)


if __name__ == "__main__":
    main()
