"""describe: print a competition as the YAML that competition=auto infers from its files.

With competition.source=PATH the fields are inferred (competition=auto is implied), with reasons as comments, what
is uncertain, and the numbers of items, classes and groups. describe.file=my_competition.yaml writes it, to be completed
and used as competition=my_competition.yaml; describe.sheet=sheet.png draws a few items a class.
"""

import logging
from dataclasses import fields
from pathlib import Path

from omegaconf import OmegaConf

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.field_lines import commented, field_lines
from kagglepipe.competitions.inferred_file import InferredFile
from kagglepipe.competitions.source import source_root
from kagglepipe.competitions.summary import Summary, summarize
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, write_bytes
from kagglepipe.images.table import check_class_names
from kagglepipe.options import CompetitionOptions, usual_model
from kagglepipe.predictions.metric_needs import check_metric, check_numbers
from kagglepipe.runs.answers import read_answers, read_segment_answers
from kagglepipe.runs.expected import check_contract, check_segments, check_separator

log = logging.getLogger(__name__)
ALWAYS = ("kind", "metric", "form")  # also where they are the default
YAML_ENDS = (".yaml", ".yml")


def check(config: Config) -> None:
    """Raises UserError for files that exist already, or are called otherwise than they must be."""
    options = config.describe
    file, sheet = options.file, options.sheet
    if file and not file.lower().endswith(YAML_ENDS):
        raise UserError(f"describe.file={file} must end in .yaml, by which competition={file}.yaml finds it")
    if file and absolute(file).exists():
        raise UserError(f"{absolute(file)} exists and is not changed: rename it, or choose another describe.file=FILE")
    if sheet and not sheet.lower().endswith((".png", ".jpg", ".jpeg")):
        raise UserError(f"describe.sheet={sheet} must end in .png or .jpg")


def run(config: Config) -> None:
    """Print the YAML, and write it and the sheet where that is asked for."""
    from kagglepipe.reports.class_sheet import draw_classes

    competition, options, folder = config.competition, config.describe, config.base_dir
    root = source_root(folder)
    summary = summarize(competition, root)
    check_fields(competition, summary, root)
    lines = yaml_lines(competition, config.base_slug, InferredFile.read(folder), summary)
    print(*lines, sep="\n")
    if options.file:
        file = absolute(options.file)
        write_bytes(file, "\n".join([*lines, ""]).encode())
        log.info("describe: wrote %s: change what is wrong, then type competition=%s", file, options.file)
    sheet = absolute(options.sheet) if options.sheet else options.file and absolute(options.file).with_suffix(".png")
    if sheet:
        draw_classes(sheet, summary.rows, root, competition)
        log.info("describe: look at %s", sheet)


def check_fields(competition: CompetitionOptions, summary: Summary, root: Path) -> None:
    """Raises UserError for metric, form, ids or answers that do not fit the items, as stage=prepare does."""
    rows, classes = summary.rows.drop(columns="fold", errors="ignore"), summary.classes
    folds = rows[["id"]].drop_duplicates().assign(fold=0)
    dataset = Dataset(rows, folds, classes, root, "", "", task=competition.task)
    train = rows[rows["split"] == "train"]
    check_class_names(competition, classes, has_test=not dataset.nothing_to_classify)
    check_metric(competition, len(classes))
    check_numbers(competition, dict(zip(train["id"], train["target"], strict=True)), classes)
    check_separator(competition, classes)
    (check_segments if competition.finds_segments else check_contract)(competition, dataset)
    (read_segment_answers if competition.finds_segments else read_answers)(competition, dataset)


def yaml_lines(
    competition: CompetitionOptions, slug: str, inferred: InferredFile | None, summary: Summary
) -> list[str]:
    """The lines of the file: what is uncertain, the fields with their reasons, the numbers of items."""
    default = CompetitionOptions()
    named = {one.name: getattr(competition, one.name) for one in fields(CompetitionOptions)}
    found = {name: value for name, value in named.items() if value != getattr(default, name) or name in ALWAYS}
    reasons = {}
    if inferred is not None:
        found = {**found, "title": slug}
        reasons = {name: inferred.reasons[name] for name in found if found[name] == inferred.fields.get(name)}
    head = f"{slug}: each field can be typed as well, as competition.NAME=VALUE; docs/options.md has all of them"
    body, model = field_lines(found, reasons), usual_model(found["kind"], found["form"])
    if model:
        body = ["defaults:", f"  - override /model: {model}", "competition:", *(f"  {line}" for line in body)]
        body += setting_lines(inferred) if inferred else []
    notes = [f"uncertain: {note}" for note in (inferred.notes if inferred else [])] + summary.notes
    return [*(["# @package _global_"] if model else []), *commented([head, *summary.sentences, *notes]), *body]


def setting_lines(inferred: InferredFile) -> list[str]:
    """The lines of other options than those of the competition, as the rate of a series."""
    options = OmegaConf.create()
    for name, value in inferred.settings.items():
        OmegaConf.update(options, name, value)
    return OmegaConf.to_yaml(options).splitlines() if inferred.settings else []
