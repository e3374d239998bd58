"""Class folders and test folders, guessed from how files lie in them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kagglepipe.competitions.filenames import (
    ARRAY_SUFFIX,
    SUFFIXES,
    is_filler,
    name_of,
    siblings_split,
    spelt,
    split_of,
    suffix_of,
)
from kagglepipe.competitions.folder_names import copies_of_siblings, holder_of_training, is_auxiliary
from kagglepipe.competitions.labels import check_alike, clean_label
from kagglepipe.competitions.source import IGNORED_FOLDERS, is_ignored
from kagglepipe.competitions.test_lists import LISTS
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.text import listed

DOCUMENTS = {
    ".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".htm", ".url", ".pdf",
    ".doc", ".docx", ".odt", ".rtf", ".xls", ".xlsx", ".ods", ".zip", ".gz", ".tar", ".tgz", ".7z", ".rar", ".bz2",
    ".xz", ".zst", ".py", ".ipynb", ".sh", ".bat", ".log", ".ini", ".cfg", ".toml", ".npz", ".npy", ".pkl", ".h5",
    ".hdf5", ".tfrec", ".tfrecord", ".tfrecords", ".parquet", ".feather", ".db", ".sqlite", ".mat", ".pt", ".pth",
    ".onnx", ".lnk", ".names", ".labels",
}  # fmt: skip
DOCUMENT_NAMES = {"readme", "license", "licence", "copying", "makefile", "citation", "changelog"}
NO_CLASSES = {"images", "image", "imgs", "img", "data", "dataset", "jpegimages", "audio"}  # beside other classes
MAX_WRAPPING = 4  # folders that may lie around all
SHOWN = 10  # folders named in one message


@dataclass(frozen=True)
class Layout:
    """Folders of a competition, relative to the root.

    classes: class -> folder of its items. tests: folders of the test. notes: omissions, for the log.
    """

    classes: dict[str, str]
    tests: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Level:
    """Contents of the folder `base` ("" or ending in `/`).

    inner: name of a folder in it -> number of folders inside. loose: number of files. trains, tests, valids: folders
    whose names say so. classes: the other folders.
    """

    base: str
    inner: dict[str, int]
    loose: int
    trains: list[str]
    tests: list[str]
    valids: list[str]
    classes: list[str]


def is_document(file: str) -> bool:
    """Whether a file is a table, a text or an archive by its name.

    >>> is_document("cat/README.md"), is_document("cat/LICENSE"), is_document("cat/0001")
    (True, True, False)
    """
    return suffix_of(file) in DOCUMENTS or name_of(file).lower() in DOCUMENT_NAMES


def pictures_of(files: Sequence[str]) -> list[str]:
    """The files that may be images: no documents; NumPy's arrays only where there is no picture that they may be of.

    >>> pictures_of(["a/1.npy", "b/2.npy", "x.csv"]), pictures_of(["a/1.png", "a/1.npy"])
    (['a/1.npy', 'b/2.npy'], ['a/1.png'])
    """
    has_pictures = any(suffix_of(file) in SUFFIXES["image"] for file in files)
    return [file for file in files if not is_document(file) or (not has_pictures and suffix_of(file) == ARRAY_SUFFIX)]


def guess_layout(files: Sequence[str], items: Sequence[str], competition: CompetitionOptions, root: Path) -> Layout:
    """Guess the layout of `items`, those of `files` that may be one: class folders in `train` or else in the root.

    Wrapping folders are entered. Folders whose names say training, test or validation are no classes.
    Raises UserError if fewer than two class folders are found.
    """
    level = _level(items, "", competition.test)
    passed: list[_Level] = []
    for _ in range(MAX_WRAPPING):
        inner = _next_folder(level, items, is_train=any(one.trains for one in passed))
        if inner is None:
            break
        passed.append(level)
        level = _level(items, f"{level.base}{inner}/", competition.test)
    is_train = any(one.trains for one in passed)
    named = _class_folders(level, root, is_train=is_train)
    copies = copies_of_siblings(_inner_folders(items, level.base, named))
    classes = [name for name in named if name not in copies and not is_auxiliary(name)]
    if len(classes) < 2:
        raise _no_classes(classes, level, [*passed, level], files, competition)
    if not competition.classes or len({clean_label(name) for name in classes}) < len(classes):
        check_alike(classes, f"{root / level.base} has the class folders")
    tests, notes = _test_folders(passed if is_train else [*passed, level], items, classes, competition)
    notes += _extra_folders(passed, level.base, items, classes, competition)
    if left := [name for name in named if name not in classes]:
        why = "holds the others a second time" if copies else "is not named as a class"
        notes = (*notes, f"{listed([level.base + name for name in left], SHOWN)} {why} and was left out")
    inside = _inner_folders(items, level.base, classes)
    in_classes = [
        f"{level.base}{name}/{one}" for name in classes for one in sorted(inside[name]) if split_of(one) == "test"
    ]
    if in_classes and competition.test is None:
        raise UserError(
            f"{in_classes[0]} says test and lies in a class folder: to classify the files of such folders type "
            "competition.test=test, to train on it rename them"
        )
    if in_classes:
        notes = (*notes, f"the files in {listed(in_classes, SHOWN)} are test files, not for training")
    elif len(alike := sorted(set.intersection(*inside.values()))) > 1:
        notes = (
            *notes,
            f"{listed(classes, SHOWN)} were taken for the classes, and each of them holds {listed(alike, SHOWN)}: if "
            "those are the classes, put all files of a class into one folder, or call the folders around them train "
            "and test",
        )
    return Layout({clean_label(name): level.base + name for name in classes}, (*tests, *in_classes), notes)


def _inner_folders(items: Sequence[str], base: str, classes: Sequence[str]) -> dict[str, set[str]]:
    """class folder -> the folders in it."""
    inner: dict[str, set[str]] = {name: set() for name in classes}
    for item in items:
        if item.startswith(base):
            name, *folders = item[len(base) :].split("/")[:-1] or [""]
            if name in inner:
                inner[name].update(folders[:1])
    return inner


def _is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but leftovers of file managers."""
    return all(
        path.name.lower() in IGNORED_FOLDERS if path.is_dir() else is_ignored(Path(path.name))
        for path in folder.iterdir()
    )


