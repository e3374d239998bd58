"""competition=auto and competition=PATH.yaml: what is inferred, typed or written in a file is one and the same."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf
from PIL import Image

from kagglepipe.cli.inferred_competition import composed, field_arguments, given_fields, inferred_arguments
from kagglepipe.cli.own_yaml import store_yaml
from kagglepipe.competitions.field_lines import field_lines
from kagglepipe.config import schema
from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.options import CompetitionOptions
from tests.conftest import Outcome, make_toy
from tests.kaggle.emulator import KaggleEmulator, zip_of

Command = Callable[..., Outcome]
ODD = ["plain", "my, label", "it's", "${a}", r"a\${b}", "\\", "no", "1e3", "010", "null", "Größe b", "a=b", "[x]", 
       "{x: y}", "x: y", "# z", '"q"', "a'b,c", "~", "2020-01-01", " edge "]  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Photos in one folder, a table of their labels, and what is asked for."""
    photos = make_toy(tmp_path / "toy", per_class=4, test=3)
    folder = tmp_path / "flowers"
    rows = []
    for file in sorted(photos.rglob("*.png")):
        place = folder / ("test" if file.parent.name == "test" else "train") / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, place)
        if file.parent.name != "test":
            rows.append((file.stem, file.parent.name, f"p{len(rows) // 2}"))
    pd.DataFrame(rows, columns=["image", "petal, colour", "patient_id"]).to_csv(folder / "train.csv", index=False)
    ids = [file.stem for file in sorted((folder / "test").iterdir())]
    pd.DataFrame({"image": ids, "petal, colour": "blue"}).to_csv(folder / "sample_submission.csv", index=False)
    return folder


# --- words and lines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ODD)
def test_a_field_is_the_same_typed_and_in_yaml(name: str, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "kind": "image", "labels": f"{name}.csv", "classes": [name, "other"], "columns": {"item": "id", "label": name},
        "target_column": name, "sample_submission": name, "form": "probability", "per_class": 3,
    }  # fmt: skip
    words = [word for field, value in fields.items() for word in field_arguments(field, value)]
    typed = composed(words).competition
    assert {field: getattr(typed, field) for field in fields} == fields
    assert given_fields(words) == fields
    file = tmp_path / "own.yaml"
    file.write_text("\n".join(field_lines(fields, dict.fromkeys(fields, f"by {name}\n\x1b[31m"))), encoding="utf-8")
    store_yaml(file)  # raises for what YAML would read otherwise
    read = OmegaConf.to_object(OmegaConf.merge(schema(CompetitionOptions), OmegaConf.load(file)))
    assert {field: getattr(read, field) for field in fields} == fields


def test_lines_are_aligned_and_long_lists_wrapped_or_cut() -> None:
    names = [f"breed_{n:03}" for n in range(120)]
    lines = field_lines({"id": "stem", "metric": "log_loss", "classes": names}, {"id": "by name", "metric": "of it"})
    assert lines[:2] == ["id: stem          # by name", "metric: log_loss  # of it"]
    assert max(map(len, lines)) <= 110
    assert OmegaConf.to_container(OmegaConf.create("\n".join(lines))) == {
        "id": "stem", "metric": "log_loss", "classes": names,
    }  # fmt: skip
    (cut,) = field_lines({"classes": names}, {}, cut=True)
    assert cut.endswith("breed_005, … 113 more …, breed_119]")


# --- commands -------------------------------------------------------------------------------------------------------


def settings_of(root: Path) -> Any:
    return read_json(next(root.glob("data/*/prepared.json")))["settings"]


