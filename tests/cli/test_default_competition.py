"""A command without competition= means the one that is prepared under its root; of several it names them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from kagglepipe.cli.default_competition import default_arguments
from kagglepipe.errors import UserError

PISTOLS = "pistolas-vs-smartphones-con-deep-learning"


def prepared(root: Path, slug: str, /, *, trained: bool = True, kind: str = "image", **competition: Any) -> None:
    """What a competition leaves under the root when it is prepared and, perhaps, trained."""
    folder, run = root / "data" / slug, root / "outputs" / slug / f"{slug}-run"
    folder.mkdir(parents=True)
    settings = {"layout": {}, "labels": competition.get("labels")} | (
        {} if kind == "image" else {"kind": kind, "form": "name"}
    )
    (folder / "prepared.json").write_text(json.dumps({"settings": settings | competition.pop("settings", {})}))
    (folder / "source.json").write_text(json.dumps({"kind": "folder", "path": f"/home/me/{slug}"}))
    if trained:
        run.mkdir(parents=True)
        (run / "metrics.json").write_text("{}")
        (run / "config.yaml").write_text(json.dumps({"competition": {"kind": kind, **competition}}))


def meant(root: Path, *words: str) -> list[str]:
    """What is added to a command line."""
    return default_arguments([*words, f"paths.root={root}"])


PHOTOS = ["competition=image_folder", "competition.source=/home/me/photos"]


@pytest.mark.parametrize("words", [["stage=predict", "input=x"], ["stage=runs"], ["stage=train"], ["experiment=quick"]])
def test_the_one_that_is_prepared_is_meant(words: list[str], tmp_path: Path) -> None:
    prepared(tmp_path, "photos")
    assert meant(tmp_path, *words) == PHOTOS


def test_it_is_typed_with_what_was_typed_for_it(tmp_path: Path) -> None:
    prepared(
        tmp_path, "photos", metric="f1_macro", form="name", labels="my labels.csv", on_bad_image="skip", test="test"
    )
    assert meant(tmp_path, "stage=runs") == [
        *PHOTOS, "competition.labels=my labels.csv", "competition.metric=f1_macro", "competition.on_bad_image=skip",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("mine.py:f#12345678", ["competition.metric=mine.py:f#12345678"]),  # of which no file is read
        ("mine.py:f", []),
        ("/tmp/mine.py:f", []),
        ("../mine.py:f#12345678", []),
    ],
)
def test_no_file_of_a_metric_is_named_by_a_run(metric: str, words: list[str], tmp_path: Path) -> None:
    prepared(tmp_path, "photos", metric=metric)
    assert meant(tmp_path, "stage=runs") == [*PHOTOS, *words]


def test_all_that_decides_is_typed_as_hydra_reads_it(tmp_path: Path) -> None:
    settings = {"classes": ["dog", "big cat", "no"], "columns": {"file": "image_id", "label": "my label"}, "test": None}
    prepared(tmp_path, "photos", form="probabilities", title="Image folder", slug="photos", settings=settings)
    found = meant(tmp_path, "stage=submit")
    assert found == [
        *PHOTOS, "competition.slug=photos", "competition.classes=[dog,'big cat','no']", "competition.test=null",
        "+competition.columns.file=image_id", "+competition.columns.label='my label'", "competition.form=probabilities",
    ]  # fmt: skip
    read = OverridesParser.create().parse_overrides(found)
    assert [one.value() for one in read[3:]] == [settings["classes"], None, "image_id", "my label", "probabilities"]


@pytest.mark.parametrize("slug", ["photos", PISTOLS])
def test_a_run_brings_its_labels_patch_and_its_folds_to_what_prepares(slug: str, tmp_path: Path) -> None:
    prepared(tmp_path, slug, labels_patch="/home/me/suspects.csv")
    file = tmp_path / "outputs" / slug / f"{slug}-run/config.yaml"
    groups = {"folds": {"count": 2, "seed": 0, "only": [1]}, "prepare": {"near_bits": 8}}
    file.write_text(json.dumps({**json.loads(file.read_text()), **groups}))
    words = ["competition=pistols_vs_smartphones"] if slug == PISTOLS else PHOTOS
    words = [*words, "competition.labels_patch=/home/me/suspects.csv"]
    assert meant(tmp_path, "stage=report", f"run={slug}-run") == words
    assert meant(tmp_path, "stage=submit", f"run={slug}-run") == [*words, "prepare.near_bits=8", "folds.count=2"]


def test_an_option_of_the_competition_does_not_name_another(tmp_path: Path) -> None:
    prepared(tmp_path, "photos", metric="f1_macro", settings={"columns": {"file": "image_id", "label": "class"}})
    metric, columns = "competition.metric=f1_macro", ["+competition.columns.file=image_id"]
    columns.append("+competition.columns.label=class")
    assert meant(tmp_path, "stage=train", "competition.refresh=true") == [*PHOTOS, *columns, metric]
    assert meant(tmp_path, "stage=train", "competition.metric=accuracy") == [*PHOTOS, *columns]
    assert meant(tmp_path, "stage=train", "+competition.columns={file: name}") == [*PHOTOS, metric]


def test_words_that_are_told_can_be_pasted(tmp_path: Path) -> None:
    prepared(tmp_path, "photos", labels="my labels.csv")
    prepared(tmp_path, "pets")
    with pytest.raises(UserError, match=r"'competition\.labels=my labels\.csv'"):
        meant(tmp_path, "stage=predict")


def test_one_that_cannot_be_typed_is_asked_for(tmp_path: Path) -> None:
    prepared(tmp_path, "mine", slug="mine", title="My own YAML")
    for stage in ("predict", "train"):
        with pytest.raises(UserError, match=r"add the competition=NAME, with its --config-dir, of .*mine"):
            meant(tmp_path, f"stage={stage}")


def test_one_of_ours_is_typed_by_its_name(tmp_path: Path) -> None:
    prepared(tmp_path, "surveillance-fights", kind="video")
    assert meant(tmp_path, "stage=predict", "input=x") == ["competition=surveillance_fights"]


def test_a_folder_of_clips_and_one_of_long_videos(tmp_path: Path) -> None:
    prepared(tmp_path / "a", "clips", kind="video")
    prepared(tmp_path / "b", "cams", kind="video", form="segments", background="none")
    assert meant(tmp_path / "a", "stage=predict") == ["competition=video_folder", "competition.source=/home/me/clips"]
    assert meant(tmp_path / "b", "stage=detect")[0] == "competition=video_folder_untrimmed"


def test_of_several_each_is_named(tmp_path: Path) -> None:
    prepared(tmp_path, "photos")
    prepared(tmp_path, PISTOLS)
    found = "2 competitions are prepared .*photos: competition=image_folder .*competition=pistols_vs_smartphones"
    with pytest.raises(UserError, match=found):
        meant(tmp_path, "stage=predict", "input=x")
    assert meant(tmp_path, "stage=train") == []  # what conf/config.yaml says is here


def test_a_run_says_which_of_several(tmp_path: Path) -> None:
    prepared(tmp_path, "photos")
    prepared(tmp_path, "pets")
    assert meant(tmp_path, "stage=predict", "run=photos-run") == PHOTOS
    assert meant(tmp_path, "stage=predict", f"run={tmp_path}/outputs/photos/photos-run") == PHOTOS


def test_detect_means_no_photos_and_the_sample_gives_way(tmp_path: Path) -> None:
    prepared(tmp_path, "photos")
    prepared(tmp_path, "clips", kind="video")
    prepared(tmp_path, "action-sample", kind="video")
    prepared(tmp_path / "b", "photos")
    prepared(tmp_path / "b", "pistols-vs-smartphones-sample")
    assert meant(tmp_path / "b", "stage=predict") == PHOTOS
    with pytest.raises(UserError, match="2 competitions"):
        meant(tmp_path, "stage=detect")


@pytest.mark.parametrize(
    "words",
    [
        ["stage=predict", "competition=pistols_vs_smartphones"], ["stage=train", "competition.source=x.zip"],
        ["stage=submit", "submit.upload=true"], ["stage=runs", "runs.leaderboard=true"], ["stage=download"],
        ["stage=train", "--config-dir", "conf"], ["stage=doctor"], ["stage=reproduce", "submission=x.csv"],
    ],
)  # fmt: skip
def test_who_names_another_or_none_means_it(words: list[str], tmp_path: Path) -> None:
    prepared(tmp_path, "photos")
    assert meant(tmp_path, *words) == []


@pytest.mark.parametrize("words", [["stage=submit", "submit.upload=true"], ["stage=runs", "runs.leaderboard=true"]])
def test_kaggle_is_asked_about_what_is_prepared(words: list[str], tmp_path: Path) -> None:
    """It was asked about the default competition, whatever else was prepared."""
    prepared(tmp_path, "digit-recognizer")
    digits = ["competition=digit_recognizer"]
    assert meant(tmp_path, *words) == digits
    prepared(tmp_path, "photos")  # which Kaggle does not have
    assert meant(tmp_path, *words) == digits
    prepared(tmp_path, PISTOLS)
    with pytest.raises(UserError, match="2 competitions are prepared"):
        meant(tmp_path, *words)


def test_the_sample_alone_and_nothing_at_all_are_as_ever(tmp_path: Path) -> None:
    assert meant(tmp_path, "stage=predict") == []
    prepared(tmp_path, "pistols-vs-smartphones-sample")
    assert meant(tmp_path, "stage=predict") == []
    assert meant(tmp_path) == []


def test_what_is_prepared_but_not_trained_is_meant_where_it_can_be_used(tmp_path: Path) -> None:
    prepared(tmp_path, "photos", trained=False)
    assert meant(tmp_path, "stage=train") == PHOTOS
    assert meant(tmp_path, "stage=predict") == []
    prepared(tmp_path, "photos-25-per-class-seed-0", settings={"per_class": 25, "seed": 0})
    assert meant(tmp_path, "stage=train") == PHOTOS
