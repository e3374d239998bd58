"""Fields of competitions, inferred from their files."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from kagglepipe.competitions import source_tables
from kagglepipe.competitions.annotations import list_items
from kagglepipe.competitions.filenames import is_excluded
from kagglepipe.competitions.infer import Inference, infer
from kagglepipe.competitions.infer_sources import Names
from kagglepipe.competitions.infer_tasks import METRIC_TASKS
from kagglepipe.competitions.source_tables import read_source_tables
from kagglepipe.competitions.spreadsheet import check_header
from kagglepipe.competitions.table import list_images
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.metrics import METRICS
from tests.competitions import imitations
from tests.competitions.imitations import LISTED, UNLISTED, Files, write
from tests.composing import config_of

REFUSED = {"wheat_boxes"}
TYPED = {"planet": {"metric": "f2_samples"}}  # what does not follow from the files
DOCUMENTED = ("plant_pathology_2021", "catheters", "petfinder", "humpback", "dogs_vs_cats", "aptos2019_blindness",
              "plant_pathology_2020", "digit_recognizer", "siim_isic_melanoma", "state_farm_drivers",
              "deepfake_detection", "career_con")  # fmt: skip
MADE = {**LISTED, **UNLISTED}


def inferred(files: Files, root: Path, **given: Any) -> Inference:
    return infer(root, imitations.write(files, root), given)


@pytest.mark.parametrize("name", LISTED)
def test_a_competition_of_ours_is_what_is_inferred_from_its_files(name: str, tmp_path: Path) -> None:
    ours = config_of(f"competition={name}").competition
    typed = TYPED.get(name, {})
    found = inferred(LISTED[name](), tmp_path, **typed)
    assert CompetitionOptions(**found.fields, **typed) == replace(ours, slug=None, title="")
    assert {*found.fields, *typed} == set(found.reasons)


@pytest.mark.parametrize("name", sorted(MADE.keys() - REFUSED))
def test_the_items_of_a_competition_are_those_that_its_sample_asks_for(name: str, tmp_path: Path) -> None:
    files = imitations.write(MADE[name](), tmp_path)
    check_items(name, CompetitionOptions(**infer(tmp_path, files, {}).fields), files, tmp_path)


def test_the_examples_of_the_documentation(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/competitions.md").read_text("utf-8")
    examples = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for name, example in zip(DOCUMENTED, examples, strict=True):
        fields = yaml.safe_load(example)
        files = imitations.write(MADE[name](), tmp_path / name)
        check_items(name, CompetitionOptions(**fields.get("competition", fields)), files, tmp_path / name)


def check_items(name: str, competition: CompetitionOptions, files: Sequence[str], root: Path) -> None:
    """The items to train on are all there, and those to classify have the ids of the sample submission."""
    kept = [file for file in files if not is_excluded(file, competition.exclude)]
    if competition.kind == "image":
        rows = list_images(kept, competition, root).rows
    else:
        rows = list_items(kept, competition, root).files.rename(columns={"video": "id"})
    asked = rows.loc[rows["split"] == "test", "answer_id" if "answer_id" in rows else "id"]
    if competition.sample_submission is not None:
        sample = pd.read_csv(root / competition.sample_submission, dtype=str)
        if competition.id == "path":  # whose stem is the id
            asked = asked.map(lambda id: Path(id).stem)
        assert set(asked) == set(sample.iloc[:, 0])
    count = sum(rows["split"] == "train")
    assert count == (80 if name == "state_farm_drivers" else imitations.COUNT)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("career_con", {"kind": "series", "items": "X_train.csv", "labels": "y_train.csv", "test": "X_test.csv",
                        "columns": {"item": "series_id", "label": "surface", "group": "group_id",
                                    "time": "measurement_number"}}),
        ("aerial_cactus", {"form": "probability", "id": "name", "classes": ["0", "1"], "metric": "log_loss"}),
        ("g2net", {"kind": "series", "id": "stem", "form": "probability", "test": "test"}),
        ("plant_seedlings", {"form": "name", "id": "name", "target_column": "species", "test": "test"}),
        ("intel_scenes", {"form": "name", "id": "path", "test": "seg_pred"}),
        ("kannada_mnist", {"id": "column", "columns": {"label": "label", "id": "id"}, "test": "test.csv"}),
        ("several_tables", {"labels": "train.csv", "columns": {"item": "image_id", "label": "label"}}),
        ("padded_numbers", {"labels": "Train.CSV", "test": "sample_submission.csv", "id": "column"}),
        ("floating_labels", {"columns": {"item": "id", "label": "label"}, "form": "probability"}),
        ("two_stages", {"sample_submission": "sample_submission_stage2.csv", "test": "test", "id": "stem"}),
        ("masks_beside", {"exclude": ["train/masks/*.png"], "columns": {"item": "id", "label": "label"}}),
        ("masks_in_classes", {"exclude": ["*_mask*.png"], "form": "name"}),
        ("two_formats", {"exclude": ["png/train/*.png", "png/test/*.png"], "test": "test"}),
        ("absent_class", {"classes": ["Cat", "Dog", "owl"], "form": "probabilities"}),
        ("ids_in_a_list", {"test": "test.csv", "id": "column", "id_column": "number",
                           "columns": {"item": "image", "label": "label", "id": "number"}}),
        ("numbered_classes", {"form": "index", "classes": ["zebra", "cow", "ape"]}),
        ("spaced_ids", {"test": "sample_submission.csv", "id": "stem", "columns": {"item": "path",
                                                                                         "label": "disease"}}),
        ("one_hot_in_one_column", {"form": "name", "columns": {"item": "id", "labels": ["ash", "elm", "oak"]}}),
        ("grades_from_one", {"form": "index", "first_index": 1, "classes": [f"{grade}.0" for grade in range(1, 6)]}),
        ("numbers_in_every_class", {"form": "probabilities", "id": "path", "test": "test"}),
        ("cell_images", {"labels": None, "columns": None, "form": "name"}),
        ("blood_cells", {"labels": None, "test": "dataset2-master/dataset2-master/images/TEST"}),
        ("speech_commands", {"kind": "audio", "test": "test", "id": "name", "form": "name"}),
        ("skin_lesions", {"items": None, "labels": "HAM10000_metadata.csv",
                          "columns": {"item": "image_id", "label": "dx", "group": "lesion_id"}}),
        ("sign_language", {"kind": "image", "items": "sign_mnist_train.csv", "test": "sign_mnist_test.csv"}),
        ("urban_sounds", {"kind": "audio", "columns": {"item": "slice_file_name", "label": "class", "fold": "fold",
                                                     "start": None, "end": None}}),
        ("machine_states", {"kind": "series", "labels": "about.json", "id": "path", "test": "test",
                            "columns": {"item": "file", "label": "state", "group": "machine"}}),
        ("sensor_sequences", {"kind": "series", "metadata": "train.csv",
                              "columns": {"item": "sequence", "label": "state", "group": "subject", "time": "step"}}),
        ("hundred_sports", {"columns": {"item": "filepaths", "label": "labels", "split": "data set"}}),
        ("fisheries", {"test": "sample_submission_stg2.csv", "id": "column", "form": "probabilities"}),
        ("facial_expressions", {"items": "icml_face_data.csv", "test": None, "metric": "accuracy",
                                "columns": {"label": "emotion", "split": "Usage"}}),
        ("pixels_in_cells", {"items": "train.csv", "test": "test.csv", "id": "stem", "columns": {"label": "emotion"}}),
        ("herbarium", {"labels": "nybg2020/train/metadata.json", "test": "nybg2020/test", "id": "stem",
                       "columns": {"item": "file_name", "label": "category_id"}}),
        ("proteins", {"task": "multilabel", "form": "tags", "target_column": "Predicted", "label_separator": None}),
        ("museum", {"task": "multilabel", "form": "tags", "metric": "f1_samples", "target_column": "attribute_ids"}),
        ("catheters", {"task": "multilabel", "form": "probabilities", "metric": "roc_auc", "classes": None,
                       "columns": {"item": "StudyInstanceUID", "labels": list(imitations.CATHETERS),
                                   "group": "PatientID"}}),
        ("retinopathy", {"task": "ordinal", "form": "name", "metric": "quadratic_weighted_kappa"}),
        ("bone_ages", {"task": "regression", "form": "numbers", "columns": {"item": "id", "label": "boneage"},
                       "metric": "rmse", "id": "path", "test": "test"}),
        ("crowds", {"task": "regression", "form": "numbers", "target_column": "count", "mirror": None}),
        ("keypoints", {"task": "regression", "form": "numbers", "metric": "rmse",
                       "columns": {"item": "image", "labels": ["left_eye_center_x", "left_eye_center_y",
                                                               "nose_tip_x"]}}),
        ("brain_votes", {"task": "regression", "form": "numbers", "metric": "kl_divergence"}),
        ("a_row_a_tag", {"task": "multilabel", "form": "tags", "label_separator": ","}),
        ("prefixed_columns", {"form": "probabilities", "columns": {"item": "id", "label": "kind"}}),
        ("stroke_clots", {"id": "stem", "test": "test.csv", "form": "probabilities", "group_from": None,
                          "columns": {"item": "image_id", "label": "label", "group": "patient_id",
                                      "answer_id": "patient_id"}}),
        ("mammograms", {"id": "stem", "test": "test.csv", "id_column": "prediction_id",
                        "columns": {"item": "image_id", "label": "cancer", "group": "patient_id",
                                    "answer_id": "prediction_id"}}),
        ("brain_scans", {"id": "path", "test": "sample_submission.csv", "form": "probability",
                         "columns": {"item": "BraTS21ID", "answer_id": "BraTS21ID", "label": "MGMT_value"}}),
        ("pets", {"id": "stem", "test": "test/sample_submission.csv", "labels": "train/train.csv",
                  "columns": {"item": "PetID", "answer_id": "PetID", "label": "AdoptionSpeed"}}),
        ("whales", {"task": "ranking", "ranks": 5, "columns": {"item": "image", "label": "individual_id"}}),
        ("hotels", {"task": "ranking", "metric": "map_5", "columns": {"item": "image", "label": "hotel_id"}}),
        ("plant_traits", {"task": "regression", "form": "numbers",
                          "columns": {"item": "id", "labels": ["X4_mean", "X11_mean"]}}),
        ("traffic_signs", {"group_from": "*/{group}_{number}.png", "test": "Test", "id": "path"}),
        ("chest_xrays", {"group_from": "person{group}_*", "test": "chest_xray/test"}),
        ("environmental_sounds", {"group_from": None, "columns": {"item": "filename", "label": "category",
                                                                  "fold": "fold"}}),
        ("numbered_columns", {"task": None, "form": "probabilities",
                              "columns": {"item": "id", "labels": ["0", "1", "2", "3"]}}),
        ("numbered_tags", {"task": "multilabel", "form": "probabilities",
                           "columns": {"item": "id", "labels": ["0", "1", "2", "3"]}}),
    ],
)  # fmt: skip
def test_other_competitions(name: str, fields: dict[str, Any], tmp_path: Path) -> None:
    found = inferred(UNLISTED[name](), tmp_path).fields
    assert {field: found.get(field) for field in fields} == fields


@pytest.mark.parametrize("count", [5, 30])
@pytest.mark.parametrize("folders", [("train/", "test/"), ("", "")])
def test_numbered_csvs_of_one_header_are_series_whatever_they_are_called(
    count: int, folders: tuple[str, str], tmp_path: Path
) -> None:
    """train0.csv, train1.csv, …, also beside the tables of labels and ids; among more pictures they are tables."""
    samples, (train, test) = "time,x\n0,1\n1,2\n2,3\n", folders
    files = {f"{train}train{n}.csv": samples for n in range(count)} | {f"{test}test{n}.csv": samples for n in range(4)}
    files["labels.csv"] = "id,label\n" + "".join(f"train{n},{'ab'[n % 2]}\n" for n in range(count))
    files["sample_submission.csv"] = "id,label\n" + "".join(f"test{n},a\n" for n in range(4))
    found = inferred(files, tmp_path).fields
    asked = {
        "kind": "series",
        "labels": "labels.csv",
        "id": "stem",
        "test": "test" if test else "sample_submission.csv",
    }
    assert {name: found.get(name) for name in asked} == asked


def test_a_few_numbered_tables_beside_pictures_are_tables(tmp_path: Path) -> None:
    tables = {f"train{n}.csv": "image,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(9)) for n in range(3)}
    found = read_source_tables(tmp_path, write({**tables, **{f"images/{n}.jpg": "" for n in range(9)}}, tmp_path))
    assert [table.path for table in found] == ["train0.csv", "train1.csv", "train2.csv"]


def test_as_many_ranks_as_the_sample_submission_has_are_scored(tmp_path: Path) -> None:
    ten = " ".join(f"w_{n}" for n in range(3, 10))
    files = {name: text.replace("w_3 w_4", ten) for name, text in MADE["humpback"]().items()}
    found = inferred(files, tmp_path).fields
    assert {name: found.get(name) for name in ("form", "ranks", "metric")} == {
        "form": "ranking", "ranks": 10, "metric": "map_10"}  # fmt: skip


@pytest.mark.parametrize("in_folders", [False, True])
def test_whole_numbers_that_are_classes_are_ranks_and_others_boxes(tmp_path: Path, *, in_folders: bool) -> None:
    hotels = [str(7919 * (number + 3) % 70000) for number in range(7)]
    names = {one: hotels[number % 7] for number, one in enumerate(imitations.TRAIN)}
    labels = imitations.csv("image,hotel_id", [(f"{one}.jpg", hotel) for one, hotel in names.items()])
    files = {
        **imitations.media(f"train/{hotel if in_folders else 'all'}/{one}.jpg" for one, hotel in names.items()),
        **imitations.media(f"test/{one}.jpg" for one in imitations.TEST),
        **({} if in_folders else {"train.csv": labels}),
    }
    asked = [(f"{one}.jpg", " ".join(hotels[:5])) for one in imitations.TEST]
    found = inferred({**files, "sample_submission.csv": imitations.csv("image,hotel_id", asked)}, tmp_path).fields
    assert {name: found.get(name) for name in ("task", "form", "metric")} == {
        "task": "ranking", "form": "ranking", "metric": "map_5"}  # fmt: skip
    boxes = imitations.csv("image,hotel_id", [(name, f"{cell} 50") for name, cell in asked])
    with pytest.raises(UserError, match=r"boxes, .*; if they are classes, .* type competition.task=ranking"):
        inferred({**files, "sample_submission.csv": boxes}, tmp_path)


@pytest.mark.parametrize(
    ("name", "given", "fields"),
    [
        ("histopathologic_cancer", {"task": "ordinal"}, {"form": "name", "metric": "quadratic_weighted_kappa"}),
        ("siim_isic_melanoma", {"columns": {"label": "benign_malignant"}},
         {"columns": {"item": "image_name", "label": "benign_malignant", "group": "patient_id"},
          "classes": ["benign", "malignant"]}),
        ("histopathologic_cancer", {"form": "name"}, {"metric": "accuracy", "classes": None, "form": None}),
        ("dogs_vs_cats", {"classes": ["dog", "cat"]}, {"classes": None, "form": "probability"}),
        ("several_tables", {"labels": "train_folds.csv"}, {"labels": None, "test": "test"}),
        ("several_tables", {"sample_submission": None}, {"form": "name", "id": "path", "id_column": None}),
        ("two_formats", {"exclude": ["*.jpg"]}, {"exclude": None, "test": "png/test"}),
        ("two_stages", {"sample_submission": "sample_submission_stage1.csv"}, {"id": "stem", "id_column": "image"}),
        ("plant_pathology_2020", {"test": "sample_submission.csv"}, {"test": None, "id": "stem"}),
        ("deepfake_detection", {"kind": "video"}, {"kind": None, "labels": "train_sample_videos/metadata.json"}),
        ("plant_pathology_2021", {"task": "multiclass"}, {"form": "name", "task": None, "metric": "accuracy"}),
        ("plant_pathology_2020", {"metric": "mean_columnwise_log_loss"}, {"task": "multilabel", "metric": None}),
        ("cassava_leaf_disease", {"metric": "quadratic_weighted_kappa"}, {"task": "ordinal", "form": "name"}),
        ("cassava_leaf_disease", {"metric": "mae"}, {"task": "regression", "form": "numbers"}),
        ("dog_breed", {"sample_submission": None, "metric": "map_3"}, {"form": "ranking", "ranks": 3}),
        ("dog_breed", {"sample_submission": None, "metric": "map_10"}, {"form": "ranking", "ranks": 10}),
        ("humpback", {"form": "name"}, {"task": "ranking", "form": None, "metric": "accuracy", "ranks": None}),
        ("aptos2019_blindness", {"task": "multiclass"}, {"task": None, "form": "name", "metric": "accuracy"}),
        ("crowds", {"task": "multiclass"}, {"task": None, "form": "name"}),
    ],
)  # fmt: skip
def test_what_is_typed_decides_what_depends_on_it(
    name: str, given: dict[str, Any], fields: dict[str, Any], tmp_path: Path
) -> None:
    found = inferred(MADE[name](), tmp_path, **given).fields
    assert {field: found.get(field) for field in fields} == fields


SAMPLE = {"sample_submission.csv": "id,label\nx,0\n"}
NUMBERS = "".join(f"{n % 3},{','.join('0' * 784)}\n" for n in range(1, 9))
SUBTYPES = "ID,Label\n" + "".join(f"{n}_{kind},0\n" for n in range(6) for kind in ("any", "epidural"))
MEASURED = "id,label\n" + "".join(f"{n},{n / 7}\n" for n in range(6))
MANY_MEASURED = "id,label\n" + "".join(f"{n},{n / 7}\n" for n in range(40))
A_PICTURE = {f"train/{n}.jpg": "" for n in range(6)}
PARTS = "sample_id,image_path,target_name,target\n" + "".join(
    f"{n}__{name},train/{n}.jpg,{name},{n + len(name) / 7}\n" for n in range(6) for name in ("dry", "green", "total_g")
)
ROWS = f"{'0.5,' * 187}1.0\n" * 4


@pytest.mark.parametrize(
    ("files", "given", "message"),
    [
        (MADE["wheat_boxes"](), {}, "column PredictionString of sample_submission.csv has '1.0 0 0 50 50', boxes"),
        ({"notes.txt": "", **SAMPLE}, {}, "no images, videos, sounds or series are in .*competition.source=PATH"),
        ({}, {}, r"no images.*\(nothing\)"),
        ({"emnist-train.csv": NUMBERS}, {},
         "emnist-train.csv begins with 1, the first of 785 numbers: its first row must name the columns"),
        ({"train.csv": "a,b\n1,2\n", "train.tar.gz": ""}, {}, "train.tar.gz is packed in a way that is not read"),
        ({**A_PICTURE, "train.csv": SUBTYPES, "sample_submission.csv": SUBTYPES.replace("_", "x_")}, {},
         r"train.csv has the column Label that the sample submission asks for, and none that names the items "
         r"\(train/0.jpg, .*\): its ID is 0_any, 0_epidural, 1_any and 9 more; .*'\+competition.columns={item: NAME}'"),
        ({**A_PICTURE, **SAMPLE}, {}, "found 1 class folders .train.; .*: put each class into a folder"),
        ({**A_PICTURE, "train.csv": MEASURED}, {"columns": {"label": "lable"}},
         "no table that names the items has the column lable of competition.columns: train.csv has id, label"),
        ({**A_PICTURE, "train.csv": MEASURED}, {"labels": "lables.csv"}, "labels=lables.csv is no table.*train.csv"),
        ({**A_PICTURE, "train.csv": MEASURED}, {"labels": "train.csv", "columns": {"label": "lable"}},
         r"no column of train.csv \(id, label\) can be the labels: type '\+competition.columns={label: NAME}'"),
        ({**A_PICTURE, "train.csv": "id,a,b\n" + "".join(f"{n},1,{'x' * (n == 4)}\n" for n in range(6)),
          "sample_submission.csv": "id,a,b\n9,.5,.5\n"}, {}, "train.csv, row 2, has '' in its column b: "),
        ({**A_PICTURE, "train.csv": "id,a,b\n" + "".join(f"{n},1,{n}\n" for n in range(6)),
          "sample_submission.csv": "id,a,b\n9,.5,.5\n"}, {"metric": "f1_samples"},
         r"train.csv has 2 in its columns a, b, and competition.task=multilabel .*f1_samples. is of 0"),
        (MADE["dog_breed"](), {"metric": "rmse"}, "column breed of labels.csv has affenpinscher, .* and "
         r"competition.task=regression \(competition.metric=rmse\) is of numbers"),
        ({**A_PICTURE, "train.csv": MEASURED.replace("0.2857142857142857", "wet dry")}, {"task": "regression"},
         "column label of train.csv has wet dry, and competition.task=regression is of numbers: mend it"),
        *(({f"train/{n}.jpg": "" for n in range(40)} | {"train.csv": MANY_MEASURED.replace("1.0\n", f"{words}\n")}, {},
          rf"column label of train.csv has {words}, and competition.task=regression \(label has numbers, as .* is of "
          "numbers: mend it, .*, or competition.task=multiclass") for words in ("wet dry", "wet")),
        ({**MADE["dog_breed"](), "sample_submission.csv": f"id,boxer,pug,beagle\n{imitations.TEST[0]},.3,.3,.4\n"}, {},
         "asks for the columns boxer, pug, beagle, and there are labels without one, affenpinscher"),
        ({"mitbih_train.csv": ROWS, "mitbih_test.csv": ROWS}, {},
         "mitbih_train.csv begins with 0.5, the first of 188 numbers, and a series in each row is not read: write"),
        ({"exoTrain.csv": "LABEL," + ",".join(f"FLUX.{n}" for n in range(1, 60)) + "\n1" + ",0.5" * 59 + "\n"}, {},
         "exoTrain.csv has the 59 columns FLUX.…, which are no square of pixels, and a series in each row is not read"),
        ({"data/train.json": json.dumps([{"id": "a", "band_1": [0.5] * 75, "is_iceberg": 0}])}, {},
         "data/train.json holds images or series as lists of numbers in band_1, which are not read: write each as"),
        ({"train.csv": ",".join(f"mean()-{n}-X" for n in range(9)) + ",Activity\n" + "1," * 9 + "WALKING\n"}, {},
         r"train.csv has 9 columns of numbers \(mean\(\)-0-X, .*\), and no images, .* features by itself is not read"),
        ({**A_PICTURE, "train.csv": PARTS}, {},
         r"train.csv has several rows of an item, a number in target of each, .* '\+competition.columns={labels: "),
        ({**MADE["histopathologic_cancer"](), "sample_submission.csv": "id,label\nzz,0\n"}, {},
         "column id of sample_submission.csv asks for zz, and the items to classify are test/.*competition.test=PATH"),
    ],
)  # fmt: skip
def test_what_prevents_any_answer_is_refused_in_one_line(
    files: Files, given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as error:
        inferred(files, tmp_path, **given)
    assert "\n" not in str(error.value)


def test_what_is_uncertain_is_said(tmp_path: Path) -> None:
    rows = [(one, n % 3, "xyz"[n % 3], n % 2) for n, one in enumerate(imitations.TRAIN)]
    files = {
        **imitations.media(f"images/{one}.jpg" for one in imitations.TRAIN),
        "about.csv": imitations.csv("image,age,colour,size", rows),
        "validation.csv": imitations.csv("image,colour", [("other", "x")]),
    }
    found = inferred(files, tmp_path)
    assert found.fields["columns"] == {"item": "image", "label": "colour"}
    assert found.notes == [
        "colour of about.csv was taken for the labels: '+competition.columns={label: NAME}' names another"
    ]


def test_ages_in_names_are_numbers(tmp_path: Path) -> None:
    files = imitations.write(imitations.ages_in_names(), tmp_path)
    given = {"label_from": "{label}_*"}
    found = infer(tmp_path, files, given)
    assert {name: found.fields[name] for name in ("task", "form", "metric")} == {
        "task": "regression", "form": "numbers", "metric": "rmse"
    }  # fmt: skip
    listing = list_images(files, CompetitionOptions(**found.fields, label_from="{label}_*"), tmp_path)
    assert set(listing.rows["target"]) == {f"{20 + n}.0" for n in range(imitations.COUNT + 2)}


def test_each_metric_of_one_task_says_which() -> None:
    assert {name: one.needs.tasks[0] for name, one in METRICS.items() if len(one.needs.tasks) == 1} == METRIC_TASKS


def test_the_rows_of_an_item_are_its_tags(tmp_path: Path) -> None:
    files = imitations.write(MADE["a_row_a_tag"](), tmp_path)
    listing = list_images(files, CompetitionOptions(**infer(tmp_path, files, {}).fields), tmp_path)
    train = listing.rows[listing.rows["split"] == "train"].set_index("id")["target"]
    assert [train[one] for one in imitations.TRAIN[:3]] == ["dry land", "dry land|flood", "dry land|fire|flood"]
    assert listing.classes == ["dry land", "fire", "flood"]


CLASSES = {
    "cell_images": ["Parasitized", "Uninfected"],
    "blood_cells": ["EOSINOPHIL", "LYMPHOCYTE"],
    "speech_commands": ["bed", "no", "up", "yes"],
    "skin_lesions": ["mel", "nv"],
}


@pytest.mark.parametrize("name", CLASSES)
def test_folders_around_and_beside_the_classes_are_no_classes(name: str, tmp_path: Path) -> None:
    files = imitations.write(MADE[name](), tmp_path)
    competition = CompetitionOptions(**infer(tmp_path, files, {}).fields)
    found = list_images(files, competition, tmp_path) if competition.kind == "image" else None
    assert (found or list_items(files, competition, tmp_path)).classes == CLASSES[name]


def test_series_take_their_groups_from_the_table_of_all_their_rows(tmp_path: Path) -> None:
    files = imitations.write(MADE["sensor_sequences"](), tmp_path)
    rows = list_items(files, CompetitionOptions(**infer(tmp_path, files, {}).fields), tmp_path).files
    groups = rows[rows["split"] == "train"].set_index("path")["group"].to_dict()
    assert groups == {f"train.csv/sequence/{s}.csv": str(s // 3) for s in range(imitations.COUNT)}


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("speech_commands", "sample_submission.csv has silence, which no item is labelled"),
        ("urban_sounds", "start and end of UrbanSound8K.csv are not used, since each file has one row and may be that "
                         "piece of a longer one: '+competition.columns={start: start, end: end}' takes such a piece of "
                         "each file"),
        ("urban_sounds", "the folds are those of the column fold of UrbanSound8K.csv"),
        ("stroke_clots", "several items have one patient_id, which test.csv names: its answer is the mean of their "
                         "predictions, and scores out of fold are of single items"),
        ("traffic_signs", "Test.csv has the ClassId of items to classify: competition.answers=Test.csv "
                          "'+competition.columns={item: Path, label: ClassId}' scores by it"),
        ("chest_xrays", "files with the same {group} in person{group}_* stay in one fold, since it may be what they "
                        "come from: competition.group_from=null takes each alone"),
    ],
)  # fmt: skip
def test_what_is_left_out_or_taken_over_is_said(name: str, note: str, tmp_path: Path) -> None:
    assert note in inferred(MADE[name](), tmp_path).notes


@pytest.mark.parametrize(
    ("folds", "groups", "expected"),
    [
        ([1, 2, 1, 2] * 5, None, "fold"),
        ([0, 1, 2, 3] * 5, None, "fold"),
        ([1, 3, 1, 3] * 5, None, None),  # a gap
        ([2, 3, 2, 3] * 5, None, None),
        (list(range(20)), None, "fold"),
        ([1, 2, 1, ""] * 5, None, None),
        ([1, 2, 1, 2] * 5, [n // 4 for n in range(20)], None),  # which they tear
        ([n // 4 % 2 for n in range(20)], [n // 4 for n in range(20)], "fold"),
    ],
)
def test_folds_of_the_labels_are_taken_if_they_are_whole(
    folds: list[object], groups: list[int] | None, expected: str | None, tmp_path: Path
) -> None:
    group = groups or [""] * 20
    rows = [(one, "ab"[n % 2], folds[n], group[n]) for n, one in enumerate(imitations.TRAIN)]
    files = {
        **imitations.media(f"{one}.jpg" for one in imitations.TRAIN),
        "train.csv": imitations.csv("id,label,fold,patient", rows),
    }
    found = inferred(files, tmp_path).fields["columns"]
    assert (found.get("fold"), found.get("group")) == (expected, "patient" if groups else None)


@pytest.mark.parametrize("text", [None, "", "a,b\n", "\0\1", "id;label\n1;2;3\n"])
def test_half_a_source_is_inferred_or_refused_in_one_line(text: str | None, tmp_path: Path) -> None:
    drops = ("sample_submission.csv", "train.csv", "test") if text is None else ("\n",)
    for name in MADE.keys() - {"digit_recognizer", "kannada_mnist"}:
        for number, dropped in enumerate(drops):
            left = {path: one for path, one in MADE[name]().items() if dropped not in path}
            broken = {path: one if text is None or ".csv" not in path else text for path, one in left.items()}
            said = ""
            try:
                assert inferred(broken, tmp_path / f"{name}-{number}").fields["form"]
            except UserError as error:
                said = str(error)
            assert "\n" not in said


def test_folders_of_patients_and_shards_are_no_classes_beside_a_table_of_labels(tmp_path: Path) -> None:
    patients = {
        **imitations.media(f"train_images/{number // 2}/{number:03}.png" for number in range(20)),
        "train.csv": imitations.csv("patient_id,image_id,age,cancer", [
            (number // 2, f"{number:03}", 50 + number, int(number % 3 == 0)) for number in range(20)]),
    }  # fmt: skip
    assert inferred(patients, tmp_path / "patients").fields["columns"]["label"] == "cancer"
    names = [f"{number * 7919 % 4096:03x}{number:05}" for number in range(40)]
    shards = {
        **imitations.media(f"train/{name[0]}/{name[1]}/{name}.jpg" for name in names),
        "train.csv": imitations.csv("id,landmark_id", [(name, 17 * (row % 4)) for row, name in enumerate(names)]),
    }
    assert inferred(shards, tmp_path / "shards").fields["columns"]["label"] == "landmark_id"


FLOWERS = ["daisy", "tulip", "rose", "iris"]


def in_folders(suffix: str = "jpg", *, begin: int = 1, folder: str = "train/") -> Files:
    """Ten files of each of FLOWERS, numbered on from folder to folder."""
    return imitations.media(
        f"{folder}{name}/{begin + 10 * k + n}.{suffix}" for k, name in enumerate(FLOWERS) for n in range(10)
    )


LISTS_OF_CLASSES = {
    "id,class": imitations.csv("id,class", list(enumerate(FLOWERS, 1))),
    "species,number": imitations.csv("species,number", [(name, n) for n, name in enumerate(FLOWERS, 1)]),
    "other names": imitations.csv("class,id", [(f"{name} L.", float(n)) for n, name in enumerate(FLOWERS, 1)]),
}


@pytest.mark.parametrize("table", LISTS_OF_CLASSES)
@pytest.mark.parametrize("suffix", ["jpg", "mp4", "wav", "npz"])
def test_a_table_that_numbers_the_classes_is_no_table_of_labels_beside_class_folders(
    table: str, suffix: str, tmp_path: Path
) -> None:
    """Its 1, 2, 3 are no names of 1.jpg, 2.jpg, 3.jpg."""
    files = {**in_folders(suffix), "classes.csv": LISTS_OF_CLASSES[table]}
    found = inferred(files, tmp_path)
    assert ("labels" in found.fields, "columns" in found.fields) == (False, False)
    (note,) = found.notes
    assert re.match("the folders label the items: classes.csv names 4 of the 40 in them, .*=classes.csv takes", note)
    competition = CompetitionOptions(**found.fields)
    listed = list_images if suffix == "jpg" else list_items
    assert listed(sorted(files), competition, tmp_path).classes == sorted(FLOWERS)
    assert inferred(files, tmp_path, labels="classes.csv").fields["columns"]["label"] in ("class", "species")


@pytest.mark.parametrize("names", ["numbered on", "numbered anew"])
def test_a_table_about_few_of_the_images_is_no_table_of_labels_beside_class_folders(names: str, tmp_path: Path) -> None:
    files = in_folders() if names == "numbered on" else imitations.media(
        f"{name}/{n}.jpg" for name in FLOWERS for n in range(1, 11))  # fmt: skip
    rows = [(n, ("good", "bad")[n % 2]) for n in range(1, 11)]
    found = inferred({**files, "about.csv": imitations.csv("id,label", rows)}, tmp_path)
    assert "labels" not in found.fields
    assert found.notes == [
        "the folders label the items: about.csv names 10 of the 40 in them, and label may be labels: "
        "competition.labels=about.csv takes the table"
    ]


def test_a_table_about_all_images_labels_them_and_folders_of_unlabelled_ones_are_no_classes(tmp_path: Path) -> None:
    rows = [(n, ("good", "bad")[n % 2]) for n in range(1, 41)]
    table = {"about.csv": imitations.csv("id,label", rows)}
    found = inferred({**in_folders(), **table}, tmp_path / "all")
    assert (found.fields["labels"], found.notes) == ("about.csv", [])
    files = {f"{folder}/{n}.jpg": "" for n in range(1, 121) for folder in ["unlabelled" if n > 40 else "labelled"]}
    found = inferred({**files, **table}, tmp_path / "few")
    assert (found.fields["labels"], found.notes) == ("about.csv", [])


@pytest.mark.parametrize("answer", ["1", "iris"])
def test_a_list_of_classes_numbers_those_of_folders_beside_numbered_tests(answer: str, tmp_path: Path) -> None:
    files = imitations.media(f"train/{name}/{name}_{n}.jpg" for name in FLOWERS for n in range(10))
    files |= {**imitations.media(f"test/{n}.jpg" for n in range(6)), "classes.csv": LISTS_OF_CLASSES["id,class"]}
    files["sample_submission.csv"] = imitations.csv("file,id", [(n, answer) for n in range(6)])
    found = inferred(files, tmp_path).fields
    assert "labels" not in found
    form, first, classes = found["form"], found.get("first_index"), found.get("classes")
    assert (form, first, classes) == (("index", 1, FLOWERS) if answer == "1" else ("name", None, None))
    rows = list_images(sorted(files), CompetitionOptions(**found), tmp_path).rows
    assert rows["split"].value_counts().to_dict() == {"train": 40, "test": 6}


@pytest.mark.parametrize("form", ["{n:05}", "{n:05}.jpg"])
def test_ids_with_zeros_before_them_are_those_of_numbered_files(form: str, tmp_path: Path) -> None:
    files = {**in_folders(), **imitations.media(f"test/{n}.jpg" for n in range(100, 106))}
    asked = [form.format(n=n) for n in range(100, 106)]
    files["sample_submission.csv"] = imitations.csv("id,label", [(one, "iris") for one in asked])
    rows = list_images(sorted(files), CompetitionOptions(**inferred(files, tmp_path).fields), tmp_path).rows
    assert sorted(rows["id"][rows["split"] == "test"]) == asked


def test_a_list_of_classes_is_not_preferred_to_labels_that_are_called_alike(tmp_path: Path) -> None:
    files = imitations.media(f"images/{n}.jpg" for n in range(1, 41))
    rows = [(f"{n}.jpg", FLOWERS[n % 4]) for n in range(1, 41)]
    files |= {"classes.csv": LISTS_OF_CLASSES["id,class"], "flower_info_v2.csv": imitations.csv("file,class", rows)}
    assert inferred(files, tmp_path).fields["labels"] == "flower_info_v2.csv"


@pytest.mark.parametrize(
    ("answers", "table", "first", "classes", "note"),
    [
        ([1, 2, 3, 4], True, 1, FLOWERS, None),
        ([2, 2, 2, 2], True, 1, FLOWERS, None),  # the table decides
        ([1, 2, 3, 4], False, 1, sorted(FLOWERS), "(1 is daisy, 2 is iris, 3 is rose and 1 more): "),
        ([0, 1, 2, 3], False, None, sorted(FLOWERS), "competition.first_index=1 counts from 1"),
        ([2, 2, 2, 2], False, None, sorted(FLOWERS), "(0 is daisy, 1 is iris, 2 is rose and 1 more): "),
    ],
)
def test_answers_are_numbered_from_where_the_sample_or_a_table_numbers_classes(
    answers: list[int], table: bool, first: int | None, classes: list[str], note: str | None, tmp_path: Path
) -> None:
    names = [f"b{n}.jpg" for n in range(len(answers))]
    files = {**in_folders(), **imitations.media(f"test/{name}" for name in names)}
    files["sample_submission.csv"] = imitations.csv("file,species", list(zip(names, answers, strict=True)))
    if table:
        files["classes.csv"] = LISTS_OF_CLASSES["species,number"]
    found = inferred(files, tmp_path)
    assert (found.fields["form"], found.fields.get("first_index")) == ("index", first)
    assert found.fields["classes"] == classes
    assert note is None or any(note in one for one in found.notes)


def test_whole_numbers_with_a_point_are_labels_counted_from_one(tmp_path: Path) -> None:
    rows = [(one, f"{n % 3 + 1}.0") for n, one in enumerate(imitations.TRAIN)]
    files = {
        **imitations.media(f"train/{one}.jpg" for one in imitations.TRAIN),
        **imitations.media(f"test/{one}.jpg" for one in "xyz"),
        "train.csv": imitations.csv("id,kind", rows),
        "sample_submission.csv": imitations.csv("id,kind", [("x", 1), ("y", 2), ("z", 3)]),
    }
    found = inferred(files, tmp_path).fields
    assert (found["form"], found["first_index"], found["classes"]) == ("index", 1, ["1.0", "2.0", "3.0"])


@pytest.mark.parametrize("suffix", ["jpg", "mp4", "wav", "npz"])
@pytest.mark.parametrize("flat", [True, False])
def test_ids_written_as_floats_are_those_of_numbered_files(suffix: str, tmp_path: Path, *, flat: bool) -> None:
    train = [f"train/{n}.{suffix}" for n in range(1, 21)] if flat else sorted(in_folders(suffix))
    files = imitations.media([*train, *(f"test/{n:04}.{suffix}" for n in range(100, 106))])
    asked = [(f"{n}.0", "a") for n in (103, 100, 104, 101, 105, 102)]
    files["sample_submission.csv"] = imitations.csv("id,label", asked)
    if flat:
        files["train.csv"] = imitations.csv("id,label", [(f"{n}.0", "ab"[n % 2]) for n in range(1, 21)])
    found = inferred(files, tmp_path).fields
    assert found.get("labels") == ("train.csv" if flat else None)
    competition = CompetitionOptions(**found)
    if suffix == "jpg":
        rows = list_images(sorted(files), competition, tmp_path).rows
    else:
        rows = list_items(sorted(files), competition, tmp_path).files.rename(columns={"video": "id"})
    assert sum(rows["split"] == "train") == len(train)
    assert set(rows["id"][rows["split"] == "test"]) == {f"{n}.0" for n in range(100, 106)}


def test_series_of_one_table_are_labelled_by_numbers_written_as_floats(tmp_path: Path) -> None:
    files = MADE["career_con"]()
    rows = [line.split(",") for line in files["y_train.csv"].splitlines()]
    files["y_train.csv"] = imitations.csv(",".join(rows[0]), [(f"{row[0]}.0", *row[1:]) for row in rows[1:]])
    found = inferred(files, tmp_path)
    listed = list_items(sorted(files), CompetitionOptions(**found.fields), tmp_path)
    assert sum(listed.files["split"] == "train") == imitations.COUNT


def test_a_column_of_few_subjects_is_no_group_and_that_is_said(tmp_path: Path) -> None:
    rows = [(one, "ab"[n % 2], f"s{n % 4}") for n, one in enumerate(imitations.TRAIN)]
    pictures = imitations.media(f"images/{one}.jpg" for one in imitations.TRAIN)
    files = {**pictures, "train.csv": imitations.csv("id,label,subject", rows)}
    found = inferred(files, tmp_path / "labels")
    assert "group" not in found.fields["columns"]
    told = "subject of train.csv has 4 values, fewer than the 5 folds, and is no group: "
    told += "'+competition.columns={group: subject}'"
    assert found.notes == [f"{told} folds.count=4 keeps each in one fold"]
    for typed in ("subject", None):
        assert inferred(files, tmp_path / "typed", columns={"group": typed}).notes == []
    files = {
        **pictures,
        "train.csv": imitations.csv("id,label", [row[:2] for row in rows]),
        "people.csv": imitations.csv("id,subject", [row[::2] for row in rows]),
    }
    assert inferred(files, tmp_path / "second").notes == [
        f"{told.replace('train', 'people')} competition.metadata=people.csv folds.count=4 keeps each in one fold"
    ]


@pytest.mark.parametrize(
    ("table", "text", "told"),
    [
        ("train.csv", "a{n}.jpg,{label}", "labels"),
        ("train.csv", "a{n},{label}", "labels"),
        ("train.csv", "a{n},{n}.5", "labels"),
        ("test.csv", "t{n}.jpg", "test"),
        ("test.csv", "t{n}", "test"),
        ("sample_submission.csv", "t{n}.jpg,daisy", "sample_submission"),
    ],
)
@pytest.mark.parametrize("suffix", ["jpg", "mp4", "wav", "npz"])
def test_a_table_without_a_row_of_names_is_refused(
    suffix: str, table: str, text: str, told: str, tmp_path: Path
) -> None:
    text = text.replace("jpg", suffix)
    files = imitations.media(f"images/{kind}{n}.{suffix}" for kind in "at" for n in range(20))
    labels = [(f"a{n}.{suffix}", FLOWERS[n % 4]) for n in range(20)]
    lists = "".join(f"t{n}\n" for n in range(9))
    files |= {"train.csv": imitations.csv("file,label", labels), "test.csv": f"file\n{lists}"}
    files[table] = "".join(text.format(n=n, label=FLOWERS[n % 4]) + "\n" for n in range(9))
    begin = text.format(n=0, label="daisy").replace(",", ", ")
    mend = f"as item,label; mend it, or type competition.{told}=PATH of such a copy"
    said = f"{table} begins with {begin}, which is an item: its first row must name the columns, {mend}"
    with pytest.raises(UserError, match=f"^{said}$"):
        inferred(files, tmp_path)


@pytest.mark.parametrize(
    ("header", "rows", "is_refused"),
    [
        ("id,0,1,2", "0,1,0,0 1,0,1,0 2,0,0,1", False),  # classes
        ("0,1,2,id", "1,0,0,0 0,1,0,1 0,0,1,2", False),
        ("id,1,5,9", "1,0,1,0 5,1,0,0 9,0,0,1", False),
        (",0", "0,ash 1,elm 2,ash", False),  # as pandas writes a column without a name
        ("0,1", "0,ash 1,elm 2,ash", False),
        ("0,1", "0,1 1,0 2,1", False),
        ("0", "0 1 2", False),
        ("0,label", "1,ash 2,elm 3,ash", False),
        ("0,1,0,0", "1,0,1,0 2,0,0,1 3,1,0,0", True),
        ("0,ash", "1,ash 2,elm 3,ash", True),
        ("0,2.5", "1,1.5 2,0.5 3,7", True),
        ("0", "1 2 3", True),
        ("0.png,other", "1.png,ash 2.png,elm 3.png,ash", True),
    ],
)
def test_names_of_columns_are_told_from_an_item(header: str, rows: str, *, is_refused: bool) -> None:
    names = Names(f"images/{n}.png" for n in range(12))
    table = pd.DataFrame([row.split(",") for row in rows.split()], columns=header.split(","), dtype=str)
    if is_refused:
        with pytest.raises(UserError, match=r"^train.csv begins with 0.*, which is an item"):
            check_header("train.csv", table, names.has, "labels")
    else:
        check_header("train.csv", table, names.has, "labels")


def test_row_id_is_an_id_unless_it_counts_the_rows(tmp_path: Path) -> None:
    names = [f"a{number:03}" for number in range(20)]
    files = {
        **imitations.media([f"train/{name}.jpg" for name in names] + ["test/b1.jpg", "test/b2.jpg"]),
        "labels.csv": imitations.csv("row_id,kind", [(name, "xy"[row % 2]) for row, name in enumerate(names)]),
        "sample_submission.csv": imitations.csv("row_id,kind", [("b1", "x"), ("b2", "x")]),
    }
    found = inferred(files, tmp_path / "named").fields
    assert (found["columns"]["item"], found["id_column"]) == ("row_id", "row_id")
    rows = [(row, name, "xy"[row % 2]) for row, name in enumerate(names)]
    counted = files | {"labels.csv": imitations.csv("index,image,kind", rows)}
    assert inferred(counted, tmp_path / "counted").fields["columns"] == {"item": "image", "label": "kind"}


def test_a_test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"competition.test=nope: no folder .* its folders are"):
        inferred(imitations.plant_seedlings(), tmp_path, test="nope")


def test_a_json_too_large_to_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = imitations.plant_seedlings() | {"train.json": "{}" * 100}
    monkeypatch.setattr(source_tables, "MAX_JSON", 100)
    with pytest.raises(UserError, match=r"train.json has 0 MB.*competition.exclude=\[train.json\]"):
        inferred(files, tmp_path)
    assert inferred(files, tmp_path, exclude=["train.json"]).fields["kind"] == "image"


@pytest.mark.parametrize(
    ("dtype", "given", "kind", "note"),
    [
        ("uint8", {}, "image", "were taken for images: competition.kind=series takes them for series"),
        ("float16", {}, "series", "competition.kind=image takes them for images, once they are of uint8 or uint16"),
        ("uint8", {"kind": "series"}, None, None),
        ("uint8", {"kind": "image"}, None, None),
    ],
)
def test_arrays_that_may_be_images_are_said(
    dtype: str, given: dict[str, Any], kind: str | None, note: str | None, tmp_path: Path
) -> None:
    for number in range(6):
        (tmp_path / "train").mkdir(exist_ok=True)
        np.save(tmp_path / f"train/{number}.npy", np.zeros((6, 32, 24), dtype))
    (tmp_path / "labels.csv").write_text("id,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(6)))
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    found = infer(tmp_path, files, given)
    assert (found.fields.get("kind"), found.fields["labels"]) == (kind, "labels.csv")
    assert [note in one for one in found.notes if "6 x 32 x 24" in one] == ([True] if note else [])


def test_items_in_one_npz_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "k49-train-imgs.npz", np.zeros((30, 28, 28), np.uint8))
    np.savez(tmp_path / "k49-train-labels.npz", np.zeros(30, np.uint8))
    with pytest.raises(UserError, match=r"k49-train-imgs.npz holds 30 items of 28 x 28 in its array arr_0, and one a"):
        infer(tmp_path, ["k49-train-imgs.npz", "k49-train-labels.npz"], {})


def test_a_few_pixels_in_rows_with_a_class_keep_their_advice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="first row must name the columns, which are label,pixel0"):
        inferred({"emnist.csv": NUMBERS}, tmp_path)


@pytest.mark.parametrize(("folder", "test"), [("test_series", "test_series"), ("later", "sample_submission.csv")])
def test_a_sample_that_names_one_item_finds_the_test(folder: str, test: str, tmp_path: Path) -> None:
    files = {
        **imitations.media([f"train_series/s{n}.npz" for n in range(12)] + [f"{folder}/u{n}.npz" for n in range(5)]),
        "train.csv": imitations.csv("series_id,surface", [(f"s{n}", "ab"[n % 2]) for n in range(12)]),
        "sample_submission.csv": imitations.csv("series_id,surface", [("u0", "a")]),
    }
    fields = inferred(files, tmp_path).fields
    assert (fields["test"], fields["id"]) == (test, "stem")


@pytest.mark.parametrize("column", ["is_test", "IsTest", "is_train", "partition"])
def test_a_column_of_the_split_is_no_label_and_says_the_test_beside_class_folders(column: str, tmp_path: Path) -> None:
    said = {"is_train": ("1", "0"), "partition": ("train", "test")}.get(column, ("False", "True"))
    pictures = [f"images/{name}/{name}{n}.png" for name in "abc" for n in range(10)]
    rows = [(file.removeprefix("images/"), said[file[-5] in "89"]) for file in pictures]
    files = {**imitations.media(pictures), "split.csv": imitations.csv(f"file,{column}", rows)}
    found = inferred(files, tmp_path)
    assert found.fields["metadata"] == "split.csv"
    assert found.fields["columns"] == {"item": "file", "split": column}
    rows = list_images(sorted(files), CompetitionOptions(**found.fields), tmp_path).rows
    assert rows.groupby("split")["target"].unique().map(list).to_dict() == {"test": [None], "train": ["a", "b", "c"]}
    assert {*rows.loc[rows["split"] == "test", "id"]} == {file for file in pictures if file[-5] in "89"}


def test_a_column_of_the_split_beside_the_labels_says_the_test(tmp_path: Path) -> None:
    rows = [(f"{n}.png", "ab"[n % 2], int(n >= 8), int(n < 8), 0) for n in range(10)]
    files = imitations.media(f"images/{n}.png" for n in range(10))
    files["labels.csv"] = imitations.csv("file,kind,is_test,is_train,is_valid", rows)
    found = inferred(files, tmp_path)
    assert found.fields["columns"] == {"item": "file", "label": "kind", "split": "is_test"}
    rows = list_images(sorted(files), CompetitionOptions(**found.fields), tmp_path).rows
    assert rows["split"].value_counts().to_dict() == {"train": 8, "test": 2}


@pytest.mark.parametrize("folder", ["train/{}/", "images/"])
def test_labels_with_more_and_more_noise_are_the_folders_or_the_first_column(folder: str, tmp_path: Path) -> None:
    pictures = [f"{folder.format(f'n0{k}')}n0{k}_{n}.JPEG" for k in range(3) for n in range(8)]
    rows = [(file, f"n0{n // 8}", f"n0{n % 3}", n % 8 > 5) for n, file in enumerate(pictures)]
    noisy = imitations.csv("path,noisy_labels_0,noisy_labels_50,is_valid", rows)
    found = inferred({**imitations.media(pictures), "noisy.csv": noisy}, tmp_path)
    label = found.fields.get("columns", {}).get("label")
    assert label == (None if "{}" in folder else "noisy_labels_0")
    rows = list_images([*pictures, "noisy.csv"], CompetitionOptions(**found.fields), tmp_path).rows
    assert (rows["target"] == rows["id"].map(lambda id: Path(id).stem[:3])).all()
    assert set(rows["split"]) == {"train"}


GAPPED = {"zebra": 4, "ant": 8, "bee": 15}


def numbered_by(form: str) -> Files:
    """Items of three classes, in folders or a table, whose numbers with gaps are asked for."""
    train = {f"{name}{n}": name for name in GAPPED for n in range(6)}
    folder = {"folders": "train/{}/{}.png"}.get(form, "train/{1}.png")
    files = imitations.media(folder.format(name, one) for one, name in train.items())
    files |= imitations.media(f"test/t{n}.png" for n in range(6))
    if form != "folders":
        numbers = form == "column"
        rows = [(one, name, *([GAPPED[name]] if numbers else [])) for one, name in train.items()]
        files["train.csv"] = imitations.csv("image,species" + ",species_id" * numbers, rows)
    if form != "column":
        files["classes.csv"] = imitations.csv("species_id,species", [(n, name) for name, n in GAPPED.items()])
    answers = [*GAPPED.values(), 4, 4, 4]
    files["sample_submission.csv"] = imitations.csv("image,label", [(f"t{n}", one) for n, one in enumerate(answers)])
    return files


def test_numbers_of_classes_with_gaps_are_the_labels_where_a_column_has_them(tmp_path: Path) -> None:
    found = inferred(numbered_by("column"), tmp_path)
    assert found.fields["columns"] == {"item": "image", "label": "species_id"}
    assert found.fields["form"] == "name"


@pytest.mark.parametrize(
    ("form", "mend"),
    [("folders", "call the class folders so, as 4 for zebra"), ("table", "add a column species_id to train.csv")],
)
def test_numbers_of_classes_with_gaps_in_another_table_are_refused(form: str, mend: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"classes.csv has them in species_id.*{mend}") as error:
        inferred(numbered_by(form), tmp_path)
    assert "\n" not in str(error.value)
    assert inferred(numbered_by(form), tmp_path, form="name").fields["metric"] == "accuracy"


def test_numbers_that_no_table_explains_are_refused_instead_of_answered_by_words(tmp_path: Path) -> None:
    files = numbered_by("folders")
    del files["classes.csv"]
    with pytest.raises(UserError, match=r"asks for the numbers .* no table says which is which"):
        inferred(files, tmp_path)


@pytest.mark.parametrize(
    "folders", [("cars_train", "cars_test"), ("images", "test_xyz"), ("dog_train/a", "dog_test/a")]
)
@pytest.mark.parametrize("suffix", ["jpg", "mp4", "wav"])
def test_a_folder_with_the_word_test_among_others_is_the_test(
    folders: Sequence[str], suffix: str, tmp_path: Path
) -> None:
    train, test = folders
    files = imitations.media(f"{train}/{n:05}.{suffix}" for n in range(1, 21))
    files |= imitations.media(f"{test}/{n:05}.{suffix}" for n in range(1, 7))
    files["train.csv"] = imitations.csv("image,Class", [(f"{n:05}.{suffix}", n % 3 + 1) for n in range(1, 21)])
    files["sample_submission.csv"] = imitations.csv("image,Class", [(f"{n:05}.{suffix}", 1) for n in range(1, 7)])
    found = inferred(files, tmp_path)
    assert found.fields["test"] == test.split("/")[0]
    competition = CompetitionOptions(**found.fields)
    if suffix == "jpg":
        rows = list_images(sorted(files), competition, tmp_path).rows
    else:
        rows = list_items(sorted(files), competition, tmp_path).files
    assert rows.groupby("split").size().to_dict() == {"test": 6, "train": 20}
    assert rows.loc[rows["split"] == "test", "path"].str.startswith(test).all()


def listed(files: Files, root: Path) -> tuple[Inference, pd.DataFrame]:
    """(what is inferred from some images, their rows)."""
    found = inferred(files, root)
    kept = [file for file in sorted(files) if not is_excluded(file, found.fields.get("exclude", []))]
    return found, list_images(kept, CompetitionOptions(**found.fields), root).rows


PICTURES = [f"p{n:02}.jpg" for n in range(24)]


@pytest.mark.parametrize("header", [",label", "Unnamed: 0,label"])
@pytest.mark.parametrize("name", ["p{:02}.jpg", "p{:02}", "{}"])
def test_a_first_column_without_a_name_names_the_items(name: str, header: str, tmp_path: Path) -> None:
    files = imitations.media(f"images/{Path(name.format(n)).stem}.jpg" for n in range(24))
    table = imitations.csv(header, [(name.format(n), "ab"[n % 2]) for n in range(24)])
    found, rows = listed({**files, "labels.csv": table}, tmp_path)
    assert found.fields["columns"] == {"item": "item", "label": "label"}
    number = rows["path"].map(lambda path: int(re.sub(r"\D", "", path)))
    assert rows["target"].tolist() == ["ab"[n % 2] for n in number]


def test_a_first_column_without_a_name_that_counts_the_rows_is_no_item_beside_names(tmp_path: Path) -> None:
    files = imitations.media(f"images/{n}.jpg" for n in range(1, 25))
    rows = [(n, f"{n + 1}.jpg", "ab"[n // 12]) for n in range(24)]
    found, listing = listed({**files, "labels.csv": imitations.csv(",file,label", rows)}, tmp_path)
    assert found.fields["columns"] == {"item": "file", "label": "label"}
    assert listing.set_index("path")["target"].to_dict() == {f"images/{n + 1}.jpg": "ab"[n // 12] for n in range(24)}


@pytest.mark.parametrize(
    ("cells", "test"),
    [
        ([0] * 16 + [1] * 4 + [2] * 4, range(20, 24)),
        ([0] * 16 + [1] * 8, range(16, 24)),
        ([1] * 16 + [0] * 8, range(16, 24)),  # the more frequent one is trained on
    ],
)
@pytest.mark.parametrize("beside", [True, False])
def test_numbers_of_a_partition_say_the_test(
    cells: Sequence[int], test: Sequence[int], tmp_path: Path, *, beside: bool
) -> None:
    files, kinds = imitations.media(f"images/{name}" for name in PICTURES), ["cat", "dog"] * 12
    if beside:
        files["labels.csv"] = imitations.csv("image,label", zip(PICTURES, kinds, strict=True))
        files["list_eval_partition.csv"] = imitations.csv("image_id,partition", zip(PICTURES, cells, strict=True))
    else:
        files["labels.csv"] = imitations.csv("image,label,partition", zip(PICTURES, kinds, cells, strict=True))
    found, rows = listed(files, tmp_path)
    assert found.fields["columns"] == {"item": "image", "label": "label", "split": "partition"}
    assert {*rows.loc[rows["split"] == "test", "path"]} == {f"images/{PICTURES[n]}" for n in test}
    notes = list_images(sorted(files), CompetitionOptions(**found.fields), tmp_path).notes
    assert sum(" is the split, " in note for note in notes) == 1


def test_columns_of_minus_one_and_one_are_tags(tmp_path: Path) -> None:
    tags = [[1 if (n >> place) & 1 else -1 for place in range(4)] for n in range(24)]
    table = imitations.csv(
        "image_id,Bald,Male,Smiling,Young", [(one, *row) for one, row in zip(PICTURES, tags, strict=True)]
    )
    found, rows = listed({**imitations.media(PICTURES), "list_attr.csv": table}, tmp_path)
    assert (found.fields["task"], found.fields["form"]) == ("multilabel", "tags")
    names = ["Bald", "Male", "Smiling", "Young"]
    assert rows["target"].tolist() == [
        "|".join(name for name, one in zip(names, row, strict=True) if one == 1) for row in tags
    ]


def test_folders_that_differ_by_a_word_for_the_split_hold_the_classes(tmp_path: Path) -> None:
    hands = [
        f"{one}/{one}/{kind}/{kind}{n}.png"
        for one in ("rps", "rps-test-set")
        for kind in ("paper", "rock")
        for n in range(9)
    ]
    found, rows = listed(imitations.media(hands), tmp_path)
    assert found.fields["test"] == "rps-test-set"
    assert rows.groupby("split")["target"].value_counts().to_dict() == {("train", "paper"): 9, ("train", "rock"): 9}


def test_masks_and_annotations_are_no_items_of_class_folders(tmp_path: Path) -> None:
    lungs = [
        f"set/{kind}/{of}/{kind}-{n}.png"
        for kind in ("Covid", "Normal")
        for of in ("images", "masks")
        for n in range(6)
    ]
    found, rows = listed(imitations.media(lungs), tmp_path / "lungs")
    assert found.fields["exclude"] == ["*/masks/*"]
    assert rows["target"].value_counts().to_dict() == {"Covid": 6, "Normal": 6}
    faces = [f"{split}/{kind}/{n}.png" for split in ("train", "test") for kind in ("faces", "masks") for n in range(6)]
    assert "exclude" not in inferred(imitations.media(faces), tmp_path / "faces").fields
    dogs = [f"images/Images/{kind}/{kind}_{n}.jpg" for kind in ("n1-pug", "n2-husky") for n in range(6)]
    files = imitations.media(
        [*dogs, *(f"annotations/Annotation/{Path(file).parent.name}/{Path(file).stem}" for file in dogs)]
    )
    found, rows = listed(files, tmp_path / "dogs")
    assert found.fields["exclude"] == ["annotations/*"]
    assert rows["target"].value_counts().to_dict() == {"n1-pug": 6, "n2-husky": 6}


def test_folders_of_a_number_are_no_classes_beside_a_table_and_boxes_no_labels(tmp_path: Path) -> None:
    scans = [f"{patient:08}_{k:03}.png" for patient in range(12) for k in range(4)]
    findings = ["Edema", "Nodule|Edema", "Nodule", "None"]
    rows = [(scan, findings[(n + n // 4) % 4], n // 4) for n, scan in enumerate(scans)]
    files = imitations.media(f"images_{1 + n // 20:03}/images/{scan}" for n, scan in enumerate(scans))
    files["Data_Entry.csv"] = imitations.csv("Image Index,Finding Labels,Patient ID", rows)
    files["BBox_List.csv"] = imitations.csv(
        "Image Index,Finding Label,x,y,w,h", [(one, "Edema", 2, 3, 4, 5) for one in scans[:4]]
    )
    files["test_list.txt"] = "".join(f"{scan}\n" for scan in scans[40:])
    found, listing = listed(files, tmp_path)
    assert (found.fields["labels"], found.fields["test"]) == ("Data_Entry.csv", "test_list.txt")
    assert found.fields["columns"] == {"item": "Image Index", "label": "Finding Labels", "group": "Patient ID"}
    assert listing["split"].value_counts().to_dict() == {"train": 40, "test": 8}
    assert {*listing.loc[listing["split"] == "test", "path"].map(lambda path: Path(path).name)} == {*scans[40:]}


def test_folders_of_patients_and_left_and_right_are_groups(tmp_path: Path) -> None:
    views = [f"train/patient{n:05}/study{k}/view.jpg" for n in range(1, 13) for k in (1, 2)]
    table = imitations.csv("Path,Edema", [(view, "01"[n // 2 % 2]) for n, view in enumerate(views)])
    found, rows = listed({**imitations.media(views), "train.csv": table}, tmp_path / "views")
    assert found.fields["group_from"] == "*/patient{group}/*"
    assert rows["group"].tolist() == [f"{n:05}" for n in range(1, 13) for _ in range(2)]
    eyes = [f"{n}_{side}" for n in range(10, 22) for side in ("left", "right")]
    table = imitations.csv("image,level", [(eye, n % 5) for n, eye in enumerate(eyes)])
    found, rows = listed(
        {**imitations.media(f"train/{eye}.jpeg" for eye in eyes), "labels.csv": table}, tmp_path / "eyes"
    )
    assert found.fields["group_from"] == "{group}_*"
    assert rows["group"].nunique() == 12
    actors = imitations.media(f"Actor_{a:02}/03-01-{e:02}-{a:02}.wav" for a in range(1, 7) for e in range(1, 5))
    assert "may be what items come from: competition.label_from=" in inferred(actors, tmp_path / "actors").notes[0]


def test_lists_of_paths_with_classes_label_and_lists_of_paths_are_the_test(tmp_path: Path) -> None:
    files = imitations.media(f"images/{name}" for name in PICTURES)
    files["train.txt"] = "".join(f"images/{name} {'ab'[n % 2]}\n" for n, name in enumerate(PICTURES[:16]))
    files["test.txt"] = "".join(f"images/{name} {'ab'[n % 2]}\n" for n, name in enumerate(PICTURES[16:]))
    found, rows = listed(files, tmp_path / "flat")
    assert (found.fields["labels"], found.fields["test"]) == ("train.txt", "test.txt")
    assert rows["target"].tolist() == [*"ab" * 8, *[None] * 8]
    assert any("competition.answers=test.txt scores by it" in note for note in found.notes)
    meals = [f"{kind}/{n}" for kind in ("pie", "ribs") for n in range(9)]
    files = {
        **imitations.media(f"images/{one}.jpg" for one in meals),
        "meta/test.txt": "\n".join(meals[6:9]),
        "meta/classes.txt": "pie\nribs",
    }
    found, rows = listed(files, tmp_path / "meals")
    assert (found.fields["test"], "labels" in found.fields) == ("meta/test.txt", False)
    assert {*rows.loc[rows["split"] == "test", "path"]} == {f"images/{one}.jpg" for one in meals[6:9]}
    assert found.notes[0].startswith("not read: meta/classes.txt; ")


def test_names_that_are_asked_for_where_labels_are_numbers_are_refused(tmp_path: Path) -> None:
    files = {
        **imitations.media([f"train/{name}" for name in PICTURES] + ["test/q1.jpg", "test/q2.jpg"]),
        "train.csv": imitations.csv("image,class_id", [(name, n % 3) for n, name in enumerate(PICTURES)]),
        "classes.csv": imitations.csv("id,name", enumerate(("ant", "bee", "cow"))),
        "sample_submission.csv": imitations.csv("image,class_id", [("q1.jpg", 0), ("q2.jpg", 0)]),
    }
    found = inferred(files, tmp_path / "numbers")
    assert (found.fields["form"], found.fields["target_column"]) == ("name", "class_id")
    assert "classes.csv is about the classes, which are called by their numbers in id" in found.notes
    files["sample_submission.csv"] = imitations.csv("image,class", [("q1.jpg", "ant"), ("q2.jpg", "ant")])
    with pytest.raises(UserError, match=r"asks for the names ant in class, and the labels are 0, 1, 2: .*form=name"):
        inferred(files, tmp_path / "names")


def test_runs_of_pixels_are_refused_whatever_the_labels_are(tmp_path: Path) -> None:
    files = {
        **imitations.media([f"train_images/{name}" for name in PICTURES] + ["test_images/q1.jpg"]),
        "train.csv": imitations.csv("ImageId,ClassId,EncodedPixels", [(name, 3, "29102 12") for name in PICTURES]),
        "sample_submission.csv": imitations.csv("ImageId,EncodedPixels,ClassId", [("q1.jpg", "1 409600", 0)]),
    }
    with pytest.raises(UserError, match="boxes, runs of pixels or confidences, which are not supported"):
        inferred(files, tmp_path)


def test_a_table_of_captions_without_a_row_of_names_is_refused(tmp_path: Path) -> None:
    captions = "".join(f"{Path(name).stem},a picture of {n} things\n" for n, name in enumerate(PICTURES))
    with pytest.raises(UserError, match=r"captions.csv begins with p00, a picture of 0 things, which is an item"):
        inferred({**imitations.media(f"images/{name}" for name in PICTURES), "captions.csv": captions}, tmp_path)


@pytest.mark.parametrize("place", ["clips", "data/clips"])
def test_clips_that_no_label_of_events_names_are_left_out_and_named(place: str, tmp_path: Path) -> None:
    outer = place.removesuffix("clips")
    rows = [(f"v{n}", 1.5 + k, ("play", "throw")[k % 2]) for n in range(6) for k in range(4)]
    files = {
        **imitations.media(f"{outer}train/v{n}.mp4" for n in range(6)),
        **imitations.media([f"{outer}test/t1.mp4", f"{outer}test/t2.mp4", f"{place}/c1.mp4", f"{place}/c2.mp4"]),
        "train.csv": imitations.csv("video_id,time,event", rows),
        "sample_submission.csv": imitations.csv("video_id,time,event,score", [("t1", 1.0, "play", 0.5)]),
    }
    found = inferred(files, tmp_path)
    assert found.fields["exclude"] == [f"{place}/*"]
    assert f"{place}: nothing there is labelled or asked for, so it was left out" in found.notes


@pytest.mark.parametrize("suffix", ["mp4", "wav"])
@pytest.mark.parametrize(
    ("file", "cell"), [("{:04}.{}", "{}.{}"), ("{}.{}", "{:04}.{}"), ("{}.{}", "{:02}"), ("{:04}.{}", "{}")]
)
def test_zeros_before_numbers_differ_between_files_and_tables_of_clips(
    suffix: str, file: str, cell: str, tmp_path: Path
) -> None:
    files = imitations.media(
        [f"train/{file.format(n, suffix)}" for n in range(7, 27)]
        + [f"test/{file.format(n, suffix)}" for n in range(1, 7)]
    )
    files["train.csv"] = imitations.csv("id,label", [(cell.format(n, suffix), "ab"[n // 2 % 2]) for n in range(7, 27)])
    asked = [cell.format(n, suffix) for n in range(1, 7)]
    files["sample_submission.csv"] = imitations.csv("id,label", [(one, "a") for one in asked])
    competition = CompetitionOptions(**inferred(files, tmp_path).fields)
    catalogue = list_items(sorted(files), competition, tmp_path)
    number = {row.video: int(Path(row.path).stem) for row in catalogue.files.itertuples()}
    assert {row.video: row.label for row in catalogue.labels.itertuples()} == {
        video: "ab"[n // 2 % 2] for video, n in number.items() if n > 6
    }
    assert {*catalogue.files.loc[catalogue.files["split"] == "test", "video"]} == {*asked}


def test_tables_without_a_row_of_names_beside_class_folders_are_not_read(tmp_path: Path) -> None:
    cars = [
        f"car_data/{split}/{kind}/{n:05}.jpg"
        for split in ("train", "test")
        for kind in ("bmw", "ford")
        for n in range(6)
    ]
    boxes = "".join(f"{n:05}.jpg,39,116,{n},2\n" for n in range(6))
    files = {**imitations.media(cars), "anno_train.csv": boxes, "anno_test.csv": boxes}
    found, rows = listed(files, tmp_path)
    assert (found.fields["test"], "labels" in found.fields) == ("car_data/test", False)
    assert rows.groupby("split")["target"].value_counts().to_dict() == {("train", "bmw"): 6, ("train", "ford"): 6}


def test_pictures_of_annotations_are_no_items_of_names(tmp_path: Path) -> None:
    pets = [f"{kind}_{n}" for kind in ("Bengal", "yorkshire_terrier") for n in range(1, 9)]
    files = imitations.media([f"images/{pet}.jpg" for pet in pets] + [f"annotations/trimaps/{pet}.png" for pet in pets])
    found, rows = listed(files, tmp_path)
    assert found.fields["exclude"] == ["annotations/*"]
    assert rows["target"].value_counts().to_dict() == {"Bengal": 8, "yorkshire_terrier": 8}


def test_of_forms_of_the_same_pictures_the_original_ones_are_taken(tmp_path: Path) -> None:
    leaves = [
        f"village/{form}/{kind}/{n}.jpg"
        for form in ("color", "grayscale")
        for kind in ("apple", "corn")
        for n in range(6)
    ]
    _, rows = listed(imitations.media(leaves), tmp_path / "leaves")
    assert rows.groupby("target")["path"].count().to_dict() == {"apple": 6, "corn": 6}
    assert rows["path"].str.startswith("village/color/").all()
    places = [f"{kind}/{place}/{n}.jpg" for kind in ("cats", "dogs") for place in ("in", "out") for n in range(6)]
    _, rows = listed(imitations.media(places), tmp_path / "places")
    assert rows["target"].value_counts().to_dict() == {"cats": 12, "dogs": 12}


def test_series_whose_rows_have_their_labels_are_labelled_by_them(tmp_path: Path) -> None:
    """A table of people beside it, which labels no series, is not taken for the labels."""
    rows = [
        (f"SEQ_{n:02d}_{k}", f"SEQ_{n:02d}", k, f"S{n // 4}", ("rest", "move")[k > 4], ["wave", "text", "call"][n % 3])
        for n in range(24)
        for k in range(9)
    ]
    columns = "row_id,sequence_id,sequence_counter,subject"
    files = {
        "train.csv": imitations.csv(f"{columns},phase,gesture,acc_x", [(*row, n % 7) for n, row in enumerate(rows)]),
        "test.csv": imitations.csv(f"{columns},acc_x", [(*row[:4], 1) for row in TESTED_ROWS]),
        "people.csv": imitations.csv("subject,sex,height_cm", [(f"S{n}", n % 2, 170.5 + n) for n in range(6)]),
        "sample_submission.csv": imitations.csv("sequence_id,gesture", [("T0", "wave"), ("T1", "wave")]),
    }
    fields = inferred(files, tmp_path).fields
    assert (fields["items"], fields["labels"], fields["test"], fields["metric"]) == (
        "train.csv", "train.csv", "test.csv", "accuracy",
    )  # fmt: skip
    assert fields["columns"] == {
        "item": "sequence_id", "label": "gesture", "group": "subject", "time": "sequence_counter"
    }  # fmt: skip
    found = list_items(sorted(files), CompetitionOptions(**fields), tmp_path)
    assert found.classes == ["call", "text", "wave"]
    assert found.labels["video"].tolist() == [f"SEQ_{n:02d}" for n in range(24)]
    assert found.files.groupby("split").size().to_dict() == {"test": 2, "train": 24}
    assert found.files["group"][found.files["split"] == "train"].nunique() == 6


TESTED_ROWS = [(f"T{n}_{k}", f"T{n}", k, f"S{n + 90}") for n in range(2) for k in range(9)]


def test_several_rows_of_a_sound_are_its_tags(tmp_path: Path) -> None:
    rows = [(one, tag) for n, one in enumerate(imitations.TRAIN) for tag in ((n % 3, 3), (n % 3,))[n % 2]]
    files = {
        **imitations.media([f"train/{one}.wav" for one in imitations.TRAIN]),
        **imitations.media([f"test/{one}.wav" for one in imitations.TEST]),
        "train_tp.csv": imitations.csv("recording_id,species_id", rows),
        "sample_submission.csv": imitations.csv(
            "recording_id,s0,s1,s2,s3", [(one, *"0000") for one in imitations.TEST]
        ),
    }
    fields = inferred(files, tmp_path).fields
    assert (fields["task"], fields["form"], fields["metric"]) == ("multilabel", "probabilities", "roc_auc")
    found = list_items(sorted(files), CompetitionOptions(**fields), tmp_path)
    assert dict(zip(found.labels["video"], found.labels["label"], strict=True)) == {
        one: (f"{n % 3}|3", f"{n % 3}")[n % 2] for n, one in enumerate(imitations.TRAIN)
    }
    assert "10 rows of train_tp.csv have an item once more, with the same label or all its tags" in found.notes


def test_a_folder_called_as_the_training_folder_and_more_is_a_copy(tmp_path: Path) -> None:
    files = {
        **imitations.media(f"{folder}/{n}.jpg" for folder in ("Train", "TrainDotted") for n in range(20)),
        **imitations.media(f"Test/{n}.jpg" for n in range(6)),
        "Train/train.csv": imitations.csv("train_id,males,pups", [(n, n % 7, n % 4) for n in range(20)]),
        "sample_submission.csv": imitations.csv("test_id,males,pups", [(n, 0, 0) for n in range(6)]),
    }
    found = inferred(files, tmp_path)
    assert found.fields["exclude"] == ["TrainDotted/*.jpg"]
    listing = list_images(
        [file for file in sorted(files) if not is_excluded(file, found.fields["exclude"])],
        CompetitionOptions(**found.fields),
        tmp_path,
    )
    assert listing.rows["path"].str.split("/").str[0].value_counts().to_dict() == {"Train": 20, "Test": 6}


@pytest.mark.parametrize("name", ["NumFlowers", "blobs"])
def test_counts_are_numbers_or_said_to_be_taken_for_classes(name: str, tmp_path: Path) -> None:
    counts = [str(n) for n in (0, 0, 0, *range(14))]
    found = inferred(
        imitations.flat("train/{}.png", "test/{}.png", "train.csv", f"id,{name}", counts, f"id,{name}", "0"), tmp_path
    )
    said = [note for note in found.notes if "14 whole numbers of blobs were taken for classes" in note]
    assert (found.fields.get("task"), bool(said)) == {"NumFlowers": ("regression", False), "blobs": (None, True)}[name]


def test_several_ids_of_an_item_are_refused_before_any_work(tmp_path: Path) -> None:
    parts = ("root", "vowel")
    files = {
        **imitations.media([f"train/a{n}.png" for n in range(12)] + [f"test/b{n}.png" for n in range(5)]),
        "train.csv": imitations.csv("image_id,root,vowel", [(f"a{n}", n % 3, n % 2) for n in range(12)]),
        "test.csv": imitations.csv(
            "image_id,row_id,component", [(f"b{n}", f"b{n}_{p}", p) for n in range(5) for p in parts]
        ),
        "sample_submission.csv": imitations.csv("row_id,target", [(f"b{n}_{p}", 0) for n in range(5) for p in parts]),
    }
    with pytest.raises(UserError, match=r"test.csv has several rows of an item, with an id in row_id each \(b0_root"):
        inferred(files, tmp_path)
    assert inferred(files, tmp_path, sample_submission=None, columns={"label": "root"}).fields["form"] == "name"


def test_pixels_in_a_cell_of_another_name_are_named(tmp_path: Path) -> None:
    cell = " ".join(str(n) for n in range(64))
    files = {"training.csv": imitations.csv("eye_x,Image", [(1.5, cell), (2.5, cell)])}
    with pytest.raises(UserError, match=r"training.csv holds images or series as lists of numbers in Image.*pixels"):
        inferred(files, tmp_path)


def test_a_metric_of_tags_is_refused_for_numbers_that_were_measured(tmp_path: Path) -> None:
    files = imitations.flat("t/{}.png", "test/{}.png", "train.csv", "id,left", ["5.5", "7", "8"], "id,left", "0")
    with pytest.raises(
        UserError, match=r"left of train.csv has numbers, as 5.5.*; competition.metric=f2_samples is of tags"
    ):
        inferred(files, tmp_path, metric="f2_samples")
    assert inferred(files, tmp_path, metric="mae").fields["task"] == "regression"


@pytest.mark.parametrize(("grades", "said"), [("012", 0), ("0124", 1), ("1234", 1), ("01", 0)])
def test_an_order_with_gaps_is_said_to_be_taken_for_classes(grades: str, said: int, tmp_path: Path) -> None:
    files = imitations.flat("t/{}.png", "test/{}.png", "train.csv", "id,grade", grades, "id,grade", "1")
    assert len([note for note in inferred(files, tmp_path).notes if "as an order" in note]) == said


def test_a_class_of_the_sample_that_no_item_has_is_said_of_ranks(tmp_path: Path) -> None:
    notes = inferred(imitations.whales(), tmp_path).notes
    assert [note for note in notes if "no item has the label new_individual, of the sample" in note]
