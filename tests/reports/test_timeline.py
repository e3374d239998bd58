"""Marks lie where their times say, in the colours of their classes; no two texts meet; frames stay legible."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kagglepipe.images.decode import Pixels
from kagglepipe.reports.overlay import STRIP, TRACK, UNNAMED, annotate, make_strip
from kagglepipe.reports.plots import GAP, INK, PAPER
from kagglepipe.reports.timeline import (
    BAR,
    BETWEEN,
    FILL,
    HEAD,
    MARGIN,
    OUTLINE,
    PALETTE,
    PANEL,
    TRUE,
    TRUTH_BAR,
    WHITE,
    WIDTH,
    Colour,
    Scale,
    class_colours,
    clock,
    column_maxima,
    curve_mask,
    draw_timeline,
    round_ticks,
    text_colour,
)
from kagglepipe.sequences.grid import frame_labels

CURVE, LEFT, RIGHT = 40, 128, WIDTH - MARGIN  # of the rows of few classes with short names
FOUND = CURVE + BETWEEN  # from the top of a row to its bars
TRUTH = FOUND + BAR + BETWEEN
Box = tuple[float, float, float, float]


def segments_of(*rows: tuple[float, float, str], score: float = 0.75) -> pd.DataFrame:
    """A segments frame of the video v from (start, end, label)."""
    frame = pd.DataFrame(list(rows), columns=["start", "end", "label"])
    return frame.assign(video="v", score=score)


def drawn(
    folder: Path,
    probs: Any,
    classes: list[str],
    background: str | None = None,
    found: pd.DataFrame | None = None,
    *,
    step: float = 1.0,
    first: float = 0.0,
    title: str = "a title",
    **options: Any,
) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of a picture of probabilities (T, C)."""
    times = first + step * np.arange(len(probs))
    found = segments_of() if found is None else found
    draw_timeline(folder / "t.png", times, step, np.asarray(probs), classes, background, found, title=title, **options)
    with Image.open(folder / "t.png") as image:
        assert (image.format, image.mode, image.width) == ("PNG", "RGB", WIDTH)
        return np.asarray(image)


def has(pixels: NDArray[np.uint8], colour: Colour) -> NDArray[np.bool_]:
    """Which pixels (…, 3) are of that colour."""
    return (pixels == colour).all(axis=-1)


def ends(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(begin, stop) of each run of True."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return list(zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True))


def near(runs: list[tuple[int, int]], times: list[tuple[float, float]], total: float) -> bool:
    """Whether runs of columns lie where these times do, within one pixel."""
    expected = LEFT + np.array(times).reshape(-1, 2) / total * (RIGHT - LEFT)
    return len(runs) == len(times) and bool((np.abs(np.reshape(runs, (-1, 2)) - expected) <= 1).all())


@pytest.fixture
def boxes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Box]]:
    """Every text that is drawn, and the box that it fills."""
    drawn_texts: list[tuple[str, Box]] = []
    original = ImageDraw.ImageDraw.text

    def text(pen: ImageDraw.ImageDraw, xy: Any, text: str, fill: Any, font: Any, anchor: str = "la") -> None:
        drawn_texts.append((text, pen.textbbox(xy, text, font, anchor)))
        original(pen, xy, text, fill, font, anchor)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return drawn_texts


def overlapping(boxes: list[tuple[str, Box]]) -> list[tuple[str, str]]:
    """The pairs of texts that share a pixel."""

    def meet(a: Box, b: Box) -> bool:
        return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

    return [(one[0], other[0]) for one, other in itertools.combinations(boxes, 2) if meet(one[1], other[1])]


# --- colours ------------------------------------------------------------------------------------------------


def contrast(first: Colour, second: Colour) -> float:
    """The contrast ratio of WCAG 2.1, from 1 to 21."""

    def luminance(colour: Colour) -> float:
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour)]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_scores_are_text_colour_every_colour() -> None:
    assert min(contrast(colour, text_colour(colour)) for colour in PALETTE) > 3
    assert {text_colour(colour) for colour in PALETTE} == {WHITE, INK}


def test_a_class_has_the_colour_of_its_place_among_those_shown() -> None:
    names = [f"c{k}" for k in range(20)]
    colours = class_colours(names, "c3")
    assert list(colours) == [name for name in names if name != "c3"]
    assert list(colours.values()) == [PALETTE[k % 8] for k in range(19)]
    assert len(set(PALETTE)) == 8
    assert class_colours(names, None)["c3"] == PALETTE[3]


