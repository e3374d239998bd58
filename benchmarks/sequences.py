"""What the sequence branch costs beside what no program can save, on a folder of clips.

    python benchmarks/sequences.py FOLDER

FOLDER is laid out as competition=surveillance_fights wants it. Prints two tables:

- decoding and features of every clip, against the bare work (each file decoded once with PyAV, one plain forward pass
  over the sampled frames), in the same run;
- an epoch of the temporal head on cached features against an epoch of encoder and LSTM together.
"""

import argparse
import copy
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import torch
from composed import composed
from measure import make_parser

from kagglepipe.runs.configured import make_learner, read_data
from kagglepipe.sequences.dataset import TrainingBatches
from kagglepipe.tools.commands import run_command
from kagglepipe.training.loop import train_epochs
from kagglepipe.training.optimise import make_optimiser, param_groups
from kagglepipe.training.sequence_learner import SequenceLearner


def main() -> None:
    """Prints both tables."""
    parser = make_parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=float, default=8.0, help="frames a second")
    parser.add_argument("--frames", type=int, default=8, help="frames of a clip that end-to-end training sees")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        learner = prepared_learner(arguments, Path(root))
        features(learner)
        epochs(learner)


def prepared_learner(arguments: argparse.Namespace, root: Path) -> SequenceLearner:
    """A learner of the prepared folder."""
    config = composed(
        "competition=surveillance_fights", f"competition.source={arguments.folder}", f"paths.root={root}",
        "stage=prepare", f"sequences.rate={arguments.rate}", "sequences.motion=false", "model.temporal.cell=lstm",
        f"sequences.clip_frames={arguments.frames}",
    )  # fmt: skip
    run_command(config)
    learner = make_learner(config, read_data(config))
    assert isinstance(learner, SequenceLearner)
    return learner


def features(learner: SequenceLearner) -> None:
    """Decoding and features: bare, then ours from nothing, then ours cached."""
    videos, size = learner.videos, learner.network.model.preprocessing.size
    start = time.perf_counter()
    for path in learner.paths:
        with av.open(str(path)) as container:
            for _ in container.decode(video=0):
                pass
    decoded = time.perf_counter() - start
    total, batch = sum(item.frames for item in videos), torch.zeros(32, size, size, 3, dtype=torch.uint8)
    model, device = copy.deepcopy(learner.network.model).eval(), learner.runtime.device
    model.backbone.to(learner.precision.dtype, memory_format=torch.channels_last)
    start = time.perf_counter()
    with torch.inference_mode():
        for _ in range(-(-total // len(batch))):
            model.features(batch.to(device))
    forward = time.perf_counter() - start
    start = time.perf_counter()
    learner.features(0)
    ours = time.perf_counter() - start
    learner._features.clear()
    start = time.perf_counter()
    learner.features(0)
    cached = time.perf_counter() - start
    print(f"{len(videos)} clips, {total} frames of {size} pixels on {device}, {learner.precision.name}")
    print(f"bare: decode {decoded:.1f} s + forward {forward:.1f} s = {decoded + forward:.1f} s")
    print(f"ours: {ours:.1f} s, ratio {ours / (decoded + forward):.2f}; cached: {cached:.2f} s")


def epochs(learner: SequenceLearner) -> None:
    """One epoch of the temporal head on cached features, and one of encoder and LSTM together."""
    from dataclasses import replace

    from kagglepipe.models.temporal import CnnLstm
    from kagglepipe.training.temporal import FLOAT32, inputs_of, loop_options, make_temporal

    rows, options, device = learner.train[learner.folds != 0], learner.options, learner.runtime.device
    examples = [example for example, _ in learner.examples(rows, learner.features())]
    model = make_temporal(examples, len(learner.classes), options.model.temporal, seed=0, device=device)
    seen = [replace(example, features=inputs_of(model, example.features)) for example in examples]
    sequences, training = options.sequences, options.training
    batches = TrainingBatches(seen, sequences, batch_size=sequences.batch_size, window=None, seed=0)
    optimiser = torch.optim.AdamW(param_groups(model.head, lr=1e-3, weight_decay=0.01))
    fitting = loop_options(replace(sequences, steps=5 * len(batches)), len(batches), clip=training.clip)
    head = timed(model.head, batches, optimiser, fitting, FLOAT32) / 5
    whole = CnnLstm(learner.network.model, model).to(device)
    fitting = replace(training, epochs=1)
    optimiser, precision = make_optimiser(whole, fitting), learner.runtime.training_precision
    end_to_end = timed(whole, learner.clip_batches(rows, examples), optimiser, fitting, precision)
    print(f"epoch of {len(examples)} clips: temporal head {head:.2f} s, end to end {end_to_end:.1f} s, "
          f"1/{end_to_end / head:.0f}")  # fmt: skip


def timed(
    model: torch.nn.Module, batches: Any, optimiser: torch.optim.Optimizer, options: Any, precision: Any
) -> float:
    """Seconds of a fit."""
    start = time.perf_counter()
    train_epochs(
        model, batches, optimiser, options=options, seed=0, precision=precision, name="benchmark",
        unit="clip", evaluate=None,
    )  # fmt: skip
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
