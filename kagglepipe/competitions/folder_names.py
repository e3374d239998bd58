"""What names of sibling folders say about them: copies, parts of one folder, and what is no class."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from kagglepipe.competitions.filenames import split_of, words_of
from kagglepipe.competitions.group_names import GROUP_WORDS

PART_WORDS = {"part", "parts", "fold", "batch", "chunk", "volume", "vol", "disk", "shard", "archive", "piece"}
MAX_DEPTH = 4  # folders around a training folder


def are_parts(names: Sequence[str]) -> bool:
    """Whether folders are parts of one, or what items come from: called alike but for a number, by a word for that.

    >>> are_parts(["images_part_1", "images_part_2"]), are_parts(["images_001", "images_002"]), are_parts(["c0", "c1"])
    (True, True, False)
    >>> are_parts(["Actor_01", "Actor_02"]), are_parts(["001", "002"]), are_parts(["person", "animal"])
    (True, False, False)
    """
    words = {tuple(words_of(name)) for name in names}
    is_named = words == {()} and all(any(map(str.isalpha, name)) for name in names)
    return is_named or (len(words) == 1 and bool((PART_WORDS | GROUP_WORDS) & {*words.pop()}))


def is_auxiliary(name: str) -> bool:
    """Whether a folder is no class by its name, between underscores.

    >>> is_auxiliary("_background_noise_"), is_auxiliary("background_noise")
    (True, False)
    """
    return len(name) > 1 and name.startswith("_") and name.endswith("_")


def copies_of_siblings(inner: Mapping[str, AbstractSet[str]]) -> list[str]:
    """The folders that hold their siblings a second time. inner: folder -> the folders in it.

    >>> copies_of_siblings({"cells": {"ill", "well"}, "ill": set(), "well": set()})
    ['cells']
    """
    return [name for name, own in inner.items() if len(inner) > 2 and own == inner.keys() - {name}]


def holder_of_training(items: Sequence[str], base: str, names: Sequence[str]) -> str | None:
    """The sibling folder that holds class folders in a training folder, or the first of equal ones, or the original.

    base: the folder around them, "" or ending in `/`. None where none does, and where several differ.

    >>> holder_of_training(["a/1.jpg", "b/train/cat/2.jpg", "b/train/dog/3.jpg"], "", ["a", "b"])
    'b'
    """
    files: dict[str, set[str]] = {name: set() for name in names}
    holding = set()
    for item in items:
        name, *folders = item.removeprefix(base).split("/")[:-1] or [""]
        if item.startswith(base) and name in files:
            files[name].add(item.removeprefix(f"{base}{name}/"))
            if any(split_of(folder) == "train" for folder in folders[:-1][:MAX_DEPTH]):
                holding.add(name)
    inner = {frozenset(file.split("/")[0] for file in own if "/" in file) for own in files.values()}
    originals = [name for name in names if {"original", "color", "colour", "rgb"} & set(words_of(name))]
    if len(names) > 1 and len(inner) == len(originals) == 1 and len(inner.pop()) > 1:  # the same classes in all forms
        return originals[0]
    found = [name for name in names if name in holding]
    return found[0] if found and all(files[name] == files[found[0]] for name in found) else None
