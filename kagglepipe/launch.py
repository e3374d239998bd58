"""Whether this is one of several processes that `torchrun` or `accelerate launch` has started. Needs no torch."""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WATCHER = "ends with its parent"


def size() -> int:
    """How many processes there are. What does not say which of them this is, is none of the launchers' doing."""
    return int(os.environ["WORLD_SIZE"]) if os.environ.get("WORLD_SIZE") and os.environ.get("RANK") else 1


def rank() -> int:
    """Which of them this is, from 0 on."""
    return int(os.environ.get("RANK", "0")) if size() > 1 else 0


def local_rank() -> int:
    """Which of those on this machine this is: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if size() > 1 else 0


def local_size() -> int:
    """How many of them share this machine, its cores and its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or 1) if size() > 1 else 1


def is_first() -> bool:
    """Whether this process is the one that downloads, prepares, writes and speaks."""
    return rank() == 0


@contextmanager
def alone() -> Iterator[None]:
    """In here this process is the only one: for work that the others take no part in."""
    kept = os.environ.pop("WORLD_SIZE", None)
    try:
        yield
    finally:
        if kept is not None:
            os.environ["WORLD_SIZE"] = kept


def end_with_parent() -> None:
    """Lets a worker of joblib's end within a second when the command that has started it was killed.

    Else it would go on beside the command that is typed next, and wait for minutes for more. In any other process, and
    on systems where a parent that is gone keeps its number (Windows), nothing happens.
    """
    process: Any = multiprocessing.current_process()
    if not process.name.startswith("LokyProcess") or any(one.name == WATCHER for one in threading.enumerate()):
        return
    parent = process._parent_pid  # multiprocessing.parent_process() knows none in joblib's workers

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name=WATCHER, daemon=True).start()
