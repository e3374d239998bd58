"""A sweep of Hydra's own ends with a table of its jobs, the failed ones among them."""

from pathlib import Path

import pytest

from kagglepipe.cli.job_table import SweepFolder, job_table, recorded_job
from kagglepipe.errors import UserError


def test_the_table_has_a_line_for_each_job_with_what_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SweepFolder, "folder", tmp_path)
    for number, model in enumerate(("lite0", "lite1")):
        with recorded_job(tmp_path / str(number), number, ["stage=train", f"model={model}"]) as outcome:
            outcome.score, outcome.run = 0.5 + number / 4, f"{model}-head"
    with pytest.raises(UserError), recorded_job(tmp_path / "10", 10, ["stage=train", "model=no"]):
        raise UserError("model.name=no is not\na timm model")
    lines = job_table()
    assert [line.split() for line in lines[:3]] == [
        ["job", "options", "score", "run", "outcome"],
        ["0", "model=lite0", "0.5000", "lite0-head", "done"],
        ["1", "model=lite1", "0.7500", "lite1-head", "done"],
    ]
    assert lines[3].endswith("FAILED: model.name=no is not a timm model")
    assert job_table() == []  # of the next command
