"""Processes that begin with everything loaded, and what happens to them at some moment: kills, Ctrl-C, full disks.

It stands in a module of its own so that these processes can import it.
"""

import json
import multiprocessing
import os
import resource as limits
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch

from kagglepipe import distributed
from kagglepipe.cli.main import main
from kagglepipe.images.dataset import TrainingImages
from kagglepipe.stages import train  # noqa: F401
from kagglepipe.training import image_learner, inference, learner, loop, resume  # noqa: F401

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}  # else gloo asks for the host's name
Moment = tuple[str, int]  # a kind, and the how manieth of its kind


class Moments:
    """Counts what happens in a process, and lets something happen to it at one of these moments.

    at: which one it is; the kind "any" counts them all. act: what happens then.
    """

    def __init__(self, at: Moment | None, act: Callable[[], None]) -> None:
        self.at, self.act, self.kinds = at, act, list[str]()

    def __call__(self, kind: str) -> None:
        self.kinds.append(kind)
        if self.at in ((kind, self.kinds.count(kind)), ("any", len(self.kinds))):
            self.act()

    def around(self, owner: Any, name: str, kind: str) -> None:
        """Makes the calls of a function two moments: before and after."""
        function = getattr(owner, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            self(f"before {kind}")
            result = function(*arguments, **options)
            self(f"after {kind}")
            return result

        setattr(owner, name, counted)

    def watch(self) -> None:
        """Every moment of a training from now on."""
        self.around(TrainingImages, "__getitem__", "an image")
        self.around(torch.optim.AdamW, "step", "an update")
        self.around(image_learner, "evaluate", "an evaluation")
        self.around(resume, "write_tensors", "a checkpoint")
        self.around(Path, "replace", "a renaming")  # what is written lies there whole, under its temporary name


def die() -> None:
    """Ends this process as a kill from outside does."""
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    """What Ctrl-C in a terminal sends: to this process and to all that it has begun."""
    os.killpg(os.getpgrp(), signal.SIGINT)


def lose_a_worker() -> None:
    """Kills a process that reads images for this one, as the system does where memory runs out."""
    worker = multiprocessing.active_children()[0]
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # until it is dead; torch looks after it itself


def in_a_process(processes: ForkServerContext, target: Callable[..., None], *arguments: Any) -> tuple[int | None, bool]:
    """(exit code of a process that does nothing else, less than 0 for the signal that ended it; what it left behind).

    The process leads a group of its own. What it leaves behind is whether any of that group is still alive.
    """
    process = processes.Process(target=lead, args=(target, *arguments))
    process.start()
    process.join(300)
    assert process.pid is not None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return process.exitcode, False
    assert process.exitcode is not None, f"{target.__name__}{arguments} does not end"
    return process.exitcode, True


def in_company(processes: ForkServerContext, target: Callable[..., None], *arguments: Any, size: int = 2) -> list[int]:
    """The exit codes of so many processes that find one another as those of `torchrun` do, by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started, meeting = [], {"WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **LOOPBACK}
    for rank in range(size):
        variables = {**meeting, "RANK": rank, "LOCAL_RANK": rank}
        started.append(processes.Process(target=lead, args=(introduced, variables, target, *arguments)))
        started[-1].start()
    for process in started:
        process.join(300)
        process.kill()
    return [process.exitcode for process in started]


def introduced(variables: dict[str, Any], target: Callable[..., None], *arguments: Any) -> None:
    """Calls `target` with the environment that tells of the other processes."""
    os.environ |= {name: str(value) for name, value in variables.items()}
    target(*arguments)


def lead(target: Callable[..., None], *arguments: Any) -> None:
    """Calls `target` in a group of processes of its own, on one thread; what it begins is forked, as usual."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background is begun without
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)
    target(*arguments)


def files_below(folder: Path) -> list[str]:
    """The paths of all files; locks aside, which say nothing."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    )


def the_run(root: Path) -> Path:
    """The one run below a root."""
    (run,) = (path for path in (root / "outputs").glob("*/*") if (path / "config.yaml").exists())
    return run


# --- command lines -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Typed:
    """A command line, typed in `folder`.

    at, act: when something happens to it, and what. workers: processes that read images. most_bytes: of a file.
    ticking: whether its time is that of a clock of the tests' own, a second for each step.
    """

    folder: Path
    arguments: tuple[str, ...]
    at: Moment | None = None
    act: Callable[[], None] = die
    workers: int = 0
    most_bytes: int | None = None
    ticking: bool = False


@dataclass(frozen=True)
class Said:
    """What a command left: its exit code, less than 0 for a signal; whether any process; what it wrote; its moments."""

    code: int | None
    left_behind: bool
    out: str
    err: str
    moments: list[str]


def type_in(processes: ForkServerContext, typed: Typed, place: Path) -> Said:
    """What comes of a command line; its output lies in the folder `place`."""
    place.mkdir(parents=True)
    code, left_behind = in_a_process(processes, obey, typed, place)
    return said_in(place, code, left_behind)


def type_together(processes: ForkServerContext, typed: Typed, place: Path) -> list[Said]:
    """What comes of a command line in each of two processes that know of one another."""
    places = [place / str(rank) for rank in range(2)]
    for own in places:
        own.mkdir(parents=True)
    codes = in_company(processes, obey_by_rank, typed, places)
    return [said_in(own, code) for own, code in zip(places, codes, strict=True)]


def said_in(place: Path, code: int | None, left_behind: bool = False) -> Said:
    """What a command has left in `place`."""
    moments = json.loads((place / "moments").read_text()) if (place / "moments").exists() else []
    return Said(code, left_behind, (place / "out").read_text(), (place / "err").read_text(), moments)


def obey_by_rank(typed: Typed, places: list[Path]) -> None:
    """Does what was typed, each process in a place of its own."""
    obey(typed, places[distributed.rank()])


def obey(typed: Typed, place: Path) -> None:
    """Does what was typed."""
    os.chdir(typed.folder)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    moments = Moments(typed.at, typed.act)
    moments.watch()
    if typed.workers:
        learner.Runtime.loader_workers = typed.workers  # type: ignore[assignment, method-assign]
    if typed.ticking:
        from tests.fitting import Clock

        clock, real = Clock(), loop.Budget
        loop.Budget = lambda seconds, clock=clock: real(seconds, clock)  # type: ignore[assignment, misc]
    if typed.most_bytes:
        limits.setrlimit(limits.RLIMIT_FSIZE, (typed.most_bytes, typed.most_bytes))
    sys.argv = ["kagglepipe", *typed.arguments]
    try:
        main()
    finally:
        (place / "moments").write_text(json.dumps(moments.kinds))
