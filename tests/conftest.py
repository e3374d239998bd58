"""What several test files share: composing a configuration as the command line does, and small competitions.

Nothing here needs a network, a GPU or ImageNet weights, save the tests that say so.
"""

import copy
import functools
import io
import logging
import multiprocessing
import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

# before torch and OpenBLAS are loaded: every worker has a core, and another number of threads gives other bits
os.environ["OMP_NUM_THREADS"] = "1"

import cv2
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import settings

from kagglepipe.cli.main import main
from kagglepipe.config import Config

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

    from tests.kaggle.emulator import KaggleEmulator

settings.register_profile("quick", max_examples=25, deadline=None)  # how long an example takes is no result
settings.register_profile("thorough", max_examples=200, deadline=None)  # by --hypothesis-profile=thorough
settings.load_profile("quick")

REAL = Path(__file__).parents[2] / "shared" / "data" / "pistolas-vs-smartphones-con-deep-learning.zip"
TINY = ("model=tiny", "training=head", "folds.count=2", "training.views=0")


@pytest.fixture(scope="session", autouse=True)
def _nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test, nor any process that it starts, meets the Kaggle account of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("KAGGLE_")]:
            patch.delenv(name)
        for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp("home")))
        yield


AS_IMPORTED = {"threads": 1, "precision": "highest", "dtype": "torch.float32", "is_deterministic": False,
               "has_gradients": True, "is_inference": False, "autocasts": False}  # fmt: skip


def torch_settings() -> dict[str, object]:
    """What decides how torch rounds, for the whole process; as it is imported where it is not yet."""
    if (torch := sys.modules.get("torch")) is None:
        return AS_IMPORTED
    return {
        "threads": torch.get_num_threads(),
        "precision": "highest" if torch.cuda.is_available() else torch.get_float32_matmul_precision(),  # see device.py
        "dtype": str(torch.get_default_dtype()),
        "is_deterministic": torch.are_deterministic_algorithms_enabled(),
        "has_gradients": torch.is_grad_enabled(),
        "is_inference": torch.is_inference_mode_enabled(),
        "autocasts": torch.is_autocast_enabled("cpu"),
    }


@pytest.fixture(autouse=True)
def _torch_as_imported() -> Iterator[None]:
    """No test leaves torch with other settings: the bits of later ones would depend on the order of tests."""
    yield
    assert torch_settings() == AS_IMPORTED


@pytest.fixture(scope="session")
def processes() -> "ForkServerContext":
    """Makes processes that have torch and the package loaded when they begin: one costs milliseconds, not seconds."""
    if sys.platform == "win32":
        pytest.skip("processes are forked")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fitting"])  # and what it imports
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
        forkserver.ensure_running()
    return context


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """made(name, make) -> the folder that `make(folder)` fills, once for all workers; nothing else writes into it."""
    base = tmp_path_factory.getbasetemp()
    base = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made"
    base.mkdir(exist_ok=True)

    def folder_of(name: str, make: Callable[[Path], object]) -> Path:
        folder = base / name
        with FileLock(base / f"{name}.lock"):
            if not (base / f"{name}.done").exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                (base / f"{name}.done").touch()
        return folder

    return folder_of


Made = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def real_archive() -> Path:
    """The competition's own archive, where it lies beside the project."""
    if not REAL.exists():
        pytest.skip("the real archive is not at ../shared/data")
    return REAL


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Config]:
    """configure("training=head", …) -> the configuration that the command line would make, rooted in tmp_path."""

    def compose_config(*overrides: str) -> Config:
        from tests.composing import config_of

        is_rooted = any("paths.root" in override for override in overrides)
        return config_of(*overrides) if is_rooted else config_of(f"paths.root='{tmp_path}'", *overrides)

    return compose_config


