"""A run answers for files and streams alike: streaming equals batch, and folds share what they can."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from numpy.typing import NDArray
from torch import nn

from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json
from kagglepipe.images.decode import Pixels
from kagglepipe.images.views import clean_view
from kagglepipe.models.classifier import Classifier, Preprocessing
from kagglepipe.models.temporal import TemporalModel
from kagglepipe.runs.run import Run
from kagglepipe.sequences.series_file import SeriesError
from kagglepipe.sequences.video import frame_differences
from kagglepipe.sequences.video_writer import VideoWriter
from kagglepipe.training import inference as module
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.checkpoint import (
    load_temporal,
    read_checkpoints,
    save_backbone,
    save_checkpoint,
    save_temporal,
)
from kagglepipe.training.device import Precision
from kagglepipe.training.features import encode_frames
from kagglepipe.training.inference import SequenceRun
from tests.fitting import temporal_options

CLASSES = ["none", "wave", "jump"]
CPU = torch.device("cpu")
FLOAT32 = Precision(torch.float32, False, "streaming is compared with the whole")
SIZE, RATE = 32, 8.0


def network(seed: int = 0, crop: str = "squash") -> Classifier:
    """A tiny network of random weights."""
    torch.manual_seed(seed)
    preprocessing = Preprocessing(SIZE, crop, 0.875 if crop == "center" else 1.0, (0.5,) * 3, (0.5,) * 3, 40)
    return Classifier(timm.create_model("test_efficientnet", num_classes=0), 1, preprocessing).eval()


FEATURES = network().head.in_features


def model_of(seed: int, features: int, *, per_frame: bool = True, **changes: Any) -> TemporalModel:
    """A model of time with weights that make a difference, standardised on random features."""
    options = temporal_options(**{"dropout": 0.3, "reduce": 6, "pooling": "mean_max", **changes})
    torch.manual_seed(seed)
    model = TemporalModel(features, len(CLASSES), options, per_frame=per_frame, noise=0.1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.6)
    model.inputs.fit(np.random.default_rng(seed).normal(size=(40, len(model.inputs.centre))), seed=0)
    return model.eval()


def saved(
    folder: Path, *, folds: int = 2, members: int = 2, shared: bool = True, kind: str = "video", motion: bool = False,
    crop: str = "squash", features: int | None = None, **changes: Any,
) -> Path:  # fmt: skip
    """A run's folder. Its folds share an encoder, have their own, or are of a series and have none."""
    meta = {
        "model": "test_efficientnet", "kwargs": {}, "classes": CLASSES, "kind": kind, "motion": motion, "rate": RATE,
        "columns": {}, "skeleton": {},
    }  # fmt: skip
    for fold in range(folds):
        encoder = network(0 if shared else fold, crop) if kind == "video" else None
        if encoder and shared:
            save_backbone(encoder, folder, None)
        width = features or FEATURES * (2 if motion else 1)
        models = [model_of(10 * fold + member, width, **changes) for member in range(members)]
        save_temporal(
            folder / f"fold_{fold}", models, encoder, shared_backbone=shared and encoder is not None, meta=meta
        )
    return folder


def opened(folder: Path) -> SequenceRun:
    """The run in float32 on the CPU."""
    return SequenceRun(read_checkpoints(Run(folder).model_folders()), backend=InferenceBackend(CPU, FLOAT32))


