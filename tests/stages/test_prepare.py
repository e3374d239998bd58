"""The table tells what is in the files, folds are made once, and the cache keeps to its limit."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from PIL import Image, ImageOps

from kagglepipe.competitions import dataset
from kagglepipe.competitions.dataset import Dataset, read_folds
from kagglepipe.competitions.table import TABLE_COLUMNS
from kagglepipe.config import CONF, Config
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, read_json, write_json
from kagglepipe.images.cache import PixelCache, PixelReader
from kagglepipe.images.decode import DECODER, DECODER_BY_DEPTH, decode
from kagglepipe.options import CompetitionOptions, FoldOptions, PathsOptions
from kagglepipe.runs.configured import read_data
from kagglepipe.stages.prepare import with_whole_groups
from kagglepipe.tools.commands import run_command
from tests.composing import changed

Prepare = Callable[..., Dataset]


@pytest.fixture
def prepare(toy: Path, tmp_path: Path) -> Prepare:
    """prepare("folds.count=3", …) -> what stage=prepare left of the toy, or of another source."""

    folder = OmegaConf.load(CONF / "competition/image_folder.yaml")
    basis = Config(
        "prepare",
        paths=PathsOptions(str(tmp_path)),
        competition=CompetitionOptions(**folder),
        folds=FoldOptions(count=2),
    )

    def run(*overrides: str, source: Path = toy, is_made: bool = False) -> Dataset:
        config = changed(basis, f"competition.source='{source}'", *overrides)
        if not is_made:
            run_command(config)
        return read_data(config)

    return run


def scene(seed: int, size: int = 160) -> np.ndarray:
    """A picture with shapes and texture of its own, as photos have and noise has not."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (size * 4 // 3, size), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        start, end = rng.integers(0, size, (2, 2)).tolist()
        cv2.line(image, start, end, rng.integers(0, 256, 3).tolist(), 4)
    return image


def save(path: Path, image: np.ndarray, quality: int = 95) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


def copy_of(image: np.ndarray) -> np.ndarray:
    """The picture as it comes back from the net: smaller."""
    return cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two classes of ten scenes each, the first four of which are there a second time, and two to classify."""
    folder = tmp_path / "scenes"
    for number, name in enumerate(("cat", "dog")):
        for index in range(10):
            image = scene(100 * number + index)
            save(folder / name / f"{index}.jpg", image)
            if index < 4:
                save(folder / name / f"{index}-again.jpg", copy_of(image), quality=70)
    for index in (500, 501):
        save(folder / "test" / f"{index}.jpg", scene(index))
    return folder


def state(folder: Path) -> dict[Path, int]:
    """Every file and when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# --- the table -----------------------------------------------------------------------------------------------


