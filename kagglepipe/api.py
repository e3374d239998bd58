"""The Python interface: train, load, predict, blend and submit as the commands do, with the same files and runs.

>>> import kagglepipe as kp
>>> run = kp.train("image_folder", source="photos", training="head")  # doctest: +SKIP
>>> run.score, run.oof(), run.predict(["a.jpg"])  # doctest: +SKIP

Options are those of the command line: keywords for groups and options at the top (`model="lite0"`, `seed=1`), texts for
all others (`"training.lr=1e-3"`). What a command would print as one line is raised as `UserError` with the same words.
Messages go to the logger `kagglepipe`, of which Python shows warnings only unless the program sets up logging. The
process keeps memory that it frees, which is faster, unless a variable of glibc's, as MALLOC_TRIM_THRESHOLD_, is set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kagglepipe.errors import UserError
from kagglepipe.text import shortened

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from kagglepipe import runs
    from kagglepipe.config import Config
    from kagglepipe.runs.run import Metrics

SHORT = {"source": "competition.source", "root": "paths.root"}
PLAIN = re.compile(r"[\w./:@+-]+")  # a text that Hydra's grammar reads as it stands


@dataclass(frozen=True)
class Run:
    """A finished run. folder: outputs/<slug>/<run>/."""

    folder: Path

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.folder.name

    @property
    def metrics(self) -> Metrics:
        """Content of metrics.json."""
        return _stored(self).metrics

    @property
    def score(self) -> float | None:
        """Out-of-fold score by the competition's metric; None where it is undefined."""
        return self.metrics["score"]

    @property
    def classes(self) -> list[str]:
        """Classes, tags or numbers, in the order of the columns of predictions."""
        from kagglepipe.predictions.frame import class_columns

        return class_columns(self.oof())

    def oof(self) -> pd.DataFrame:
        """Out-of-fold predictions: id, fold, target, a column a class. Raises UserError for a run without them."""
        stored = _stored(self)
        if not stored.oof_file.exists():
            raise UserError(f"{self.name} has no out-of-fold rows, {stored.oof_file.name} is missing: train it again")
        return stored.oof()

    def test(self) -> pd.DataFrame:
        """Predictions of the test rows: id, a column a class. Raises UserError where nothing was to classify."""
        stored = _stored(self)
        if not stored.test_file.exists() or (found := stored.test()).empty:
            raise UserError(f"{self.name} had nothing to classify: predict files with run.predict(PATHS)")
        return found

    def predict(
        self,
        inputs: Any,
        *,
        device: str = "auto",
        engine: str = "auto",
        workers: int | None = None,
        skip_bad: bool = False,
    ) -> pd.DataFrame:
        """Predict files or arrays: a row for each, with its path, a column a class and the answer as text.

        inputs: a path, a folder, an array, or a list of paths of files and arrays. Arrays are images (H, W), (H, W, 3)
        or of as many channels as the run was trained on, uint8 or uint16; their `path` is their place in the list.
        device, engine, workers: as the options. skip_bad: leave out what cannot be read, instead of an error. Raises
        UserError for a file or array that is none, or no such run.
        """
        from kagglepipe.config import Config
        from kagglepipe.memory import keep_freed_memory
        from kagglepipe.runs.provenance import separator_of
        from kagglepipe.runs.store import RunStore
        from kagglepipe.tools.predict import answer_table, predict_files
        from kagglepipe.training.backends import make_backend

        keep_freed_memory()
        config = Config(device=device, engine=engine, workers=workers)
        run = RunStore(self.folder.parent).named(self.name)
        with _files_of(inputs, kind := run.kind, skip_bad=skip_bad) as (root, files, names):
            found = predict_files(
                run, kind, root, files, make_backend(device, engine), max_side=config.prepare.max_side,
                workers=workers, skip_bad=skip_bad,
            )  # fmt: skip
            if found.bad and (not skip_bad or len(found.bad) == len(set(files))):
                name, why = next(iter(found.bad.items()))
                raise UserError(f"{root / name}: {why}" + ("" if skip_bad else "; leave it out with skip_bad=True"))
        table, _ = answer_table(run, found, files, separator_of(run))
        return table.assign(path=[name for name, file in zip(names, files, strict=True) if file not in found.bad])

    def report(self, file: str | Path | None = None, *, images: int = 300) -> Path:
        """Write the page about the run, as stage=report, with its model card and suspects.csv beside; its path.

        file: where, .html, before whose end the names of the two others stand; None: report.html in the run's folder.
        images: most pictures in it. Raises UserError for a run without out-of-fold rows, or the page of another run.
        """
        from kagglepipe.runs.configured import own_config
        from kagglepipe.tools.report import write_report

        config = replace(own_config(_stored(self)), stage="report")
        options = replace(config.report, file=None if file is None else str(file), images=images)
        return write_report(replace(config, report=options), _stored(self))

    def _repr_html_(self) -> str:
        """Show the run in a notebook: its scores, beside its baseline."""
        from html import escape

        metrics = self.metrics
        low, high = metrics.get("interval") or (None, None)
        base = metrics.get("baseline", {}).get("score")
        rows = {
            "run": self.name,
            metrics["metric"]: _number(self.score),
            "95 % interval": f"{_number(low)} to {_number(high)}",
            "log loss": _number(metrics.get("log_loss")),
            "baseline": _number(base),
            "rows": metrics.get("rows"),
            "folder": self.folder,
        }
        lines = (f"<tr><th>{escape(name)}</th><td>{escape(str(one))}</td></tr>" for name, one in rows.items())
        return f"<table>{''.join(lines)}</table>"


