"""stage=export run=NAME: the networks of a run of images as one ONNX file, outputs/<slug>/<run>/onnx/model.onnx.

README.md beside it, and the metadata of the file, say how images become inputs. The file is compared with torch before
it is kept. Needs the extra `onnx`.
"""

import json
import logging

import numpy as np

from kagglepipe import __version__
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import write_bytes
from kagglepipe.reports.page import environment
from kagglepipe.runs.configured import best_run
from kagglepipe.runs.run import Run

log = logging.getLogger(__name__)
EXAMPLES = 5  # drawn images on which the file and torch are compared


def run(config: Config) -> None:
    """Export the run that `run=` names or, without it, the best one."""
    export(best_run(config))


def export(run: Run) -> None:
    """Write model.onnx and its README.md. Raises UserError for a run that cannot be exported."""
    from kagglepipe.training.checkpoint import read_checkpoints
    from kagglepipe.training.onnx_export import MeanOfFolds, check_onnx, export_onnx

    if run.is_ensemble:
        raise UserError(f"{run.name} is an ensemble: export a member, as run={run.metrics['members'][0]}")
    checkpoints = read_checkpoints(run.model_folders())
    meta, preprocessing = (
        checkpoints[0].meta,
        checkpoints[0].preprocessing if "temporal" not in checkpoints[0].meta else None,
    )
    if preprocessing is None or preprocessing.bits != 8:
        kind = f"images of {preprocessing.bits} bits" if preprocessing else meta["kind"]
        raise UserError(f"{run.name} is of {kind}: only networks of images of 8 bits are exported, use run.predict")
    check_onnx()
    facts = {
        "run": run.name, "classes": meta["classes"], "task": meta.get("task", "multiclass"), "folds": len(checkpoints),
        "tta": run.tta, "size": preprocessing.size, "channels": preprocessing.form.channels, "crop": preprocessing.crop,
        "crop_pct": preprocessing.crop_pct, "kagglepipe": __version__,
    }  # fmt: skip
    folder, side = run.folder / "onnx", preprocessing.size
    examples = np.random.default_rng(0).integers(0, 256, (EXAMPLES, side, side, facts["channels"]), np.uint8)
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
    difference = export_onnx(MeanOfFolds(checkpoints, run.tta), examples, folder / "model.onnx", texts)
    readme = environment().get_template("onnx.md").render(
        facts, scaled=max(side, round(side / preprocessing.crop_pct)), is_decided="decision" in run.metrics
    )  # fmt: skip
    write_bytes(folder / "README.md", readme.encode())
    log.info("export: %d folds, at most %.1g from torch, in %s", len(checkpoints), difference, folder / "model.onnx")
