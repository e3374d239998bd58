"""Frames of predictions, matched by id and never by position.

An out-of-fold frame has the columns `id` (str), `fold` (int), `target` (class name) and one column of
probabilities per class, named like the class. A test frame has `id` and the class columns. Ids are unique. Above 500
classes a row keeps the 100 most probable ones: see `top_classes`.

Frames of tags and numbers have a column `task` more, `multilabel` or `regression` in every row; `target` holds tags or
numbers as text (`competitions.targets`), the other columns a probability for each tag, or the numbers themselves.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.competitions.labels import RESERVED, check_classes
from kagglepipe.competitions.targets import IN_COLUMNS, Truth, parse_targets
from kagglepipe.errors import UserError
from kagglepipe.predictions.top_classes import (
    FULL_CLASSES,
    has_top_classes,
    join_top,
    keep_top,
    row_blocks,
    top_columns,
    top_names,
    top_of_frame,
)
from kagglepipe.text import quoted_three

MAX_CELLS = 2**27  # of an array of probabilities with all classes: 1 GB
SUM_TOLERANCE = 1e-4  # float32 softmax is off by 1e-7; four decimals in somebody's CSV by more

Probs = npt.NDArray[np.float64]  # (N, C)
Labels = npt.NDArray[np.intp]  # (N,)


def oof_frame(
    ids: Sequence[str],
    fold: int | Sequence[int] | npt.NDArray[np.integer],
    target: Sequence[str],
    probs: npt.ArrayLike,
    classes: Sequence[str],
    task: str = "multiclass",
) -> pd.DataFrame:
    """Make an out-of-fold frame of N rows, in the order given.

    fold: one number, or (N,). target: true class names (N,). probs: (N, C) in [0, 1], rows summing to 1 ± 1e-4; of
    tags each in [0, 1], of numbers finite. task: as competition.task.
    Raises UserError for class names that cannot be columns, ValueError for anything else that does not fit.

    >>> oof_frame(["a"], 0, ["dog"], [[0.25, 0.75]], ["cat", "dog"])
      id  fold target   cat   dog
    0  a     0    dog  0.25  0.75
    """
    truth = pd.Series(list(target), dtype="str", name="target")
    known = parse_targets(truth, classes, task)
    frame = _frame(ids, probs, classes, known if known.ndim == 1 else None, task)
    frame.insert(1, "fold", np.broadcast_to(np.asarray(fold, dtype=np.int64), len(frame)))
    frame.insert(2, "target", truth)
    return frame


def test_frame(
    ids: Sequence[str],
    probs: npt.ArrayLike,
    classes: Sequence[str],
    task: str = "multiclass",  # noqa: PT028
) -> pd.DataFrame:
    """Make a test frame of N rows, in the order given.

    probs, task: as of `oof_frame`; their dtype is kept.
    Raises UserError for class names that cannot be columns, ValueError for anything else that does not fit.
    """
    return _frame(ids, probs, classes, None, task)


test_frame.__test__ = False  # type: ignore[attr-defined]  # else pytest collects it wherever a test imports it


def merge_folds(frames: Sequence[pd.DataFrame], train_ids: Iterable[str]) -> pd.DataFrame:
    """Concatenate the out-of-fold frames of the folds, sorted by id.

    Raises ValueError, naming three offenders, unless exactly `train_ids` occur, each once.
    """
    _check_same_columns(frames)
    merged = pd.concat(frames, ignore_index=True)
    if fault := id_fault(merged["id"], train_ids):
        raise ValueError(f"each training id must occur in exactly one fold: {fault}")
    return merged.sort_values("id", ignore_index=True)


def average_folds(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Average the test frames of the folds' models by id, sorted by id.

    Raises ValueError, naming three offenders, unless all folds predict the same ids.
    """
    _check_same_columns(frames)
    first = frames[0]["id"]
    for number, frame in enumerate(frames):
        if fault := id_fault(frame["id"], first) if number else repeated(first):
            raise ValueError(f"test frame {number} does not hold the ids of test frame 0: {fault}")
    ordered = [frame.sort_values("id", ignore_index=True) for frame in frames]
    ids, classes = ordered[0][own_columns(ordered[0])], class_columns(ordered[0])
    if has_top_classes(ordered[0]):
        parts = [_mean([frame[rows] for frame in ordered], classes) for rows in row_blocks(len(ids))]
        return pd.concat([ids, top_columns(join_top([keep_top(part) for part in parts]), classes)], axis=1)
    return pd.concat([ids, pd.DataFrame(_mean(ordered, classes), columns=classes)], axis=1)