def train(competition: str, *options: str, **keywords: Any) -> Run:
    """Train a run, as `python -m kagglepipe stage=train competition=… …`, or find it where it is finished.

    competition: a name of conf/competition, `auto`, or a YAML file. options: as `"training.lr=1e-3"`. keywords: as
    `training="head"`; `source` and `root` stand for `competition.source` and `paths.root`. Raises UserError.
    """
    from kagglepipe.runs.configured import finished_run
    from kagglepipe.stages.download import with_sample_if_no_data
    from kagglepipe.tools import COMMANDS
    from kagglepipe.tools.commands import run_command

    names = [*(str(one).lstrip("+").partition("=")[0] for one in options), *keywords]
    if taken := next((one for one in names if one in ("stage", "competition", *COMMANDS) or one.startswith("-")), None):
        raise UserError(f"train() trains the competition it is given, so that {taken} is no option of it: leave it out")
    config = with_sample_if_no_data(configure(competition, *options, stage="train", **keywords))
    run_command(config)
    run = finished_run(config)
    if run is None:
        raise UserError("the run is not finished, since folds are left: train them with folds.only=[]")
    return Run(run.folder)


def load(run: str | Path) -> Run:
    """Open a finished run by its folder, outputs/<slug>/<run>. Raises UserError where there is none."""
    from kagglepipe.files import absolute
    from kagglepipe.runs.store import RunStore

    folder = absolute(str(run))
    if not RunStore(folder.parent).run(folder.name).is_finished and (inner := RunStore(folder).finished()):
        raise UserError(f"{folder} is a folder of runs and not a run: load one, as load({str(inner[-1].folder)!r})")
    places = sorted(absolute("outputs").glob(f"*/{run}")) if str(run) == folder.name and not folder.exists() else []
    if places and RunStore(places[0].parent).run(folder.name).is_finished:
        raise UserError(f"{run} is the name of a run, and its folder is needed: load({str(places[0])!r})")
    return Run(RunStore(folder.parent).named(folder.name, f"load({str(run)!r})").folder)


def list_runs(slug: str, root: str | Path = ".") -> list[Run]:
    """List the finished runs of a competition, the latest last. slug: name of its folder in outputs/."""
    from kagglepipe.files import absolute
    from kagglepipe.runs.store import RunStore

    folder = absolute(str(root)) / "outputs" / str(slug)
    if not folder.is_dir():
        there = sorted(path.name for path in folder.parent.glob("*") if RunStore(path).finished())
        raise UserError(f"there is no {folder}; competitions with runs there: {', '.join(there) or 'none'}")
    return [Run(run.folder) for run in RunStore(folder).finished()]


def blend(members: Sequence[Run | str | Path], method: str = "auto") -> Run:
    """Blend runs, or those in folders, into one more, as stage=ensemble. method: its option. Raises UserError."""
    from kagglepipe.runs.configured import finished_run, own_config
    from kagglepipe.tools.commands import run_command

    if not isinstance(members, list | tuple) or len(members) < 2:
        given = len(members) if isinstance(members, list | tuple) else f"no list but {shortened(repr(members), 40)}"
        raise UserError(f"a blend needs a list of two runs or more, and there is {given}: blend([run, other])")
    names = [str(_opened(member).folder) for member in members]
    config = own_config(_stored(load(names[0])))
    config = replace(config, stage="ensemble", ensemble=replace(config.ensemble, runs=names, method=method))
    run_command(config)
    run = finished_run(config)
    assert run is not None
    return Run(run.folder)


