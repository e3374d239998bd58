"""Garbage collection, which is off while packages are imported."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collect no garbage within the block.

    Imports make hundreds of thousands of objects, all of which stay: looking for garbage among them takes a quarter of
    the time of `import timm`. Not for work, whose cycles may hold large arrays.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
