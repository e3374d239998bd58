"""model=auto, the default of clips and series, from files to a submission and to what uses the run afterwards."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.runs.configured import read_data, run_of
from kagglepipe.tools.bundle import put_run
from kagglepipe.tools.commands import run_command
from tests.composing import config_of
from tests.pipelines import check_resumed

pytestmark = pytest.mark.usefixtures("few_draws")
SMALL = (
    "competition=video_folder", "competition.kind=series", "competition.slug=moves", "device=cpu", "folds.count=3",
    "sequences.steps=24", "sequences.lr=5e-2", "sequences.members=2", "model.temporal.hidden=8",
    "model.temporal.reduce=0", "model.temporal.dropout=0", "sequences.speed=1", "sequences.crop=1", "sequences.drop=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def moves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty-six series of the classes up and down, which have the same values in another order; six to classify."""
    root = tmp_path_factory.mktemp("moves")
    for n in range(42):
        ramp = np.linspace(-1, 1, 8) * (-1) ** n + np.random.default_rng(n).normal(0, 0.1, 8)
        folder = root / ("test" if n >= 36 else ["up", "down"][n % 2])
        folder.mkdir(exist_ok=True)
        pd.DataFrame({"x": ramp, "time": np.arange(8) / 8}).to_csv(folder / f"{n:02}.csv", index=False)
    return root


def typed(source: Path, root: Path) -> tuple[str, ...]:
    """What to type for these series."""
    return *SMALL, f"competition.source='{source}'", f"paths.root='{root}'"


@pytest.fixture(scope="module")
def trained(moves: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The configuration of a run that is finished, submitted and reported."""
    config = config_of(*typed(moves, tmp_path_factory.mktemp("root")))
    run_command(config)
    return config


def test_where_only_order_tells_every_fold_has_an_lstm_and_it_is_said(trained: Config) -> None:
    run = run_of(trained, read_data(trained))
    assert run.name.startswith("auto-head-")
    assert run.metrics["score"] == 1
    assert run.metrics["linear"]["score"] < 0.8
    assert run.metrics["choices"] == dict.fromkeys("012", "LSTM")
    said = "odel=auto, chosen for each fold inside its training rows: LSTM (folds 0, 1, 2)"
    assert said in (run.folder / "MODEL_CARD.md").read_text("utf-8")
    assert said in (run.folder / "report.html").read_text("utf-8")
    assert "Along one item" in (run.folder / "report.html").read_text("utf-8")
    model = read_json(run.folder / "fold_1/model.json")
    assert (model["temporal"]["cell"], model["members"], model["choice"]["name"]) == ("lstm", 2, "LSTM")
    assert list(model["choice"]["scores"]) == ["linear mean", "linear mean with differences", "LSTM"]
    submission = pd.read_csv(trained.root / f"submissions/{run.name}.csv")
    assert submission["label"].tolist() == ["up", "down"] * 3


def test_predict_answers_as_the_test_was_answered(trained: Config, moves: Path, tmp_path: Path) -> None:
    run = run_of(trained, read_data(trained))
    run_command(config_of(*typed(moves, trained.root), "stage=predict", f"input='{moves / 'test'}'",
                          f"predict.file='{tmp_path / 'found.csv'}'"))  # fmt: skip
    found, known = pd.read_csv(tmp_path / "found.csv"), run.test()
    np.testing.assert_allclose(found["up"], known["up"], rtol=1e-4)


def test_bundle_takes_the_run_and_export_refuses_it(trained: Config, tmp_path: Path) -> None:
    run = run_of(trained, read_data(trained))
    put_run(trained.competition, run, tmp_path)
    assert len(list((tmp_path / "run" / run.name).glob("fold_*/model.safetensors"))) == 3
    with pytest.raises(UserError, match=r"is of series, .*: only networks of images are exported, use predict"):
        run_command(config_of(f"paths.root='{trained.root}'", *SMALL, "stage=export", f"run={run.name}"))


@pytest.mark.slow
def test_a_run_killed_in_a_fold_chooses_and_ends_the_same(trained: Config, moves: Path, tmp_path: Path) -> None:
    command = [*typed(moves, tmp_path), "stage=train"]
    check_resumed(command, config_of(*command), trained)


@pytest.mark.parametrize("cell", ["auto", "mean"])
def test_of_frames_it_cannot_be_fine_tuned(cell: str, moves: Path, tmp_path: Path) -> None:
    frames = ("competition=video_folder_untrimmed", f"competition.source='{moves}'", f"paths.root='{tmp_path}'")
    pooling = "mean_max" if cell == "auto" else "mean"
    model = (f"model.temporal.cell={cell}", f"model.temporal.pooling={pooling}", "training=finetune")
    with pytest.raises(UserError, match="fine-tuning needs a temporal model: type model=cnn_lstm, or training=head"):
        run_command(config_of(*frames, *model))
