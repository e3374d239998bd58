"""The page of predictions drawn by hand: what it counts, and that nothing in it leads outside or runs."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kagglepipe.predictions.frame import oof_frame
from kagglepipe.reports import looks
from kagglepipe.reports.activity import along, strips
from kagglepipe.reports.blocks import Explorer, Gallery, Matrix, Section, Table, Text
from kagglepipe.reports.failures import MOST_CARDS, Predicted, confusion, failures, threshold_counts
from kagglepipe.reports.learning import FoldFacts, learning
from kagglepipe.reports.looked_at import lay_over, looked
from kagglepipe.reports.looks import size_table
from kagglepipe.reports.page import Origin, Overview, model_card, origin, overview, render
from kagglepipe.reports.segments_found import Found, events_found, segments_found
from kagglepipe.reports.shift import by_class, facts_of
from kagglepipe.reports.thumbnails import Album, look, shrunk, thumbnail
from kagglepipe.segments.postprocess import FrameProbs

HOSTILE = "<script>alert(1)</script>\"' onerror=x {{ 7*7 }}.jpg"
VOID = {"meta", "input", "image", "use", "polyline", "circle", "rect", "br", "img"}


class Read(HTMLParser):
    """Checks that tags are closed in order; keeps attributes and the text of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def noise(id: str) -> np.ndarray:
    return np.random.default_rng(len(id)).integers(0, 255, (90, 60, 3)).astype(np.uint8)


def classes_of(rows: int = 60, names: tuple[str, ...] = ("cat", "dog", "owl"), wrong: int = 9) -> pd.DataFrame:
    """Predictions of which the first `wrong` rows name the next class."""
    truth = np.arange(rows) % len(names)
    named = np.where(np.arange(rows) < wrong, (truth + 1) % len(names), truth)
    probs = np.full((rows, len(names)), 0.2 / (len(names) - 1))
    probs[np.arange(rows), named] = 0.8
    ids = [f"{k}-{HOSTILE}" for k in range(rows)]
    return oof_frame(ids, np.arange(rows) % 5, [names[k] for k in truth], probs, names)


