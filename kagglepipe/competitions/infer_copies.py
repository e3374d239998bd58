"""Files beside the items that are none: masks, thumbnails, the same pictures in a second format."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import pandas as pd

from kagglepipe.competitions.filenames import SUFFIXES, is_excluded, name_of, split_of, stem_of, suffix_of, words_of
from kagglepipe.competitions.infer_sources import Names, find_test_folders, idle_folders, is_test
from kagglepipe.competitions.layout import pictures_of

COPY_WORDS = {"mask", "masks", "seg", "segmentation", "segmentations", "groundtruth", "gt", "annotation", "annotations",
              "thumbnail", "thumbnails", "thumb", "thumbs", "small", "resized", "heatmap", "heatmaps"}  # fmt: skip
BESIDE = re.compile(r"(.+?)([ _-](?:masks?|seg|segmentation|gt|thumb))(?:[ _-]?\d+)?", re.IGNORECASE)
SHARE = 0.9  # of the files of a second format are there in the first
ORDER = {suffix: place for place, suffix in enumerate(SUFFIXES["image"])}
Shelf = tuple[str, str]  # folder, suffix in lower case


def find_copies(media: Sequence[str], labelled: Iterable[str], asked: Iterable[str]) -> list[str]:
    """Patterns (as competition.exclude has them) of the media that are masks or copies of others.

    labelled, asked: names of items to train on and of those to classify, in tables; where one means several files, one
    of these is the item.

    >>> find_copies(["a/1.jpg", "a/2.jpg", "masks/1.png", "masks/2.png"], ["1", "2"], [])
    ['masks/*.png']
    >>> find_copies(["cat/1.jpg", "cat/1.png", "dog/1.jpg", "dog/1.png"], [], [])
    ['*.png']
    >>> find_copies([f"{one}/{of}/1.png" for one in ("cat", "dog") for of in ("images", "masks")], [], [])
    ['*/masks/*']
    """
    found = [*_masks_beside(media), *_mask_folders(media)]
    left = [file for file in media if not is_excluded(file, found)]
    found += _second_formats(left)
    left = [file for file in left if not is_excluded(file, found)]
    asked = list(asked)
    folders = find_test_folders(left, pd.Series(asked, dtype=str))
    tests = [file for file in left if is_test(file, folders)]
    others = [file for file in left if not is_test(file, folders)]
    found += _ambiguous_shelves(others, labelled if tests else [*labelled, *asked])
    return found + _ambiguous_shelves(tests, asked)


def find_strays(files: Sequence[str], media: Sequence[str]) -> list[str]:
    """Patterns of folders of files that may be images by their names, and are no media, as annotations are."""
    noted = [file for file in media if "annotations" in file.lower().split("/")]  # as trimaps
    others = [file for file in pictures_of(files) if suffix_of(file) not in SUFFIXES["image"]]
    return [f"{folder}/*" for folder in idle_folders([*others, *noted], set(media) - set(noted) or media)]


def _masks_beside(media: Sequence[str]) -> list[str]:
    """Patterns of files that are called as one beside them and `_mask`."""
    bare = {file.rpartition(".")[0] for file in media}
    found: Counter[str] = Counter()
    for file in media:
        match = BESIDE.fullmatch(stem_of(file))
        if match and file.removesuffix(name_of(file)) + match[1] in bare:
            found[f"*{match[2].lower()}*{suffix_of(file)}"] += 1
    return [pattern for pattern, count in found.items() if count > 1]


def _mask_folders(media: Sequence[str]) -> list[str]:
    """Patterns of folders that are called as masks are, in two folders or more, each beside one with the same names."""
    stems: dict[str, set[str]] = defaultdict(set)
    for file in media:
        stems[file.rpartition("/")[0]].add(stem_of(file))
    found: Counter[str] = Counter()
    for folder in [one for one in stems if name_of(one).lower() in COPY_WORDS]:
        outer = folder.rpartition("/")[0]
        beside = [own for other, own in stems.items() if other != folder and other.rpartition("/")[0] == outer]
        found[name_of(folder)] += not split_of(name_of(outer)) and any(stems[folder] <= own for own in beside)
    return [f"*/{name}/*" for name, count in found.items() if count > 1]


def _second_formats(media: Sequence[str]) -> list[str]:
    """Patterns of suffixes all of whose files are there with another suffix, in the same folder or a copy of it."""
    stems: dict[str, set[str]] = defaultdict(set)
    for file in media:
        bare, _, suffix = file.rpartition(".")
        stems[f".{suffix.lower()}"].add(bare)
    ranked = sorted(stems, key=lambda suffix: (-len(stems[suffix]), ORDER.get(suffix, len(ORDER))))
    found: list[str] = []
    for place, suffix in enumerate(ranked):
        kept = [other for other in ranked[:place] if f"*{other}" not in found]
        if any(_are_copies(stems[suffix], stems[other]) for other in kept):
            found.append(f"*{suffix}")
    return found


def _are_copies(paths: set[str], others: set[str]) -> bool:
    """Whether nearly all paths (without suffix) are among others, as they are or with another first folder."""
    if len(paths) > 1 and len(paths & others) >= SHARE * len(paths):
        return True
    heads = [{path.partition("/")[0] for path in group} for group in (paths, others)]
    if any(len(head) != 1 for head in heads) or heads[0] == heads[1] or not all("/" in path for path in paths):
        return False
    inner = [{path.partition("/")[2] for path in group} for group in (paths, others)]
    has_folders = all("/" in path for path in inner[0])  # else it may be a class, as cat/1.jpg beside dog/1.png
    return len(paths) > 1 and has_folders and len(inner[0] & inner[1]) >= SHARE * len(inner[0])


def _ambiguous_shelves(media: Sequence[str], cells: Iterable[str]) -> list[str]:
    """Patterns of the folders whose files have the names of the items, beside the likeliest of such folders."""
    sizes = Counter(_shelf(file) for file in media)
    if len(sizes) < 2:
        return []
    names = Names(media)
    dropped: dict[Shelf, None] = {}
    for cell in cells:
        shelves = {_shelf(file) for file in names.all(cell)} - set(dropped)
        if len(shelves) > 1:
            best = min(shelves, key=lambda shelf: _unlikeliness(shelf, sizes[shelf]))
            others = sorted(shelf for shelf in shelves if _is_copy_of(shelf, best))
            dropped |= dict.fromkeys(others)
    return [f"{folder}/*{suffix}" if folder != "." else f"*{suffix}" for folder, suffix in dropped]


def _shelf(file: str) -> Shelf:
    return file.rpartition("/")[0] or ".", suffix_of(file)


def _is_called_copy(shelf: Shelf) -> bool:
    return bool({word for part in shelf[0].split("/") for word in (*words_of(part), part.lower())} & COPY_WORDS)


def _is_copy_of(shelf: Shelf, best: Shelf) -> bool:
    """Whether a shelf has another format, is called as copies are, or as a split and more: TrainDotted beside Train."""
    name, bare = name_of(shelf[0]), name_of(best[0])
    is_more = split_of(bare) is not None and split_of(name) is None and words_of(name)[:1] == words_of(bare)[:1]
    return shelf[1] != best[1] or is_more or _is_called_copy(shelf)


def _unlikeliness(shelf: Shelf, size: int) -> tuple[bool, int, int, int, str]:
    folder, suffix = shelf
    return _is_called_copy(shelf), -size, ORDER.get(suffix, len(ORDER)), len(folder), folder
