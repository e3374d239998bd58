"""stage=download: bring the competition's files to where `prepare` reads them.

Reads a zip, a folder (in place), Kaggle with the user's credentials, or draws the built-in sample. Writes
data/<slug>/raw/ and, last of all, data/<slug>/source.json, whose existence means that raw/ is whole.
"""

import json
import logging
import secrets
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from kagglepipe.competitions.source import Source, describe, list_names
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, exclusive_lock, file_sha256, read_json, write_json
from kagglepipe.kaggle.account import connect, is_kaggle_notebook, notebook_data
from kagglepipe.kaggle.credentials import WHERE, find_credentials
from kagglepipe.options import DownloadOptions
from kagglepipe.runs.store import RunStore

if TYPE_CHECKING:
    from kagglepipe.kaggle.client import RemoteFile

log = logging.getLogger(__name__)
GB = 10**9
MAX_LISTED, MAX_FOLDERS = 1000, 8
MADE_FROM_SOURCE = (  # those first whose existence means that the others are whole
    "source.json", "prepared.json", "table.parquet", "duplicates.csv", "items.parquet", "annotations.csv",
)  # fmt: skip


def check(config: Config) -> None:
    """Raises UserError if the source contains the output folder or lies in it."""
    competition = config.competition
    if competition.source is None:
        return
    if competition.is_sample:
        own = {"image": "images type competition=pistols_vs_smartphones"}
        yours = own.get(competition.kind, "videos type competition=video_folder_untrimmed")
        raise UserError(f"the sample is drawn, it takes no competition.source; for your {yours}")
    path, root = absolute(competition.source), config.root
    here, made = path.resolve(), config.base_dir.resolve()
    if path.is_dir() and (root.resolve().is_relative_to(here) or here.is_relative_to(made)):
        raise UserError(
            f"competition.source={path} and paths.root={root}, where results go, lie in one another: type "
            "paths.root=FOLDER with one outside the source"
        )


def run(config: Config) -> None:
    """Make data/<slug>/raw, unless it is there and its source has not changed."""
    folder, competition = config.base_dir, config.competition
    with exclusive_lock(folder, "download"):
        known = read_source(folder)
        if competition.is_sample:
            found = take_sample(folder, competition.kind, known)
        elif competition.source is not None:
            found = take_source(config, absolute(competition.source), known)
        elif known is not None and not (known.kind == "kaggle" and competition.refresh):
            log.info("download: %s is here already", folder.name)
            found = known
        elif attached := notebook_data(config.kaggle, competition.slug):
            found = take_source(config, attached, known)
        else:
            found = take_kaggle(config, known)
        if found != known:
            write_json(folder / "source.json", asdict(found))


def read_source(folder: Path) -> Source | None:
    """Read the source that was taken before; None if its files are not complete."""
    file = folder / "source.json"
    known = Source.from_json(read_json(file)) if file.exists() else None
    if known is None or known.kind == "folder":
        return known
    raw = folder / "raw"
    # an earlier version left zips in the zip packed, and could not prepare them
    is_packed = known.kind == "zip" and not (folder / "prepared.json").exists() and any(raw.rglob("*.zip"))
    return known if raw.is_dir() and not is_packed else None


def take_sample(folder: Path, kind: str, known: Source | None) -> Source:
    """Draw the built-in sample unless it is there."""
    if known is not None:
        log.info("download: the sample is here already")
        return known
    raw, drawn = folder / "raw", new_folder(folder)
    shutil.rmtree(raw, ignore_errors=True)
    draw_sample(kind, drawn)
    drawn.rename(raw)
    log.info("download: drew the built-in sample in %s", raw)
    return Source("sample", "", "", "")


