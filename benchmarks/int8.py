"""INT8 by post-training quantisation beside OpenVINO's float32 and bfloat16: speed, and what heads say of the features.

    python -m venv FOLDER && FOLDER/bin/pip install -e '.[openvino]' nncf
    FOLDER/bin/python benchmarks/int8.py ARCHIVE.zip [--calibration 128]

The frozen network encodes all photos of an archive in Kaggle's layout, the training photos also in one augmented view.
On the features of each precision five heads are fitted, one for each fold. Prints images a second on tensors in memory
(best of five passes in turn), seconds to calibrate, and against float32: the largest and mean difference of a
probability, out of fold and of the test (mean of the five heads), and changed labels.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import make_parser, seconds
from photos import C_GRID, PhotoFiles, assign_folds, make_classifier, training_photos, unpacked
from sklearn.metrics import log_loss

from kagglepipe.competitions.source import list_files
from kagglepipe.images.augment import Transform
from kagglepipe.training.backends import Encoder, convert, import_openvino, openvino_core, openvino_encoder
from kagglepipe.training.head import HeadFitter

NAME, BATCH = "tf_efficientnet_lite0", 16


def compiled(network: Any, precision: str = "f32") -> Encoder:
    """Encoder of a converted network; INT8 layers stay so, `precision` is that of the others."""
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    return openvino_encoder(openvino_core().compile_model(network, "CPU", options))


def quantised(convert_again: Callable[[], Any], photos: np.ndarray, *, carefully: bool) -> Encoder:
    """Encoder in INT8, calibrated on `photos` (N, S, S, 3).

    carefully: asymmetric activations, all eight bits (which needs VNNI) and the slower correction of biases.
    """
    import_openvino()
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    more = {
        "preset": nncf.QuantizationPreset.MIXED,
        "fast_bias_correction": False,
        "advanced_parameters": AdvancedQuantizationParameters(overflow_fix=OverflowFix.DISABLE),
    }
    data = nncf.Dataset([photo[None] for photo in photos])
    return compiled(nncf.quantize(convert_again(), data, subset_size=len(photos), **(more if carefully else {})))


def batches(views: np.ndarray) -> list[np.ndarray]:
    """Batches of views (N, S, S, 3)."""
    return [views[start : start + BATCH] for start in range(0, len(views), BATCH)]


def said(encode: Encoder, looks: list[np.ndarray], test: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Probabilities of five heads on these features: out of fold (N, 2), and of the test (M, 2)."""
    views, hidden = ([np.concatenate([encode(b) for b in batches(look)]) for look in some] for some in (looks, [test]))
    folds = assign_folds(labels)
    fitter = HeadFitter(views, labels, folds, grid=C_GRID, classes=2)
    heads = [fitter.fit(fold) for fold in range(5)]
    own = np.zeros((len(labels), 2))
    for fold, head in enumerate(heads):
        own[folds == fold] = head.predict(views[0][folds == fold])
    return [own, np.mean([head.predict(hidden[0]) for head in heads], axis=0)]


def main(archive: Path, calibration: int) -> None:
    """Prints the table."""
    model = make_classifier(NAME).eval()
    with unpacked(archive) as place:
        photos = training_photos(place)
        transform = Transform("strong", model.preprocessing.size)
        views = model.preprocessing.views(photos.images, ids=photos.ids, transform=transform)
        rows = range(len(photos.images))
        looks = [np.stack([views[row, view] for row in rows]) for view in (0, 1)]
        files = [path for path in list_files(place)[0] if path.parent.name == "Test" and path.suffix != ".ini"]
        others = model.preprocessing.views(PhotoFiles(files))
        test = np.stack([others[row, 0] for row in range(len(files))])
    chosen = looks[0][np.linspace(0, len(looks[0]) - 1, calibration).astype(int)]
    encoders, took = {"float32": compiled(convert(model)), "bfloat16": compiled(convert(model), "bf16")}, {}
    for name, carefully in (("INT8", False), ("INT8, carefully", True)):
        start = time.perf_counter()
        encoders[name] = quantised(lambda: convert(model), chosen, carefully=carefully)
        took[name] = time.perf_counter() - start
    passes = [{name: seconds(lambda e=e: [e(b) for b in batches(chosen)]) for name, e in encoders.items()}
              for _ in range(6)][1:]  # fmt: skip
    print(f"{len(test)} photos of the test, {len(photos.labels)} to train on, {calibration} of them to calibrate")
    reference = said(encoders["float32"], looks, test, photos.labels)
    for name, encode in encoders.items():
        rate = calibration / min(one[name] for one in passes)
        probs = said(encode, looks, test, photos.labels)
        apart = [abs(found - known) for found, known in zip(probs, reference, strict=True)]
        changed = sum(int((f.argmax(1) != k.argmax(1)).sum()) for f, k in zip(probs, reference, strict=True))
        print(f"{name:<16}{rate:7.1f} images/s, {took.get(name, 0):5.1f} s to calibrate; log loss out of fold "
              f"{log_loss(photos.labels, probs[0]):.4f}; largest and mean difference {apart[0].max():.4f}, "
              f"{apart[0].mean():.5f} out of fold, {apart[1].max():.4f}, {apart[1].mean():.5f} of the test; "
              f"labels changed: {changed}", flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = make_parser(__doc__, calibration=128)
    parser.add_argument("archive", type=Path)
    arguments = parser.parse_args()
    main(arguments.archive, arguments.calibration)