def _level(items: Sequence[str], base: str, test: str | None) -> _Level:
    inner: dict[str, set[str]] = {}
    loose = 0
    for item in items:
        if item.startswith(base):
            first, *rest = item[len(base) :].split("/", 2)
            if rest:
                inner.setdefault(first, set()).update(rest[:-1])
            else:
                loose += 1
    level = _Level(base, {name: len(inner[name]) for name in sorted(inner)}, loose, [], [], [], [])
    own = [name for name in level.inner if test and f"/{base}{name}".casefold().endswith(f"/{test.casefold()}")]
    sibling_splits = siblings_split(level.inner)
    for name in level.inner:
        kind = "test" if name in own else split_of(name) or sibling_splits.get(name)
        kinds = {"train": level.trains, "test": level.tests, "valid": level.valids}
        kinds.get(str(kind), level.classes).append(name)
    level.tests.sort(key=lambda name: name not in own)
    return level


def _next_folder(level: _Level, items: Sequence[str], *, is_train: bool) -> str | None:
    """Name of the folder to enter: that of training, or one that wraps all or alone holds one of training.

    None where the class folders are here.
    """
    names = [name for name in level.inner if level.inner[name]]
    if is_train:  # train/train, train/images
        parent = PurePosixPath(level.base).name
        is_more = len(level.inner) == 1 and names and (is_filler(names[0]) or names[0] == parent or level.trains)
        return names[0] if is_more else None
    trains = [name for name in level.trains if name in names]
    if len(trains) > 1:
        raise UserError(
            f"{level.base}{trains[0]} and {level.base}{trains[1]} may both hold what to train on: say which folder is "
            "which class, as '+competition.layout.NAME=FOLDER' for each"
        )
    if trains:
        return trains[0]
    if level.trains:
        return None
    is_wrapped = len(level.classes) == 1 and level.classes[0] in names
    return level.classes[0] if is_wrapped else holder_of_training(items, level.base, level.classes)


def _class_folders(level: _Level, root: Path, *, is_train: bool) -> list[str]:
    """Class folders in `level`, also empty ones. is_train: whether `level` is inside a training folder."""
    names = [name for name in (level.inner if is_train else level.classes) if name.lower() not in NO_CLASSES]
    if not is_train:
        is_flat = any(name.lower() != "train" for name in level.trains) or (level.trains and level.tests)
        names = [] if is_flat else names + level.trains  # a train among cars and buses
        names += level.valids if len(names) == 1 and not level.trains else []  # valid and invalid
    folder = root / level.base
    if folder.is_dir():
        bare = [path.name for path in folder.iterdir() if path.is_dir() and not is_ignored(Path(path.name, "any"))]
        bare = [name for name in bare if name not in level.inner and (is_train or split_of(name) is None)]
        names += [name for name in bare if _is_empty(folder / name)]
    return sorted(names)