def new_folder(folder: Path) -> Path:
    """Name a folder that becomes raw/ once it is complete; removes those of processes that were killed."""
    for leftover in folder.glob(".*raw.new*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return folder / f".raw.new-{secrets.token_hex(8)}"


def draw_sample(kind: str, folder: Path) -> None:
    """Draw photos or videos by code."""
    if kind == "image":
        from kagglepipe.samples.photos import make_photos

        make_photos(folder)
    else:
        from kagglepipe.samples.clips import make_clips

        make_clips(folder)


def take_source(config: Config, path: Path, known: Source | None) -> Source:
    """Take the zip or folder at `path`; a zip is unpacked unless it was before."""
    folder, competition, options = config.base_dir, config.competition, config.download
    skip_bad = competition.on_bad_image == "skip"
    found = describe(path, known, skip_bad=skip_bad)
    if known is not None and found.content == known.content:
        log.info("download: %s is unchanged since it was taken", path)
        return replace(found, kind="packed") if known.kind == "packed" else found
    if known is not None and (folder / "prepared.json").exists() and not competition.refresh:
        raise UserError(
            f"the bytes of {path} differ from those prepared in {folder}: add competition.refresh=true "
            "to take the new ones, or another paths.root=FOLDER to keep both"
        )
    if found.kind == "zip":
        unpack(path, folder, options, competition.exclude)
    elif unpack_zips_of(path, folder, options, competition.exclude, skip_bad=skip_bad):
        return replace(found, kind="packed")
    else:
        forget(folder)
        log.info("download: reading %s in place", path)
    return found


def unpack(archive: Path, folder: Path, options: DownloadOptions, exclude: Sequence[str]) -> None:
    """Unpack a zip to raw/ in `folder`, in place of its contents and all files made from them.

    exclude: patterns of parquet files that are not written as CSVs.
    """
    from kagglepipe.competitions.archive import extract_zip  # nothing else needs it
    from kagglepipe.competitions.parquet_tables import convert_parquets

    unpacked, most = new_folder(folder), int(options.max_gb * GB)
    names = extract_zip(archive, unpacked, max_bytes=most, max_entries=options.max_entries, encoding=options.encoding)
    names = convert_parquets(unpacked, names, max_bytes=most, exclude=exclude)
    forget(folder)  # only now that the new archive has proved complete
    unpacked.rename(folder / "raw")
    log.info("download: unpacked %d files from %s", len(names), archive.name)


def unpack_zips_of(
    source: Path, folder: Path, options: DownloadOptions, exclude: Sequence[str], *, skip_bad: bool
) -> bool:
    """Unpack the zips in the folder `source` to raw/, and write its parquet files as CSVs, beside links to all others;
    False if it has neither. exclude: as in `unpack`.
    """
    from kagglepipe.competitions.archive import Limits
    from kagglepipe.competitions.packed_folder import packed, unpack_folder
    from kagglepipe.competitions.parquet_tables import convert_parquets, parquets

    files, _ = list_names(source, skip_bad=skip_bad)
    if not packed(files) and not parquets(files):
        return False
    unpacked = new_folder(folder)
    limits = Limits(int(options.max_gb * GB), options.max_entries, options.encoding)
    try:
        names = unpack_folder(source, files, unpacked, limits)
        names = convert_parquets(unpacked, names, max_bytes=limits.max_bytes - limits.written, exclude=exclude)
        forget(folder)
        unpacked.rename(folder / "raw")
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    log.info("download: unpacked %s: %d files", source, len(names))
    return True


def take_kaggle(config: Config, known: Source | None) -> Source:
    """Download the competition's archive from Kaggle and unpack it, unless it is the one that was taken before."""
    folder, slug = config.base_dir, config.competition.slug
    if is_kaggle_notebook() and find_credentials() is None:
        raise UserError(f"{folder.name} is not attached to this notebook: attach it with Add Input, then run it again")
    if (origin := config.competition.origin) is not None:
        raise UserError(
            f"no files of {folder.name} are in {folder}, and it is not at Kaggle: have them from {origin} and give the "
            "folder or zip, as competition.source=PATH"
        )
    if slug is None or find_credentials() is None:
        raise UserError(
            f"no files of {folder.name} are in {folder}, and no Kaggle credentials were found: give the archive or a "
            f"folder, as competition.source=PATH, or {WHERE}"
        )
    from kagglepipe.competitions.archive import ArchiveError
    from kagglepipe.kaggle.download import Remote, discard, fetch, finished

    client, archive, options = connect(config.kaggle), folder / "archive.zip", config.download
    if known is not None:
        remote, taken = client.archive(slug), Remote(**json.loads(known.stat))
        if remote.is_same(taken):
            log.info("download: the archive of %s at Kaggle is the one that was taken", slug)
            return known
        if not remote.is_same(finished(archive) or remote):  # of a command that did not come to unpack it
            discard(archive)
    log.info("download: at Kaggle: %s", listing(client.files(slug, most=MAX_LISTED)))
    most, patience = int(options.max_gb * GB), config.kaggle.patience
    remote = fetch(lambda headers: client.open_archive(slug, headers), archive, max_bytes=most, patience=patience)
    found = Source("kaggle", slug, json.dumps(asdict(remote)), file_sha256(archive))
    try:
        if known is None or known.content != found.content:
            unpack(archive, folder, options, config.competition.exclude)
    except ArchiveError as error:
        discard(archive)
        raise UserError(f"{error}; what Kaggle sent was removed, so the same command downloads it anew") from error
    write_json(folder / "source.json", asdict(found))
    discard(archive)
    return found


def listing(files: "list[RemoteFile]") -> str:
    """Count the listed files by folder, as in `Train/Pistol 391, Test 799`, and add up their known sizes."""
    folders = Counter(str(PurePosixPath(file.name).parent) for file in files)
    common = folders.most_common(MAX_FOLDERS)
    counts = ", ".join(f"{name if name != '.' else 'files'} {count}" for name, count in common)
    more = " and more" if len(files) == MAX_LISTED or len(folders) > MAX_FOLDERS else ""
    size = sum(file.size or 0 for file in files)
    return f"{counts or 'no files'}{more}" + (f" ({size / 1e6:,.1f} MB)" if size else "")


def forget(folder: Path) -> None:
    """Remove the files made from other bytes; folds stay, since `prepare` checks whether they still fit.

    So does the cache, whose keys are hashes of bytes: another command may be reading it.
    """
    for name in MADE_FROM_SOURCE:
        (folder / name).unlink(missing_ok=True)
    if (folder / "raw").exists():
        shutil.rmtree(folder / "raw")


def with_sample_if_no_data(config: Config) -> Config:
    """Return the configuration, or that of the built-in sample if the competition has one and no source of its data.

    Sources: competition.source, files taken before, a Kaggle notebook's, and credentials; one that fails is an error.
    """
    competition = config.competition
    no_sample = competition.sample_slug is None or competition.source or competition.is_sample
    if no_sample or config.stage in ("annotations", "doctor", "bundle", "reproduce", "course"):
        return config
    if config.submit.upload or config.runs.leaderboard:  # for Kaggle's own competitions
        return config
    if (config.root / "data" / str(competition.slug) / "source.json").exists():
        return config
    if config.stage in ("predict", "detect", "runs", "report", "export"):  # need a run, not data, and say which
        own = RunStore(config.runs_dir).finished()
        return config if own else replace(config, competition=replace(competition, slug=competition.sample_slug))
    if notebook_data(config.kaggle, competition.slug) or is_kaggle_notebook() or find_credentials():
        return config
    log.info(
        "\n*** No data for %s was found: running on the BUILT-IN SAMPLE, images drawn by code.\n"
        "*** Its scores say nothing about the competition. For the real images add competition.source=PATH\n"
        "*** or Kaggle's token (`python -m kagglepipe doctor` says how).\n",
        competition.slug,
    )
    sample = replace(competition, slug=competition.sample_slug, answers="answers.csv")
    return replace(config, competition=sample)
