"""The predictions of the reference runs keep every bit, on machines whose arithmetic is known; see reference.py."""

import json

import pytest

from tests.guards.reference import KEPT, RUNS, differences, in_own_process


@pytest.mark.slow
def test_reference_runs_keep_every_bit() -> None:
    arithmetic, about, found = in_own_process(list(RUNS))
    kept = json.loads(KEPT.read_text())
    if arithmetic not in kept:
        versions = ", ".join(f"{name} {version}" for name, version in about.items())
        pytest.skip(f"no bits are kept for arithmetic {arithmetic} ({versions})")
    assert differences(found, kept[arithmetic]["runs"]) == []
