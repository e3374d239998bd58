"""What decides a run's name stays the same, so that finished runs are found instead of being trained again."""

import json
from pathlib import Path

from tests.guards.names import KEPT, names_now


def test_configurations_keep_the_names_of_their_runs(tmp_path: Path) -> None:
    kept = json.loads(KEPT.read_text())
    assert len(kept) >= 40
    assert names_now(tmp_path) == kept, "if it is on purpose: python -m tests.guards.names --write"
