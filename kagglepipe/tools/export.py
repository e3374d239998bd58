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
        own = f"export one, as run={run.metrics['members'][0]}"
        raise UserError(f"{run.name} is an ensemble, whose members have inputs of their own: {own}")
    checkpoints = read_checkpoints(run.model_folders())
    meta = checkpoints[0].meta
    if "temporal" in meta:
        why = "and a recurrent network as ONNX takes one length only"
        raise UserError(f"{run.name} is of {meta['kind']}, {why}: only networks of images are exported, use predict")
    preprocessing = checkpoints[0].preprocessing
    if preprocessing.bits != 8:
        raise UserError(f"{run.name} is of images of {preprocessing.bits} bits: those of 8 are exported, use predict")
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