def test_what_is_typed_overrides_what_is_inferred(source: Path, tmp_path: Path, command: Command) -> None:
    done = command(
        "prepare",
        "competition=auto",
        f"competition.source={source}",
        "competition.metric=balanced_accuracy",
        "folds.count=2",
    )
    assert done.code == 0, done.err
    assert "  labels: train.csv" in done.out
    assert "rows with the same patient_id stay in one fold" in done.out
    assert "\n  metric:" not in done.out
    settings = settings_of(tmp_path)
    assert (settings["id"], settings["test"], settings["columns"]["label"]) == ("stem", "test", "petal, colour")
    again = command("prepare", "folds.count=2")  # without a competition: the one that is here, as it was typed
    assert again.code == 0, again.err
    assert f"*** competition=auto competition.source={source} competition.metric=balanced_accuracy: added" in again.out
    assert "fields as they were inferred before" in again.out
    assert "is here already" in again.out
    assert settings_of(tmp_path) == settings
    shutil.rmtree(source)  # which predict does not need
    words = inferred_arguments(["stage=predict", "competition=auto", f"competition.source={source}"])
    assert {"competition.metric=balanced_accuracy", "competition.labels='train.csv'"} <= set(words)


def test_a_labels_patch_is_no_question_of_the_files(source: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "decisions.csv").write_text("id,suggested,decision\n")
    auto = ("prepare", "competition=auto", f"competition.source={source}", "folds.count=2")
    assert command(*auto, f"competition.labels_patch={tmp_path / 'decisions.csv'}").code == 0
    again = command(*auto)  # the other labels are told, and the fields stay
    assert "fields as they were inferred before" in again.out
    assert "labels_patch_sha256" in again.out + "".join(again.err)
    (file,) = tmp_path.glob("data/*/inferred.json")
    assert "labels_patch" not in file.read_text()


@pytest.mark.parametrize(
    "words",
    [("competition.form=probabilities",), ("competition.form=ranking",
     "competition.label_separator=e", "competition.target_column='petal, colour'"), ("competition.answers=train.csv",)],
)  # fmt: skip
def test_describe_refuses_what_prepare_refuses(words: tuple[str, ...], source: Path, command: Command) -> None:
    auto = ["competition=auto", f"competition.source={source}", *words]
    described, prepared = command("describe", *auto), command("prepare", *auto)
    assert (described.code, prepared.code) == (2, 2)
    assert described.err[-1] == prepared.err[-1]
    assert "kind: image" not in described.out


def test_describe_leaves_out_what_is_excluded(source: Path, command: Command) -> None:
    for file in sorted((source / "train").iterdir()):
        shutil.copy(file, source / "train" / f"{file.stem}_mask.png")
    done = command("describe", f"competition.source={source}")
    assert done.code == 0, done.err
    assert "# 12 images to train on, 3 to classify" in done.out


def test_describe_writes_a_yaml_that_gives_the_same(source: Path, tmp_path: Path, command: Command) -> None:
    done = command("describe", f"competition.source={source}", "describe.file=my flowers.yaml", "paths.root=a")
    assert done.code == 0, done.err
    assert "# 12 images to train on, 3 to classify" in done.out
    assert "# 3 classes: 4 blue, 4 green, 4 red" in done.out
    assert "# 6 groups, the largest of 2" in done.out
    assert Image.open(tmp_path / "my flowers.png").size[0] > 6 * 144
    text = (tmp_path / "my flowers.yaml").read_text("utf-8")
    assert text in done.out
    assert command("describe", f"competition.source={source}", "describe.file=my flowers.yaml").code == 2
    assert (tmp_path / "my flowers.yaml").read_text("utf-8") == text
    for root, competition in (
        ("b", ["competition=my flowers.yaml"]),
        ("c", ["competition=auto", f"competition.source={source}"]),
    ):
        prepared = command("prepare", *competition, "folds.count=2", f"paths.root={root}")
        assert prepared.code == 0, prepared.err
    assert settings_of(tmp_path / "b") == settings_of(tmp_path / "c")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("title: x\nkinds: image\n", "line 2: kinds is no field of a competition; did you mean kind?"),
        ("classes: [no, yes]\n", "line 1: no is read by YAML as bool False: quote it, as 'no'"),
        ("kind: image\nform: nome\n", "line 2: competition.form=nome is unknown; choose one of"),
        ("kind: image\nrefresh: 3x\n", "line 2: refresh: Value '3x' is not a valid bool"),
        ("# @package _global_\ncompetition:\n  kind: image\n  test: ../x\n", "line 4: competition.test=../x"),
        ('title: "x\nform: name\n', "line 3: not valid YAML"),
        ("- a\n", "holds no fields of a competition"),
    ],
)
def test_a_mistake_in_a_yaml_is_told_with_file_and_line(text: str, found: str, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as raised:
        store_yaml(file)
    assert str(raised.value).startswith(str(file))
    assert found in str(raised.value)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["competition=auto"], "this competition has no name yet"),
        (["-m", "competition=auto,image_folder"], "reads the files of one competition"),
        (["-m", "competition=auto", "competition.source=a,b"], "reads the files of one competition"),
        (
            ["competition=auto", "competition.source={source}", "training.lrr=1"],
            "training.lrr is not an option; did you",
        ),
        (["competition=auto", "competition.source={source}", "competition.classes=[a"], "cannot be read"),
        (["competition=nowhere.yaml"], "there is no such file"),
    ],
)
def test_mistakes_end_in_one_line_before_any_work(
    words: list[str], found: str, source: Path, tmp_path: Path, command: Command
) -> None:
    done = command(*(word.format(source=source) for word in words))
    assert done.code == 2
    assert len(done.err) == 1
    assert found in done.err[0]
    assert not list(tmp_path.glob("data/*/prepared.json"))


