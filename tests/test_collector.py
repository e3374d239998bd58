"""The garbage collector is as it was after imports, whatever they end in."""

import gc
import sys
from contextlib import suppress
from types import ModuleType

import pytest

from kagglepipe.collector import without_garbage_collection


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
