"""A row for each item and tag, from files to the submission: what is inferred, read, written and refused."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

from kagglepipe.competitions.spreadsheet import Cells, pivoted
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.predictions.pair_submission import build_pairs, validate_pairs
from kagglepipe.predictions.written_answers import Writing
from kagglepipe.runs.run import Run
from kagglepipe.tools.commands import run_command
from tests.competitions.test_infer import inferred
from tests.composing import config_of

TAGS = ["blue", "any"]  # an image is blue, green or neither
HEADER = ["ID", "Label"]


def make(root: Path) -> None:
    """Images that are blue, green or grey, and their pairs; those of the test in another order, `any` first."""
    random = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 9)):
        (root / split).mkdir(parents=True)
        rows = []
        for number in range(count):
            image = random.integers(0, 60, (32, 32, 3)).astype(np.uint8)
            if number % 3 < 2:
                image[..., number % 3] += 160
            name = f"ID_{split}{number}"
            cv2.imwrite(str(root / split / f"{name}.png"), image)
            rows += [(f"{name}_blue", int(number % 3 == 0)), (f"{name}_any", int(number % 3 < 2))]
        table = pd.DataFrame(rows, columns=HEADER)
        if split == "train":
            table.to_csv(root / "train.csv", index=False)
        else:
            table.to_csv(root / "answers.csv", index=False)
            table.sample(frac=1, random_state=0).assign(Label=0.5).to_csv(root / "sample_submission.csv", index=False)


def config(root: Path, *overrides: str) -> Config:
    return config_of(
        "competition=image_folder", f"competition.source='{root / 'source'}'", f"paths.root='{root}'",
        "competition.labels=train.csv", "+competition.columns={item: ID, labels: [blue, any]}",
        "competition.form=pairs", "competition.task=multilabel", "competition.test=test", "competition.id=stem",
        "competition.metric=mean_columnwise_log_loss", "competition.sample_submission=sample_submission.csv",
        "competition.answers=answers.csv", "model.name=test_efficientnet", "model.weights=none",
        "model.image_size=32", "device=cpu", "folds.count=3", "training.views=0", "training.mode=head", *overrides,
    )  # fmt: skip


def test_pairs_go_from_files_to_the_submission_of_the_sample(tmp_path: Path) -> None:
    make(tmp_path / "source")
    run_command(config(tmp_path))
    (folder,) = (tmp_path / "outputs/source").glob("test_*")
    written = pd.read_csv(tmp_path / f"submissions/{folder.name}.csv")
    sample = pd.read_csv(tmp_path / "source/sample_submission.csv")
    assert written.columns.tolist() == HEADER
    assert written["ID"].tolist() == sample["ID"].tolist()
    answers = pd.read_csv(tmp_path / "source/answers.csv").set_index("ID")["Label"].loc[written["ID"]]
    assert sklearn.metrics.roc_auc_score(answers, written["Label"]) > 0.9
    losses = [
        sklearn.metrics.log_loss(answers[own.to_numpy()], written["Label"][own])
        for tag in TAGS
        if len(own := written["ID"].str.endswith(tag))
    ]
    assert Run(folder).metrics["test"]["score"] == pytest.approx(np.mean(losses), abs=1e-6)


def test_the_fields_are_inferred(tmp_path: Path) -> None:
    make(tmp_path)
    files = {file.relative_to(tmp_path).as_posix(): "" for file in tmp_path.rglob("*.png")}
    tables = {name: (tmp_path / name).read_text() for name in ("train.csv", "sample_submission.csv")}
    found = inferred({**files, **tables}, tmp_path / "again").fields
    asked: dict[str, Any] = {
        "form": "pairs", "task": "multilabel", "labels": "train.csv", "test": "test", "id": "stem", "id_column": "ID",
        "target_column": "Label", "columns": {"item": "ID", "labels": ["any", "blue"]}, "classes": None,
    }  # fmt: skip
    assert {name: found.get(name) for name in asked} == asked


def test_tables_of_pairs_by_hand() -> None:
    rows = {2: ["a_1_x", "1"], 3: ["b_y", "0"], 4: ["a_1_y", "0"], 5: ["a_1_x", "1"]}
    assert pivoted(Cells(",", HEADER, rows), Path("t.csv")) == Cells(
        ",", ["ID", "x", "y"], {2: ["a_1", "1", "0"], 3: ["b", "", "0"]}
    )
    for wrong in ({2: ["a_x", "1", "2"]}, {2: ["ax", "1"]}):
        header = HEADER if len(wrong[2]) == 2 else [*HEADER, "more"]
        with pytest.raises(UserError, match=r"t\.csv, row 2, is ax?_?.*: competition\.form=pairs needs rows ITEM_TAG"):
            pivoted(Cells(",", header, wrong), Path("t.csv"))


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        (lambda own: own.rename(columns={"Label": "label"}), r"has columns \['ID', 'label'\], needs"),
        (lambda own: own[::-1], "ids are not those of the sample submission in their order"),
        (lambda own: own.assign(Label=1.5), r"not within \[0, 1\] for id 'a'"),
        (lambda own: own.assign(Label=[0.1, None, 0.2, 0.3]), "for id 'a'"),
    ],
)
def test_each_invalid_submission_of_pairs_is_refused(change: Any, culprit: str) -> None:
    wide = pd.DataFrame({"ID": ["a", "b"], "x": [0.1, 0.2], "y": [0.3, 0.4]})
    rows: dict[str, Any] = {"header": HEADER, "asked": ["b_x", "a_x", "a_y", "b_y"]}
    built = build_pairs(wide, **rows)
    assert built["Label"].tolist() == [0.2, 0.1, 0.3, 0.4]
    contract = {"form": "probabilities", "classes": ["x", "y"], "id_column": "ID", "target_column": "Label",
                "ids": ["b", "a"], "writing": Writing(sums=False)}  # fmt: skip
    validate_pairs(built, **rows, wide=contract)
    with pytest.raises(UserError, match=culprit):
        validate_pairs(change(built), **rows, wide=contract)