def _test_folders(
    levels: Sequence[_Level], items: Sequence[str], classes: Sequence[str], competition: CompetitionOptions
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(test folders, notes on folders that are left out)."""
    found = [level.base + name for level in levels for name in level.tests]
    valids = [level.base + name for level in levels for name in level.valids if name not in classes]
    notes = [
        f"{folder} is named for validation and was left out: folds are drawn from the training folders; move its "
        f"{competition.noun} there to train on them too"
        for folder in valids
    ]
    test = competition.test
    if test is None:
        notes += [
            f"{folder} is not named for a class and was left out: to predict its files, type competition.test={folder}"
            for folder in found
        ]
        return (), tuple(notes)
    own = [folder for folder in found if f"/{folder}".casefold().endswith(f"/{test.casefold()}")]
    if not own and any(item.casefold().startswith(f"{test.casefold()}/") for item in items):
        own = [test]
    if not own and test.lower().endswith(LISTS):  # what is in these folders, and not in the list, is outside
        return (), tuple(notes)
    if not own and found:
        notes.append(f"there is no folder {test}: files in {' and '.join(found)} will be predicted")
    return tuple(own or found), tuple(notes)


def _extra_folders(
    levels: Sequence[_Level], base: str, items: Sequence[str], classes: Sequence[str], competition: CompetitionOptions
) -> tuple[str, ...]:
    """Notes on folders beside that of training that hold folders called as the classes."""
    inner: dict[str, set[str]] = {}
    for one in levels:
        inner |= {f"{one.base}{name}": own for name, own in _inner_folders(items, one.base, one.classes).items()}
    return tuple(
        f"{folder} holds folders called as classes and was left out: move its {competition.noun} into those of {base} "
        "to train on them too"
        for folder, own in inner.items()
        if len(own & {*classes}) > 1 and not base.startswith(f"{folder}/")
    )


def _no_classes(
    classes: Sequence[str],
    level: _Level,
    levels: Sequence[_Level],
    files: Sequence[str],
    competition: CompetitionOptions,
) -> UserError:
    """Make the error for fewer than two class folders."""
    if not files:
        return UserError("competition.source holds no files: give the folder or zip that has them")
    some = listed(classes, SHOWN) or "none"
    flat = [one.base + name for one in levels for name in one.trains if not one.inner[name]]
    beside = [name for one in levels for name in (*one.tests, *one.valids)]
    what = f" beside {', '.join(beside)}" if beside else ""
    if level.loose or flat:
        what += (
            f"; {competition.noun} of all classes lie in one folder, {flat[0] if flat else level.base or 'the root'}"
        )
    if packed := [file for file in files if file.lower().endswith(".zip")]:
        what += f"; {packed[0]} is packed: unpack it"
    or_names = "" if level.base else "; names that say the classes are read by competition.label_from='{label}_*'"
    column = "file" if competition.kind == "image" else "video"
    csvs = {file: PurePosixPath(file).name.lower() for file in files if file.lower().endswith(".csv")}
    tables = [file for file, name in csvs.items() if not ("submission" in name or name.startswith(("sample", "test")))]
    table = f"labels.csv with {column},label"
    if tables:
        columns = f"'+competition.columns={{{column}: NAME, label: NAME}}'"
        table = f"{min(tables, key=_unlikeliness)}, whose columns are {column} and label or named by {columns}"
    return UserError(
        f"found {len(classes)} class folders ({some}){what}: put each class into a folder of its own, or give "
        f"competition.labels={table}{or_names}"
    )


def _unlikeliness(file: str) -> tuple[bool, int, str]:
    """Sort key; the CSV that most likely holds the labels comes first."""
    name = PurePosixPath(file).name.lower()
    return not ("train" in name or "label" in name), file.count("/"), file


def check_layout(layout: Layout) -> None:
    """Raises UserError if two classes, or a class and the test, share a folder."""
    by_folder: dict[str, str] = {folder.casefold(): "the test" for folder in layout.tests}
    for name, folder in layout.classes.items():
        other = by_folder.setdefault(folder.casefold(), name)
        if other != name:
            raise UserError(
                f"competition.layout has {other} and {name} in one folder, {folder}: give each a folder of its own, or "
                "say which file is what, as competition.labels=labels.csv with file,label"
            )


class FolderIndex:
    """Split and class of files by the deepest folder of a layout around them, in any case, in any wrapping folder."""

    def __init__(self, layout: Layout, files: Sequence[str]) -> None:
        places: list[tuple[str, tuple[str, str | None]]] = [
            *((folder, ("train", name)) for name, folder in layout.classes.items()),
            *((folder, ("test", None)) for folder in layout.tests),
        ]
        self.exact = {tuple(spelt(folder).split("/")): place for folder, place in places}
        self.folded = {tuple(spelt(folder).casefold().split("/")): place for folder, place in places}
        self.prefix = _wrapping_folder(files, list(self.folded))

    def find(self, file: str) -> tuple[str | None, str | None]:
        """(`train` or `test`, class of a training image); None, None outside the layout."""
        parts = tuple(spelt(file).split("/")[:-1])
        folded = tuple(part.casefold() for part in parts)
        start = len(self.prefix)
        if folded[:start] == self.prefix:
            for end in range(len(parts), start, -1):
                place = self.exact.get(parts[start:end]) or self.folded.get(folded[start:end])
                if place is not None:
                    return place
        return None, None


def _wrapping_folder(files: Sequence[str], folders: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Find the folder around the whole layout, as many zips have it: the prefix under which most files match."""
    counts: Counter[tuple[str, ...]] = Counter()
    for file in files:
        parts = tuple(spelt(file).casefold().split("/")[:-1])
        for depth in range(min(3, len(parts) + 1)):
            if any(parts[depth : depth + len(folder)] == folder for folder in folders):
                counts[parts[:depth]] += 1
    return min(counts, key=lambda prefix: (-counts[prefix], len(prefix), prefix), default=())
