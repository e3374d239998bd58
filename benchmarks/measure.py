"""Command lines, seconds and peak memory for all benchmarks."""

import argparse
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


def make_parser(doc: str | None, **defaults: int) -> argparse.ArgumentParser:
    """Parser whose help is a script's docstring, with an integer option for each default."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    return parser


def seconds(work: Callable[[], object], times: int = 1, wait: Callable[[], object] | None = None) -> float:
    """Mean seconds of one call. wait: synchronises a GPU, before and after."""
    wait = wait or (lambda: None)
    wait()
    start = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - start) / times


class Usage(NamedTuple):
    """Wall seconds, peak memory in GB and processor seconds of a process."""

    seconds: float
    memory: float
    processor: float


def run_process(command: list[str], cwd: Path | None = None, *, quiet: bool = True) -> Usage:
    """Run a process to its end. Exits if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL if quiet else None)
    _, status, usage = os.wait4(process.pid, 0)
    taken = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command[:4])} … failed with {status}")
    return Usage(taken, usage.ru_maxrss * 1024 / 1e9, usage.ru_utime + usage.ru_stime)