def footage(count: int = 7) -> list[Pixels]:
    """Frames of which each is the one before with a part changed."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)]
    for n in range(1, count):
        frame = frames[-1].copy()
        frame[n * 3 : n * 3 + 9] = rng.integers(0, 256, (len(frame[n * 3 : n * 3 + 9]), SIZE, 3))
        frames.append(frame)
    return frames


def streamed(run: SequenceRun, frames: list[Pixels]) -> NDArray[np.float64]:
    """(T, C) of frames that come one at a time."""
    step, before, found = run.stream(), None, []
    for frame in frames:
        features = run.frame_features([frame], before)
        found.append(step({file: values[0] for file, values in features.items()}))
        before = frame
    return np.stack(found)


# --- streaming -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [
    {"cell": "elman"},
    {"cell": "gru", "motion": True, "differences": True, "layers": 2},
    {"cell": "lstm", "differences": True, "shared": False},
    {"per_frame": False},  # a run trained on whole clips streams too
])  # fmt: skip
def test_streaming_equals_batch(tmp_path: Path, changes: dict[str, Any]) -> None:
    """With several folds and members, frame by frame from pixels on, in each stream anew."""
    run = opened(saved(tmp_path, **changes))
    frames = footage()
    whole = run.probabilities(run.frame_features(frames), per_frame=True)
    assert whole.shape == (7, 3)
    assert run.is_causal
    for _ in range(2):
        np.testing.assert_allclose(streamed(run, frames), whole, rtol=0, atol=1e-5)
    assert np.ptp(whole, axis=0).max() > 0.01


@pytest.mark.parametrize("changes", [{"bidirectional": True}, {"shuffled": True}, {"cell": "mean"}, {"cell": "conv"}])
def test_a_run_that_looks_ahead_is_no_stream(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = opened(saved(tmp_path, folds=1, **changes))
    assert not run.is_causal
    with pytest.raises(UserError, match=r"live stream.*model\.temporal\.bidirectional=false"):
        run.stream()
    assert run.probabilities(run.frame_features(footage()), per_frame=True).shape == (7, 3)


# --- probabilities ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("per_frame", [True, False])
def test_folds_and_members_are_averaged_in_probability(tmp_path: Path, shared: bool, per_frame: bool) -> None:
    """Each with its own fold's encoder."""
    run = opened(saved(tmp_path, shared=shared, folds=3, per_frame=per_frame))
    frames, expected = footage(), []
    with torch.inference_mode():
        for fold in range(3):
            seen = network(0 if shared else fold).features(torch.from_numpy(np.stack(frames)))
            for member in range(2):
                model = model_of(10 * fold + member, FEATURES, per_frame=per_frame)
                logits = model(seen[None], torch.tensor([len(frames)]))[0]
                expected.append(logits.softmax(dim=-1).double().numpy())
    found = run.probabilities(run.frame_features(frames), per_frame=per_frame)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-4)


def test_folds_that_share_an_encoder_share_its_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[int] = []
    plain = Classifier.features

    def counted(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        passed.append(len(images))
        return plain(self, images)

    monkeypatch.setattr(Classifier, "features", counted)
    shared, own = opened(saved(tmp_path / "a", folds=3)), opened(saved(tmp_path / "b", folds=3, shared=False))
    assert len(shared.frame_features(footage())) == 1
    assert passed == [7]
    assert len(own.frame_features(footage())) == 3
    assert passed == [7] * 4


def test_a_run_of_images_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "photos" / "fold_0", network(), shared_backbone=False, meta={"classes": ["a"]})
    with pytest.raises(UserError, match=r"photos classifies images: .*competition=video_folder"):
        opened(tmp_path / "photos")


# --- features --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("motion", [False, True])
def test_features_do_not_depend_on_how_frames_are_batched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, motion: bool
) -> None:
    """What moved is told across the borders of batches too, and across calls."""
    run, frames = opened(saved(tmp_path, motion=motion)), footage()
    (whole,) = run.frame_features(iter(frames)).values()
    assert whole.shape == (7, FEATURES * (2 if motion else 1))
    assert whole.dtype == np.float32
    seen = [np.stack(frames), *([frame_differences(np.stack(frames))] if motion else [])]  # motion stands behind
    with torch.inference_mode():
        expected = np.concatenate([network().features(torch.from_numpy(x)).numpy() for x in seen], axis=1)
    np.testing.assert_allclose(whole, expected, rtol=2e-3, atol=1e-3)
    monkeypatch.setattr(module, "encode_frames", partial(encode_frames, batch_size=3))
    (batched_features,) = run.frame_features(frames).values()
    np.testing.assert_allclose(batched_features, whole, rtol=2e-3, atol=1e-4)
    parts = [run.frame_features([frames[0]]), *(run.frame_features([b], a) for a, b in pairwise(frames))]
    np.testing.assert_allclose(
        np.concatenate([v for part in parts for v in part.values()]), whole, rtol=2e-3, atol=1e-4
    )


@pytest.mark.parametrize("crop", ["squash", "center", "border"])
def test_the_view_is_the_checkpoints(tmp_path: Path, crop: str) -> None:
    run = opened(saved(tmp_path, folds=1, members=1, crop=crop))
    frame = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    crop_pct = 0.875 if crop == "center" else 1.0
    np.testing.assert_array_equal(
        run.preprocessing.views().apply(frame), clean_view(frame, SIZE, crop=crop, crop_pct=crop_pct)
    )
    assert run.side == ((SIZE, SIZE) if crop == "squash" else 40)