def tags_of(rows: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    probs = rng.uniform(size=(rows, 3))
    truth = rng.uniform(size=probs.shape) < probs
    targets = ["|".join(np.array(["a", "b", "c"])[row]) for row in truth]
    ids = [f"t{k}" for k in range(rows)]
    return oof_frame(ids, np.arange(rows) % 2, targets, probs, ["a", "b", "c"], "multilabel")


def numbers_of(rows: int = 40) -> pd.DataFrame:
    true = np.linspace(0, 10, rows)
    found = (true + np.where(np.arange(rows) == 7, 5.0, 0.1))[:, None]
    ids = [f"n{k}" for k in range(rows)]
    return oof_frame(ids, np.arange(rows) % 2, [repr(float(one)) for one in true], found, ["age"], "regression")


FRAMES = {
    "classes": classes_of,
    "two classes": lambda: classes_of(names=("no", HOSTILE)),
    "many classes": lambda: classes_of(120, tuple(f"c{k:02}" for k in range(40))),
    "tags": tags_of,
    "numbers": numbers_of,
}


def predicted(frame: pd.DataFrame, decision: dict[str, Any] | None = None) -> Predicted:
    from kagglepipe.predictions.frame import class_columns

    return Predicted(frame, class_columns(frame), decision)


def drawn_segments() -> Found:
    """A video in which one of two true segments is found, and its frames."""
    probs = np.where((np.arange(40) > 10) & (np.arange(40) < 20), 0.9, 0.1)[:, None]
    found = pd.DataFrame({"video": HOSTILE, "start": [1.1], "end": [2.0], "label": HOSTILE, "score": 0.9})
    truth = pd.concat([found, found.assign(start=3.0, end=3.5)], ignore_index=True)
    frames = pd.DataFrame({"id": [f"{HOSTILE}@{k}" for k in range(40)], "middle": np.arange(40) / 10 + 0.05})
    lines = {HOSTILE: FrameProbs(np.arange(40) / 10, 0.1, probs)}
    return Found(lines, [HOSTILE], found, truth, 0.5, frames={HOSTILE: frames})


def drawn_events() -> Found:
    """Two events, and three that are found."""
    truth = pd.DataFrame({"video": HOSTILE, "start": [10.0, 20.0], "end": [10.0, 20.0], "label": HOSTILE})
    found = pd.DataFrame({"video": HOSTILE, "start": [10.2, 15.0, 20.4], "label": HOSTILE, "score": [0.9, 0.8, 0.7]})
    lines = {HOSTILE: FrameProbs(np.arange(30.0), 1.0, np.full((30, 1), 0.5))}
    return Found(lines, [HOSTILE], found.assign(end=found["start"]), truth, None, (0.3, 0.5))


def drawn_along(album: Album) -> Section:
    """Gates and states of five units over 500 steps."""
    values = np.random.default_rng(0).uniform(-1, 1, (500, 5)).astype(np.float32)
    units = {"input gate": abs(values), "state": values}
    return along(np.arange(500) / 10, units, f"{HOSTILE}, seen.", [album.tile("first", name=HOSTILE)])


def page_of(frame: pd.DataFrame, images: int = 20) -> tuple[str, Album]:
    found, album = predicted(frame), Album(noise, images)
    facts = Overview(f"Task {HOSTILE}", "accuracy", [], ["A line"], [], [("Then:", "kagglepipe runs")])
    rows = pd.DataFrame({"id": frame["id"], "split": "train", "target": frame["target"], "width": 60, "height": 90})
    rows = rows.assign(key=rows["id"], sha256="0", format="JPEG", mode="RGB", group=rows["id"])
    log = pd.DataFrame({"epoch": [1, 2], "train_loss": [1.0, 0.5], "valid_loss": [1.1, 0.7], "lr": [0.1, 0.05]})
    folds = [FoldFacts(0, log, {"score": 0.5, "rows": 3})]
    last = failures(found, album)
    maps = {id: np.eye(7, dtype=np.float32) for id in list(album.ids)[:6]}
    lay_over(maps, album, "center", 0.9)
    seen = looked(maps, dict.fromkeys(maps, HOSTILE), album, HOSTILE, is_exact=True)
    sections = [overview(facts), looks.data(rows, None, album, found.task.name), learning(folds, [("seconds", "3")]),
                seen, last, segments_found(drawn_segments(), album), events_found(drawn_events()), drawn_along(album),
                origin(Origin({"Versions": [("torch", HOSTILE)]}))]  # fmt: skip
    return render(HOSTILE, sections, album), album


@pytest.mark.parametrize("name", FRAMES)
def test_a_page_of_each_task_is_whole_and_leads_nowhere(name: str) -> None:
    page, _ = page_of(FRAMES[name]())
    read = Read(page)
    assert not read.open
    assert len(read.scripts) == 1  # the page's own
    assert "alert(1)" not in read.scripts[0]
    for _, attributes in read.tags:
        assert not any(key.startswith("on") for key in attributes)
        for key in ("src", "href"):
            assert (attributes.get(key) or "#").startswith(("#", "data:image/jpeg;base64,", "data:image/png;base64,"))
    anchors = {value["id"] for _, value in read.tags if value.get("id")}
    assert {value["href"] for tag, value in read.tags if tag in ("a", "use")} <= {f"#{one}" for one in anchors}
    assert "49.jpg" not in page  # names are no templates
    assert "http" not in page


def test_sounds_have_lengths_and_no_sizes_in_pixels() -> None:
    """Of a sound they were its 64 bands and 1."""
    rows = pd.DataFrame({"video": list("aabc"), "begins": 0.0, "ends": [1.0, 1.0, 2.0, 4.0], "width": 64, "height": 1})
    (table,) = size_table(rows)
    assert (table.caption, [cells[1] for cells in table.rows]) == (
        "Lengths of files", ["1.00", "1.50", "2.00", "3.00", "4.00"],
    )  # fmt: skip
    _, sizes = size_table(rows.assign(height=48))  # of videos
    assert sizes.rows[0] == ("least", "64", "48")
    assert [table.caption for table in size_table(rows[["width"]].assign(height=48))] == ["Sizes in pixels"]


def test_large_numbers_are_written_as_people_write_them() -> None:
    rows = pd.DataFrame({"id": list("abcd"), "split": "train", "target": list("xxyy"), "width": 4000, "height": 3000})
    facts = facts_of(rows.assign(key=rows["id"], group=rows["id"], bytes=[10690, 10690, 2036, 2037]), [])
    (table,) = by_class(facts)
    assert table.rows == [("x", "4,000", "3,000", "1.333", "10,690"), ("y", "4,000", "3,000", "1.333", "2,036")]
    frame = oof_frame(["p", "q"], [0, 1], ["250000.0", "1250000.0"], np.array([[250000.0], [1250010.0]]), ["price"],
                      "regression")  # fmt: skip
    found = predicted(frame)
    assert found.named(found.truth) == ["250,000", "1,250,000"]
    page, _ = page_of(frame, images=0)
    assert "true 1,250,000, predicted 1,250,010" in page
    assert "e+0" not in page


@pytest.mark.parametrize("images", [0, 7])
def test_pictures_are_limited_and_each_is_stored_once(images: int) -> None:
    page, album = page_of(classes_of(), images)
    assert len(album.pictures) == images
    assert page.count("data:image/jpeg") == images
    assert page.count('<use href="#p') >= images


def test_cells_of_the_confusion_are_counted_and_each_has_a_card() -> None:
    section = failures(predicted(classes_of()), Album(None, 0))
    (matrix,) = [one for one in section.blocks if isinstance(one, Matrix)]
    assert matrix.counts == [[17, 3, 0], [0, 17, 3], [3, 0, 17]]
    (gallery,) = [one for one in section.blocks if isinstance(one, Gallery)]
    shown = {(card.given, card.answer) for card in gallery.cards}
    assert shown == {("cat", "dog"), ("dog", "owl"), ("owl", "cat"), ("cat", "cat"), ("dog", "dog"), ("owl", "owl")}
    assert [card.state for card in gallery.cards[:10]] == ["wrong"] * 9 + ["unsure"]
    assert gallery.cards[0].p == pytest.approx(0.1)


def confused(rows: int = 10_000, count: int = 25) -> pd.DataFrame:
    """Predictions of many classes in which every cell of the confusion matrix has rows, later ones fewer."""
    rng, names = np.random.default_rng(0), [f"c{k:02}" for k in range(count)]
    shares = np.linspace(2, 1, count**2)
    pairs = np.r_[np.arange(count**2), rng.choice(count**2, rows - count**2, p=shares / shares.sum())]
    probs = rng.uniform(0, 0.01, (rows, count))
    probs[np.arange(rows), pairs % count] = rng.uniform(0.5, 1, rows)
    probs /= probs.sum(axis=1, keepdims=True)
    targets = [names[k] for k in pairs // count]
    return oof_frame([f"i{k:05}" for k in range(rows)], np.arange(rows) % 5, targets, probs, names)


def test_every_cell_to_click_of_many_has_a_picture_the_largest_first() -> None:
    page, album = page_of(confused(), images=300)
    section = failures(predicted(confused()), Album(noise, 300))
    (matrix,) = [one for one in section.blocks if isinstance(one, Matrix)]
    seen = {(card.given, card.answer) for card in section.blocks[-1].cards if card.tile.number is not None}
    assert matrix.shown == seen
    assert len(seen) == 150
    rows = {(matrix.names[i], matrix.names[j]): n for i, row in enumerate(matrix.counts) for j, n in enumerate(row)}
    least, most = min(rows[cell] for cell in seen), max(n for cell, n in rows.items() if cell not in seen)
    assert least >= most > 0
    assert page.count('<button type="button" data-given=') == 150
    assert page.count("none of them on this page") == 625 - 150
    assert "475 with few rows, in brackets, have none on this page: report.images=1000" in page
    assert 200 < len(album.pictures) <= 300
    assert len(page.encode()) < 5_000_000


def test_the_confusion_is_scikit_learns() -> None:
    from sklearn.metrics import confusion_matrix

    rng = np.random.default_rng(0)
    truth, answers = rng.integers(0, 4, (2, 300))
    np.testing.assert_array_equal(confusion(truth, answers, 4), confusion_matrix(truth, answers))


def test_scores_of_classes_are_scikit_learns() -> None:
    from sklearn.metrics import average_precision_score, f1_score

    frame = classes_of()
    (table,) = [one for one in failures(predicted(frame), Album(None, 0)).blocks if isinstance(one, Table)]
    found = {row[0]: row for row in table.rows}
    truth = frame["target"] == "dog"
    answers = frame[["cat", "dog", "owl"]].idxmax(axis=1) == "dog"
    assert found["dog"][4].words.startswith(f"{f1_score(truth, answers):.3f} (")
    assert found["dog"][5].startswith(f"{average_precision_score(truth, frame['dog']):.3f} (")
    assert found["dog"][2].startswith("0.850 (0.640")


def test_kinds_of_errors_and_a_lane_a_class() -> None:
    section = segments_found(drawn_segments(), Album(None, 0))
    _, table, chart = section.blocks
    assert table.rows == [(HOSTILE, "1", "0", "0", "0", "0", "1")]
    assert chart.svg.count('class="truth"') == 2
    assert chart.svg.count('<rect class="dot') == 1


def test_frames_on_both_sides_of_the_ends_of_segments() -> None:
    *_, shelf = segments_found(drawn_segments(), Album(noise, 99)).blocks
    (missed, tiles), (right, others) = shelf.rows
    assert (missed, right) == (f"missed: {HOSTILE}, 3.00 to 3.50 s", f"right: {HOSTILE}, 1.10 to 2.00 s")
    assert [tile.name for tile in tiles] == ["before its start", "after its start", "before its end", "after its end"]
    assert [tile.words for tile in (*tiles, *others)] == [
        "2.95 s", "3.05 s", "3.45 s", "3.55 s", "1.05 s", "1.15 s", "1.95 s", "2.05 s"
    ]  # fmt: skip


def test_events_are_scored_by_class_and_as_opaque_as_their_score() -> None:
    _, table, chart = events_found(drawn_events()).blocks
    assert table.header[2:] == ("within 0.3", "within 0.5")
    assert table.rows == [(HOSTILE, "2", "0.500", "0.833")]  # found within 0.2 first, within 0.4 third
    assert re.findall(r'<rect class="dot s0".*? opacity="([\d.]+)"', chart.svg) == ["0.9", "0.8", "0.7"]
    assert chart.svg.count('class="truth"') == 2
    assert "guide" not in chart.svg


def test_hidden_units_are_ordered_by_when_they_move_and_signs_have_colours() -> None:
    states = np.zeros((3, 2), np.float32)
    states[2, 0], states[0, 1] = 1, -1  # the second unit moves first
    picture = strips(np.arange(3.0), {"state": states})
    blue, orange = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))))
        for uri in re.findall(r"data:image/png;base64,([^\"]+)", picture)
    )
    assert np.argwhere(blue[..., 3]).tolist() == [[1, 2]]
    assert np.argwhere(orange[..., 3]).tolist() == [[0, 0]]


