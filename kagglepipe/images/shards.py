"""Images in tar files, a thousand in each: what a folder of images becomes when there are too many of them.

A file system, or an object store, gives up at millions of small files long before a network does. Shards have the
layout of WebDataset (`<id>.<jpg, png …>` beside `<id>.cls`, the number of the class), so that its tools read them too;
a dot in an id is written %2E.
Here they stand in the place of the pixel cache, behind the same dataset: a row is found by its place in the index, and
an epoch goes from shard to shard (`images.dataset.EpochBatches`), so that disks and networks see long reads.
"""

import tarfile
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd

from kagglepipe.errors import UserError
from kagglepipe.files import atomic, file_state
from kagglepipe.images.decode import Pixels, decode

LABEL = "cls"


def write_shards(rows: Iterable[tuple[str, Path, int]], folder: Path, *, per_shard: int = 1000) -> list[Path]:
    """Shards of the images (id, file, class number) in their order, each written whole or not at all."""
    shards: list[Path] = []
    some: list[tuple[str, Path, int]] = []
    for row in rows:
        some.append(row)
        if len(some) == per_shard:
            shards.append(_write_shard(some, folder / f"{len(shards):06d}.tar"))
            some = []
    if some:
        shards.append(_write_shard(some, folder / f"{len(shards):06d}.tar"))
    return shards


def _write_shard(rows: Sequence[tuple[str, Path, int]], path: Path) -> Path:
    with atomic(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        for id, file, label in rows:
            key = id.replace("%", "%25").replace(".", "%2E")  # WebDataset takes what follows the first dot for a suffix
            _add(tar, f"{key}{file.suffix.lower() or '.jpg'}", file.read_bytes())
            _add(tar, f"{key}.{LABEL}", str(label).encode())
    return path


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, BytesIO(data))


def index_shards(shards: Sequence[Path]) -> pd.DataFrame:
    """One row an image: id, label, shard (its place in `shards`), its state, offset and size of its bytes.

    state: what tells that a shard was replaced (files.file_state). Reads headers alone.

    Raises UserError for a file that is no tar, or an image without a class.
    """
    rows = []
    for number, path in enumerate(shards):
        images: dict[str, tuple[int, int]] = {}
        labels: dict[str, int] = {}
        try:
            state = file_state(path)
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    key, _, suffix = member.name.rpartition(".")
                    if suffix == LABEL and (file := tar.extractfile(member)) is not None:
                        labels[key] = int(file.read(20))
                    elif key in images:
                        raise UserError(f"{path} holds {key} twice: write the shard again, with ids that differ")
                    elif member.isfile():
                        images[key] = (member.offset_data, member.size)
        except (tarfile.TarError, ValueError, OSError) as error:
            raise UserError(f"{path} is no shard of images ({error}): write it again") from error
        if lone := sorted(images.keys() ^ labels.keys()):
            raise UserError(f"{path}: {lone[0]} is not an image beside its .{LABEL}: write the shard again")
        rows += [(unquote(key), labels[key], number, state, *place) for key, place in images.items()]
    return pd.DataFrame(rows, columns=["id", "label", "shard", "state", "offset", "size"])


class ShardReader:
    """row of an index -> its decoded pixels, as `images.cache.PixelReader` gives them.

    Raises ImageError, and UserError for a shard that is not the one that was indexed.
    """

    def __init__(self, shards: Sequence[Path], index: pd.DataFrame, *, short_side: int, max_side: int = 20_000) -> None:
        self.shards, self.short_side, self.max_side = list(shards), short_side, max_side
        self.shard, self.offset, self.size = (index[name].to_numpy(np.int64) for name in ("shard", "offset", "size"))
        self.states = dict(zip(index["shard"].tolist(), index["state"], strict=True))

    def __len__(self) -> int:
        return len(self.shard)

    def __getitem__(self, row: int) -> Pixels:
        number = int(self.shard[row])
        path = self.shards[number]
        with path.open("rb") as file:
            file.seek(self.offset[row])
            data = file.read(self.size[row])
        if file_state(path) != self.states[number]:
            raise UserError(f"{path} was written again after it was indexed: type the same command again")
        return decode(data, short_side=self.short_side, max_side=self.max_side)