# --- files -----------------------------------------------------------------------------------------------------


def make_video(path: Path, frames: int = 25, rate: float = 10) -> Path:
    """A square that moves."""
    with VideoWriter(path, 64, 48, rate) as writer:
        for n in range(frames):
            frame = np.full((48, 64, 3), 40, np.uint8)
            frame[10:30, n : n + 20] = 220
            writer.write(frame)
    return path


def test_a_video_is_read_on_the_grid_of_the_rate(tmp_path: Path) -> None:
    run = opened(saved(tmp_path / "run"))
    seen = run.read(make_video(tmp_path / "clip.mp4"))
    assert seen.times.tolist() == [k / RATE for k in range(20)]
    assert seen.end == pytest.approx(2.5)
    assert seen.repairs == ()
    (features,) = seen.features.values()
    assert features.shape == (20, FEATURES)
    assert run.probabilities(seen.features, per_frame=True).shape == (20, 3)
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="empty"):  # stages name the file
        run.read(tmp_path / "clip.mp4")


def test_a_series_has_no_encoder_and_is_read_as_it_is(tmp_path: Path) -> None:
    run = opened(saved(tmp_path / "run", kind="series", features=2, folds=3, reduce=0))
    assert list(run.encoders.values()) == [None] * 3
    values = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    np.savez(tmp_path / "s.npz", values=values, time=np.arange(9) / RATE)
    seen = run.read(tmp_path / "s.npz")
    assert seen.times.tolist() == [k / RATE for k in range(9)]
    assert seen.end == pytest.approx(9 / RATE)
    for inputs in seen.features.values():
        np.testing.assert_allclose(inputs, values, atol=1e-6)
    found = run.probabilities(seen.features, per_frame=True)
    models = [model_of(10 * fold + member, 2, reduce=0) for fold in range(3) for member in range(2)]
    with torch.inference_mode():
        expected = [m(torch.from_numpy(values)[None], torch.tensor([9]))[0].softmax(dim=1).numpy() for m in models]
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-5)


@pytest.mark.parametrize("per_frame", [False, True])
def test_folds_of_other_orders_of_classes_answer_as_if_they_had_one(tmp_path: Path, per_frame: bool) -> None:
    """As `competition.classes` may have been changed between two folds."""
    run = saved(tmp_path / "run", kind="series", features=3)
    x = np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32)

    def answers() -> list[NDArray[np.float64]]:
        one = opened(run)
        step = one.stream()
        stream = [step(dict.fromkeys(one.encoders, row)) for row in x]
        return [one.probabilities(dict.fromkeys(one.encoders, x), per_frame=per_frame), np.stack(stream)]

    expected = answers()
    meta = read_json(run / "fold_1/model.json")
    models = load_temporal(read_checkpoints(Run(run).model_folders())[1])
    order = [2, 0, 1]
    for model in models:  # the same network, its outputs in another order
        outputs = model.head.classifier
        outputs.weight.data, outputs.bias.data = outputs.weight.data[order], outputs.bias.data[order]
    names = [CLASSES[n] for n in order]
    save_temporal(run / "fold_1", models, None, shared_backbone=False, meta={**meta, "classes": names})
    for found, wanted in zip(answers(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)
    write_json(run / "fold_1/model.json", {**meta, "classes": ["none", "wave", "fall"]})
    with pytest.raises(UserError, match="fold_1 knows the classes none, wave, fall, fold_0 none, wave, jump"):
        opened(run)


def test_the_columns_of_a_series_are_those_of_the_training_whatever_their_order(tmp_path: Path) -> None:
    run = opened(saved(tmp_path / "run", kind="series", features=2, folds=1, reduce=0))
    run.meta["channels"] = {"csv": ["a", "b"]}
    table = pd.DataFrame({"b": [3.0, 4.0], "time": [0, 1 / RATE], "q": 9.0, "a": [1.0, 2.0]})
    table.to_csv(tmp_path / "s.csv", index=False)
    seen = run.read(tmp_path / "s.csv")
    assert [inputs.tolist() for inputs in seen.features.values()] == [[[1, 3], [2, 4]]]
    assert seen.repairs == ("columns left out because they are no channels: q",)
    table.drop(columns="a").to_csv(tmp_path / "s.csv", index=False)
    with pytest.raises(SeriesError, match="it has no column a, which is a channel of others; there are b, time, q"):
        run.read(tmp_path / "s.csv")