# --- the picture --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "row", "with_truth"), [(1, 69, False), (12, 69, True), (13, 55, False), (40, 55, True)]
)
def test_the_picture_is_as_high_as_its_rows(tmp_path: Path, count: int, row: int, with_truth: bool) -> None:
    classes = ["nothing", *(f"c{k}" for k in range(count))]
    truth = segments_of() if with_truth else None
    image = drawn(tmp_path, np.zeros((3, count + 1)), classes, "nothing", truth=truth)
    assert image.shape[0] == HEAD + count * (row + with_truth * (BETWEEN + TRUTH_BAR)) + 30


def test_bars_lie_where_the_segments_do(tmp_path: Path) -> None:
    found = segments_of((0, 7.3, "walk"), (50, 70, "walk"), (90.2, 100, "wave"), (20, 60, "nothing"))
    truth = segments_of((12, 13, "walk"), (33.3, 66.6, "wave"), (1, 2, "nothing"))
    classes = ["walk", "nothing", "wave"]
    image = drawn(tmp_path, np.zeros((100, 3)), classes, "nothing", found, truth=truth.drop(columns="score"))
    pitch = TRUTH + TRUTH_BAR + 2 * GAP
    expected = [(PALETTE[0], [(0, 7.3), (50, 70)], [(12, 13)]), (PALETTE[1], [(90.2, 100)], [(33.3, 66.6)])]
    for number, (colour, bars, true) in enumerate(expected):
        row = image[HEAD + number * pitch :][:pitch]
        for line in (FOUND, FOUND + BAR - 1):  # the first and the last, clear of the score
            assert near(ends(has(row[line], colour)), bars, 100)
        for line in (TRUTH, TRUTH + TRUTH_BAR - 1):
            assert near(ends(has(row[line], OUTLINE)), true, 100)
        inner = has(row[TRUTH + 1 : TRUTH + TRUTH_BAR - 1], TRUE)
        assert near([(a - 1, b + 1) for a, b in ends(inner.all(axis=0))], true, 100)
        assert not has(row[FOUND - 1], colour).any()
        assert not has(row[FOUND + BAR :], colour).any()
    assert not has(image[HEAD:], PALETTE[2]).any()


def test_the_shortest_segment_is_seen(tmp_path: Path) -> None:
    """At the very end too."""
    found = segments_of((0, 0.001, "a"), (5000, 5000.5, "a"), (9999.999, 10000, "a"))
    image = drawn(tmp_path, np.zeros((10000, 1)), ["a"], found=found)
    runs = ends(has(image[HEAD + FOUND], PALETTE[0]))
    assert [stop - begin for begin, stop in runs] == [2, 2, 2]
    assert runs[0][0] == LEFT
    assert runs[-1][1] == RIGHT


def test_scores_are_written_where_they_fit(tmp_path: Path, boxes: list[tuple[str, Box]]) -> None:
    found = segments_of((10, 30, "a"), (50, 51, "a"), score=0.876)
    drawn(tmp_path, np.zeros((100, 1)), ["a"], found=found)
    ((left, top, right, bottom),) = [box for text, box in boxes if text == "0.88"]
    assert abs((left + right) / 2 - (LEFT + 0.2 * (RIGHT - LEFT))) < 2
    assert HEAD + FOUND < top < bottom < HEAD + FOUND + BAR


@given(st.integers(1, 40), st.floats(-30, 30), st.floats(0.1, 30), st.integers(0, 60), st.integers(0, 60), st.randoms())
def test_a_column_shows_the_highest_of_its_samples(
    count: int, first: float, step: float, before: int, after: int, random: Any
) -> None:
    """Compared with looking at every sample for every column, apart from samples that end within rounding of it."""
    times = first + step * np.arange(count)
    probs = np.array([[random.random()] for _ in range(count)])
    scale = Scale(first - before, times[-1] + step + after, 0, 90)
    columns = column_maxima(times, step, probs, scale)
    width, grain = (scale.last - scale.first) / 90, 1e-5 * (scale.last - scale.first)
    for column, height in enumerate(columns[:, 0]):
        begin, end = scale.first + column * width, scale.first + (column + 1) * width
        least = [p for t, (p,) in zip(times, probs, strict=True) if t < end - grain and t + step > begin + grain]
        most = [p for t, (p,) in zip(times, probs, strict=True) if t < end + grain and t + step > begin - grain]
        assert max(least, default=0) <= height <= max(most, default=0)


