"""Names of files and folders as people write them in a CSV or a YAML."""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

import pandas as pd

from kagglepipe.errors import UserError

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
    # Spanish, Portuguese, French, Italian, German
    **dict.fromkeys(("entrenamiento", "treino", "treinamento", "entrainement", "addestramento"), "train"),
    **dict.fromkeys(("validacion", "validacao", "validazione", "validierung"), "valid"),
    **dict.fromkeys(("prueba", "pruebas", "teste", "testes"), "test"),
    **dict.fromkeys(("trainingsdaten",), "train"),
    **dict.fromkeys(("testdaten",), "test"),
}


SPLIT_NAMES = ("split", "set", "subset", "usage", "data set", "data_set", "partition")
FLAGS = {**dict.fromkeys(("1", "1.0", "true", "yes"), True), **dict.fromkeys(("0", "0.0", "false", "no"), False)}
SUFFIXES = {
    "image": (
        ".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2", ".ppm", ".pgm",
        ".dcm",
    ),
    "video": (
        ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".m2ts", ".mts", ".ts", ".wmv", ".asf",
        ".flv", ".3gp", ".3g2", ".ogv", ".mxf", ".vob", ".y4m", ".h264", ".264", ".hevc", ".265", ".mjpeg", ".gif",
    ),
    "series": (".npz", ".npy", ".csv"),
    "audio": (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus", ".oga", ".aif", ".aiff", ".wma"),
}  # fmt: skip


ARRAY_SUFFIX = ".npy"  # of an image in a competition of images, elsewhere of a series
IMAGES = (*SUFFIXES["image"], ARRAY_SUFFIX)


MEDIA = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes}
FILLERS = (
    "data", "dataset", "set", "images", "image", "imgs", "img", "pictures", "pics", "photos", "videos", "clips",
    "files", "folder", "samples", "sample", "split", "jpeg", "jpg", "png", "stage", "public", "private",
    "audio", "audios", "sounds", "wav", "wavs", "list", "lists",
)  # fmt: skip
ITEMS = {  # beside a word for a split they say what lies there; alone they may be a class
    "series", "timeseries", "signal", "signals", "recording", "recordings", "record", "records", "sequence",
    "sequences", "sound", "soundscape", "soundscapes", "waveforms", "spectrograms", "eeg", "eegs", "ecg", "clip",
    "video", "frames", "track", "tracks", "sensor", "sensors", "picture", "photo", "file", "npy", "npz", "csv", "csvs",
}  # fmt: skip
UNUSUAL = re.compile(r"\\|^\s|\s$|(?:^|/)\.?(?:/|$)")  # in a path of ASCII, which `spelt` changes
MAX_HINTS = 5000  # names that a misspelt one is compared with


def suffix_of(file: str) -> str:
    """Suffix of a posix path in lower case, as of a `PurePosixPath`, which costs several times as much to make.

    >>> suffix_of("a.b/1.TIF"), suffix_of("a.b/1"), suffix_of(".hidden")
    ('.tif', '', '')
    """
    name = name_of(file)
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


def stem_of(file: str) -> str:
    """Name of a posix path without its suffix, as of a `PurePosixPath`.

    >>> stem_of("a.b/1.tif"), stem_of(".hidden")
    ('1', '.hidden')
    """
    name = name_of(file)
    return name[: len(name) - len(suffix_of(name))]


def name_of(file: str) -> str:
    """Last part of a posix path."""
    return file[file.rfind("/") + 1 :]


def without_dicom_copies(files: Sequence[str]) -> list[str]:
    """The files without those DICOMs that are there in another format, in whatever folder.

    >>> without_dicom_copies(["jpeg/a.jpg", "dicom/a.dcm", "dicom/b.dcm"])
    ['jpeg/a.jpg', 'dicom/b.dcm']
    """
    suffixes = [suffix_of(file) for file in files]
    if ".dcm" not in suffixes:
        return list(files)
    both = list(zip(files, suffixes, strict=True))
    others = {stem_of(file).casefold() for file, suffix in both if suffix in SUFFIXES["image"] and suffix != ".dcm"}
    return [file for file, suffix in both if suffix != ".dcm" or stem_of(file).casefold() not in others]