def make_toy(folder: Path, *, per_class: int = 12, test: int = 6, size: int = 48, seed: int = 0) -> Path:
    """An image folder of three classes that a tiny untrained network can tell apart: red, green and blue noise."""
    rng = np.random.default_rng(seed)
    for number, name in enumerate(("blue", "green", "red")):
        for index in range(per_class + test // 3):
            image = rng.integers(0, 90, (size, size + 8, 3)).astype(np.uint8)
            image[..., number] += 140  # OpenCV writes BGR
            place = folder / name if index < per_class else folder / "test"
            place.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place / f"{name}{index}.png"), image)
    return folder


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The folder of `make_toy`."""
    return make_toy(tmp_path / "toy")


@pytest.fixture(scope="session")
def finetuned(processes: "ForkServerContext", colours: Path, made: Made) -> tuple[tuple[str, ...], Path]:
    """(a command line that fine-tunes two folds, the run that it makes when nothing happens to it).

    Of eighteen rows to train on, batches of seventeen leave one, which two processes cannot share.
    """
    from tests.processes import Typed, the_run, type_in

    arguments = (
        "stage=submit", "experiment=quick", "training=finetune", "training.epochs=2", "training.batch_size=17",
        "training.lr=1e-3", "competition=image_folder", f"competition.source={colours}",
    )  # fmt: skip

    def make(root: Path) -> None:
        said = type_in(processes, Typed(root, arguments), root / "said")
        assert said.code == 0, said.err

    return arguments, the_run(made("finetuned", make))


# --- what only time tells ---------------------------------------------------------------------------------------

MOVES = {"left": -1, "right": 1}
MOVING = 8  # frames, at 8 a second


def write_video(path: Path, places: Sequence[float], seed: int, *, rate: float = 8) -> Path:
    """A video of 32×32 pixels: a bright square on noise, in each frame that many pixels from the left."""
    from kagglepipe.sequences.video_writer import VideoWriter

    rng = np.random.default_rng(seed)
    with VideoWriter(path, 32, 32, rate) as writer:
        for place in places:
            frame = rng.integers(0, 60, (32, 32, 3)).astype(np.uint8)
            frame[12:20, int(place) : int(place) + 8] = 230
            writer.write(frame)
    return path


def make_clips(folder: Path, *, per_class: int = 6, test: int = 4) -> Path:
    """Class folders `left` and `right` of clips of about a second in which a square moves, and `test`."""
    for name, direction in MOVES.items():
        for number in range(per_class + test // 2):
            places = np.linspace(2, 22, MOVING + number % 3)[::direction]
            part = name if number < per_class else "test"
            write_video(folder / part / f"{name}{number}.mp4", places, number)
    return folder


def script(seed: int, *, frames: int = 88) -> tuple[list[float], list[tuple[float, float, str]]]:
    """(place of the square in each frame, (start, end, label) of its moves in seconds), with rest at both ends."""
    rng, places, moves = np.random.default_rng(seed), [12.0] * MOVING, []
    while len(places) + 3 * MOVING <= frames:
        name = list(MOVES)[(seed + len(moves)) % 2]
        moves.append((len(places) / 8, (len(places) + MOVING) / 8, name))
        places += np.linspace(2, 22, MOVING)[:: MOVES[name]].tolist()
        places += [12.0] * int(rng.integers(8, 14))
    return places + [12.0] * (frames - len(places)), moves


def write_tables(folder: Path, moves: dict[str, list[tuple[float, float, str]]], train: int) -> None:
    """annotations.csv of the first items, two a group, answers.csv of the others, and sample_submission.csv."""
    rows = [(name, *move, f"camera {number // 2}") for number, (name, own) in enumerate(moves.items()) for move in own]
    table = pd.DataFrame(rows, columns=["video", "start", "end", "label", "group"])
    labelled = table["video"].isin(list(moves)[:train])
    table[labelled].to_csv(folder / "annotations.csv", index=False)
    table[~labelled].drop(columns="group").to_csv(folder / "answers.csv", index=False)
    (folder / "sample_submission.csv").write_text("video,label,start,end,score\n")


def make_long_videos(
    folder: Path,
    *,
    train: int = 6,
    test: int = 2,
    form: str = "v{}.mp4",
    write: Callable[[Path, Sequence[float], int], object] = write_video,
) -> Path:
    """`train` and `test` with videos of 11 s in which a square rests and moves, and the tables that tell when."""
    moves = {}
    for number in range(train + test):
        places, own = script(number)
        path = folder / ("train" if number < train else "test") / form.format(number)
        moves[path.relative_to(folder).as_posix()] = own
        write(path, places, number)
    write_tables(folder, moves, train)
    return folder


def write_series(path: Path, places: Sequence[float], seed: int) -> None:
    """As `write_video`: where the square is, and noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 0.1, (len(places), 2))
    values = np.column_stack([np.array(places) / 10 - 1.2, noise])
    np.savez(path, values=values, time=np.arange(len(places)) / 8)


make_long_series = functools.partial(make_long_videos, form="s{}.npz", write=write_series)


