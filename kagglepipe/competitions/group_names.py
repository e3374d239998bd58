"""What the items come from, where only the names of their files say it: tracks, patients, speakers."""

import re
from collections import defaultdict
from collections.abc import Sequence

import pandas as pd

from kagglepipe.competitions.filenames import label_regex, name_of, stem_of, suffix_of
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.text import first_three

GROUP_WORDS = {"patient", "subject", "driver", "person", "speaker", "user", "group", "scene", "original", "source",
               "participant", "individual", "session", "player", "rider", "owner", "animal", "match", "game", "slide",
               "case", "recording", "location", "author", "recordist", "lesion", "actor", "performer", "signer",
               "singer", "collector", "donor", "machine", "device", "engine"}  # fmt: skip
MIN_GROUPS = 5  # folds.count by default; fewer do not make so many folds
MAX_GROUPED = 0.9  # groups a row: more are no groups
NUMBERED = re.compile(r"(?P<head>.*\d.*)(?P<tail>[_-][a-zA-Z]*)(?P<number>\d+)")  # 00003_00029, v_walk_g01_c04
WORD = re.compile(rf"(?:.*[_ -])?(?P<word>{'|'.join(sorted(GROUP_WORDS))})[_-]?\d+(?P<sep>[_ -]).*", re.IGNORECASE)
FOLDER = re.compile(rf"((?:{'|'.join(sorted(GROUP_WORDS))})[_ -]?)\d+", re.IGNORECASE)  # patient00001
SIDE = re.compile(r"[^_-]+([_-])(?:left|right)", re.IGNORECASE)  # 10_left, of the eyes of 10
NAMED = 0.95  # of the files are called so


def with_named_groups(
    groups: "pd.Series[str]", paths: "pd.Series[str]", competition: CompetitionOptions
) -> "pd.Series[str]":
    """The groups (None: none), where items without one have that of their names, by competition.group_from.

    paths: of the items, relative and posix; "" for others. Raises UserError for a pattern that no name fits.
    """
    if (pattern := competition.group_from) is None:
        return groups
    if "{group}" not in pattern:
        raise UserError(f"competition.group_from={pattern} has no {{group}}: type it as '{{group}}_{{number}}.jpg'")
    regex, is_path = label_regex(pattern), "/" in pattern
    found = [regex.fullmatch(f"/{path}" if is_path else name_of(path)) for path in paths]
    if not any(found) and (paths != "").any():
        raise UserError(
            f"no file is called as competition.group_from={pattern}: there are {first_three(paths[paths != ''])}"
        )
    named = pd.Series([match["group"] if match else None for match in found], groups.index, dtype=object)
    return groups.where(groups.notna(), named).astype(object)


def group_pattern(files: "pd.Series[str]", *, several: bool = True) -> str | None:
    """The pattern of `competition.group_from` for names such as `00003_00029.ppm` or `person12_bacteria_34.jpeg`.

    files: relative posix path -> label. several: whether a class must have more than one group. None unless nearly all
    names end in a number that counts from 0 or 1, without a gap, the files of one begin, or some have a word such as
    person and a number; and unless these groups are five or more, of several files.

    >>> names = [f"{label}/{track:05}_{frame:05}.ppm" for label in "ab" for track in range(4) for frame in range(3)]
    >>> group_pattern(pd.Series([name[0] for name in names], names))
    '*/{group}_{number}.ppm'
    """
    paths = [str(path) for path in files.index]
    suffixes = {suffix_of(path) for path in paths}
    end = suffixes.pop() if len(suffixes) == 1 else ".{any}"
    for pattern in (*_word_patterns(paths), *_counting_patterns(paths, end)):
        regex = label_regex(pattern)
        found = [regex.fullmatch(f"/{path}" if "/" in pattern else name_of(path)) for path in paths]
        groups = pd.Series([match["group"] if match else None for match in found], files.index, dtype=object).dropna()
        is_spread = not several or (groups.groupby(files[groups.index]).nunique() > 1).any()
        if MIN_GROUPS <= groups.nunique() <= MAX_GROUPED * len(groups) and is_spread:
            return pattern
    return None


def _word_patterns(paths: Sequence[str]) -> list[str]:
    """Patterns of a word such as person with a number, `person{group}_*`, a folder called so, and left and right."""
    found = {(match["word"], match["sep"]) for path in paths if (match := WORD.fullmatch(stem_of(path)))}
    folders = {match[1] for path in paths for part in path.split("/")[:-1] if (match := FOLDER.fullmatch(part))}
    patterns = [f"{before}{word}{{group}}{sep}*" for word, sep in sorted(found) for before in ("", "*")]
    sides = {match[1] if (match := SIDE.fullmatch(stem_of(path))) else "" for path in paths}
    patterns += [f"{{group}}{side}*" for side in sides if side and len(sides) == 1]
    return patterns + [f"*/{word}{{group}}/*" for word in sorted(folders)]


def _counting_patterns(paths: Sequence[str], end: str) -> list[str]:
    """The pattern of names that count the files of one begin, `{group}_{number}`; numbers alone are of one folder."""
    found = [match for path in paths if (match := NUMBERED.fullmatch(stem_of(path)))]
    tails = {match["tail"] for match in found}
    if len(found) < NAMED * len(paths) or len(tails) != 1:
        return []
    counts: dict[str, set[int]] = defaultdict(set)
    for path in paths:
        if match := NUMBERED.fullmatch(stem_of(path)):
            counts[f"{path.rpartition('/')[0]}/{match['head']}"].add(int(match["number"]))
    whole = [min(numbers) in (0, 1) and max(numbers) - min(numbers) < len(numbers) for numbers in counts.values()]
    if sum(whole) < NAMED * len(whole):
        return []
    folder = "*/" if all(match["head"].isdecimal() for match in found) and any("/" in path for path in paths) else ""
    return [f"{folder}{{group}}{tails.pop()}{{number}}{end}"]