@lru_cache(maxsize=4096)  # of few folders around many files
def split_of(name: str) -> str | None:
    """Find `train`, `valid` or `test` in a folder's name, or a cell of a column `split`; None without one.

    >>> [split_of(name) for name in ("Training", "test_images", "TestSet1", "test_series", "Validación", "latest")]
    ['train', 'test', 'test', 'test', 'valid', None]
    """
    words = [word for word in words_of(name) if word not in ITEMS]
    return SPLIT_WORDS.get(words[0]) if len(words) == 1 else None


def flagged_split(column: str) -> str | None:
    """The split that a column of yes and no is for, by its name; None for another column.

    >>> flagged_split("is_test"), flagged_split("isTrain"), flagged_split("is_training_image"), flagged_split("is_cat")
    ('test', 'train', 'train', None)
    """
    first, *rest = words_of(column) or [""]
    return SPLIT_WORDS.get(rest[0]) if first == "is" and len(rest) == 1 else None


def cell_splits(cells: Iterable[str], column: str) -> dict[str, str | None]:
    """cell -> `train`, `valid` or `test`: its own word, or 0 or 1 of a column such as is_test; None without one.

    Of a column of SPLIT_NAMES 0, 1, 2 are these three; of 0 and 1 the more frequent one is `train`, the other `test`.

    >>> cell_splits(["Training", "a"], "set"), cell_splits(["0", "True"], "is_test"), cell_splits(["0"], "is_train")
    ({'Training': 'train', 'a': None}, {'0': 'train', 'True': 'test'}, {'0': 'test'})
    >>> cell_splits(["0", "2", "1"], "partition"), cell_splits(["0", "1", "1"], "split")
    ({'0': 'train', '1': 'valid', '2': 'test'}, {'1': 'train', '0': 'test'})
    """
    counts = Counter(cell for cell in cells if cell)
    if column.casefold() in SPLIT_NAMES and counts.keys() in ({"0", "1"}, {"0", "1", "2"}):
        first, second, *others = sorted(counts, key=lambda cell: (len(counts) == 2 and -counts[cell], cell))
        return {first: "train", second: "valid" if others else "test", **dict.fromkeys(others, "test")}
    flagged = flagged_split(column)
    other = "test" if flagged == "train" else "train"
    words = {True: flagged, False: other, None: None} if flagged else {}
    return {cell: words.get(FLAGS.get(cell.casefold())) or split_of(cell) for cell in counts}


def siblings_split(names: Iterable[str]) -> dict[str, str]:
    """name -> `train`, `valid` or `test`, for sibling folders that differ only in this word; one may have none.

    >>> siblings_split(["seg_train", "seg_test", "seg_pred"])
    {'seg_train': 'train', 'seg_test': 'test'}
    >>> siblings_split(["rps", "rps-test-set"]), siblings_split(["cat", "dog", "dog_test"])
    ({'rps-test-set': 'test', 'rps': 'train'}, {})
    """
    names = list(names)
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        words = words_of(name)
        said = [SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS]
        if len(said) == 1:
            rest = tuple(word for word in words if word not in SPLIT_WORDS)
            found.setdefault(rest, {})[name] = said[0]
    rest, first = next(iter(found.items()), ((), {}))
    bare = [name for name in names if name not in first]
    if rest and len(found) == 1 and [tuple(words_of(one)) for one in bare] == [rest] and "train" not in first.values():
        first[bare[0]] = "train"
    groups = (group for group in found.values() if "train" in group.values() and len(set(group.values())) > 1)
    return {name: split for group in groups for name, split in group.items()}


def is_filler(name: str) -> bool:
    """Whether a folder's name is a filler, as `images`, and no class.

    >>> is_filler("images"), is_filler("Data Set 1"), is_filler("cats")
    (True, True, False)
    """
    return not words_of(name) and any(letter.isalpha() for letter in name)


def words_of(name: str) -> list[str]:
    """Words of a name in lower case, without fillers: `trainset` and `test_images` have one each."""
    bare = "".join(letter for letter in unicodedata.normalize("NFD", name) if not unicodedata.combining(letter))
    words = re.findall(r"[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", bare).lower())
    cut = (re.sub(rf"(?:{'|'.join(FILLERS)})$", "", word) for word in words)
    return [word for word in cut if word]