def test_slices_by_metadata_come_with_the_largest_loss_first() -> None:
    frame = classes_of()
    rows = pd.DataFrame({"id": frame["id"], "split": "train", "format": np.where(np.arange(60) < 20, "PNG", "JPEG")})
    section = failures(predicted(frame), Album(None, 0), rows, "accuracy")
    (table,) = [one for one in section.blocks if isinstance(one, Table) and "Slices" in one.caption]
    assert [row[:4] for row in table.rows] == [("format", "PNG", "20", "0.5500"), ("format", "JPEG", "40", "1.0000")]


def test_thresholds_count_each_row_once() -> None:
    rng = np.random.default_rng(0)
    probs = rng.uniform(size=200).round(2)
    truth = rng.uniform(size=200) < probs
    counts = np.array(threshold_counts(probs, truth))
    assert (counts.sum(axis=1) == 200).all()
    assert counts[40].tolist() == [(truth & (probs >= 0.4)).sum(), (~truth & (probs >= 0.4)).sum(),
                                   (truth & (probs < 0.4)).sum(), (~truth & (probs < 0.4)).sum()]  # fmt: skip


def test_the_thresholds_of_the_page_are_its_counts() -> None:
    frame = tags_of()
    (block,) = [one for one in failures(predicted(frame), Album(None, 0)).blocks if isinstance(one, Explorer)]
    (form,) = [one for tag, one in Read(page_of(frame)[0]).tags if one.get("class") == "explorer"]
    assert json.loads(form["data-counts"] or "") == block.counts


