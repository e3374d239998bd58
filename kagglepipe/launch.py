"""Whether this is one of several processes that `torchrun` or `accelerate launch` has started. Needs no torch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def size() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this is, from 0 on."""
    return int(os.environ.get("RANK", "0")) if size() > 1 else 0


def local_rank() -> int:
    """Which of those on this machine this is: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if size() > 1 else 0


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
