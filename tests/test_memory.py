"""Garbage collection and the allocator: the one is as it was after imports, the other keeps what is freed."""

import gc
import subprocess
import sys
from contextlib import suppress
from types import ModuleType, SimpleNamespace

import pytest

from kagglepipe.memory import SETTINGS, keep_freed_memory, without_garbage_collection


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_collector_is_as_before(is_enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if is_enabled else gc.disable)()
        with suppress(ImportError), without_garbage_collection():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == is_enabled
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.parametrize("imports", [True, False])
def test_what_an_import_makes_is_not_looked_at_again(imports: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    gc.unfreeze()
    try:
        with without_garbage_collection():
            if imports:
                sys.modules["this"] = ModuleType("this")
        assert (gc.get_freeze_count() > 0) == imports
    finally:
        gc.unfreeze()
        sys.modules.pop("this", None)


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of glibc's is set."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings(unset: None, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(parameter, value) of each call of `mallopt`, which takes no threshold of mapped memory above 32 MiB."""
    called: list[tuple[int, int]] = []

    def mallopt(parameter: int, value: int) -> int:
        called.append((parameter, value))
        return int(parameter != -3 or value <= 2**25)

    monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    return called


def test_freed_memory_is_kept_by_old_versions_of_glibc_too(
    settings: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")  # another matter
    keep_freed_memory()
    assert settings == [(-3, 2**30), (-3, 2**25), (-1, 2**31 - 1)]


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_the_settings_of_the_user_stay(
    name: str, settings: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    keep_freed_memory()
    assert settings == []


@pytest.mark.parametrize("error", [OSError, TypeError, AttributeError])
def test_without_glibc_nothing_happens(error: type[Exception], unset: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []

    def missing(name: None) -> None:
        asked.append(name)
        raise error

    monkeypatch.setattr("ctypes.CDLL", missing)
    keep_freed_memory()
    assert asked == [None]


@pytest.mark.skipif(sys.platform == "win32", reason="another allocator")
def test_what_glibc_was_told_works(unset: None) -> None:
    """16 MiB, which glibc would map and unmap as it comes, are the same memory again after they were freed."""
    code = (
        "import ctypes, resource, sys; from kagglepipe.memory import keep_freed_memory\n"
        "libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p; libc.free.argtypes = [ctypes.c_void_p]\n"
        "if not hasattr(libc, 'mallopt'): sys.exit()\n"
        "if sys.argv[1] == 'kept': keep_freed_memory()\n"
        "def use(): place = libc.malloc(2**24); ctypes.memset(place, 1, 2**24); libc.free(place)\n"
        "use(); before = resource.getrusage(0).ru_minflt; use(); print(resource.getrusage(0).ru_minflt - before)"
    )
    kept, usual = (
        subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True).stdout
        for how in ("kept", "usual")
    )
    assert kept == usual == "" or int(kept) < 100 < int(usual)