def test_fitted_thresholds_of_tags_give_the_answers() -> None:
    frame = tags_of()
    decision = {"map": {"kind": "tags", "thresholds": [0.25, 0.75, 0.5], "needs_tag": False}}
    answers = predicted(frame, decision).answers
    np.testing.assert_array_equal(answers, frame[["a", "b", "c"]] >= [0.25, 0.75, 0.5])


def test_the_largest_error_of_numbers_comes_first() -> None:
    section = failures(predicted(numbers_of()), Album(None, 0))
    gallery = section.blocks[-1]
    assert gallery.cards[0].tile.name == "n7"
    assert gallery.cards[0].p == pytest.approx(5.0)
    (table,) = [one for one in section.blocks if isinstance(one, Table)]
    assert table.rows[0][1] == "0.2225"  # (39 · 0.1 + 5) / 40


def test_pictures_that_moved_are_said() -> None:
    def gone(id: str) -> np.ndarray:
        raise FileNotFoundError(2, "No such file", id)

    frame, album = classes_of(), Album(gone, 20)
    section = failures(predicted(frame), album)
    assert len(section.blocks[-1].cards) == 24
    rows = pd.DataFrame({"id": frame["id"], "split": "train", "target": frame["target"]}).assign(key=frame["id"])
    first = looks.data(rows, None, album, "multiclass").blocks[0]
    assert isinstance(first, Text)
    assert re.match(r"\d+ pictures are not shown, since they moved, changed or cannot be read", first.words)


