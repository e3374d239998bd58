"""Tell the names of the runs of the configurations in names.json, on stand-ins for prepared data.

python -m tests.guards.names            says which differ, and exits with 1 if any does
python -m tests.guards.names --write    keeps the present names, where they have changed on purpose
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from kagglepipe.config import Config
from kagglepipe.runs.configured import read_data, run_of
from tests.composing import config_of

KEPT = Path(__file__).with_name("names.json")  # overrides, as they are typed -> the run's name
TEACHER = "test_efficientnet-head-11111111"


def name_of_run(config: Config) -> str:
    """The name of the run that a configuration describes, on the data that is prepared in its root."""
    return run_of(config, read_data(config)).name


def write_prepared(config: Config) -> None:
    """Write the files that stage=prepare leaves, of two items to train on and one to classify."""
    competition, folder = config.competition, config.data_dir
    finds_segments = competition.finds_segments
    classes = competition.classes or ["none"] * finds_segments + ["left", "right"]
    rows = pd.DataFrame(
        [
            {"id": name, "path": name, "split": split, "target": target, "sha256": name, "group": name}
            | {"video": name, "start": float("nan"), "end": float("nan"), "begins": 0.0, "ends": 2.0, "bytes": 1}
            for name, split, target in (("a", "train", classes[0]), ("b", "train", classes[1]), ("c", "test", None))
        ]
    )
    for where in {folder, config.base_dir}:
        where.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(where / "table.parquet")
        rows.drop(columns=["id", "target", "start", "end"]).to_parquet(where / "items.parquet")
        annotations = [("a", 0.5, 1.0, classes[-1]), ("b", 0.5, 1.5, classes[-1])] if finds_segments else []
        pd.DataFrame(annotations, columns=["video", "start", "end", "label"]).to_csv(
            where / "annotations.csv", index=False
        )
        (where / "folds.csv").write_text("id,fold,count,seed\na,0,2,0\nb,1,2,0\n")
        report = {"classes": classes, "images_root": str(where), "decoder": "opencv-2", "bits": None}
        report |= {"table_hash": f"table of {config.slug}", "unreadable": []}
        (where / "prepared.json").write_text(json.dumps(report))


def write_teacher(config: Config) -> None:
    """Write a finished run, with as much as is asked of a teacher."""
    run = config.runs_dir / TEACHER
    for fold in (0, 1):
        (run / f"fold_{fold}").mkdir(parents=True, exist_ok=True)
        (run / f"fold_{fold}" / "test.parquet").write_text(f"answers of fold {fold}")
    folds_hash = hashlib.sha256((config.data_dir / "folds.csv").read_bytes()).hexdigest()
    identity = {"table": f"table of {config.slug}", "folds": folds_hash}
    metrics = {"run": TEACHER, "metric": "accuracy", "score": 0.5, "rows": 2, "classes": ["left", "right"]}
    (run / "metrics.json").write_text(json.dumps({**metrics, "identity": identity}))


def names_now(root: Path, change: Callable[[Config], Config] = lambda config: config) -> dict[str, str]:
    """Overrides -> the run's name, of every configuration in names.json, each changed by `change`.

    root: an empty folder to work in.
    """
    found = {}
    for overrides in json.loads(KEPT.read_text()):
        config = config_of(f"paths.root='{root}'", "device=cpu", *overrides.split())
        write_prepared(config)
        if config.training.teacher:
            write_teacher(config)
        found[overrides] = name_of_run(change(config))
    return found


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        found = names_now(Path(folder))
    if sys.argv[1:] == ["--write"]:
        KEPT.write_text(json.dumps(found, indent=1) + "\n")
    kept = json.loads(KEPT.read_text())
    wrong = [f"{overrides}: the run's name is {name}, was {kept[overrides]}" for overrides, name in found.items()
             if name != kept[overrides]]  # fmt: skip
    print("\n".join(wrong) or f"{len(found)} configurations keep the names of their runs")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