def test_zips_in_a_folder_are_unpacked_and_other_archives_refused(
    source: Path, tmp_path: Path, command: Command
) -> None:
    for split in ("train", "test"):
        folder = source / split
        (source / f"{split}.zip").write_bytes(
            zip_of({f"{split}/{file.name}": file.read_bytes() for file in folder.iterdir()})
        )
        shutil.rmtree(folder)
    words = ("prepare", "competition=auto", f"competition.source={source}", "folds.count=2")
    done = command(*words)
    assert done.code == 0, done.err
    assert "12 training images (4 blue, 4 green, 4 red), 3 to classify" in done.out
    assert json.loads((tmp_path / "data/flowers/source.json").read_text())["kind"] == "packed"
    assert sorted(path.name for path in source.iterdir()) == [
        "sample_submission.csv", "test.zip", "train.csv", "train.zip",
    ]  # fmt: skip
    assert "is here already" in command(*words).out
    (source / "train.zip").rename(source / "train.7z")
    refused = command(*words, "competition.refresh=true")
    assert "train.7z is packed in a way that is not read: unpack it" in refused.err[0]


def test_the_files_of_a_slug_come_from_kaggle(
    source: Path, kaggle: KaggleEmulator, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    kaggle.add_competition("cats", zip_of(files))
    monkeypatch.setenv("KAGGLE_API_TOKEN", kaggle.token)
    done = command(
        "prepare", "competition=auto", "competition.slug=cats", f"kaggle.endpoint={kaggle.endpoint}", "folds.count=2"
    )
    assert done.code == 0, done.err
    assert "download: at Kaggle: " in done.out
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    again = command("prepare", "folds.count=2")
    assert again.code == 0, again.err
    assert "*** competition=auto competition.slug=cats: added" in again.out
    assert settings_of(tmp_path)["columns"]["item"] == "image"


@pytest.mark.slow
def test_runs_of_a_sweep_and_of_a_yaml_are_those_of_auto(source: Path, tmp_path: Path, command: Command) -> None:
    auto = ("competition=auto", f"competition.source={source}", "experiment=quick")
    done = command("-m", "stage=train", *auto, "seed=0,1")
    assert done.code == 0, done.err
    assert done.out.count("these fields follow from the files") == 1
    command("describe", *auto[1:2], "describe.file=own.yaml")
    before = sorted(path.parent.name for path in tmp_path.glob("outputs/flowers/*/metrics.json"))
    assert len(before) == 2
    sent = command("competition=own.yaml", "experiment=quick")
    assert sent.code == 0, sent.err
    assert sorted(path.parent.name for path in tmp_path.glob("outputs/flowers/*/metrics.json")) == before
    written = pd.read_csv(next((tmp_path / "submissions").glob("*.csv")))
    asked = pd.read_csv(source / "sample_submission.csv")
    assert written.columns.tolist() == asked.columns.tolist()
    assert written["image"].tolist() == asked["image"].tolist()
