"""The garbage collector is as it was after imports, whatever they end in."""

import gc
from contextlib import suppress

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