def test_a_curve_is_as_high_as_the_probability(tmp_path: Path) -> None:
    """0.5 of 40 pixels for a while, then 1, then 0: what lies under it is tinted, its upper edge in full colour."""
    image = drawn(tmp_path, [[0.5]] * 4 + [[1.0]] * 3 + [[0.0]] * 3, ["a"])
    row = image[HEAD : HEAD + CURVE].astype(int)
    tint = np.round(FILL * np.array(PALETTE[0]) + (1 - FILL) * np.array(PANEL))
    for time, height in ((2.1, 20), (5.6, 40), (8.3, 0)):
        column = row[:, round(LEFT + time / 10 * (RIGHT - LEFT))]
        np.testing.assert_array_equal(column[: CURVE - height], np.tile(PANEL, (CURVE - height, 1)))
        if height:
            np.testing.assert_array_equal(column[CURVE - height], PALETTE[0])
            assert np.abs(column[CURVE - height + 2 :] - tint).max() <= 1
    assert near(ends(has(row[0], PALETTE[0])), [(4, 7)], 10)
    assert near(ends(has(row[10], PALETTE[0])), [(4, 4), (7, 7)], 10)  # the jumps are upright lines
    assert near(ends(has(row[20], PALETTE[0])), [(0, 4), (7, 7)], 10)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 50))
def test_a_curve_covers_its_share_of_each_column(heights: list[float], height: int) -> None:
    """From below; the topmost pixel in part, which softens the edge."""
    area = np.asarray(curve_mask(np.array(heights), height)) / 255
    assert area.shape == (height, len(heights))
    for column, tall in zip(area.T, heights, strict=True):
        whole = int(tall * height)
        assert (column[height - whole :] >= FILL - 0.01).all()
        assert (column[: max(0, height - whole - 1)] == 0).all()
        if whole < height:
            assert abs(column[height - whole - 1] - (tall * height - whole)) < 0.01


def test_each_row_has_the_curve_of_its_class(tmp_path: Path) -> None:
    """Though the background, which has none, stands between them; what is a little above one is drawn as one."""
    image = drawn(tmp_path, [[0, 1.01, 0]] * 4 + [[0, 0, 1.01]] * 6, ["walk", "nothing", "wave"], "nothing")
    assert not has(image[HEAD], PALETTE[0]).any()
    assert near(ends(has(image[HEAD + FOUND + BAR + 2 * GAP], PALETTE[1])), [(4, 10)], 10)
    image = drawn(tmp_path, np.zeros((4, 1)), ["a long name, " * 9])  # leaves the room to the curves
    assert has(image[HEAD + 1], PANEL).sum() > 0.8 * WIDTH


def test_time_reaches_as_far_as_anything_does(tmp_path: Path) -> None:
    """Samples from 10 to 20, a segment from 0 to 5, truth from 30 to 40: nothing is cut off."""
    found, truth = segments_of((0, 5, "a")), segments_of((30, 40, "a"))
    image = drawn(tmp_path, np.ones((10, 1)), ["a"], found=found, truth=truth, first=10)
    assert near(ends(has(image[HEAD + FOUND], PALETTE[0])), [(0, 5)], 40)
    assert near(ends(has(image[HEAD + TRUTH], OUTLINE)), [(30, 40)], 40)
    assert near(ends(has(image[HEAD], PALETTE[0])), [(10, 20)], 40)


@pytest.mark.parametrize("with_truth", [False, True])
def test_the_legend_names_what_there_is(tmp_path: Path, boxes: list[tuple[str, Box]], with_truth: bool) -> None:
    truth = segments_of() if with_truth else None
    drawn(tmp_path, np.zeros((5, 2)), ["walk", "wave"], truth=truth, title="clip.mp4")
    rows = ["walk", "truth", "wave", "truth"] if with_truth else ["walk", "wave"]
    legend = ["probability from 0 to 1", "found, with its score", *(["truth"] if with_truth else [])]
    axis = ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5", "3.0", "3.5", "4.0", "4.5", "5.0", "time (s)"]
    assert [text for text, _ in boxes] == ["clip.mp4", *legend, *axis, *rows]