def test_dark_blurred_and_odd_pictures_are_found() -> None:
    import cv2

    rng = np.random.default_rng(0)
    usual = [rng.integers(0, 255, (128, 128, 3)).astype(np.uint8) for _ in range(40)]
    pictures = {f"u{k}": one for k, one in enumerate(usual)}
    pictures |= {f"dark{k}": usual[k] // 12 for k in range(10)}
    pictures |= {f"blurred{k}": cv2.GaussianBlur(usual[k], (0, 0), 4) for k in range(10)}
    rows = pd.DataFrame({"id": list(pictures), "split": "train", "target": "a", "width": 128, "height": 128})
    rows.loc[rows["id"] == "u3", "height"] = 20
    section = looks.data(
        rows.assign(key=rows["id"], group=rows["id"], mode="RGB"), None, Album(pictures.__getitem__, 99), "multiclass"
    )
    shelf = dict(section.blocks[-1].rows)
    assert [tile.name for tile in shelf["odd shape"]] == ["u3"]
    assert {tile.name for tile in shelf["dark"]} == {f"dark{k}" for k in range(10)}
    assert {tile.name for tile in shelf["blurred"]} == {f"blurred{k}" for k in range(10)}


def test_what_is_left_of_a_blurred_picture_is_rounding_and_not_sharpness() -> None:
    """A ramp has no edges but those of whole numbers; twice its contrast leaves sharpness where it is."""
    ramp = np.linspace(100, 112, 128)[None, :, None] + np.linspace(0, 5, 128)[:, None, None] + np.zeros(3)
    assert look(np.rint(ramp).astype(np.uint8))[1] < 0.01
    drawn = np.random.default_rng(0).integers(100, 150, (16, 16, 3)).repeat(8, 0).repeat(8, 1)
    once, twice = (look((factor * (drawn - 100) + 20).astype(np.uint8))[1] for factor in (2, 4))
    assert once == pytest.approx(twice, rel=0.02)
    assert once > 0.1


def test_pairs_with_other_labels_come_first() -> None:
    rows = pd.DataFrame({"id": list("abcd"), "split": ["train"] * 3 + ["test"], "target": ["x", "x", "y", None]})
    pairs = pd.DataFrame(
        [("a", "train", "b", "train"), ("a", "train", "d", "test"), ("a", "train", "c", "train")],
        columns=["id", "split", "twin", "twin_split"],
    ).assign(correlation=0.99, exact=False)
    (shelf,) = looks.near_duplicates(pairs, rows.assign(key=rows["id"]), Album(noise, 9))
    assert [name.partition(":")[0] for name, _ in shelf.rows] == ["labels differ", "training and test", "same label"]
    assert [tile.words for tile in shelf.rows[0][1]] == ["train, x", "train, y"]
    assert shelf.caption.startswith("3 pairs of near-duplicates: labels differ in 1, 1 are of training and test")


def test_a_thumbnail_keeps_its_shape() -> None:
    assert shrunk(np.zeros((300, 100, 3), np.uint8), 128).shape == (128, 43, 3)
    small = thumbnail(np.zeros((300, 100, 3), np.uint8))
    assert (small.width, small.height) == (43, 128)
    assert look(np.full((10, 10, 3), 255, np.uint8)) == (1.0, 0.0)


def test_the_gallery_is_limited() -> None:
    section = failures(predicted(classes_of(3000, wrong=2000)), Album(None, 5000))
    assert len(section.blocks[-1].cards) == MOST_CARDS


def test_the_model_card_keeps_names_as_text() -> None:
    facts = Overview(f"Task {HOSTILE}", "accuracy", [], ["Out of fold: 1.0"], [], [("Next:", "python")])
    card = model_card("run", facts, Origin({"Versions": [("a|b", "1\n2")]}))
    assert "<script" not in card
    assert "| a\\|b | 1 2 |" in card
    assert "- Out of fold: 1.0" in card