def spelt(name: str) -> str:
    r"""Normalize a path: Windows writes `\` between folders, macOS decomposes accents.

    >>> spelt(".\\Train\\\\e\u0301.jpg") == "Train/é.jpg"
    True
    """
    if name.isascii() and not UNUSUAL.search(name):
        return name
    path = unicodedata.normalize("NFC", name.strip()).replace("\\", "/")
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def in_test_folder(path: str, test: str | None) -> bool:
    """Whether a relative posix path is inside a folder `test`, in any case and at any depth.

    >>> in_test_folder("day 1/Test/a.mp4", "test"), in_test_folder("latest/a.mp4", "test")
    (True, False)
    """
    return bool(test) and f"/{str(test).strip('/')}/".casefold() in f"/{path}".casefold()


def find_test_folder(files: Sequence[str], test: str | None) -> str | None:
    """Find the test folder: `test`, packed if it is a table of items, or else the only one whose name says so."""
    if test is None:
        return None
    for name in (test, f"{test}.gz", f"{test}.zip"):
        if any(in_test_folder(file, name) for file in files):
            return name
    folders = {part for file in files for part in file.split("/")[:-1] if split_of(part) == "test"}
    return folders.pop() if len(folders) == 1 else test


def find_table(name: str, files: Sequence[str]) -> str | None:
    """Find the file that an option names: at that path, or the only one that ends so, or such a file that is packed.

    >>> find_table("labels.csv", ["data/labels.csv", "data/a.jpg"]), find_table("train.csv", ["train.csv.gz"])
    ('data/labels.csv', 'train.csv.gz')
    """
    last = name_of(spelt(name)).casefold()
    files = [file for file in files if last in file.lower() or not file.isascii()]  # few are left to normalize
    for path in (spelt(name).casefold(), *(f"{spelt(name)}{packed}".casefold() for packed in (".gz", ".zip"))):
        exact = [file for file in files if file == name or spelt(file).casefold() == path]
        found = exact or [file for file in files if spelt(file).casefold().endswith(f"/{path}")]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def read_splits(rows: pd.DataFrame, table: str, column: str) -> tuple["pd.Series[str] | None", list[str]]:
    """Read `split` of rows, indexed by row in the file: (`train`, `test` or None, notes); None where they have none.

    column: its name there, as is_test of 0 and 1. Validation rows become training rows. Raises UserError for another
    word.
    """
    if "split" not in rows:
        return None, []
    cells = rows["split"]
    said = cell_splits(cells, column)
    splits = cells.map(said).astype(object)
    strange = splits.isna() & (cells != "")
    if strange.any():
        row = cells.index[int(strange.to_numpy().argmax())]
        raise UserError(f"{table}, row {row}: the split {cells[row]} is neither train nor test")
    valid = splits == "valid"
    notes = [f"{valid.sum()} rows of {table} are for validation, and trained on: folds are drawn from all"]
    if all(map(str.isdecimal, said)) and not flagged_split(column):
        numbers = ", ".join(f"{cell} for {split}" for cell, split in sorted(said.items()))
        notes.append(
            f"{column} of {table} is the split, {numbers}: '+competition.columns={{split: null}}' if it is not"
        )
    return splits.mask(valid, "train").where(cells != "", None), notes if valid.any() else notes[1:]


