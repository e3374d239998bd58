"""Imitations of competitions, exact in the names of files and columns: enough to infer fields and to list items.

Each is path -> text of the files; the media are empty.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

Files = dict[str, str]
COUNT = 20  # items to train on, and
ASKED = 6  # to classify


def write(files: Files, root: Path) -> list[str]:
    """Write an imitation; returns its files, sorted."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return sorted(files)


def csv(header: str, rows: Iterable[Sequence[object]], separator: str = ",") -> str:
    """A CSV with this header, itself written with commas."""
    lines = [header.split(","), *rows]
    return "".join(separator.join(map(str, line)) + "\n" for line in lines)


def media(names: Iterable[str]) -> Files:
    """Empty files."""
    return dict.fromkeys(names, "")


def ids(prefix: str, count: int) -> list[str]:
    """Names such as `a0f3b7`, in another order than that of text."""
    return [f"{prefix}{(7919 * (number + 3)) % 10007:05d}" for number in range(count)]


TRAIN, TEST = ids("a", COUNT), ids("b", ASKED)


def flat(
    train: str,
    test: str,
    labels: str,
    header: str,
    values: Sequence[str],
    asked: str,
    answer: str,
    *,
    named: bool = False,
) -> Files:
    """Items in two folders (`train/{}.jpg`), a CSV of labels, and a sample submission by stem, or by name."""
    names = (lambda pattern, one: pattern.format(one).split("/")[-1]) if named else (lambda _, one: one)
    return {
        **media([train.format(one) for one in TRAIN] + [test.format(one) for one in TEST]),
        labels: csv(header, [(names(train, one), values[n % len(values)]) for n, one in enumerate(TRAIN)]),
        "sample_submission.csv": csv(asked, [(names(test, one), answer) for one in TEST]),
    }


# --- those that have a YAML ---------------------------------------------------------------------------------------