@pytest.mark.parametrize(
    ("first", "step", "count", "unit", "count_classes"),
    [
        (0, 1, 1, "s", 1), (0, 1, 1, "s", 14), (0, 0.001, 7, "s", 14), (0, 0.1, 600, "s", 1), (0, 0.2, 600, "s", 14),
        (0, 0.1, 200_000, "s", 1), (0, 60, 20_000, "s", 14), (-3, 0.1, 60, "s", 14), (1.7e9, 0.001, 50, "s", 1),
        (1.7e9, 1, 5000, "s", 14), (1.7e9, 0.01, 90, "seconds since the first of January 1970", 1),
        (0, 1, 123_456, "frames", 14),
    ],
)  # fmt: skip
def test_no_two_texts_meet_and_all_are_inside(
    tmp_path: Path, boxes: list[tuple[str, Box]], first: float, step: float, count: int, unit: str, count_classes: int
) -> None:
    names = ["i", "señal de\ntráfico", *(f"class {k} {'with a long name ' * (k // 4)}" for k in range(12))][
        :count_classes
    ]
    rng = np.random.default_rng(0)
    starts = first + np.linspace(0, 0.96, 25) * step * count
    lengths = rng.uniform(0, 0.04, 25) * step * count
    rows = zip(starts, starts + lengths, rng.choice(names, 25), strict=True)
    found = segments_of(*((a, b, str(name)) for a, b, name in rows))
    truth = found.assign(start=found["start"] + step * count / 100)
    image = drawn(
        tmp_path, rng.random((count, count_classes)), names, None, found,
        step=step, first=first, unit=unit, truth=truth, title="a long title " * 30,
    )  # fmt: skip
    assert overlapping(boxes) == []
    edges = np.array([box for _, box in boxes])
    assert edges.min() >= 0
    assert (edges.max(axis=0)[2:] <= (WIDTH, len(image))).all()
    names_end = max(box[2] for text, box in boxes if text == "truth" and box[1] > HEAD)
    assert "0.75" in dict(boxes)  # a score
    gap = image[HEAD : len(image) - 30, int(names_end) + 1 : int(names_end) + GAP]
    np.testing.assert_array_equal(np.unique(gap.reshape(-1, 3), axis=0), [PAPER])


def test_the_same_gives_the_same_bytes_and_inputs_are_not_changed(tmp_path: Path) -> None:
    probs = np.random.default_rng(0).random((90, 2)).astype(np.float32)
    found, files = segments_of((3, 4, "a"), (1, 2, "b")), []
    copies = probs.copy(), found.copy()
    for _ in range(2):
        drawn(tmp_path, probs, ["a", "b"], found=found, truth=found)
        files.append((tmp_path / "t.png").read_bytes())
    assert files[0] == files[1]
    make_strip(50, 9, found, ["a", "b"], None)
    np.testing.assert_array_equal(probs, copies[0])
    pd.testing.assert_frame_equal(found, copies[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probs": np.array([[0.1, np.nan], [np.inf, 0.2]])}, "2 of 4 probabilities are not finite"),
        ({"probs": np.zeros((3, 2))}, "2 times for probabilities"),
        ({"probs": np.zeros((2, 3))}, "2 classes for probabilities of shape"),
        ({"times": np.array([0.0, 7.0])}, "no regular grid"),
        ({"step": 0.0}, "no regular grid"),
        ({"background": "none"}, "background 'none' is none of the classes a, b"),
        ({"segments": segments_of((0, 1, "c"))}, "label 'c' is none of the classes a, b"),
        ({"truth": segments_of((0, 1, "c"))}, "label 'c' is none of the classes a, b"),
        ({"truth": segments_of((0, 1, "a")).assign(video="w")}, "segments of 2 videos, 'v', 'w', in one"),
    ],
)
def test_what_would_make_a_wrong_picture_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    given = {"times": np.arange(2.0), "step": 1.0, "probs": np.zeros((2, 2)), "classes": ["a", "b"]}
    given |= {"background": None, "segments": segments_of((0, 1, "a"))}
    with pytest.raises(ValueError, match=message):
        draw_timeline(tmp_path / "t.png", **(given | change), title="")
    assert list(tmp_path.iterdir()) == []


