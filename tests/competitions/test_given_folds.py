"""Folds that the user's tables give become folds.csv, or are refused with the column."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kagglepipe.competitions.given_folds import given_folds
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.runs.configured import read_data
from kagglepipe.tools.commands import run_command

Configure = Callable[..., Config]
GAP = "needed are two or more, 0, 1, … without a gap"
MEND = ": mend it, or to have folds made name it otherwise"


def folds_of(cells: list[str | None], groups: str = "uvwx", **settings: Any) -> list[int] | None:
    train = pd.DataFrame({"id": list("abcd"), "given_fold": cells})
    found = given_folds(train, [f"given {group}" for group in groups], CompetitionOptions(**settings))
    return None if found is None else found["fold"].tolist()


@pytest.mark.parametrize(
    ("cells", "folds"),
    [
        (["0", "1", "1", "0"], [0, 1, 1, 0]),
        (["2", "1", "1", "3"], [1, 0, 0, 2]),
        (["1.0", "0.0", "1.0", "0.0"], [1, 0, 1, 0]),
        (["b", "a", "b", "c"], [1, 0, 1, 2]),
    ],
)
def test_folds_are_counted_from_0(cells: list[str | None], folds: list[int]) -> None:
    assert folds_of(cells) == folds
    assert given_folds(pd.DataFrame({"id": ["a"]}), ["u"], CompetitionOptions()) is None


@pytest.mark.parametrize(
    ("cells", "groups", "told"),
    [
        (
            ["0", "1", "3", "0"],
            "uvwx",
            f"column part has the folds 0, 1, 3, {GAP}{MEND}",
        ),
        (
            ["1", "1", "1", "1"],
            "uvwx",
            f"column part has the folds 1, {GAP}{MEND}",
        ),
        (["0", None, "1", None], "uvwx", f"column part gives no fold to b, d{MEND}"),
        (["0", "1", "0", "1"], "uuwx", f"column part puts a group into more than one fold (u){MEND}"),
    ],
)
def test_folds_that_cannot_be_used(cells: list[str | None], groups: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        folds_of(cells, groups, columns={"fold": "part"})
    assert str(caught.value) == told


def test_a_part_of_the_items_has_no_gap() -> None:
    assert folds_of(["0", "3", "3", "0"], per_class=4) == [0, 1, 1, 0]


@pytest.mark.parametrize("kind", ["image", "series"])
def test_given_folds_become_folds_csv(
    kind: str,
    toy: Path,
    series: Path,
    tmp_path: Path,
    configure: Configure,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, suffix = (toy, "png") if kind == "image" else (series, "npz")
    files = [file for file in sorted(source.rglob(f"*.{suffix}")) if file.parent.name != "test"]
    given = {file.relative_to(source).as_posix(): number % 3 + 1 for number, file in enumerate(files)}
    table = "".join(f"{name},{name.split('/')[-2]},{fold}\n" for name, fold in given.items())
    (tmp_path / "labels.csv").write_text("item,label,part\n" + table)

    def prepare(*more: str) -> None:
        run_command(configure(
            "stage=prepare", "competition=image_folder", f"competition.kind={kind}", f"competition.source='{source}'",
            f"competition.labels='{tmp_path / 'labels.csv'}'", "competition.id=path", "competition.slug=own", *more,
        ))  # fmt: skip

    own, file = "+competition.columns={fold: part}", tmp_path / "data/own/folds.csv"
    with caplog.at_level("INFO"):
        prepare(own)
    assert "the folds are those of column part: folds.count and folds.seed do not count" in caplog.text
    assert dict(pd.read_csv(file).to_numpy().tolist()) == {name: fold - 1 for name, fold in given.items()}
    prepare(own, "folds.seed=7")
    (tmp_path / "labels.csv").write_text(
        "item,label,part\n" + table.replace(",1\n", ",9\n").replace(",2\n", ",1\n").replace(",9\n", ",2\n")
    )
    with pytest.raises(UserError, match=r"has other folds than the column part .*, as for .*: type folds.remake=true"):
        prepare(own)
    prepare(own, "folds.remake=true")
    assert pd.read_csv(file)["fold"].tolist() != [fold - 1 for fold in given.values()]
    chosen = tmp_path / "chosen.csv"
    pd.DataFrame({"id": list(given), "fold": [n % 2 for n in range(len(given))]}).to_csv(chosen, index=False)
    prepare(own, f"folds.file='{chosen}'")


def test_a_class_that_nothing_is_trained_on_is_0_in_the_submission(
    toy: Path, tmp_path: Path, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    (toy / "sample.csv").write_text("id,red,owl,green,blue\nred13,1,0,0,0\nblue12,0,1,0,0\n")
    usual = ("competition=image_folder", f"competition.source='{toy}'", "competition.form=probabilities",
             "competition.sample_submission=sample.csv", "competition.classes=[red,owl,green,blue]", "stage=submit",
             "competition.id=stem", "experiment=quick", "folds.count=2")  # fmt: skip
    config = configure(*usual)
    run_command(config)
    assert "nothing to train on is of the class owl" in caplog.text
    written = pd.read_csv(next((tmp_path / "submissions").glob("*.csv")))
    assert written.columns.tolist() == ["id", "red", "owl", "green", "blue"]
    assert written["id"].tolist() == ["red13", "blue12"]
    assert written["owl"].tolist() == [0, 0]
    assert written[["red", "green", "blue"]].sum(axis=1).tolist() == pytest.approx([1, 1], abs=1e-4)
    assert read_data(config).classes == ["red", "green", "blue"]
    with pytest.raises(UserError, match=r"class owl of competition\.classes has no images"):
        run_command(configure(*usual, "competition.form=name", "competition.sample_submission=null"))
