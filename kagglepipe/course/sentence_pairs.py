"""Sentences and their translations, of files or drawn, for the lesson translation."""

import logging
from pathlib import Path

from kagglepipe.course.lesson import Lesson
from kagglepipe.errors import UserError
from kagglepipe.files import absolute
from kagglepipe.samples.sentences import draw_sentences
from kagglepipe.sequences.text import find_text, read_lines

log = logging.getLogger(__name__)
Pairs = list[tuple[str, str]]


def read_source(lesson: Lesson, least: int) -> tuple[Pairs, Pairs]:
    """Read or draw the pairs to learn, and those that are kept back; a quick run takes the first of them.

    Kept back are `val.en` and `val.de`, or the first twentieth. Raises UserError for fewer than `least` pairs.
    """
    kept: Pairs = []
    if lesson.options.source is None:
        pairs = draw_sentences(lesson.size(3000, 160), lesson.seed)
    else:
        folder = absolute(lesson.options.source)
        if folder.is_file():
            raise UserError(f"course.source={folder} is a file: give the folder with train.en and train.de")
        pairs, kept = read_pairs(folder, "train"), read_pairs(folder, "val")
        if len(pairs) < least:
            raise UserError(f"{folder} has {len(pairs)} pairs in train.en, train.de, a batch {least}: give more")
    if lesson.options.quick:
        pairs, kept = pairs[:160], kept[:8]
    share = 0 if kept else len(pairs) // 20
    return pairs[share:], kept or pairs[:share]


def read_pairs(folder: Path, name: str) -> Pairs:
    """Read `name`.en and `name`.de, a sentence a line; [] without both. Pairs with an empty line are left out.

    Raises UserError for unequal numbers of lines, or if only one of the files is there.
    """
    paths = [find_text(folder, f"{name}.{language}") for language in ("en", "de")]
    if paths == [None, None]:
        return []
    for path, language in zip(paths, ("en", "de"), strict=True):
        if path is None:
            raise UserError(f"{folder} has no {name}.{language}: give both languages, a sentence a line")
    english, german = (read_lines(path) for path in paths if path)
    if len(english) != len(german):
        raise UserError(f"{paths[0]} has {len(english)} sentences, {paths[1]} {len(german)}: give one for each other")
    pairs = [(source, target) for source, target in zip(english, german, strict=True) if source and target]
    if left_out := len(english) - len(pairs):
        log.warning("%s: %d pairs with an empty line are left out", paths[0], left_out)
    return pairs