# --- the time axis ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "unit", "labels", "reads"),
    [
        (0, 90, "s", ["0", "10", "20", "30", "40", "50", "60", "70", "80", "90"], "s"),
        (0, 300, "s", [f"{m}:{s}" for m in range(5) for s in ("00", "30")] + ["5:00"], "m:ss"),
        (0, 300, "frames", ["0", "50", "100", "150", "200", "250", "300"], "frames"),
        (3500, 3520, "s", [f"58:{s}" for s in range(20, 41, 2)], "m:ss"),
        (3570, 3630, "s", [f"59:{s}" for s in range(30, 60, 5)] + [f"1:00:{s:02}" for s in range(0, 31, 5)], "h:mm:ss"),
        (0.05, 0.31, "s", ["0.05", "0.10", "0.15", "0.20", "0.25", "0.30"], "s"),
        (0, 1e6, "s", ["0:00", *(f"{24 * day}:00:00" for day in range(1, 12))], "h:mm:ss"),
        (0, 2e6, "s", ["0:00", *(f"{48 * days}:00:00" for days in range(1, 12))], "h:mm:ss"),
        (0, 0.3, "s", ["0.00", "0.05", "0.10", "0.15", "0.20", "0.25", "0.30"], "s"),  # 0.3 / 0.05 < 6
        (3 * 0.1, 1.3, "s", [f"{tenths / 10:.1f}" for tenths in range(3, 14)], "s"),  # 3 * 0.1 / 0.1 > 3
        (0.2, 0.8, "s", [f"{cents / 100:.2f}" for cents in range(20, 81, 5)], "s"),  # (0.8 - 0.2) / 12 > 0.05
    ],
)  # fmt: skip
def test_ticks_worked_by_hand(first: float, last: float, unit: str, labels: list[str], reads: str) -> None:
    ticks, told = round_ticks(first, last, unit, 12)
    assert (list(ticks.values()), told) == (labels, reads)


@given(st.floats(-1e6, 1e7), st.floats(1e-3, 1e8), st.sampled_from(["s", "frames"]), st.sampled_from([12, 6, 3]))
@example(0.0, 120.0, "s", 12)
@example(0.0, 0.3, "s", 3)
def test_ticks_are_few_even_and_inside(first: float, length: float, unit: str, most: int) -> None:
    """As many as asked for and one more at most; no fewer than a fourth of them, and labels that differ."""
    last = first + length
    ticks, _ = round_ticks(first, last, unit, most)
    times, slack = np.array(list(ticks)), length * 1e-5
    assert most // 5 <= len(times) <= most + 1
    assert ((times >= first - slack) & (times <= last + slack)).all()
    if len(times) > 2:
        np.testing.assert_allclose(np.diff(times), times[1] - times[0], rtol=1e-4)
    assert len(set(ticks.values())) == len(ticks)


@given(st.integers(0, 10**6))
@example(1)
def test_a_clock_can_be_read_back(seconds: int) -> None:
    parts = [int(part) for part in clock(seconds).split(":")]
    assert sum(part * 60**k for k, part in enumerate(reversed(parts))) == seconds
    assert all(part < 60 for part in parts[1:])
    if seconds:
        assert clock(-seconds) == "-" + clock(seconds)


# --- strips -------------------------------------------------------------------------------------------------


def test_a_strip_shows_segments_in_their_colours() -> None:
    """A quarter of walk, wave within it, and nothing in a row of 100 columns for 10 seconds."""
    found = segments_of((1.5, 2, "wave"), (1, 2.5, "walk"), (4, 5, "nothing"), (9.5, 12, "wave"))
    strip = make_strip(100, 10, found, ["walk", "nothing", "wave"], "nothing")
    for line in strip[1:-1]:
        assert ends(has(line, PALETTE[0])) == [(10, 15), (20, 25)]
        assert ends(has(line, PALETTE[1])) == [(15, 20), (95, 100)]
        assert ends(has(line, STRIP)) == [(0, 10), (25, 95)]
    assert has(strip[[0, -1]], STRIP).all()
    for width, height in ((1, 6), (160, 6), (640, 10), (1920, 30)):
        assert make_strip(width, 10, segments_of(), ["a"], None).shape == (height, width, 3)
    short = segments_of((0, 0.001, "a"), (500, 500.1, "a"), (1000, 1000, "a"))
    assert ends(has(make_strip(20, 1000, short, ["a"], None)[1], PALETTE[0])) == [(0, 1), (10, 11), (19, 20)]


