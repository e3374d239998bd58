"""The page: sections of plain values as one HTML file without a link to anything outside, and the model card."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from kagglepipe.errors import UserError
from kagglepipe.files import write_bytes
from kagglepipe.reports.blocks import Chart, Section, Table, Text
from kagglepipe.reports.charts import Interval, interval_chart
from kagglepipe.reports.thumbnails import Album

MOST_BYTES = 5_000_000  # of the page


@dataclass(frozen=True)
class Overview:
    """The first section. scores: of the run, then of its baselines; lines: scores in words; submitted: what was, and
    where; steps: (what to do next, command)."""

    task: str
    metric: str
    scores: Sequence[Interval]
    lines: Sequence[str]
    submitted: Sequence[str]
    steps: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Origin:
    """Where a run comes from: tables of (name, value), by caption."""

    tables: dict[str, Sequence[tuple[str, str]]] = field(default_factory=dict)


def overview(facts: Overview) -> Section:
    """Make the section "In one look"."""
    blocks: list[object] = [Text(facts.task)]
    if facts.scores:
        words = f"{facts.metric} out of fold with its 95 % interval, and baselines"
        blocks.append(Chart(words, interval_chart(words, facts.scores)))
    blocks += [Text(line) for line in (*facts.lines, *facts.submitted)]
    for what, typed in facts.steps:
        blocks += [Text(what), Text(typed, is_code=True)]
    return Section("look", "In one look", blocks)


def origin(facts: Origin) -> Section:
    """Make the section "Origin"."""
    tables = [Table(caption, ("what", "value"), rows) for caption, rows in facts.tables.items() if rows]
    return Section("origin", "Origin", list(tables))


def render(title: str, sections: Sequence[Section], album: Album, inputs: str = "") -> str:
    """Make the HTML of the page. Names in it are escaped, pictures are data URIs. inputs: hash of what
    it is made of, "" for a page that is always made anew.
    """
    shown = {"sections": sections, "pictures": album.pictures, "overlays": album.overlays}
    return str(environment().get_template("page.html").render(title=title, inputs=inputs, **shown))


def check_page(path: Path, title: str) -> None:
    """Raises UserError for a file that is there and no page with this title."""
    if path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")[:2000]
        known = unescape(text.partition("<title>")[2].partition("</title>")[0])
        if known != title:
            raise UserError(
                f"report.file={path} is {f'the page of {known}' if known else 'no page'}: give another name"
            )


def write_page(path: Path, html: str) -> None:
    """Write the page. Raises UserError if it is larger than MOST_BYTES."""
    data = html.encode()
    if len(data) > MOST_BYTES:
        raise UserError(f"{path} would have {len(data) / 1e6:.1f} MB, at most 5 are allowed: type report.images=100")
    write_if_changed(path, data)


def write_if_changed(path: Path, data: bytes) -> None:
    """Write a file unless it has these bytes, so that a repeated command changes nothing."""
    if not path.is_file() or path.read_bytes() != data:
        write_bytes(path, data)


def model_card(title: str, facts: Overview, made: Origin) -> str:
    """Make MODEL_CARD.md (Mitchell et al. 2019, "Model cards for model reporting") from the facts of the page."""
    return str(environment().get_template("model_card.md").render(title=title, facts=facts, origin=made))


def environment() -> Environment:
    """Templates of the package, autoescaped whatever their names end in."""
    return Environment(
        loader=PackageLoader("kagglepipe.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
