"""Memory of the process: no garbage collection while packages are imported; freed memory is kept."""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
SETTINGS = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"}  # of glibc


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


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next allocation, instead of returning it to the system.

    Layers allocate and free some MB each, and new pages take two fifths of the processor time of a forward pass on a
    virtual machine (docs/design.md). Does nothing without glibc, or where the user has set one of SETTINGS.
    """
    if SETTINGS & os.environ.keys():
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; Windows
        return
    if not mallopt(M_MMAP_THRESHOLD, 2**30):
        mallopt(M_MMAP_THRESHOLD, 2**25)  # the most that older ones take
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