def test_the_table_tells_what_is_in_the_files(toy: Path, prepare: Prepare) -> None:
    save(toy / "red/photo.jpg", scene(1))
    Image.new("L", (30, 20), 77).save(toy / "red/grey.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(scene(1)).save(toy / "red/turned.jpg", exif=exif)
    found = prepare()
    assert set(TABLE_COLUMNS) <= set(found.table.columns)
    assert found.table["id"].tolist() == sorted(p.relative_to(toy).as_posix() for p in toy.rglob("*.*"))
    assert found.classes == ["blue", "green", "red"]
    for row in found.table.to_dict("records"):
        path = toy / row["path"]
        with Image.open(path) as image:
            assert (row["width"], row["height"]) == ImageOps.exif_transpose(image).size
            assert (row["format"], row["mode"]) == (image.format, image.mode)
        assert row["bytes"] == path.stat().st_size
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert row["split"] == ("test" if row["path"].startswith("test/") else "train")
        assert pd.isna(row["target"]) if row["split"] == "test" else row["target"] == row["path"].split("/")[0]


def test_deep_images_are_read_by_the_bits_that_all_of_them_use(prepare: Prepare, tmp_path: Path) -> None:
    """A dark one alone would be brightened; and where one uses all bits, pixels and runs' names are those of ever."""
    folder, rng = tmp_path / "deep", np.random.default_rng(0)
    for name, most in (("bright", 4096), ("dark", 600)):
        for n in range(3):
            save(folder / name / f"{n}.png", rng.integers(0, most, (24, 32), np.uint16))
    found = prepare(source=folder)
    assert (found.bits, found.decoder) == (12, f"{DECODER_BY_DEPTH}, 12 bits")
    save(folder / "dark/9.png", rng.integers(0, 65536, (24, 32), np.uint16))
    again = prepare("competition.refresh=true", "folds.remake=true", source=folder)
    assert (again.bits, again.decoder) == (16, DECODER)


def test_what_has_no_place_is_told(
    toy: Path, prepare: Prepare, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (toy / "red/Desktop.ini").touch()
    (toy / "blue/desktop.ini").touch()
    (toy / "notes.txt").write_text("mine")
    with caplog.at_level("INFO"):
        table = prepare().table
    report = json.loads((tmp_path / "data/toy/prepared.json").read_text())
    assert report["ignored"] == ["blue/desktop.ini", "red/Desktop.ini"]
    assert (report["outside"], report["skipped"]) == (["notes.txt"], [])
    assert len(table) == 42
    assert "ignored 1 × Desktop.ini, 1 × desktop.ini" in caplog.text
    assert "left out 1 files outside the competition's layout: notes.txt" in caplog.text


def test_a_second_time_nothing_is_done(prepare: Prepare, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, before = prepare(), state(tmp_path / "data")
    with caplog.at_level("INFO"):
        again = prepare()
    assert state(tmp_path / "data") == before
    assert "table.parquet is here already" in caplog.text
    pd.testing.assert_frame_equal(again.table, first.table)


@pytest.mark.parametrize("lost", ["prepared.json", "table.parquet"])
def test_what_was_lost_is_made_again_and_comes_out_the_same(lost: str, prepare: Prepare, tmp_path: Path) -> None:
    first = prepare()
    folds = (tmp_path / "data/toy/folds.csv").stat().st_mtime_ns
    (tmp_path / "data/toy" / lost).unlink()
    again = prepare()
    assert (tmp_path / "data/toy" / lost).is_file()
    assert (again.table_hash, again.folds_hash) == (first.table_hash, first.folds_hash)
    assert (tmp_path / "data/toy/folds.csv").stat().st_mtime_ns == folds


def test_workers_do_not_change_the_table(toy: Path, prepare: Prepare) -> None:
    one, three = prepare("workers=1"), prepare("workers=3", "paths.root='" + str(toy.parent / "else") + "'")
    pd.testing.assert_frame_equal(one.table, three.table)


@pytest.mark.parametrize("times", ["kept", "new"])
def test_a_source_that_was_moved_is_read_at_its_new_place(
    times: str, toy: Path, prepare: Prepare, tmp_path: Path
) -> None:
    first = prepare()
    there = tmp_path / "deeper" / "toy"
    shutil.copytree(toy, there)
    shutil.rmtree(toy)
    if times == "new":
        os.utime(there / "red/red0.png", ns=(0, 2_000_000_000 * 10**9))
    again = prepare(source=there)
    assert again.table_hash == first.table_hash
    assert all(path.is_file() for path in again.paths(again.table))


@pytest.mark.parametrize("name", ["id", "fold", "target", "path", "prediction"])
def test_a_class_called_like_a_column_is_refused_before_any_work(
    name: str, toy: Path, prepare: Prepare, tmp_path: Path
) -> None:
    (toy / "red").rename(toy / name)
    with pytest.raises(UserError, match=f"class name '{name}' is reserved"):
        prepare()
    assert not (tmp_path / "data/toy/table.parquet").exists()


# --- duplicates ------------------------------------------------------------------------------------------------


def test_near_duplicates_share_a_group_and_a_fold(scenes: Path, prepare: Prepare, tmp_path: Path) -> None:
    found = prepare(source=scenes)
    group = found.table.set_index("id")["group"]
    twins = {f"{name}/{n}.jpg": f"{name}/{n}-again.jpg" for name in ("cat", "dog") for n in range(4)}
    assert {first: group[first] == group[second] for first, second in twins.items()} == dict.fromkeys(twins, True)
    assert group.nunique() == len(group) - len(twins)
    pairs = pd.read_csv(tmp_path / "data/scenes/duplicates.csv")
    assert {frozenset(pair) for pair in zip(pairs["id"], pairs["twin"], strict=True)} == {
        frozenset(pair) for pair in twins.items()
    }
    assert not pairs["exact"].any()
    for seed in range(3):
        fold = prepare(f"folds.seed={seed}", "folds.remake=true", source=scenes).train.set_index("id")["fold"]
        assert all(fold[first] == fold[second] for first, second in twins.items())


def test_exact_copies_across_train_and_test_are_reported(
    scenes: Path, prepare: Prepare, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(scenes / "cat/7.jpg", scenes / "test/known.jpg")
    with caplog.at_level("INFO"):
        table = prepare(source=scenes).table.set_index("id")
    pairs = pd.read_csv(tmp_path / "data/scenes/duplicates.csv")
    (row,) = pairs[pairs["exact"]].to_dict("records")
    near_bits = prepare("prepare.near_bits=0", source=scenes).table.set_index("id")["group"]
    assert near_bits["cat/7.jpg"] == near_bits["test/known.jpg"] != near_bits["cat/8.jpg"]
    assert {row["id"]: row["split"], row["twin"]: row["twin_split"]} == {"cat/7.jpg": "train", "test/known.jpg": "test"}
    assert (row["bits"], row["correlation"]) == (0, 1.0)
    assert table.loc["cat/7.jpg", "group"] == table.loc["test/known.jpg", "group"]
    assert "1 images to classify have a near twin in training" in caplog.text


def test_copies_with_different_labels_are_told(
    scenes: Path, prepare: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(scenes / "cat/7.jpg", scenes / "dog/stray.jpg")
    found = prepare(source=scenes)
    assert "1 groups of near-duplicates carry different labels: cat/7.jpg" in caplog.text
    assert found.train.set_index("id").loc[["cat/7.jpg", "dog/stray.jpg"], "fold"].nunique() == 1


def labelled(scenes: Path, group: Callable[[str], str]) -> Path:
    """The scenes with a labels.csv that gives every file a group."""
    names = sorted(path.relative_to(scenes).as_posix() for path in scenes.glob("[cd]*/*.jpg"))
    rows = pd.DataFrame({"file": names, "label": [name.split("/")[0] for name in names], "group": map(group, names)})
    rows.to_csv(scenes / "labels.csv", index=False)
    return scenes


def test_the_users_groups_stay_together(scenes: Path, prepare: Prepare) -> None:
    source = labelled(scenes, lambda name: f"person {name[4]}")  # the first digit: as many as a class has
    train = prepare("competition.labels=labels.csv", "folds.count=4", source=source).train
    assert train["group"].nunique() == 10
    assert (train.groupby("group")["fold"].nunique() == 1).all()


def test_groups_that_are_given_later_tear_no_folds(
    scenes: Path, prepare: Prepare, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = f"competition.labels={tmp_path / 'labels.csv'}", "folds.count=3"
    source = labelled(scenes, lambda name: "")
    shutil.copy(scenes / "labels.csv", tmp_path)
    first = prepare(*options, source=source)
    table = pd.read_csv(tmp_path / "labels.csv")
    table.assign(group="person " + table["file"].str[4]).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(UserError) as caught:
        prepare(*options, source=source)
    assert "folds.csv was made before" in str(caught.value)
    assert re.search(r"\(person \d, person \d, person \d and ", str(caught.value))
    assert str(caught.value).endswith("type folds.remake=true to split anew (older runs keep their scores)")
    caplog.clear()
    with caplog.at_level("INFO"):
        found = prepare(*options, "folds.remake=true", source=source)
    assert (found.train.groupby("group")["fold"].nunique() == 1).all()
    assert (found.table_hash, found.folds_hash == first.folds_hash) == (first.table_hash, False)
    again = prepare(*options, "competition.refresh=true", source=source)  # nothing is torn: nothing is made anew
    assert again.folds_hash == found.folds_hash
    table.assign(group="person " + table["file"].str[4:-4]).to_csv(tmp_path / "labels.csv", index=False)
    prepare(*options, "folds.remake=true", source=source)
    table.assign(group="person " + table["file"].str[4]).to_csv(tmp_path / "labels.csv", index=False)
    torn = prepare(*options, "competition.refresh=true", source=source).train  # by the new groups: made anew
    assert (torn.groupby("group")["fold"].nunique() == 1).all()


def test_the_users_groups_are_not_called_near_duplicates(
    scenes: Path, prepare: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    source = labelled(scenes, lambda name: f"person {name[4]}" if name[4] < "6" else "")
    with caplog.at_level("INFO"):
        prepare("competition.labels=labels.csv", source=source)
    assert "6 groups given (of 20 images), 8 groups of near-duplicates in training (largest 2)" in caplog.text
    assert "different labels" not in caplog.text  # which persons may have


def test_the_users_groups_are_united_where_copies_link_them(scenes: Path, prepare: Prepare) -> None:
    people = {"cat/0.jpg": "ann", "cat/5.jpg": "ann", "cat/0-again.jpg": "bob", "cat/6.jpg": "bob"}
    source = labelled(scenes, lambda name: people.get(name, name))
    train = prepare("competition.labels=labels.csv", "folds.count=3", source=source).train.set_index("id")
    assert train.loc[list(people), "group"].nunique() == 1
    assert train.loc[list(people), "fold"].nunique() == 1
    assert train["group"].nunique() == len(train) - len(people) + 1 - 7  # the other seven pairs of copies


def test_images_without_a_group_are_not_one_group(scenes: Path, prepare: Prepare) -> None:
    source = labelled(scenes, lambda name: "ann" if name in ("cat/5.jpg", "cat/6.jpg") else "")
    train = prepare("competition.labels=labels.csv", source=source).train
    assert train["group"].nunique() == len(train) - 8 - 1  # eight pairs of copies, and ann's two


def cropped(image: np.ndarray, times: int) -> np.ndarray:
    """The picture framed a little tighter, as the next ones of a burst are."""
    cut = 3 * times
    return image[cut : len(image) - cut, cut : image.shape[1] - cut]


@pytest.fixture
def bursts(tmp_path: Path) -> Path:
    """Two classes of six scenes each, five pictures of each: every one like the next, the fourth mirrored."""
    for number in range(12):
        image = cv2.resize(scene(number, 320), None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
        for k in range(5):
            view = cropped(image, k)[:, :: -1 if k == 3 else 1]
            save(tmp_path / "bursts" / ("cat", "dog")[number % 2] / f"{number:02}-{k}.jpg", view)
    return tmp_path / "bursts"


def test_no_confirmed_pair_lies_in_two_folds(bursts: Path, prepare: Prepare, tmp_path: Path) -> None:
    found = prepare("folds.count=4", source=bursts).train.set_index("id")
    pairs = pd.read_csv(tmp_path / "data/bursts/duplicates.csv")
    assert (pairs["id"].map(found["fold"]) == pairs["twin"].map(found["fold"])).all()
    assert pairs["mirrored"].any()
    linked = {frozenset(pair) for pair in zip(pairs["id"], pairs["twin"], strict=True)}
    assert frozenset({"cat/00-0.jpg", "cat/00-4.jpg"}) not in linked  # the first and the last are alike by a chain only
    assert found["group"].nunique() == 12


def test_folds_that_tear_pairs_are_named(
    bursts: Path, prepare: Prepare, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As those of older versions do, which stay, so that their runs are found; and as one's own may."""
    ids = sorted(prepare(source=bursts).train["id"])
    pairs = pd.read_csv(tmp_path / "data/bursts/duplicates.csv")
    old = pd.DataFrame({"id": ids, "fold": [n % 2 for n in range(60)], "count": 2, "seed": 0})
    fold = old.set_index("id")["fold"]
    torn = int((pairs["id"].map(fold) != pairs["twin"].map(fold)).sum())
    assert torn > 12
    words = f"{torn} of {len(pairs)} near-duplicate pairs lie in two folds, which makes scores too good: "
    path = tmp_path / "data/bursts/folds.csv"
    old.to_csv(path, index=False)
    before = path.read_bytes()
    caplog.clear()
    prepare(source=bursts)
    assert words in caplog.text
    assert "folds.remake=true splits anew" in caplog.text
    assert path.read_bytes() == before
    old.to_csv(tmp_path / "own.csv", index=False)
    caplog.clear()
    prepare(f"folds.file={tmp_path / 'own.csv'}", source=bursts)
    assert words in caplog.text
    assert "own.csv: 12 groups of images lie in more than one fold" in caplog.text
    caplog.clear()
    prepare("folds.remake=true", source=bursts)
    assert "lie in two folds" not in caplog.text


def test_a_chain_of_most_images_is_torn_and_it_is_said(
    tmp_path: Path, prepare: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    for k in range(8):
        save(tmp_path / "chain" / ("cat", "dog")[k % 2] / f"{k}.jpg", cropped(scene(0, 320), k))
        if k < 6:
            save(tmp_path / "chain" / ("cat", "dog")[k % 2] / f"{k}-other.jpg", scene(k + 1))
    prepare(source=tmp_path / "chain")
    assert "near-duplicate pairs lie in two folds, which makes scores too good: " in caplog.text
    assert "together they are over half of the images, too many for one fold" in caplog.text
    assert "kept together in folds" not in caplog.text


def test_what_was_torn_in_the_whole_is_together_in_a_part_that_holds_little_of_it() -> None:
    table = pd.DataFrame({"id": list("abcd"), "split": ["train", "train", "train", "test"], "group": list("aBcd")})
    pairs = pd.DataFrame({"id": ["b", "c"], "twin": ["a", "d"], "bits": 0, "correlation": 1.0})
    assert with_whole_groups(table, pairs[:0])["group"].tolist() == ["a", "B", "c", "d"]
    more = table.assign(id=list("efgh"), group=list("efgh"))
    found = with_whole_groups(pd.concat([table, more], ignore_index=True), pairs)
    assert found["group"].tolist() == ["B", "B", *"cdefgh"]


def test_images_to_classify_link_those_to_train_on(bursts: Path, prepare: Prepare, tmp_path: Path) -> None:
    for file in bursts.glob("*/*-[24].jpg"):
        (bursts / "test").mkdir(exist_ok=True)
        file.rename(bursts / "test" / file.name)
    found = prepare("folds.count=3", source=bursts)
    assert found.train["group"].nunique() == 12
    assert set(found.test["group"]) == set(found.train["group"])


def test_a_class_of_one_image_stays_in_training(toy: Path, prepare: Prepare, caplog: pytest.LogCaptureFixture) -> None:
    save(toy / "yellow/only.png", scene(1))
    found = prepare("folds.count=3").train
    assert found["target"].value_counts().to_dict() == {"blue": 12, "green": 12, "red": 12, "yellow": 1}
    assert "classes of a single group, as one image or one person's: yellow. Each lies in one fold" in caplog.text
    assert "the out-of-fold predictions of these 1 rows are wrong" in caplog.text


def test_a_class_of_one_image_beside_one_other_cannot_be_told_apart(toy: Path, prepare: Prepare) -> None:
    shutil.rmtree(toy / "green")
    for image in sorted((toy / "red").iterdir())[1:]:
        image.unlink()
    with pytest.raises(UserError, match=r"class red lies only in fold \d, whose model never sees it; add images of it"):
        prepare()


# --- folds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("option", "made", "wanted"), [("folds.count", 3, 2), ("folds.seed", 1, 0)])
def test_folds_are_not_split_anew_unless_it_is_said(
    option: str, made: int, wanted: int, prepare: Prepare, tmp_path: Path
) -> None:
    path = tmp_path / "data/toy/folds.csv"
    prepare(f"{option}={made}")
    before = path.read_bytes()
    with pytest.raises(UserError) as caught:
        prepare(f"{option}={wanted}")
    told = str(caught.value)
    assert f"{path} was made with {option}={made}, the configuration says {wanted}" in told
    assert f"type {option}={made} to use it, or folds.remake=true" in told
    with pytest.raises(UserError, match=r"folds\.remake=true"):
        prepare(f"{option}={wanted}", "competition.refresh=true")
    assert path.read_bytes() == before
    assert prepare(f"{option}={made}").folds_hash == hashlib.sha256(before).hexdigest()
    remade = prepare(f"{option}={wanted}", "folds.remake=true")
    assert set(read_folds(path)[option.removeprefix("folds.")]) == {wanted}
    assert remade.folds_hash != hashlib.sha256(before).hexdigest()


def test_folds_of_ones_own_are_used(prepare: Prepare, tmp_path: Path) -> None:
    ids = sorted(prepare().train["id"])
    own = pd.DataFrame({"id": ids, "fold": [n % 3 for n in range(len(ids))]})
    own.sample(frac=1, random_state=0).to_csv(tmp_path / "my (own) folds.csv", index=False)
    found = prepare(f"folds.file='{tmp_path / 'my (own) folds.csv'}'").train
    assert found.set_index("id")["fold"].to_dict() == own.set_index("id")["fold"].to_dict()


# --- few labels -----------------------------------------------------------------------------------------------------

FEW = "competition.per_class=4"


def test_few_labels_leave_the_other_images_as_a_test_with_answers(prepare: Prepare, tmp_path: Path) -> None:
    full = prepare().table
    found = prepare(FEW)
    assert found.train["target"].value_counts().to_dict() == {"blue": 4, "green": 4, "red": 4}
    labelled = full[full["split"] == "train"].set_index("id")["target"]
    assert sorted([*found.train["id"], *found.test["id"]]) == sorted(labelled.index)
    assert found.test["target"].isna().all()
    answers = pd.read_csv(tmp_path / "data/toy-4-per-class-seed-0/answers.csv").set_index("id")["target"]
    assert sorted(answers.index) == sorted(found.test["id"])
    assert answers.to_dict() == {id: labelled[id] for id in found.test["id"]}
    assert all(path.is_file() for path in found.paths(found.table))


def test_the_seed_draws_the_labels(prepare: Prepare) -> None:
    first, again, other = (set(prepare(FEW, f"seed={seed}").train["id"]) for seed in (1, 1, 2))
    assert first == again != other


def test_more_labels_than_there_are_is_an_error(prepare: Prepare, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"class blue has 12 images; competition\.per_class=13 asks for more"):
        prepare("competition.per_class=13")
    assert not (tmp_path / "data/toy-13-per-class-seed-0/table.parquet").exists()


def test_few_labels_read_the_pixels_of_the_whole(prepare: Prepare, tmp_path: Path) -> None:
    found = prepare(FEW)
    cache = PixelCache.open(tmp_path / "data/toy/cache/pixels-256", 256)
    assert cache is not None
    for path in found.paths(found.test):
        np.testing.assert_array_equal(cache.get(file_sha256(path)), decode(path.read_bytes(), short_side=256))
    assert not (tmp_path / "data/toy-4-per-class-seed-0/cache").exists()


# --- the cache ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gb", "kept"), [(3e-5, 3), (1e-5, 1), (1e-9, 0), (8, 42)])
def test_the_cache_keeps_to_its_limit_and_the_rest_is_decoded(
    gb: float, kept: int, toy: Path, prepare: Prepare, tmp_path: Path
) -> None:
    found = prepare(f"cache.max_gb={gb}")
    cache = PixelCache.open(tmp_path / "data/toy/cache/pixels-256", 256)
    assert cache is not None
    assert sum(offset >= 0 for offset, _, _ in cache.places.values()) == kept <= gb * 1e9 / (48 * 56 * 3)
    reader = PixelReader(found.paths(found.table), found.table["sha256"].tolist(), short_side=256, cache=cache)
    for row in (0, kept - 1, kept, 41):
        expected = decode((toy / found.table["path"][row % 42]).read_bytes())
        np.testing.assert_array_equal(reader[row % 42], expected)


def test_without_a_cache_nothing_is_kept(prepare: Prepare, tmp_path: Path) -> None:
    prepare("cache.max_gb=0")
    assert not (tmp_path / "data/toy/cache").exists()
    before = state(tmp_path / "data")
    prepare("cache.max_gb=0")
    assert state(tmp_path / "data") == before


@pytest.mark.parametrize(
    "option", ["cache.short_side=16", "cache.max_gb=1", "model.image_size=384", "folds.remake=true"]
)
def test_another_size_of_the_cache_and_folds_that_fit_change_nothing(
    option: str, prepare: Prepare, tmp_path: Path
) -> None:
    """Two commands side by side, which want other sizes, leave each other's table and pixels alone."""
    prepare()
    before = state(tmp_path / "data")
    prepare(option)
    assert state(tmp_path / "data") == before


def test_a_table_of_an_older_version_is_here_already(prepare: Prepare, tmp_path: Path) -> None:
    """Whose settings had the cache's, and whose table a column of places in it."""
    first, folder = prepare(), tmp_path / "data/toy"
    report, table = read_json(folder / "prepared.json"), pd.read_parquet(folder / "table.parquet")
    report["settings"] |= {"short_side": 256, "max_gb": 8.0}
    write_json(folder / "prepared.json", {**report, "pixels": "cache/pixels-256"})
    table.assign(pixels=range(len(table))).to_parquet(folder / "table.parquet", index=False)
    before = state(tmp_path / "data")
    again = prepare()
    assert state(tmp_path / "data") == before
    assert (again.table_hash, again.folds_hash) == (first.table_hash, first.folds_hash)


# --- what another command may be writing -----------------------------------------------------------------------------


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_table_that_is_prepared_anew_while_it_is_read_is_refused(
    is_whole: bool, prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare()
    report, read = tmp_path / "data/toy/prepared.json", dataset.read_fold_file

    def meanwhile(path: Path) -> object:
        found = read_json(report)
        report.unlink()
        if is_whole:
            write_json(report, {**found, "table_hash": "another"})
        return read(path)

    monkeypatch.setattr(dataset, "read_fold_file", meanwhile)
    with pytest.raises(UserError, match="toy was prepared by another command while it was read: type the same"):
        prepare(is_made=True)


def test_rows_without_a_fold_are_named_and_not_left_out(prepare: Prepare, tmp_path: Path) -> None:
    prepare()
    file = tmp_path / "data/toy/folds.csv"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-2]))
    with pytest.raises(UserError, match=r"folds\.csv has no fold for 2 labelled items, such as red/"):
        prepare(is_made=True)


# --- the order of classes ---------------------------------------------------------------------------------------


def test_a_table_of_an_earlier_version_keeps_its_order_and_writes_no_positions_in_it(
    toy: Path, prepare: Prepare, tmp_path: Path
) -> None:
    for name, number in (("red", "10"), ("green", "2"), ("blue", "1")):
        (toy / name).rename(toy / number)
    with pytest.raises(UserError, match=r"competition.form=index writes the positions 0…2 .*competition.form=name"):
        prepare("competition.form=index")
    assert prepare().classes == ["1", "2", "10"]
    report = tmp_path / "data/toy/prepared.json"
    kept = json.loads(report.read_text())
    report.write_text(json.dumps({**kept, "classes": ["1", "10", "2"]}))  # as text, as that version had it
    assert prepare().classes == ["1", "10", "2"]
    with pytest.raises(UserError, match=r"competition.form=index writes the positions"):
        prepare("competition.form=index")


def test_what_a_layout_passes_over_is_told(toy: Path, prepare: Prepare, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (toy / "test").rename(toy / "Testing")
    (toy / "@eaDir").mkdir()
    (toy / "@eaDir/red1.png").write_bytes(b"")
    shutil.copytree(toy / "red", toy / "valid/red")
    prepared = prepare()
    assert prepared.test["path"].str.startswith("Testing/").all()
    assert "there is no folder test: files in Testing will be predicted" in caplog.text
    assert "valid is named for validation and was left out" in caplog.text
    assert "prepare: ignored 1 × @eaDir" in caplog.text