def _mean(frames: Sequence[pd.DataFrame], classes: Sequence[str]) -> Probs:
    """Mean probabilities of row-aligned frames, F times (N, C) -> (N, C)."""
    total = probabilities(frames[0], classes)
    for frame in frames[1:]:
        total = total + probabilities(frame, classes)
    return total / len(frames)


def _frame(
    ids: Sequence[str], probs: npt.ArrayLike, classes: Sequence[str], truth: Labels | None, task: str
) -> pd.DataFrame:
    """A test frame, checked. truth: classes that are kept in any case, (N,)."""
    check_classes(classes)
    values = np.asarray(probs)
    if values.shape != (len(ids), len(classes)):
        raise ValueError(f"{len(ids)} ids and {len(classes)} classes, but probabilities of shape {values.shape}")
    names = pd.Series(list(ids), dtype="str", name="id")
    is_full = len(classes) <= FULL_CLASSES or task in IN_COLUMNS
    if fault := repeated(names):
        raise ValueError(fault)
    for rows in [slice(None)] if is_full else row_blocks(len(values)):  # checks take a copy of their rows
        if fault := prediction_fault(names[rows], values[rows], task):
            raise ValueError(fault)
    columns = pd.DataFrame(values, columns=list(classes)) if is_full else top_columns(keep_top(values, truth), classes)
    of_task = [pd.Series(task, names.index, dtype="str", name="task")] if task in IN_COLUMNS else []
    return pd.concat([names, *of_task, columns], axis=1)