def submit(run: Run | str | Path, file: str | Path | None = None, *, upload: bool = False) -> Path:
    """Write the submission of a run, as stage=submit, and return its path. Raises UserError.

    run: the run or its folder. file: where; None: submissions/<run>.csv. upload: send it to Kaggle, too.
    """
    from kagglepipe.runs.configured import own_config
    from kagglepipe.tools.commands import run_command

    run = _opened(run)
    config = own_config(_stored(run))
    path = Path(file) if file is not None else config.root / "submissions" / f"{run.name}.csv"
    options = replace(config.submit, file=str(path), upload=upload)
    run_command(replace(config, stage="submit", run=str(run.folder), submit=options))
    if not path.is_file():
        raise UserError(f"{config.slug} has nothing to classify: predict files with run.predict(PATHS)")
    return path


def configure(competition: str, *options: str, **keywords: Any) -> Config:
    """Compose the configuration of a command. Raises UserError for a misspelt option or a wrong value."""
    from kagglepipe.cli.compose import compose_config

    if wrong := next((one for one in options if not isinstance(one, str)), None):
        raise UserError(f"{wrong!r} is no option: options are texts, as 'training.lr=1e-3', or keywords, as seed=1")
    words = [_word(SHORT.get(name, name), value) for name, value in keywords.items()]
    return compose_config([f"competition={competition}", *options, *words])


def _opened(run: Run | str | Path) -> Run:
    """A run, given as such or by its folder. Raises UserError for anything else."""
    if isinstance(run, Run):
        return run
    if not isinstance(run, str | Path):
        raise UserError(f"{shortened(repr(run), 40)} is no run: give one of list_runs or train, or its folder")
    return load(run)


def _stored(run: Run) -> runs.run.Run:
    from kagglepipe.runs.run import Run as StoredRun

    return StoredRun(run.folder)


def _word(name: str, value: Any) -> str:
    """An option as it would be typed."""
    from kagglepipe.config import PATH_KEYS

    return f"{name}={value}" if name in PATH_KEYS and isinstance(value, str | Path) else f"{name}={_typed(value)}"


def _typed(value: Any) -> str:
    from kagglepipe.config import hydra_string

    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_typed, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}: {_typed(one)}" for key, one in value.items()) + "}"
    text = str(value)
    return text if PLAIN.fullmatch(text) or not isinstance(value, str | Path) else hydra_string(text)


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:z.4f}"


@contextmanager
def _files_of(inputs: Any, kind: str, *, skip_bad: bool) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield (root, files from there, what to call them) of inputs, as which errors of the block name them."""
    from tempfile import TemporaryDirectory

    from kagglepipe.files import absolute
    from kagglepipe.tools.predict import find_inputs

    spoken = {"competition.on_bad_image=skip": "skip_bad=True"}
    try:
        if isinstance(inputs, str | Path) and absolute(str(inputs)).is_dir():
            root, files = find_inputs(absolute(str(inputs)), kind, skip_bad=skip_bad)
            yield root, files, files
            return
        several = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        if not several:
            raise UserError("predict needs a file, a folder or an array, and there is none")
        with TemporaryDirectory() as place:
            files, names = [], []
            for number, one in enumerate(several):
                called = f"inputs[{number}]" if isinstance(inputs, list | tuple) else "the input"
                is_path = isinstance(one, str | Path)
                file = absolute(str(one)) if is_path else _written(one, called, number, Path(place), kind)
                if not file.is_file():
                    alone = f"{called} is the folder {one}: pass it alone, as predict({str(one)!r}), or its files"
                    raise UserError(
                        alone if file.is_dir() else f"{one} is not there; give a file, a folder or an array"
                    )
                spoken |= {} if is_path else {str(file): called}
                files.append(str(file))
                names.append(str(one) if is_path else str(number))
            yield Path("/"), files, names
    except UserError as error:
        message = str(error).removeprefix("input=")
        for words, python in spoken.items():
            message = message.replace(words, python)
        raise UserError(message) from error


def _written(array: NDArray[np.generic], called: str, number: int, folder: Path, kind: str) -> Path:
    """Write an array as a file without loss. Raises UserError for one that is no image, or of no use."""
    import numpy as np
    from PIL import Image

    if kind != "image":
        raise UserError(f"{called} is no path, and this run was trained on {kind}: give the paths of files")
    pixels = np.asarray(array)
    is_image = pixels.ndim in (2, 3) and pixels.size and pixels.dtype in (np.uint8, np.uint16)
    if not is_image:
        what = f"{pixels.dtype} {pixels.shape}" if pixels.ndim else type(array).__name__
        raise UserError(f"{called} is {what}; needed are images (H, W) or (H, W, C) of uint8 or uint16, or paths")
    if pixels.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2] in (3, 4)):
        Image.fromarray(pixels).save(path := folder / f"{number}.png")
    else:
        np.save(path := folder / f"{number}.npy", pixels, allow_pickle=False)
    return path