def make_series(folder: Path, *, per_class: int = 6, test: int = 4) -> Path:
    """Class folders `left` and `right` of series at uneven times, one channel of which falls or rises, and `test`."""
    for name, direction in MOVES.items():
        for number in range(per_class + test // 2):
            rng = np.random.default_rng([number, direction + 1])
            times = np.sort(rng.choice(np.arange(60), 18 + number % 3, replace=False)) / 20
            values = rng.uniform(-1, 1, (len(times), 3))
            values[:, 0] = direction * (times - times.mean()) + rng.normal(0, 0.02, len(times))
            path = folder / (name if number < per_class else "test") / f"{name}{number}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, values=values, time=times)
    return folder


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer settings to choose from, and fewer draws for p: a run is scored in a tenth of the time."""
    from kagglepipe.predictions import paired
    from kagglepipe.runs import scores

    grid = scores.settings_grid
    monkeypatch.setattr(scores, "settings_grid", lambda step, length: grid(step, length)[::16])
    monkeypatch.setattr(paired, "sign_flip_p", functools.partial(paired.sign_flip_p, draws=200))


def made_once(name: str, make: Callable[[Path], Path]) -> Callable[[Made], Path]:
    """A fixture: the folder `name` that `make` fills; nothing else is written into it."""

    @pytest.fixture(scope="session")
    def folder(made: Made) -> Path:
        return made(name, make)

    return folder


colours, clips, series = (
    made_once("colours", make_toy),
    made_once("clips", make_clips),
    made_once("series", make_series),
)
long_videos, long_series = made_once("long", make_long_videos), made_once("long-series", make_long_series)


@pytest.fixture
def pipeline(made: Made, request: pytest.FixtureRequest, few_draws: None) -> Callable[[str], Path]:
    """pipeline("clips") -> a root in which that of `tests.pipelines` has run to its submission."""
    from kagglepipe.tools.commands import run_command
    from tests.pipelines import PIPELINES, pipeline_config

    def root_of(name: str) -> Path:
        source: Path = request.getfixturevalue(PIPELINES[name][0])
        return made(f"pipeline-{name}", lambda folder: run_command(pipeline_config(name, source, folder)))

    return root_of


# --- packages ---------------------------------------------------------------------------------------------------

PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
BACKEND = """\
import shutil

def build_wheel(folder, config_settings=None, metadata_directory=None):
    return shutil.copy({name!r}, folder).rpartition("/")[2]
"""


def make_wheel(
    folder: Path, name: str, version: str, *requires: str, tag: str = "py3-none-any", python: str = ">=3.11"
) -> Path:
    """A wheel of one module that says its version. requires: as `other>=1; python_version < "3.12"`."""
    folder.mkdir(parents=True, exist_ok=True)
    module, lines = name.replace("-", "_"), [f"Requires-Dist: {one}" for one in requires]
    info = f"{module}-{version}.dist-info"
    head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", f"Requires-Python: {python}", *lines]
    files = {
        f"{module}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": "\n".join([*head, "", ""]),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {module}:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    path = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


def make_source(folder: Path, name: str, version: str, *requires: str, tag: str = "py3-none-any") -> Path:
    """A source distribution that builds without any other package: into the wheel of `make_wheel`."""
    wheel = make_wheel(folder / "inside", name, version, *requires, tag=tag)
    root, path = f"{name.replace('-', '_')}-{version}", folder / f"{name.replace('-', '_')}-{version}.tar.gz"
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        "pyproject.toml": PROJECT.encode(),
        "backend.py": BACKEND.format(name=wheel.name).encode(),
        wheel.name: wheel.read_bytes(),
    }
    with tarfile.open(path, "w:gz") as archive:
        for file, data in files.items():
            entry = tarfile.TarInfo(f"{root}/{file}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


@dataclass(frozen=True)
class Index:
    """A folder that is all that pip finds."""

    folder: Path

    def wheel(self, name: str, version: str, *requires: str, **options: str) -> Path:
        """Adds a wheel, as `make_wheel`."""
        return make_wheel(self.folder, name, version, *requires, **options)

    def source(self, name: str, version: str, *requires: str, **options: str) -> Path:
        """Adds a source distribution, as `make_source`."""
        return make_source(self.folder, name, version, *requires, **options)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """An empty one, instead of the network."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": folder, "CONFIG_FILE": os.devnull, "NO_CACHE_DIR": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", str(value))
    return Index(folder)


# --- Kaggle -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def kaggle_servers() -> Iterator["KaggleEmulator"]:
    """The one emulator of `kaggle`, since to start and stop one takes longer than most tests of it."""
    from tests.kaggle.emulator import KaggleEmulator

    with KaggleEmulator() as emulator:
        yield emulator


@pytest.fixture
def kaggle(kaggle_servers: "KaggleEmulator") -> Iterator["KaggleEmulator"]:
    """An emulator as at first, without a competition."""
    state = {name: value for name, value in vars(kaggle_servers).items() if not name.startswith("_")}
    vars(kaggle_servers).update({name: copy.copy(value) for name, value in state.items()})
    yield kaggle_servers
    vars(kaggle_servers).update(state)


# --- the command line -------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What a command left: exit code, standard output and the lines of standard error."""

    code: int | str | None
    out: str
    err: list[str]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """command("stage=prepare", …) -> the Outcome of the command line, in this process, from the folder tmp_path."""
    from hydra._internal.hydra import Hydra

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # `main` sets it: this takes it back
    monkeypatch.setattr(Hydra, "get_mode", lambda *_, **__: None)  # which composes all to learn that no file says -m

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["kagglepipe", *arguments])
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        code: int | str | None = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            root.handlers[:], root.level = handlers, level  # Hydra's stay open on a closed file
        out, err = capfd.readouterr()
        return Outcome(code, out, err.splitlines())

    return run
