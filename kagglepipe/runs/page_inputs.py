"""What a page is made of: a page whose inputs have not changed since is not made again."""

import json
from dataclasses import asdict
from pathlib import Path

from kagglepipe import __version__
from kagglepipe.config import Config
from kagglepipe.files import file_state, sha256
from kagglepipe.runs.configured import beside_page, page_file
from kagglepipe.runs.run import Run


def inputs_hash(config: Config, run: Run) -> str:
    """Hash the states of the files that the page of a run reads, its options, folders and the version of the package.

    config: of the command. Files are those of the run and of its members, the prepared tables, the submission and the
    ledger; pictures are not among them. A state is a size and a time, so that a large run costs nothing.
    """
    page, ledger = page_file(config, run), config.ledger_file
    written = {page, beside_page(page, run, "MODEL_CARD.md")}
    folders = [one.folder for one in (run, *run.members)]
    files = {file for folder in folders for file in folder.rglob("*") if file.is_file()} - written
    files |= {file for file in config.base_dir.glob("*") if file.is_file()}
    files |= {beside_page(page, run, "suspects.csv"), ledger, ledger.with_name(f"{run.name}.csv")}
    states = {str(file): file_state(file) if file.exists() else None for file in sorted(files)}
    return sha256(json.dumps([__version__, asdict(config.report), asdict(config.paths), states]))


def is_current(path: Path, inputs: str) -> bool:
    """Whether a page was made of these inputs."""
    return path.is_file() and f'"{inputs}"' in path.read_text(encoding="utf-8", errors="replace")[:2000]