class FileNames:
    """Lookup of files by path, end of a path or file name, with or without extension.

    files: relative posix paths. last: files to match only where no other file does. suffixes: the usual ones of the
    items; files with others are matched after those, and of images JPEG before the rest (see `format_rank`). Case, the
    form of accents and zeros before a number count only between several matches.
    """

    def __init__(self, files: Iterable[str], last: Collection[str] = (), suffixes: Collection[str] = ()) -> None:
        self._files = [(file, tuple(spelt(file).split("/"))) for file in files]
        self._last = frozenset(last)
        self._suffixes = suffixes
        self._numbers: dict[str, list[str]] | None = None  # made when it is needed
        self._parts: dict[str, list[str]] | None = None
        self._ends: dict[int, dict[str, list[tuple[str, tuple[str, ...]]]]] = {}

    def paths(self, names: "pd.Series[str]", table: str, noun: str = "video", *, mend: str = "") -> list[str]:
        """Find the relative path of each name. names: indexed by row in `table`, for the messages.

        mend: what else there is to do about a missing file. Raises UserError if a name is empty, or matches no file or
        several.
        """
        found = self._found(names)
        return [self._only(name, found, f"{table}, row {row},", noun, mend) for row, name in names.items()]

    def _found(self, names: "pd.Series[str]") -> dict[str, list[str]]:
        """The files of each name."""
        found = {name: self._candidates(spelt(name)) for name in set(names)}
        missing = [name for name, files in found.items() if not files]
        if missing and not any(files for name, files in found.items() if "/" in spelt(name)):
            # the folders are another computer's: match only file names
            found |= {name: self._candidates(spelt(name).split("/")[-1]) for name in missing}
        return found | {name: self._numbered(name) for name in missing if not found[name]}

    def are_there(self, names: "pd.Series[str]") -> "pd.Series[bool]":
        """Whether a file, or several, is there for each name."""
        return names.map({name: bool(files) for name, files in self._found(names).items()}).astype(bool)

    def parts_of(self, name: str) -> list[str]:
        """The files in folders called so, or called so and more after `_` or `-`: those of a patient or a pet."""
        if self._parts is None:
            self._parts = {}
            for file, (*folders, last) in self._files:
                heads = [last[: match.start()] for match in re.finditer("[_-]", stem_of(last))]
                for one in {*folders, *heads}:
                    self._parts.setdefault(one.casefold(), []).append(file)
        return self._parts.get(name.casefold(), [])

    def find(self, name: str) -> str | None:
        """The one file of a name; None where there is none or more than one."""
        files = self._candidates(spelt(name)) or self._numbered(name)
        return files[0] if len(files) == 1 else None

    def _numbered(self, name: str) -> list[str]:
        """List the files that are called by the same whole number, as tables write it: 12, 12.0, 12.jpg for 012.jpg."""
        if self._numbers is None:
            self._numbers = {}
            for file, parts in self._files:
                for own in {as_number(stem_of(parts[-1])), as_number(parts[-1])}:
                    self._numbers.setdefault(own, []).append(file)
        files = self._numbers.get(as_number(name), [])
        ranks = [self._rank(file) for file in files]
        return [file for file, rank in zip(files, ranks, strict=True) if rank == min(ranks)]

    def _rank(self, file: str) -> tuple[bool, bool]:
        """Rank of a file, smaller is better: whether its suffix is unusual, and whether it is to be matched last."""
        is_usual = not self._suffixes or suffix_of(file) in self._suffixes
        return not is_usual, file in self._last

    def _by_end(self, depth: int) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
        """Index of the last `depth` parts of paths, with and without extension, in lower case -> files."""
        if depth not in self._ends:
            ends: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
            for file, parts in self._files:
                if len(parts) >= depth:
                    for end in {end.casefold() for end in _ends(parts, depth)}:
                        ends.setdefault(end, []).append((file, parts))
            self._ends[depth] = ends
        return self._ends[depth]

    def _candidates(self, name: str) -> list[str]:
        """List the files that match best."""
        parts = name.split("/")
        for first in range(len(parts)):
            end, depth = "/".join(parts[first:]), len(parts) - first
            found = self._by_end(depth).get(end.casefold(), [])
            if first and depth == 1:  # a name from another folder is that of a file in none, or another file's
                found = [(file, path) for file, path in found if len(path) == 1]
            if found:
                ranks = [
                    (*self._rank(file), *_disagreement(path, end, depth), format_rank(file) if self._suffixes else 0)
                    for file, path in found
                ]
                best = min(ranks)
                return sorted({file for (file, _), rank in zip(found, ranks, strict=True) if rank == best})
        return []

    def _only(self, name: str, found: Mapping[str, Sequence[str]], where: str, noun: str, mend: str) -> str:
        """Return the one match. Raises UserError if there is none or more than one."""
        if not name:
            raise UserError(f"{where} names no {noun}; give its file name, or take the row out")
        files = found[name]
        if len(files) == 1:
            return files[0]
        if files:
            raise UserError(f"{where} names {name}, which may be {files[0]} or {files[1]}: write the path there")
        known = dict.fromkeys(word for _, parts in self._files[:MAX_HINTS] for word in ("/".join(parts), parts[-1]))
        near = difflib.get_close_matches(spelt(name), known, 1)
        hint = f" (there is {near[0]})" if near else ""
        others = sum(not files for files in found.values()) - 1
        more = f"; {others} more are not there" if others else ""
        raise UserError(
            f"{where} names {name}, and no such file is there{hint}{more}: add the file, or mend the row{mend}"
        )


