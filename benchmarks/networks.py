"""What networks by name cost on this machine, beside EfficientNet-Lite0: for the table of docs/images.md.

    python benchmarks/networks.py [--names resnet18,…] [--images 32] [--rounds 3]

Weights are random, which take as long. Each network is a process of its own, in which it takes turns with Lite0, in one
thread and seconds of processor time; the best round counts. Prints pixels a side, millions of parameters, GMACs an
image (half of what torch.utils.flop_counter counts), images a second of the frozen network by torch and by OpenVINO,
both as kagglepipe uses them, and of a step of fine-tuning with its defaults, each with its ratio to Lite0; and the
largest memory of the process until torch has encoded, and until it has trained, batches of 16.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import timm
import torch
from measure import make_parser
from photos import make_classifier
from torch.utils.flop_counter import FlopCounterMode

from kagglepipe.models.classifier import Classifier
from kagglepipe.options import TrainingOptions
from kagglepipe.training.backends import InferenceBackend, has_openvino
from kagglepipe.training.device import choose_precision
from kagglepipe.training.loop import Loop
from kagglepipe.training.optimise import freeze_statistics, make_optimiser

LITE0, BATCH, CPU = "tf_efficientnet_lite0", 16, torch.device("cpu")
NAMES: dict[str, dict[str, Any]] = {  # name -> model.kwargs
    LITE0: {},
    "tf_efficientnet_lite1": {},
    "tf_efficientnet_lite2": {},
    "tf_efficientnetv2_s.in21k_ft_in1k": {},
    "convnext_tiny.fb_in22k_ft_in1k": {},
    "swin_tiny_patch4_window7_224.ms_in22k_ft_in1k": {},
    "vit_small_patch14_dinov2.lvd142m": {"img_size": 224},
    "vit_base_patch16_clip_224.openai": {},
    "eva02_small_patch14_336.mim_in22k_ft_in1k": {},
}


def network(name: str, options: dict[str, Any]) -> Classifier:
    return make_classifier(name, "none", image_size=options.get("img_size"), **options)


def multiplications(name: str, options: dict[str, Any]) -> float:
    """GMACs of one image; attention is computed by plain products, which alone are counted."""
    fused = timm.layers.use_fused_attn()
    timm.layers.set_fused_attn(False)
    model = network(name, options).eval()
    timm.layers.set_fused_attn(fused)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.backbone(torch.zeros(1, 3, model.preprocessing.size, model.preprocessing.size))
    return counter.get_total_flops() / 2e9


def rates(works: list[Callable[[], object]], rounds: int, count: int) -> list[float]:
    """Images a second of processor time of each, in turns."""
    best = [np.inf] * len(works)
    for number in range(rounds + 1):
        for at, work in enumerate(works):
            start = time.process_time()
            work()
            if number:  # the first round does not count
                best[at] = min(best[at], time.process_time() - start)
    return [count / seconds for seconds in best]


def frozen_pass(model: Classifier, engine: str, count: int) -> Callable[[], object]:
    """Features of `count` images by an engine of kagglepipe."""
    encode = InferenceBackend(CPU, choose_precision(CPU), engine).encoder(model.eval())
    size = model.preprocessing.size
    images = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), np.uint8)
    return lambda: [encode(images) for _ in range(count // BATCH)]


def training_step(model: Classifier) -> Callable[[], object]:
    """A step of fine-tuning as it comes."""
    recipe = TrainingOptions(batch_size=BATCH)
    loop = Loop(model, [], make_optimiser(model, recipe), recipe, choose_precision(CPU, training=True), 0, "", "image")
    freeze_statistics(model)
    size = model.preprocessing.size
    images = torch.randint(0, 256, (BATCH, size, size, 3), dtype=torch.uint8)
    return lambda: loop.step([images], torch.arange(BATCH) % 2, loop.loss)


def peak() -> float:
    """GB of memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(name: str, work: str, images: int, rounds: int) -> dict[str, Any]:
    """One process. work: `frozen` or `fine-tuning`."""
    torch.set_num_threads(1)
    options = NAMES.get(name, {})
    both = [network(name, options), network(LITE0, {})]
    if work == "fine-tuning":
        found = rates([training_step(model) for model in both], rounds, BATCH)
        return {"fine-tuning": found, "peak_training": peak()}
    parameters = sum(parameter.numel() for parameter in both[0].backbone.parameters()) / 1e6
    told: dict[str, Any] = {"size": both[0].preprocessing.size, "parameters": parameters}
    told["torch"] = rates([frozen_pass(model, "torch", images) for model in both], rounds, images)
    told["peak"] = peak()
    if has_openvino():
        told["openvino"] = rates([frozen_pass(model, "openvino", images) for model in both], rounds, images)
    return told | {"gmacs": multiplications(name, options)}


def main(names: list[str], images: int, rounds: int) -> None:
    """Prints the rows."""
    frozen, training = (choose_precision(CPU, training=training).name for training in (False, True))
    print(f"{torch.backends.cpu.get_cpu_capability()}, {frozen} frozen, {training} in training, one thread")
    print(
        "network | pixels | parameters, M | GMACs | images/s: torch | OpenVINO | fine-tuning | GB: frozen | fine-tuning"
    )
    for name in names:
        told: dict[str, Any] = {}
        for work in ("frozen", "fine-tuning"):
            command = [sys.executable, __file__, "--one", name, work, "--images", str(images), "--rounds", str(rounds)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{name}, {work}: {done.stderr[-2000:]}")
            told |= json.loads(done.stdout.splitlines()[-1])
        speeds = [told[way] for way in ("torch", "openvino", "fine-tuning") if way in told]
        shown = " | ".join(f"{own:.1f} ({own / lite0:.2f})" for own, lite0 in speeds)
        costs = f"{told['size']} | {told['parameters']:.1f} | {told['gmacs']:.2f}"
        print(f"{name} | {costs} | {shown} | {told['peak']:.2f} | {told['peak_training']:.2f}", flush=True)


if __name__ == "__main__":
    parser = make_parser(__doc__, images=32, rounds=3)
    parser.add_argument("--names", default=",".join(NAMES))
    parser.add_argument("--one", nargs=2)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*given.one, given.images, given.rounds)))
    else:
        main(given.names.split(","), given.images, given.rounds)
