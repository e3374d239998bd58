"""Charts are SVG that any parser reads, with names that stay text."""

import re
from xml.etree import ElementTree

from kagglepipe.reports.charts import Interval, Line, interval_chart, line_chart, scatter_chart, thinned

HOSTILE = "<script>alert('x')</script> & \"y\""


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(re.match(r"<svg.*?</svg>", svg, re.DOTALL)[0])  # type: ignore[index]


def test_a_line_goes_through_its_points() -> None:
    chart = line_chart("loss", [Line("fold 0", [0, 1, 2], [0.0, 1.0, float("nan")])], ("x", "y"), x=(0, 1), y=(0, 1))
    (line,) = [one for one in parsed(chart).iter("polyline") if one.get("class") == "line s0"]
    assert line.get("points") == "54,256 448,12"  # the corners of the frame; the NaN is left out


def test_names_stay_text() -> None:
    lines = [Line(HOSTILE, [0, 1], [0, 1]), Line("b", [0, 1], [1, 0])]
    for chart in (
        line_chart(HOSTILE, lines, (HOSTILE, HOSTILE)),
        scatter_chart(HOSTILE, [1.0], [2.0], (HOSTILE, "y")),
        interval_chart(HOSTILE, [Interval(HOSTILE, 0.5, 0.4, 0.6)]),
    ):
        assert "<script" not in chart
        assert parsed(chart).get("aria-label") == HOSTILE


def test_intervals_that_are_unknown_are_left_out() -> None:
    chart = parsed(interval_chart("score", [Interval("run", 0.9, 0.8, 0.95), Interval("baseline", 0.5)]))
    assert len(list(chart.iter("polyline"))) == 1
    assert len(list(chart.iter("circle"))) == 2


def test_long_lines_are_thinned_with_their_ends() -> None:
    points = [(float(k), 0.0) for k in range(5000)]
    kept = thinned(points)
    assert len(kept) == 400
    assert (kept[0], kept[-1]) == (points[0], points[-1])


def test_large_ticks_have_no_exponent_and_long_names_keep_their_end() -> None:
    scores = [Interval(f"tf_efficientnet_lite0-head-{end}", value) for end, value in (("fc1916dc", 0.0), ("x", 2e6))]
    texts = [one.text for one in parsed(interval_chart("error", scores)).iter("text")]
    assert texts[:5] == ["0", "500,000", "1,000,000", "1,500,000", "2,000,000"]
    assert texts[5] == "tf_efficientn…-head-fc1916dc"
    of_lines = parsed(line_chart("bytes", [Line("a", [0, 5e6], [0, 5e6])], ("x", "y")))
    assert not [one.text for one in of_lines.iter("text") if "e+" in str(one.text)]
