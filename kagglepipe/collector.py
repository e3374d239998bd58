"""Garbage collection, which is off while packages are imported."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collect no garbage within the block, nor later among what is there after it, if the block imports a module.

    Imports make hundreds of thousands of objects, all of which stay: looking for garbage among them takes a quarter of
    the time of `import timm`, and after it three times 0.3 s. Not for work, whose cycles may hold large arrays.
    """
    was_enabled, modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > modules:
            gc.freeze()
        if was_enabled:
            gc.enable()