def align(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Sort the rows of frames by id, and their columns in the order of the first; fold numbers may differ.

    Raises UserError, naming the frame and three offenders, unless all frames have the same columns, the same
    ids once each and, out of fold, the same targets.
    """
    names = list(frames)
    first = frames[names[0]]
    for name, frame in frames.items():
        if set(class_columns(frame)) != set(class_columns(first)) or set(frame.columns) != set(first.columns):
            raise UserError(
                f"{name} has columns {list(frame.columns)}, {names[0]} has {list(first.columns)}; "
                "combine only runs of one competition"
            )
        if fault := repeated(first["id"]) if frame is first else id_fault(frame["id"], first["id"]):
            raise UserError(f"{name} does not hold the ids of {names[0]}: {fault}; leave {name} out or train it again")
    ordered = {n: f[first.columns].sort_values("id", ignore_index=True) for n, f in frames.items()}
    for name, frame in ordered.items() if "target" in first else ():
        check_same_targets(name, frame, names[0], ordered[names[0]])
    return ordered


def check_same_targets(name: str, frame: pd.DataFrame, other_name: str, other: pd.DataFrame) -> None:
    """Raises UserError, naming three offenders, unless row-aligned frames have the same targets."""
    differs = frame["target"].to_numpy() != other["target"].to_numpy()
    if differs.any() and (task := task_of(frame)) in IN_COLUMNS:  # tags in another order, or 12.50 for 12.5
        texts = (one["target"].to_numpy()[differs] for one in (frame, other))
        ours, theirs = (parse_targets(text, class_columns(frame), task) for text in texts)
        differs[differs] = (ours != theirs).any(axis=1)
    if differs.any():
        offenders = quoted_three(frame["id"][differs])
        raise UserError(f"{name} and {other_name} have different targets for {offenders}; train {name} again")


def probabilities(frame: pd.DataFrame, classes: Sequence[str]) -> Probs:
    """Probabilities as a float64 array (N, C), in the order of `classes`; KeyError for an absent one.

    Raises UserError for a frame that keeps the most probable classes alone, and is too large with all of them.
    """
    if not has_top_classes(frame):
        return frame[list(classes)].to_numpy(dtype=np.float64)
    if len(frame) * len(classes) > MAX_CELLS:
        raise UserError(
            f"{len(frame):,} rows of {len(classes):,} classes are too many to be blended, compared, written as "
            "probabilities or scored by a metric of a file: each row would need all classes, "
            f"{len(frame) * len(classes) * 8 / 1e9:.0f} GB"
        )
    return np.asarray(top_of_frame(frame, classes))


def scorable(frame: pd.DataFrame, classes: Sequence[str]) -> Probs:
    """Probabilities to be scored, (N, C), in the order of `classes`: with many classes a TopClasses.

    It has what metrics use of an array, and `numpy.asarray` gives all of it.
    """
    if has_top_classes(frame):
        return top_of_frame(frame, classes)  # type: ignore[return-value]
    return probabilities(frame, classes)


def labels(frame: pd.DataFrame, classes: Sequence[str]) -> Truth:
    """Targets as indices into `classes`, (N,), or as tags or numbers (N, C): see `competitions.targets`.

    Raises ValueError for a target that is not among the classes.
    """
    return parse_targets(frame["target"], classes, task_of(frame))


def task_of(frame: pd.DataFrame) -> str:
    """Task of a frame: `multilabel` or `regression` by its column `task`, else `multiclass`.

    >>> task_of(pd.DataFrame({"id": ["a"], "task": ["regression"], "age": [3.0]})), task_of(pd.DataFrame({"id": ["a"]}))
    ('regression', 'multiclass')
    """
    if "task" in frame and not pd.api.types.is_numeric_dtype(frame["task"]):  # else a class of that name
        found = set(frame["task"])
        if len(found) == 1 and found <= set(IN_COLUMNS):
            return str(found.pop())
    return "multiclass"


def own_columns(frame: pd.DataFrame) -> list[str]:
    """Columns of a frame that are not predictions: those of `id`, `fold`, `target` and `task` that it has."""
    reserved = (*RESERVED, "task") if task_of(frame) in IN_COLUMNS else RESERVED
    return [name for name in frame.columns if name in reserved]


def class_columns(frame: pd.DataFrame) -> list[str]:
    """Names of the classes, tags or numbers of a frame: all but `own_columns`, or those that `top_classes` names."""
    if has_top_classes(frame):
        return top_names(frame)
    own = own_columns(frame)
    return [name for name in frame.columns if name not in own]


def read_frame(path: Path) -> pd.DataFrame:
    """Read and check a frame, from parquet or CSV.

    A frame with `fold` and `target` is an out-of-fold frame, one with neither a test frame.
    Raises UserError, naming the file and three offenders, for a file that is neither.
    """
    try:
        if path.suffix.lower() == ".csv":  # ids and class names such as 007 or NA are text
            frame = pd.read_csv(path, dtype={"id": "str", "target": "str", "task": "str"}, keep_default_na=False)
        else:
            frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's and pandas' own errors are ValueErrors
        raise UserError(
            f"{path} cannot be read as a table: {(str(error).splitlines() or [type(error).__name__])[0]}"
        ) from error
    if fault := _column_fault(frame) or _row_fault(frame):
        raise UserError(
            f"{path} {fault}; needed are id, fold, target (or only id, for a test), a column per class "
            "and, of tags or numbers, a column task of multilabel or regression"
        )
    return frame.astype({name: "str" for name in own_columns(frame) if name != "fold"})


def id_fault(found: pd.Series, wanted: Iterable[str]) -> str | None:
    """Missing, repeated and unknown ids of `found`, in one phrase; None if it holds each of `wanted` (distinct) once.

    >>> id_fault(pd.Series(["a", "a", "z"]), ["a", "b"])
    "missing 'b'; repeated 'a'; unknown 'z'"
    """
    if isinstance(wanted, pd.Series) and found.reset_index(drop=True).equals(wanted.reset_index(drop=True)):
        return None  # the usual case, faster than by sets
    present, due = set(found), set(wanted)
    faults = {"missing": due - present, "repeated": set(found[found.duplicated()]), "unknown": present - due}
    return "; ".join(f"{fault} {quoted_three(ids)}" for fault, ids in faults.items() if ids) or None


def repeated(ids: pd.Series) -> str | None:
    """Repeated ids, in one phrase; None if there are none."""
    return None if ids.is_unique else f"repeated {quoted_three(ids[ids.duplicated()])}"


def prediction_fault(ids: pd.Series, values: npt.ArrayLike, task: str) -> str | None:
    """Why `values` (N, C) are no predictions of a task, with three ids; None if they are."""
    if task == "regression":
        infinite = ids.to_numpy()[~np.isfinite(np.asarray(values, dtype=np.float64)).all(axis=1)]
        return f"has predictions that are not finite for id {quoted_three(infinite)}" if len(infinite) else None
    return probability_fault(ids, values, sums=task != "multilabel")


def probability_fault(ids: pd.Series, probs: npt.ArrayLike, *, sums: bool = True) -> str | None:
    """Why `probs` (N, C) are no probabilities, with three ids; None if they are. sums: whether rows sum to 1."""
    values, names = np.asarray(probs, dtype=np.float64), ids.to_numpy()
    if not (values.min(initial=0) >= 0 and values.max(initial=0) <= 1):  # true for NaN as well
        outside = ~((values >= 0) & (values <= 1)).all(axis=1)
        return f"has probabilities that are not within [0, 1] for id {quoted_three(names[outside])}"
    unbalanced = np.abs(values.sum(axis=1) - 1) > SUM_TOLERANCE
    if sums and unbalanced.any():
        return f"has probabilities that do not sum to 1 for id {quoted_three(names[unbalanced])}"
    return None


def _column_fault(frame: pd.DataFrame) -> str | None:
    """Why names or types of the columns are invalid; None if they are valid."""
    classes = class_columns(frame)
    has_target, has_fold = "target" in frame, "fold" in frame
    if "id" not in frame or has_target != has_fold or len(classes) < (1 if task_of(frame) in IN_COLUMNS else 2):
        return f"has columns {list(frame.columns)}"
    if has_fold and not pd.api.types.is_integer_dtype(frame["fold"]):
        return "has folds that are not whole numbers"
    if any(str(name).startswith("Unnamed: ") for name in frame.columns):
        return "has a column without a name, as pandas writes an index (to_csv(index=False) writes none)"
    for name in () if has_top_classes(frame) else classes:
        if len(frame) and not pd.api.types.is_numeric_dtype(frame[name]):
            strange = frame["id"][pd.to_numeric(frame[name], errors="coerce").isna()]
            return f"has no number in column {name!r} for id {quoted_three(strange)}"
    return None


def _row_fault(frame: pd.DataFrame) -> str | None:
    """Why cells of a frame with valid columns are invalid; None if they are valid."""
    classes = class_columns(frame)
    if frame["id"].isna().any() or (frame["id"] == "").any():
        return "has rows without an id"
    if twice := repeated(frame["id"]):
        return f"does not hold each id once: {twice}"
    if (task := task_of(frame)) in IN_COLUMNS:
        if "target" in frame and (strange := _strange_target(frame["target"], classes, task)):
            return strange
        return prediction_fault(frame["id"], probabilities(frame, classes), task)
    if "target" in frame and not (known := frame["target"].isin(classes)).all():
        return f"has targets without a column of their own: {quoted_three(frame['target'][~known])}"
    if not has_top_classes(frame):
        return probability_fault(frame["id"], probabilities(frame, classes))
    top = top_of_frame(frame, classes)
    others = np.maximum(1 - top.values.sum(axis=1, keepdims=True), 0)
    return probability_fault(frame["id"], np.append(top.values, others, axis=1))


def _strange_target(targets: pd.Series, classes: Sequence[str], task: str) -> str | None:
    """Why targets are no tags or numbers of these columns; None if they are."""
    try:
        parse_targets(targets, classes, task)
    except ValueError as error:
        return f"has {error}"
    return None


def _check_same_columns(frames: Sequence[pd.DataFrame]) -> None:
    """Raises ValueError unless all frames, one at least, have the same columns."""
    if not frames:
        raise ValueError("no fold to combine")
    for number, frame in enumerate(frames):
        other_classes = has_top_classes(frames[0]) and class_columns(frame) != class_columns(frames[0])
        if set(frame.columns) != set(frames[0].columns) or other_classes:
            raise ValueError(f"frame {number} has columns {list(frame.columns)}, frame 0 {list(frames[0].columns)}")