@given(st.lists(st.tuples(st.integers(0, 39), st.integers(1, 40), st.sampled_from("abc")), max_size=6))
def test_a_strip_is_what_frame_labels_say(rows: list[tuple[int, int, str]]) -> None:
    """With a column for each second, whatever overlaps."""
    found = segments_of(*((float(a), float(a + length), label) for a, length, label in rows))
    strip = make_strip(80, 80, found, ["a", "b", "c"], None)
    colours = class_colours(["a", "b", "c"], None) | {"": STRIP}
    expected = [colours[label] for label in frame_labels(np.arange(80.0), found, "")]
    np.testing.assert_array_equal(strip[1], expected)


@pytest.mark.parametrize(("total", "label"), [(0, "a"), (-1, "a"), (float("nan"), "a"), (10, "b")])
def test_a_strip_that_cannot_be_is_refused(total: float, label: str) -> None:
    with pytest.raises(ValueError, match=r"has no timeline|none of the classes"):
        make_strip(20, total, segments_of((0, 1, label)), ["a"], None)


# --- frames -------------------------------------------------------------------------------------------------

COLOURS = class_colours(["walk", "wave"], None)


def noise(height: int, width: int) -> Pixels:
    """A frame that looks different everywhere."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_a_frame_is_copied_and_untouched_above_its_panel() -> None:
    frame = noise(360, 640)
    before = frame.copy()
    strip = make_strip(640, 10, segments_of((0, 5, "walk")), ["walk", "wave"], None)
    strip_before = strip.copy()
    shown = annotate(frame, time=3, total=10, labels=[("walk", 0.9), ("wave", 0.2)], colours=COLOURS, strip=strip)
    np.testing.assert_array_equal(frame, before)
    np.testing.assert_array_equal(strip, strip_before)
    assert (shown.shape, shown.dtype) == (frame.shape, frame.dtype)
    panel = 360 - 10 - 2 * 21  # two lines of font size 14 above the strip
    np.testing.assert_array_equal(shown[:panel], frame[:panel])
    assert (shown[panel] <= 85).all()  # a third of it
    assert not np.shares_memory(shown, frame)


@pytest.mark.parametrize("probability", [0.0, 0.25, 0.999, 1.0])
def test_bars_of_a_panel_are_as_long_as_the_probability(probability: float) -> None:
    """In the colour of the label, grey without one."""
    for label, colour in (("wave", COLOURS["wave"]), ("nothing", UNNAMED)):
        shown = annotate(noise(360, 640), time=0, total=1, labels=[(label, probability)], colours=COLOURS)
        line = shown[360 - 21 + 10]
        own, track = has(line, colour).sum(), has(line, TRACK).sum()
        assert own + track > 300
        assert abs(own - probability * (own + track)) <= 1
        assert ends(has(line, colour)) == [(256, 256 + own)] * bool(own)


@pytest.mark.parametrize(("height", "width"), [(72, 96), (224, 224), (640, 360), (1080, 1920)])
def test_texts_of_a_panel_fit(boxes: list[tuple[str, Box]], height: int, width: int) -> None:
    """Neither under the bars nor over the edge, and no lower than ten pixels' font."""
    labels = [("pÿgj", 0.95), ("a very long name of a class, " * 4, 1.0)]
    annotate(noise(height, width), time=0, total=1, labels=labels, colours=COLOURS)
    assert len(boxes) == 4
    assert overlapping(boxes) == []
    numbers = [box for text, box in boxes if text in ("0.95", "1.00")]
    names = [box for text, box in boxes if text not in ("0.95", "1.00")]
    assert all(box[0] > 0 and box[2] <= int(0.4 * width) for box in names)
    assert all(0.5 * width < box[0] and box[2] <= width for box in numbers)
    size = max(10, min(height, width) // 25)
    assert all(box[1] >= 0 and box[3] <= 2 * (size * 3 // 2) for _, box in boxes)
    assert min(box[3] - box[1] for box in numbers) >= 0.6 * size


def test_texts_are_white_on_dark_even_over_a_white_frame() -> None:
    shown = annotate(np.full((120, 160, 3), 255, np.uint8), time=0, total=1, labels=[("walk", 1)], colours=COLOURS)
    panel = shown[-15:]
    assert panel[:, :64].min(axis=2).max() > 240
    assert (panel[:, 0] == 85).all()


def test_labels_take_half_of_the_height_and_what_the_strip_leaves_at_most() -> None:
    """The first ones stay: 8 lines of 21 pixels in 180; one where a strip of 50 rows leaves 20 of 70."""
    frame = noise(360, 640)
    many = annotate(frame, time=0, total=1, labels=[(f"c{k}", 0.5) for k in range(30)], colours={})
    eight = annotate(frame, time=0, total=1, labels=[(f"c{k}", 0.5) for k in range(8)], colours={})
    np.testing.assert_array_equal(many, eight)
    np.testing.assert_array_equal(many[: 360 - 8 * 21], frame[: 360 - 8 * 21])
    strip = make_strip(3200, 10, segments_of(), ["walk"], None)
    labels = [("walk", 1.0), ("wave", 1.0)]
    shown = annotate(noise(70, 3200), time=0, total=10, labels=labels, colours=COLOURS, strip=strip)
    assert has(shown[5 + 7], COLOURS["walk"]).sum() > 1000
    assert not has(shown, COLOURS["wave"]).any()
    np.testing.assert_array_equal(annotate(frame, time=0, total=0, labels=[], colours={}), frame)


@pytest.mark.parametrize(("time", "column"), [(0, 0), (0.0999, 0), (0.1, 1), (9.99, 99), (11, 99), (-1, 0)])
def test_the_cursor_is_at_the_time(time: float, column: int) -> None:
    """With a dark column on either side, over the whole height of the strip; the rest of the strip stays."""
    strip = make_strip(100, 10, segments_of((0, 10, "walk")), ["walk"], None)
    shown = annotate(noise(60, 100), time=time, total=10, labels=[], colours=COLOURS, strip=strip)[-len(strip) :]
    assert has(shown, WHITE).all(axis=0).nonzero()[0].tolist() == [column]
    sides = [side for side in (column - 1, column + 1) if 0 <= side < 100]
    assert has(shown[:, sides], STRIP).all()
    others = np.setdiff1d(np.arange(100), [column, *sides])
    np.testing.assert_array_equal(shown[:, others], strip[:, others])
    for width, thick in ((640, 3), (1920, 7)):  # a wide frame has a wide cursor
        strip = make_strip(width, 10, segments_of(), ["walk"], None)
        shown = annotate(noise(360, width), time=5, total=10, labels=[], colours=COLOURS, strip=strip)
        assert ends(has(shown[-2], WHITE)) == [(width // 2 - thick // 2, width // 2 + thick // 2 + 1)]


def test_a_tiny_frame_has_the_strip_alone() -> None:
    frame = noise(16, 16)
    strip = make_strip(16, 10, segments_of((0, 5, "walk")), ["walk"], None)
    shown = annotate(frame, time=9, total=10, labels=[("walk", 0.9)], colours=COLOURS, strip=strip)
    np.testing.assert_array_equal(shown[:10], frame[:10])
    assert has(shown[11, :8], COLOURS["walk"]).all()
    assert ends(has(shown[11], WHITE)) == [(14, 15)]


@given(st.integers(1, 130), st.integers(1, 130), st.integers(0, 9), st.floats(-1, 20), st.booleans())
@example(20, 2000, 3, 1.0, True)  # a strip higher than the frame
@example(70, 4000, 9, 1.0, True)
def test_no_frame_is_too_small(height: int, width: int, count: int, time: float, with_strip: bool) -> None:
    frame = np.full((height, width, 3), 200, np.uint8)
    strip = make_strip(width, 10, segments_of((2, 3, "walk")), ["walk"], None) if with_strip else None
    labels = [("walk", 0.7)] * count
    first, second = (
        annotate(frame, time=time, total=10, labels=labels, colours=COLOURS, strip=strip) for _ in range(2)
    )
    assert first.shape == frame.shape
    np.testing.assert_array_equal(first, second)
    top = height - (len(strip) if strip is not None else 0) - height // 2
    np.testing.assert_array_equal(first[: max(0, top)], frame[: max(0, top)])


def test_a_frame_may_be_read_only_but_the_strip_must_have_its_width() -> None:
    view = noise(120, 160)[:, ::-1, ::-1]
    view.flags.writeable = False
    options: dict[str, Any] = {"time": 0, "total": 1, "labels": [("walk", 0.5)], "colours": COLOURS}
    np.testing.assert_array_equal(annotate(view, **options), annotate(view.copy(), **options))
    strip = make_strip(99, 10, segments_of(), ["a"], None)
    with pytest.raises(ValueError, match="width 99 for a frame of width 100"):
        annotate(noise(60, 100), strip=strip, **options)