def _ends(parts: tuple[str, ...], depth: int) -> tuple[str, str]:
    """Last `depth` parts of a path, with and without extension."""
    end = "/".join(parts[-depth:])
    stem, dot, _ = parts[-1].rpartition(".")
    return end, end[: len(end) - len(parts[-1]) + len(stem)] if stem and dot else end


def _disagreement(parts: tuple[str, ...], name: str, depth: int) -> tuple[bool, bool, bool]:
    """Rank of a match, smaller is better: whether it differs by more folders, by case, by an extension."""
    ends = _ends(parts, depth)
    return len(parts) > depth, name not in ends, name.casefold() != ends[0].casefold()


def is_excluded(file: str, patterns: Collection[str]) -> bool:
    """Whether a pattern of `competition.exclude` means a relative path, in any case; `*` is any letters, also `/`.

    >>> is_excluded("train/Masks/1.png", ["*/masks/*"]), is_excluded("train/1.png", ["*.tif"])
    (True, False)
    """
    if not patterns:
        return False
    path = spelt(file).casefold()
    return any(fnmatchcase(path, spelt(pattern).casefold()) for pattern in patterns)


def whole_number(text: str) -> int | None:
    """The number that a name is, also with zeros before it or as tables write it beside empty cells; else None.

    >>> [whole_number(name) for name in ("12", "012", "12.0", "a12", "12.5")]
    [12, 12, 12, None, None]
    """
    return int(text.removesuffix(".0")) if re.fullmatch(r"[0-9]{1,18}(\.0)?", text) else None


def as_number(name: str) -> str:
    """A name that is a whole number as `12`, not `0012` or `12.0`, also before an extension; another as it is.

    >>> [as_number(name) for name in ("0012", "12.0", "0012.jpg", "a/012.jpg")]
    ['12', '12', '12.jpg', 'a/012.jpg']
    """
    if (number := whole_number(name)) is not None:
        return str(number)
    suffix = suffix_of(name)
    number = whole_number(name.removesuffix(name[-len(suffix) :])) if suffix else None
    return f"{number}{suffix}" if number is not None and suffix in MEDIA else name


def format_rank(path: str) -> int:
    """Rank of an image's format among several of one image, smaller is better: JPEG, the rest, DICOM.

    >>> [format_rank(path) for path in ("a.jpg", "a.png", "a.dcm")]
    [0, 1, 2]
    """
    suffix = suffix_of(path)
    return 0 if suffix in (".jpg", ".jpeg") else 2 if suffix in (".dcm", ".dicom") else 1


def make_id(path: str, form: str) -> str:
    """Make the id of the image at a relative posix path.

    >>> [make_id("Train/a.jpg", form) for form in ("name", "stem", "path")]
    ['a.jpg', 'a', 'Train/a.jpg']
    """
    return {"name": name_of(path), "stem": stem_of(path), "path": path}[form]


def label_regex(pattern: str) -> "re.Pattern[str]":
    r"""Compile a pattern of file names of `{label}`, `{group}`, `{number}` (digits) and `{any}` or `*` for other parts.

    >>> label_regex("{label}.{number}.jpg").fullmatch("cat.12.jpg")["label"], label_regex("{label}_*").match("2_0")[1]
    ('cat', '2')
    """
    parts = {"{label}": "(?P<label>.+?)", "{group}": "(?P<group>.+?)", "{number}": r"\d+", "{any}": ".*?", "*": ".*?"}
    return re.compile(
        "".join(parts.get(part, re.escape(part)) for part in re.split(r"(\{\w+\}|\*)", pattern)), re.IGNORECASE
    )
