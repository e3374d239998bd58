"""Threads over the available cores, and worker processes that end with their parent."""

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
WATCHDOG = "exit with parent"  # name of the thread


def cpu_count() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel_chunks(
    function: Callable[[Sequence[Item]], Iterable[Result]],
    items: Sequence[Item],
    *,
    chunk: int,
    workers: int | None = None,
) -> Iterator[Result]:
    """Map a function of several items over all, at most `chunk` in a task, yielding results as `parallel_map` does.

    A task costs as much as reading a small file, above all the wait for the interpreter's lock. Of few items, which may
    be large, each worker has eight tasks.
    """
    workers = workers or cpu_count()
    size = max(1, min(chunk, len(items) // (8 * workers)))
    parts = (items[start : start + size] for start in range(0, len(items), size))
    return chain.from_iterable(parallel_map(function, parts, workers=workers))


def parallel_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None, ahead: int = 4
) -> Iterator[Result]:
    """Map `function` over items in threads (None: one a core), yielding results in the items' order.

    At most `ahead` results per worker wait to be taken, so memory does not grow with the number of items.
    """
    workers = workers or cpu_count()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= ahead * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def exit_with_parent() -> None:
    """Start a thread in a joblib worker that ends it within a second of its parent's death.

    Otherwise the worker of a killed command would run on for minutes beside the next command. Does nothing in other
    processes, or on Windows, where an orphan keeps its parent's id.
    """
    process: Any = multiprocessing.current_process()
    if not process.name.startswith("LokyProcess") or any(one.name == WATCHDOG for one in threading.enumerate()):
        return
    parent = process._parent_pid  # multiprocessing.parent_process() is None in joblib's workers

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name=WATCHDOG, daemon=True).start()