def dogs_vs_cats() -> Files:
    """The label in the name of a file; a probability."""
    train = [f"train/{name}.{number}.jpg" for name in ("cat", "dog") for number in range(COUNT // 2)]
    sample = csv("id,label", [(number, 0.5) for number in range(1, ASKED + 6)])
    return {**media(train), **media(f"test/{n}.jpg" for n in range(1, ASKED + 6)), "sample_submission.csv": sample}


def digit_recognizer() -> Files:
    """Pixels in a CSV."""
    pixels = ",".join(f"pixel{number}" for number in range(784))
    blank = ["0"] * 784
    return {
        "train.csv": csv(f"label,{pixels}", [(number % 10, *blank) for number in range(COUNT)]),
        "test.csv": csv(pixels, [blank] * ASKED),
        "sample_submission.csv": csv("ImageId,Label", [(number, 0) for number in range(1, ASKED + 1)]),
    }


def cassava_leaf_disease() -> Files:
    """Ids with the suffix, records of TensorFlow beside, one image to classify."""
    files = flat("train_images/{}.jpg", "test_images/{}.jpg", "train.csv", "image_id,label", "01234", "image_id,label",
                 "4", named=True)  # fmt: skip
    for one in TEST[1:]:
        del files[f"test_images/{one}.jpg"]
    names = json.dumps({"0": "Bacterial Blight (CBB)", "1": "Brown Streak Disease (CBSD)", "2": "Green Mottle (CGM)",
                        "3": "Mosaic Disease (CMD)", "4": "Healthy"})  # fmt: skip
    return {
        **files,
        "sample_submission.csv": csv("image_id,label", [(f"{TEST[0]}.jpg", 4)]),
        "label_num_to_disease_map.json": names,
        **media(["train_tfrecords/ld_train00-1338.tfrec", "test_tfrecords/ld_test00-1.tfrec"]),
    }


def aptos2019_blindness() -> Files:
    """Grades; ids without the suffix."""
    files = flat("train_images/{}.png", "test_images/{}.png", "train.csv", "id_code,diagnosis", "01234",
                 "id_code,diagnosis", "0")  # fmt: skip
    return {**files, "test.csv": csv("id_code", [(one,) for one in TEST])}


def plant_pathology_2020() -> Files:
    """One-hot columns, all images in one folder, a list of those to classify."""
    header = "image_id,healthy,multiple_diseases,rust,scab"
    rows = [(f"Train_{n}", *(int(n % 4 == k) for k in range(4))) for n in range(COUNT)]
    return {
        **media(f"images/Train_{n}.jpg" for n in range(COUNT)),
        **media(f"images/Test_{n}.jpg" for n in range(ASKED)),
        "train.csv": csv(header, rows),
        "test.csv": csv("image_id", [(f"Test_{n}",) for n in range(ASKED)]),
        "sample_submission.csv": csv(header, [(f"Test_{n}", *[0.25] * 4) for n in range(ASKED)]),
    }


def histopathologic_cancer() -> Files:
    """0 or 1, whose probability is asked for."""
    return flat("train/{}.tif", "test/{}.tif", "train_labels.csv", "id,label", "01", "id,label", "0")


def dog_breed() -> Files:
    """A column a class."""
    breeds = ("affenpinscher", "afghan_hound", "boxer", "yorkshire_terrier")
    files = flat("train/{}.jpg", "test/{}.jpg", "labels.csv", "id,breed", breeds, "id,breed", "")
    sample = csv(f"id,{','.join(breeds)}", [(one, *[0.25] * 4) for one in TEST])
    return {**files, "sample_submission.csv": sample}


def siim_isic_melanoma() -> Files:
    """Patients; a second format, DICOM, of which the header is all that is drawn."""
    header = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"
    facts = ("male", "45.0", "torso", "unknown")
    rows = [
        (one, f"IP_{n // 3}", *facts, ("benign", "malignant")[n % 5 == 0], int(n % 5 == 0))
        for n, one in enumerate(TRAIN)
    ]
    return {
        **media(f"jpeg/train/{one}.jpg" for one in TRAIN),
        **media(f"jpeg/test/{one}.jpg" for one in TEST),
        **media(f"train/{one}.dcm" for one in TRAIN),
        **media(f"test/{one}.dcm" for one in TEST),
        "train.csv": csv(header, rows),
        "test.csv": csv("image_name,patient_id,sex,age_approx,anatom_site_general_challenge",
                        [(one, f"IP_9{n // 2}", *facts[:3]) for n, one in enumerate(TEST)]),
        "sample_submission.csv": csv("image_name,target", [(one, 0) for one in TEST]),
    }  # fmt: skip


def state_farm_drivers() -> Files:
    """Class folders, and a table that knows the drivers."""
    rows = [(f"p{n % 7:03d}", f"c{n % 10}", f"img_{n * 37}.jpg") for n in range(4 * COUNT)]
    asked = [f"img_{n}.jpg" for n in range(1, ASKED + 1)]
    return {
        **media(f"imgs/train/{name}/{file}" for _, name, file in rows),
        **media(f"imgs/test/{file}" for file in asked),
        "driver_imgs_list.csv": csv("subject,classname,img", rows),
        "sample_submission.csv": csv(f"img,{','.join(f'c{k}' for k in range(10))}", [(f, *[0.1] * 10) for f in asked]),
    }


def deepfake_detection() -> Files:
    """A JSON of labels; the video that a fake was made from."""
    about = {}
    for number in range(COUNT):
        original = f"{TRAIN[number - number % 3]}.mp4"
        about[f"{TRAIN[number]}.mp4"] = {
            "label": "FAKE" if number % 3 else "REAL", "split": "train", "original": original if number % 3 else None
        }  # fmt: skip
    return {
        **media(f"train_sample_videos/{file}" for file in about),
        "train_sample_videos/metadata.json": json.dumps(about),
        **media(f"test_videos/{one}.mp4" for one in TEST),
        "sample_submission.csv": csv("filename,label", [(f"{one}.mp4", 0.5) for one in TEST]),
    }


def plant_pathology_2021() -> Files:
    """Tags."""
    values = ("scab", "healthy", "rust", "scab rust")
    return flat("train_images/{}.jpg", "test_images/{}.jpg", "train.csv", "image,labels", values, "image,labels",
                "healthy", named=True)  # fmt: skip


def humpback() -> Files:
    """Five answers an image."""
    values = ["new_whale", *(f"w_{n}" for n in range(COUNT))]
    return flat("train/{}.jpg", "test/{}.jpg", "train.csv", "Image,Id", values, "Image,Id", "new_whale w_1 w_2 w_3 w_4",
                named=True)  # fmt: skip


def planet() -> Files:
    """Tags, few of which recur."""
    values = ("haze primary", "clear primary", "cloudy", "clear agriculture primary")
    return flat("train-jpg/{}.jpg", "test-jpg/{}.jpg", "train_v2.csv", "image_name,tags", values, "image_name,tags",
                "primary clear agriculture road water")  # fmt: skip


def petfinder() -> Files:
    """Numbers, and what is in the pictures as 0 and 1, among it whether it is a group."""
    header, facts = "Id,Subject Focus,Face,Group,Blur", [(n % 2, n % 3 % 2, n % 4 % 2, n % 5 % 2) for n in range(COUNT)]
    files = flat("train/{}.jpg", "test/{}.jpg", "train.csv", "Id,Pawpularity", "1", "Id,Pawpularity", "38.5")
    return {
        **files,
        "train.csv": csv(f"{header},Pawpularity", [(one, *facts[n], 20 + n % 12) for n, one in enumerate(TRAIN)]),
        "test.csv": csv(header, [(one, *facts[n]) for n, one in enumerate(TEST)]),
    }


LISTED: dict[str, Callable[[], Files]] = {
    made.__name__: made
    for made in (
        dogs_vs_cats, digit_recognizer, cassava_leaf_disease, aptos2019_blindness, plant_pathology_2020,
        histopathologic_cancer, dog_breed, siim_isic_melanoma, state_farm_drivers, deepfake_detection,
        plant_pathology_2021, humpback, planet, petfinder,
    )
}  # fmt: skip


# --- those that have none -----------------------------------------------------------------------------------------


def career_con() -> Files:
    """All series in one CSV, labels and groups in another."""
    header = "row_id,series_id,measurement_number,orientation_X,orientation_Y"

    def series(count: int) -> str:
        return csv(header, [(f"{s}_{t}", s, t, s + t, s - t) for s in range(count) for t in range(8)])

    return {
        "X_train.csv": series(COUNT),
        "y_train.csv": csv(
            "series_id,group_id,surface", [(s, s // 3, ("wood", "carpet")[s % 2]) for s in range(COUNT)]
        ),
        "X_test.csv": series(ASKED),
        "sample_submission.csv": csv("series_id,surface", [(s, "wood") for s in range(ASKED)]),
    }


def aerial_cactus() -> Files:
    """Ids with the suffix, a probability."""
    return flat("train/{}.jpg", "test/{}.jpg", "train.csv", "id,has_cactus", "01", "id,has_cactus", "0.5", named=True)


def g2net() -> Files:
    """Arrays in nested folders."""
    return flat("train/{0[1]}/{0[2]}/{0}.npy", "test/{0[1]}/{0[2]}/{0}.npy", "training_labels.csv", "id,target", "01",
                "id,target", "0.5")  # fmt: skip


def plant_seedlings() -> Files:
    """Class folders whose names have blanks; ids with the suffix."""
    classes = ("Black-grass", "Common Chickweed", "Common wheat")
    return {
        **media(f"train/{classes[n % 3]}/{one}.png" for n, one in enumerate(TRAIN)),
        **media(f"test/{one}.png" for one in TEST),
        "sample_submission.csv": csv("file,species", [(f"{one}.png", "Common wheat") for one in TEST]),
    }


def intel_scenes() -> Files:
    """No sample submission, folders in folders of the same name."""
    return {
        **media(f"seg_train/seg_train/{('forest', 'sea')[n % 2]}/{n}.jpg" for n in range(COUNT)),
        **media(f"seg_test/seg_test/{('forest', 'sea')[n % 2]}/{n}.jpg" for n in range(ASKED)),
        **media(f"seg_pred/seg_pred/{n}.jpg" for n in range(ASKED)),
    }


def kannada_mnist() -> Files:
    """Pixels in a CSV, whose test has ids from 0."""
    pixels = ",".join(f"pixel{number}" for number in range(1, 785))
    blank = ["0"] * 784
    return {
        "train.csv": csv(f"label,{pixels}", [(number % 10, *blank) for number in range(COUNT)]),
        "test.csv": csv(f"id,{pixels}", [(number, *blank) for number in range(ASKED)]),
        "sample_submission.csv": csv("id,label", [(number, 0) for number in range(ASKED)]),
    }


def several_tables() -> Files:
    """Labels with folds, a part of them, and a README beside the labels."""
    files = flat("train/{}.jpg", "test/{}.jpg", "train.csv", "image_id,label", ("a", "b"), "image_id,label", "a")
    rows = [(n, one, "ab"[n % 2], n % 5) for n, one in enumerate(TRAIN)]
    return {
        **files,
        "train_folds.csv": csv("Unnamed: 0,image_id,label,fold", rows),
        "validation.csv": csv("image_id,label", [row[1:3] for row in rows[:4]]),
        "README.csv": csv("column,meaning", [("image_id", "the image"), ("label", "its class")]),
    }


def padded_numbers() -> Files:
    """Numbers in the tables, and with zeros before them in the names of files; semicolons and a byte order mark."""
    train, test = [2 * n + 1 for n in range(COUNT)], [2 * n for n in range(ASKED)]
    return {
        **media(f"images/{n:06d}.PNG" for n in train + test),
        "Train.CSV": "\ufeff" + csv("id,width,height,url,label", [(n, 64, 64, "http://a/b", ["cat", "dog"][n % 4 // 2])
                                                                for n in train], ";"),
        "sample_submission.csv": csv("id,label", [(n, "cat") for n in test[::-1]]),
    }  # fmt: skip


def floating_labels() -> Files:
    """0.0 and 1.0, an index without a name, boxes."""
    files = flat("train/{}.jpg", "test/{}.jpg", "train.csv", "id,label", "01", "id,label", "0")
    rows = [(n, one, 1, 2, 30, 40, f"{n % 2}.0") for n, one in enumerate(TRAIN)]
    return {**files, "train.csv": csv(",id,x,y,w,h,label", rows)}


def two_stages() -> Files:
    """A sample submission of each stage; sub-folders in the test."""
    files = flat(
        "train/{}.jpg", "test/{0[1]}/{0}.jpg", "train.csv", "image,kind", ("Type_1", "Type_2"), "image,kind", ""
    )
    del files["sample_submission.csv"]
    rows = [(one, 0.5, 0.5) for one in TEST]
    return {
        **files,
        "sample_submission_stage1.csv": csv("image,Type_1,Type_2", rows[:3]),
        "sample_submission_stage2.csv": csv("image,Type_1,Type_2", rows),
    }


def masks_beside() -> Files:
    """A folder of masks of the same names, and class folders with a mask beside each image."""
    files = flat("train/images/{}.png", "test/images/{}.png", "train.csv", "id,label", ("a", "b"), "id,label", "a")
    return {**files, **media(f"train/masks/{one}.png" for one in TRAIN)}


def masks_in_classes() -> Files:
    """A mask beside each image of a class folder."""
    names = [f"{('benign', 'malignant')[n % 2]}/x ({n})" for n in range(COUNT)]
    return media([f"Dataset/{name}.png" for name in names] + [f"Dataset/{name}_mask.png" for name in names])


def two_formats() -> Files:
    """The same images as PNG and JPEG, to train on and to classify."""
    files = flat("train/{}.jpg", "test/{}.jpg", "train.csv", "id,label", ("a", "b"), "id,label", "b")
    return {**files, **media([f"png/train/{one}.png" for one in TRAIN] + [f"png/test/{one}.png" for one in TEST])}


def absent_class() -> Files:
    """A class that only the sample submission names, in another case than the labels."""
    files = flat("train/{}.jpg", "test/{}.jpg", "train.csv", "id,animal", ("Cat", "Dog"), "id,animal", "")
    return {**files, "sample_submission.csv": csv("id,cat,dog,owl", [(one, 0.3, 0.3, 0.4) for one in TEST])}


def ids_in_a_list() -> Files:
    """Ids that only a list of the test items knows."""
    files = flat("train/{}.jpg", "test/{}.jpg", "train.csv", "image,label", ("a", "b"), "number,label", "a")
    return {
        **files,
        "train.csv": csv("number,image,label", [(100 + n, f"{one}.jpg", "ab"[n % 2]) for n, one in enumerate(TRAIN)]),
        "test.csv": csv("number,image", [(n, f"{one}.jpg") for n, one in enumerate(TEST)]),
        "sample_submission.csv": csv("number,label", [(n, "a") for n in range(ASKED)]),
    }


def numbered_classes() -> Files:
    """Labels by name, answers by number, and a table that says which is which."""
    files = flat("train/{}.jpg", "test/{}.jpg", "train.csv", "id,label", ("zebra", "ape", "cow"), "id,label", "0")
    return {**files, "classes.csv": csv("class_id,class_name", enumerate(("zebra", "cow", "ape")))}


def numbered_columns(tags: int = 0) -> Files:
    """One-hot columns called 0 to 3, as pandas names them, above numbers that are names of images, too.

    tags: further ones in each row.
    """
    rows = [(n, *(int((k - n) % 4 <= tags) for k in range(4))) for n in range(COUNT)]
    return {
        **media([f"train/{n}.png" for n in range(COUNT)] + [f"test/{100 + n}.png" for n in range(ASKED)]),
        "train.csv": csv("id,0,1,2,3", rows),
        "sample_submission.csv": csv("id,0,1,2,3", [(100 + n, 0, 0, 0, 0) for n in range(ASKED)]),
    }


def numbered_tags() -> Files:
    """The same with two tags in each row."""
    return numbered_columns(tags=1)


def spaced_ids() -> Files:
    """Ids with blanks, from a folder of its own in the list of labels."""
    names = [f"leaf {n} (1)" for n in range(COUNT + ASKED)]
    rows = [
        (f"../input/leaves/images/{name}.JPEG", ("Black rot", "Leaf scab")[n % 2])
        for n, name in enumerate(names[:COUNT])
    ]
    return {
        **media(f"images/{name}.JPEG" for name in names),
        "train.csv": csv("path,disease", rows),
        "sample_submission.csv": csv("image,disease", [(name, "Black rot") for name in names[COUNT:]]),
    }


def one_hot_in_one_column() -> Files:
    """One-hot columns, answers by name."""
    rows = [(one, *(int(n % 3 == k) for k in range(3))) for n, one in enumerate(TRAIN)]
    files = flat("train/{}.jpg", "test/{}.jpg", "train.csv", "id,label", "ab", "id,label", "ash")
    return {**files, "train.csv": csv("id,ash,elm,oak", rows)}


def prefixed_columns() -> Files:
    """Columns of the sample submission that have one prefix more than the labels."""
    files = flat("train/{}.jpg", "test/{}.jpg", "train.csv", "id,kind", ("1", "2", "3"), "id,kind", "")
    return {**files, "sample_submission.csv": csv("id,class1,class2,class3", [(one, 0, 0, 1) for one in TEST])}


def wheat_boxes() -> Files:
    """Boxes."""
    return flat("train/{}.jpg", "test/{}.jpg", "train.csv", "image_id,bbox", ('"[1, 2]"', '"[3, 4]"'),
                "image_id,PredictionString", "1.0 0 0 50 50")  # fmt: skip


def grades_from_one() -> Files:
    """1.0 to 5.0, answered by whole numbers."""
    return flat(
        "train/{}.jpg", "test/{}.jpg", "train.csv", "id,grade", [f"{n}.0" for n in range(1, 6)], "id,grade", "1"
    )


def numbers_in_every_class() -> Files:
    """Class folders with the same numbers, which the test has, too."""
    train = [f"train/{name}/{n}.png" for name in ("a", "b") for n in range(COUNT // 2)]
    sample = csv("id,a,b", [(n, 0.5, 0.5) for n in range(ASKED)])
    return {**media(train), **media(f"test/{n}.png" for n in range(ASKED)), "sample_submission.csv": sample}


def cell_images() -> Files:
    """Class folders, and all of them a second time beside themselves; the copy comes first as text."""
    names = [f"{('Parasitized', 'Uninfected')[n % 2]}/C{n}_cell.png" for n in range(COUNT)]
    return media([f"cells/{name}" for name in names] + [f"cells/cells/{name}" for name in names])


def blood_cells() -> Files:
    """Class folders in the training folder of one of two datasets; a third of a few tests."""
    inner = "dataset2-master/dataset2-master/images"
    kinds = ("EOSINOPHIL", "LYMPHOCYTE")
    return {
        **media(f"{inner}/TRAIN/{kinds[n % 2]}/_{n}.jpeg" for n in range(COUNT)),
        **media(f"{inner}/TEST/{kinds[n % 2]}/_{n}.jpeg" for n in range(ASKED)),
        **media(f"{inner}/TEST_SIMPLE/{kinds[n % 2]}/_{n}.jpeg" for n in range(2)),
        **media(f"dataset-master/dataset-master/JPEGImages/BloodImage_{n}.jpg" for n in range(4)),
        "dataset-master/dataset-master/labels.csv": csv(",Image,Category", [(n, n, "NEUTROPHIL") for n in range(4)]),
    }


def speech_commands() -> Files:
    """Class folders of sounds below another, long noises beside them, and an answer that no sound has."""
    words = ("yes", "no", "up", "bed")
    return {
        **media(f"train/audio/{words[n % 4]}/{one}_nohash_0.wav" for n, one in enumerate(TRAIN)),
        **media(f"train/audio/_background_noise_/{name}.wav" for name in ("doing_the_dishes", "white_noise")),
        **media(["train/audio/_background_noise_/README.md", "train/LICENSE", "train/testing_list.txt"]),
        **media(f"test/audio/clip_{one}.wav" for one in TEST),
        "sample_submission.csv": csv("fname,label", [(f"clip_{one}.wav", "silence") for one in TEST]),
    }


def skin_lesions() -> Files:
    """Images in two parts, several of a lesion; the same images as pixels."""
    rows = [(f"HAM_{n // 2}", one, ("nv", "mel")[n // 2 % 2], "histo", 50.0, "male", ("scalp", "face")[n % 2])
            for n, one in enumerate(TRAIN)]  # fmt: skip
    pixels = ",".join(f"pixel{number:04d}" for number in range(64))
    return {
        **media(f"HAM10000_images_part_{1 + n % 2}/{one}.jpg" for n, one in enumerate(TRAIN)),
        "HAM10000_metadata.csv": csv("lesion_id,image_id,dx,dx_type,age,sex,localization", rows),
        "hmnist_8_8_L.csv": csv(f"{pixels},label", [[0] * 65] * COUNT),
    }


def sign_language() -> Files:
    """Pixels in CSVs, also in folders of their own, and pictures of the signs beside them."""
    pixels = ",".join(f"pixel{number}" for number in range(1, 65))

    def table(count: int) -> str:
        return csv(f"label,{pixels}", [(n % 5, *["0"] * 64) for n in range(count)])

    return {
        **{f"{folder}sign_mnist_train.csv": table(COUNT) for folder in ("", "sign_mnist_train/")},
        **{f"{folder}sign_mnist_test.csv": table(ASKED) for folder in ("", "sign_mnist_test/")},
        **media(["amer_sign2.png", "amer_sign3.png", "american_sign_language.PNG"]),
    }


def urban_sounds() -> Files:
    """Slices of recordings in folders of folds, with the times where they were cut out."""
    rows = [(f"{n // 4}-{n % 2}-0-{n}.wav", n // 4, n * 0.5, n * 0.5 + 4, 1, n // 4 + 1, n % 2, ("horn", "bark")[n % 2])
            for n in range(COUNT)]  # fmt: skip
    return {
        **media(f"fold{row[5]}/{row[0]}" for row in rows),
        "UrbanSound8K.csv": csv("slice_file_name,fsID,start,end,salience,fold,classID,class", rows),
    }


def sensor_sequences() -> Files:
    """All series in one CSV, which has their subjects, and labels in another."""
    header = "sequence,subject,step,sensor_00,sensor_01"

    def series(first: int, count: int) -> str:
        return csv(header, [(first + s, s // 3, t, s + t, s - t) for s in range(count) for t in range(8)])

    return {
        "train.csv": series(0, COUNT),
        "train_labels.csv": csv("sequence,state", [(s, s % 2) for s in range(COUNT)]),
        "test.csv": series(100, ASKED),
        "sample_submission.csv": csv("sequence,state", [(100 + s, 0) for s in range(ASKED)]),
    }


def hundred_sports() -> Files:
    """Paths, labels and splits in one CSV."""
    kinds = ("air hockey", "archery")
    counts = {"train": COUNT - 4, "test": ASKED, "valid": 4}
    rows = [
        (n % 2, f"{split}/{kinds[n % 2]}/{n:03d}.jpg", kinds[n % 2], split)
        for split in counts
        for n in range(counts[split])
    ]
    return {**media(row[1] for row in rows), "sports.csv": csv("class id,filepaths,labels,data set", rows)}


def fisheries() -> Files:
    """Two stages: the second asks for the files of the first by name, and for its own by path."""
    classes = ("ALB", "BET")
    stages = [f"img_{n:05d}.jpg" for n in range(900, 904)], [f"image_{n:05d}.jpg" for n in range(4)]
    asked = [*stages[0], *(f"test_stg2/{file}" for file in stages[1])]
    return {
        **media(f"train/train/{classes[n % 2]}/img_{n:05d}.jpg" for n in range(COUNT)),
        **media(f"test_stg1/test_stg1/{file}" for file in stages[0]),
        **media(f"test_stg2/{file}" for file in stages[1]),
        "sample_submission_stg1.csv": csv("image,ALB,BET", [(file, 0.5, 0.5) for file in stages[0]]),
        "sample_submission_stg2.csv": csv("image,ALB,BET", [(file, 0.5, 0.5) for file in asked]),
    }


def facial_expressions() -> Files:
    """All pixels of an image in one cell, blanks in the header, and splits of three names; an archive of the same."""
    usage = ["Training"] * COUNT + ["PublicTest"] * 3 + ["PrivateTest"] * (ASKED - 3)
    rows = [(n % 7, f" {name}", f" {' '.join('0' * 64)}") for n, name in enumerate(usage)]
    return {"icml_face_data.csv": csv("emotion, Usage, pixels", rows), "fer2013.tar.gz": ""}


def pixels_in_cells() -> Files:
    """All pixels of an image in one cell, and a test that has nothing but these."""
    blank = " ".join("0" * 64)
    return {
        "train.csv": csv("emotion,pixels", [(n % 7, blank) for n in range(COUNT)]),
        "test.csv": csv("pixels", [(blank,)] * ASKED),
        "sample_submission.csv": csv("id,emotion", [(n, 0) for n in range(1, ASKED + 1)]),
    }


def herbarium() -> Files:
    """COCO's JSON of nested images; ids of the test are the numbers of its files."""
    images = [{"id": 90 + n, "file_name": f"images/000/{n:02d}/{90 + n}.jpg", "license": 1} for n in range(COUNT)]
    notes = [{"id": n, "image_id": image["id"], "category_id": n % 3 * 5} for n, image in enumerate(images)]
    kinds = [{"id": number, "name": f"Acer {number}"} for number in (0, 5, 10)]
    asked = [{"id": n, "file_name": f"images/000/{n}.jpg"} for n in range(ASKED)]
    return {
        **media(f"nybg2020/train/{image['file_name']}" for image in images),
        **media(f"nybg2020/test/{image['file_name']}" for image in asked),
        "nybg2020/train/metadata.json": json.dumps({"annotations": notes, "categories": kinds, "images": images}),
        "nybg2020/test/metadata.json": json.dumps({"images": asked, "info": {}}),
        "sample_submission.csv": csv("Id,Predicted", [(n, 0) for n in range(ASKED)]),
    }


def proteins() -> Files:
    """Tags that are numbers."""
    return flat("train/{}.png", "test/{}.png", "train.csv", "Id,Target", ("16 0", "7", "0 3 21", "25", "16"),
                "Id,Predicted", "0")  # fmt: skip


def museum() -> Files:
    """Tags that are large numbers, and three of them in each answer."""
    values = ("51 616 734", "13 51", "616", "13 734 1092", "51 13 616")
    return flat("train/{}.png", "test/{}.png", "train.csv", "id,attribute_ids", values, "id,attribute_ids", "0 1 2")


CATHETERS = (
    "ETT - Abnormal",
    "ETT - Normal",
    "NGT - Incompletely Imaged",
    "CVC - Borderline",
    "Swan Ganz Catheter Present",
)


def catheters() -> Files:
    """A column of 0 and 1 for each tag, with blanks and hyphens in the names; patients."""
    rows = [(one, *(int((n + k) % (k + 2) == 0) for k in range(5)), f"p{n // 3}") for n, one in enumerate(TRAIN)]
    names = ",".join(CATHETERS)
    return {
        **media([f"train/{one}.jpg" for one in TRAIN] + [f"test/{one}.jpg" for one in TEST]),
        "train.csv": csv(f"StudyInstanceUID,{names},PatientID", rows),
        "sample_submission.csv": csv(f"StudyInstanceUID,{names}", [(one, *[0] * 5) for one in TEST]),
    }


def retinopathy() -> Files:
    """Grades, of which the sample has one alone."""
    return flat("train/{}.jpeg", "test/{}.jpeg", "trainLabels.csv", "image,level", "01234", "image,level", "0")


def bone_ages() -> Files:
    """Ages in months beside the sex, and nothing that is asked for."""
    rows = [(1377 + n, 12 + 7 * n % 200, n % 2 == 0) for n in range(COUNT)]
    return {
        **media(f"train/{row[0]}.png" for row in rows),
        **media(f"test/{4360 + n}.png" for n in range(ASKED)),
        "train.csv": csv("id,boneage,male", rows),
        "test.csv": csv("Case ID,Sex", [(4360 + n, "MF"[n % 2]) for n in range(ASKED)]),
    }


def crowds() -> Files:
    """Counts, which recur."""
    return flat("frames/{}.jpg", "test/{}.jpg", "labels.csv", "id,count", [str(n) for n in range(13, 27)], "id,count",
                "0")  # fmt: skip


def keypoints() -> Files:
    """A column for each coordinate."""
    names = "left_eye_center_x,left_eye_center_y,nose_tip_x"
    return {
        **media([f"train/{one}.png" for one in TRAIN] + [f"test/{one}.png" for one in TEST]),
        "training.csv": csv(f"image,{names}", [(one, n + 0.5, n % 7 + 0.25, n) for n, one in enumerate(TRAIN)]),
        "sample_submission.csv": csv(f"image,{names}", [(one, 0, 0, 0) for one in TEST]),
    }


def brain_votes() -> Files:
    """Votes of experts, and shares that sum to 1 in the answers."""
    names = "seizure_vote,lpd_vote,gpd_vote,other_vote"
    return {
        **media([f"train/{one}.png" for one in TRAIN] + [f"test/{one}.png" for one in TEST]),
        "train.csv": csv(
            f"eeg_id,patient_id,{names}", [(one, n // 3, n % 4, 1, 0, n % 3) for n, one in enumerate(TRAIN)]
        ),
        "sample_submission.csv": csv(f"eeg_id,{names}", [(one, *[0.25] * 4) for one in TEST]),
    }


def stroke_clots() -> Files:
    """Several images of a patient, whose answer is asked for; of the few to classify, one each."""
    slides = [
        (f"{one}_{n}", 4, one, n, ("CE", "LAA")[k % 2]) for k, one in enumerate(TRAIN[: COUNT // 2]) for n in (0, 1)
    ]
    asked = [(f"{one}_0", 4, one, 0) for one in TEST]
    return {
        **media([f"train/{row[0]}.tif" for row in slides] + [f"test/{row[0]}.tif" for row in asked]),
        "train.csv": csv("image_id,center_id,patient_id,image_num,label", slides),
        "test.csv": csv("image_id,center_id,patient_id,image_num", asked),
        "sample_submission.csv": csv("patient_id,CE,LAA", [(one, 0.5, 0.5) for one in TEST]),
    }


def mammograms() -> Files:
    """Two images of each breast, whose id the list of the test has alone."""
    views = [(p, 1000 * p + n, "LR"[n // 2], ("CC", "MLO")[n % 2]) for p in range(8) for n in range(4)]
    train, asked = views[:COUNT], views[COUNT:]
    files = [f"train_images/{row[0]}/{row[1]}.dcm" for row in train] + [f"test_images/{r[0]}/{r[1]}.dcm" for r in asked]
    ids = dict.fromkeys(f"{row[0]}_{row[2]}" for row in asked)
    return {
        **media(files),
        "train.csv": csv("site_id,patient_id,image_id,laterality,view,age,cancer,biopsy",
                         [(2, *row, 61.0, row[0] % 2, 0) for row in train]),
        "test.csv": csv("site_id,patient_id,image_id,laterality,view,age,machine_id,prediction_id",
                        [(2, *row, 61.0, 49, f"{row[0]}_{row[2]}") for row in asked]),
        "sample_submission.csv": csv("prediction_id,cancer", [(one, 0.0211) for one in ids]),
    }  # fmt: skip


def brain_scans() -> Files:
    """Folders of slices, which labels and answers name."""
    return {
        **media(f"train/{n:05d}/FLAIR/Image-{k}.png" for n in range(COUNT // 2) for k in (1, 2)),
        **media(f"test/{n:05d}/FLAIR/Image-{k}.png" for n in range(90, 90 + ASKED) for k in (1, 2)),
        "train_labels.csv": csv("BraTS21ID,MGMT_value", [(f"{n:05d}", n % 2) for n in range(COUNT // 2)]),
        "sample_submission.csv": csv("BraTS21ID,MGMT_value", [(f"{n:05d}", 0.5) for n in range(90, 90 + ASKED)]),
    }


def pets() -> Files:
    """Several photos of a pet, called after it, and tables in the folders of the splits."""
    header = "Type,Age,PetID,AdoptionSpeed"
    return {
        **media(f"train_images/{one}-{k}.jpg" for one in TRAIN[: COUNT // 2] for k in (1, 2)),
        **media(f"test_images/{one}-{k}.jpg" for one in TEST for k in (1, 2)),
        "train/train.csv": csv(header, [(1 + n % 2, n, one, n % 5) for n, one in enumerate(TRAIN[: COUNT // 2])]),
        "test/test.csv": csv("Type,Age,PetID", [(1, n, one) for n, one in enumerate(TEST)]),
        "test/sample_submission.csv": csv("PetID,AdoptionSpeed", [(one, 4) for one in TEST]),
    }


def machine_states() -> Files:
    """Series by number, from 1 in each folder, labelled in a JSON with the machine of each."""
    names, states = [f"{n + 1:03d}" for n in range(COUNT)], ("fine", "worn, loose")
    rows = [{"file": f"{one}.csv", "state": states[n % 2], "machine": n // 3} for n, one in enumerate(names)]
    return {
        **{f"train/{one}.csv": csv("t,x", [(0, 1), (1, 2)]) for one in names},
        **{f"test/{one}.csv": csv("t,x", [(0, 1), (1, 2)]) for one in names[:ASKED]},
        "about.json": json.dumps(rows),
        "sample_submission.csv": csv("recording,state", [(one, "fine") for one in names[:ASKED]]),
    }


def whales() -> Files:
    """The individuals to be ranked, and their species, in the table of labels."""
    names = [f"{n:012x}" for n in range(7)]
    files = flat("train_images/{}.jpg", "test_images/{}.jpg", "train.csv", "image,label", "ab", "image,predictions",
                 " ".join([*names[:4], "new_individual"]), named=True)  # fmt: skip
    rows = [(f"{one}.jpg", ("beluga", "orca")[n % 2], names[n % 7]) for n, one in enumerate(TRAIN)]
    return {**files, "train.csv": csv("image,species,individual_id", rows)}


def hotels() -> Files:
    """Numbers to be ranked."""
    values = [str(211 * n + 1000) for n in range(8)]
    return flat("train_images/{}.jpg", "test_images/{}.jpg", "train.csv", "image,hotel_id", values, "image,hotel_id",
                " ".join(values[:5]), named=True)  # fmt: skip


def plant_traits() -> Files:
    """Numbers whose columns in the sample submission are called otherwise than in the labels."""
    header = "id,WORLDCLIM_BIO1,X4_mean,X11_mean,X4_sd,X11_sd"
    files = flat("train_images/{}.jpeg", "test_images/{}.jpeg", "train.csv", "id,X4", "1", "id,X4", "")
    return {
        **files,
        "train.csv": csv(header, [(one, n, n / 7, 3 - n / 9, 0.1, 0.2) for n, one in enumerate(TRAIN)]),
        "test.csv": csv("id,WORLDCLIM_BIO1", [(one, n) for n, one in enumerate(TEST)]),
        "sample_submission.csv": csv("id,X4,X11", [(one, 1, 1) for one in TEST]),
    }


def traffic_signs() -> Files:
    """Frames of tracks, which are numbered in each class, and a table of the true classes of the test."""
    frames = [(k, t, n) for k in range(2) for t in range(5) for n in range(2)]
    return {
        **media(f"Train/{k}/{t:05d}_{n:05d}.png" for k, t, n in frames),
        **media(f"Test/{n:05d}.png" for n in range(ASKED)),
        "Test.csv": csv(
            "Width,Height,Roi.X1,ClassId,Path", [(29, 30, 5, n % 2, f"Test/{n:05d}.png") for n in range(ASKED)]
        ),
    }


def chest_xrays() -> Files:
    """People in the names of one class alone, and splits, one of them for validation."""
    ill = [f"person{n // 2}_{('virus', 'bacteria')[n % 2]}_{n}" for n in range(COUNT // 2)]
    return media(
        [f"chest_xray/train/PNEUMONIA/{name}.jpeg" for name in ill]
        + [f"chest_xray/train/NORMAL/IM-{115 + n:04d}-0001.jpeg" for n in range(COUNT // 2)]
        + [f"chest_xray/test/PNEUMONIA/person{n}_virus_{n}.jpeg" for n in range(ASKED)]
        + ["chest_xray/val/NORMAL/NORMAL2-IM-1427-0001.jpeg", "chest_xray/val/PNEUMONIA/person1946_bacteria_4874.jpeg"]
    )


def environmental_sounds() -> Files:
    """Classes by number and by name, folds, and the number of the class in the names of files."""
    names = ("dog", "crow", "rain", "hen")
    rows = [(f"{n % 5 + 1}-{1000 + n}-A-{n % 4}.wav", n % 5 + 1, n % 4, names[n % 4], n % 2 == 0) for n in range(COUNT)]
    return {
        **media(f"audio/{row[0]}" for row in rows),
        "meta/esc50.csv": csv("filename,fold,target,category,esc10", rows),
    }


def a_row_a_tag() -> Files:
    """A row for each tag of an image, some of two words."""
    files = flat("train/{}.jpg", "test/{}.jpg", "train.csv", "ImageId,Label", "a", "ImageId,Label", "flood")
    rows = [(one, tag) for n, one in enumerate(TRAIN) for tag in ("dry land", "flood", "fire")[: n % 3 + 1]]
    return {**files, "train.csv": csv("ImageId,Label", rows)}


def ages_in_names() -> Files:
    """Ages in the names of the files."""
    return media(f"UTKFace/{20 + n}_{n % 2}_{n}.jpg" for n in range(COUNT + 2))


UNLISTED: dict[str, Callable[[], Files]] = {
    made.__name__: made
    for made in (
        career_con, aerial_cactus, g2net, plant_seedlings, intel_scenes,
        kannada_mnist, several_tables, padded_numbers, floating_labels, two_stages, masks_beside, masks_in_classes,
        two_formats, absent_class, ids_in_a_list, numbered_classes, spaced_ids, one_hot_in_one_column, prefixed_columns,
        wheat_boxes, grades_from_one, numbers_in_every_class, cell_images, blood_cells, speech_commands,
        skin_lesions, sign_language, urban_sounds, sensor_sequences, hundred_sports, fisheries,
        facial_expressions, pixels_in_cells, herbarium, proteins, museum, catheters, retinopathy, bone_ages, crowds,
        keypoints, brain_votes, a_row_a_tag, stroke_clots, mammograms, brain_scans, pets, whales, hotels, plant_traits,
        traffic_signs, chest_xrays, environmental_sounds, machine_states, numbered_columns, numbered_tags,
    )
}  # fmt: skip
