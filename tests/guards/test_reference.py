"""The predictions of the reference runs keep every bit, on machines whose arithmetic is known; see reference.py."""

import json
import os
from typing import Any

import pytest

from tests.guards.reference import KEPT, RUNS, differences, in_own_process

REQUIRED = "KAGGLEPIPE_REFERENCE"  # `required`: an arithmetic without kept bits is a failure, else it is skipped


def end_without_bits(arithmetic: str, about: dict[str, str]) -> None:
    """Skip, or fail where bits are required, with the command that records those of this arithmetic."""
    versions = ", ".join(f"{name} {version}" for name, version in about.items())
    reason = (
        f"no bits are kept for arithmetic {arithmetic} ({versions}): at a commit whose predictions are right, type "
        f"`python -m tests.guards.reference --write`, and commit {KEPT.name}"
    )
    (pytest.fail if os.environ.get(REQUIRED) == "required" else pytest.skip)(reason)


@pytest.mark.slow
def test_reference_runs_keep_every_bit() -> None:
    arithmetic, about, found = in_own_process(list(RUNS))
    kept = json.loads(KEPT.read_text())
    if arithmetic not in kept:
        end_without_bits(arithmetic, about)
    assert differences(found, kept[arithmetic]["runs"]) == []


@pytest.mark.parametrize(("value", "outcome"), [("required", pytest.fail), ("", pytest.skip)])
def test_an_arithmetic_without_bits_fails_where_they_are_required(
    monkeypatch: pytest.MonkeyPatch, value: str, outcome: Any
) -> None:
    monkeypatch.setenv(REQUIRED, value)
    with pytest.raises(outcome.Exception, match=r"arithmetic 12ab \(torch 2\.0\): .* tests\.guards\.reference --write"):
        end_without_bits("12ab", {"torch": "2.0"})
