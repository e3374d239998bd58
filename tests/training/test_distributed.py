"""Two processes that train one network do what one would do alone, to rounding; what they tell each other is right."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kagglepipe import distributed
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json
from kagglepipe.images.dataset import EpochBatches, TrainingImages
from kagglepipe.models.classifier import Classifier
from kagglepipe.training import learner
from kagglepipe.training.backends import make_backend
from kagglepipe.training.loop import Budget, FitRuntime, Loop
from kagglepipe.training.optimise import freeze_statistics, gradients
from tests.fitting import FLOAT32, RECIPE, ROWS, Clock, crowd, images_in, network, trained, untimed
from tests.processes import in_company

Company = Callable[..., list[Any]]
ODD = replace(RECIPE, epochs=2, batch_size=23)  # twenty-four rows: the last batch is one row, too few for two


@pytest.fixture
def company(processes: ForkServerContext, tmp_path: Path) -> Company:
    """company(target, …) -> what each of two processes has left, after `target(folder, …)` and nothing else."""

    def run(target: Callable[..., None], *arguments: Any, expected: Sequence[int] = (0, 0)) -> list[Any]:
        folders = [tmp_path / f"{len(list(tmp_path.iterdir()))}-{rank}" for rank in range(2)]
        for folder in folders:
            folder.mkdir()
        codes = in_company(processes, in_own_folder, target, folders, *arguments)
        assert codes == list(expected), [(folder / "log").read_text() for folder in folders]
        return [read_json(folder / "said.json") if (folder / "said.json").exists() else folder for folder in folders]

    return run


def in_own_folder(target: Callable[..., None], folders: list[Path], *arguments: Any) -> None:
    folder = folders[distributed.rank()]
    logging.basicConfig(filename=folder / "log", level=logging.INFO, format="%(message)s", force=True)
    distributed.init_process_group("cpu")
    try:
        target(folder, *arguments)
    except Exception:
        logging.exception("it failed")
        raise
    distributed.destroy_process_group()


# --- what they tell each other ----------------------------------------------------------------------------------------


def squares(rows: Any) -> np.ndarray:
    return np.array([[row, row**2] for row in rows], np.int64).reshape(-1, 2)


def talk(folder: Path) -> None:
    distributed.init_process_group("cpu")  # a second time, which changes nothing
    with distributed.single_process():
        alone = [distributed.world_size(), distributed.all_reduce_sum([5.0]), distributed.broadcast_object("mine")]
    rank = distributed.rank()
    write_json(folder / "said.json", {
        "ranks": [rank, distributed.local_rank(), distributed.world_size(), distributed.is_rank_zero()],
        "total": distributed.all_reduce_sum([1.0 + rank, 10.0], torch.device("cpu")),
        "from_first": distributed.broadcast_object({"rank": rank}),
        "share": [int(row) for row in distributed.shard(np.arange(5))],
        "spread": [distributed.map_and_gather(squares, list(range(count))).tolist() for count in (5, 2, 1, 0)],
        "alone": alone,
    })  # fmt: skip
    distributed.barrier()


def test_what_one_knows_both_know(company: Company) -> None:
    """Shares hold every row once; spread rows come back in order, also if there are fewer than processes, or none."""
    first, second = company(talk)
    assert [said["ranks"] for said in (first, second)] == [[0, 0, 2, True], [1, 1, 2, False]]
    assert [said["share"] for said in (first, second)] == [[0, 2, 4], [1, 3]]
    for said in (first, second):
        assert said["total"] == [3.0, 20.0]
        assert said["from_first"] == {"rank": 0}
        assert said["spread"] == [squares(range(count)).tolist() for count in (5, 2, 1, 0)]
        assert said["alone"] == [1, [5.0], "mine"]


def test_a_single_process_needs_no_group() -> None:
    assert (distributed.world_size(), distributed.rank(), distributed.is_rank_zero()) == (1, 0, True)
    distributed.init_process_group("cpu")
    distributed.barrier()
    distributed.destroy_process_group()
    assert distributed.all_reduce_sum([1.5, 2.0]) == [1.5, 2.0]
    assert distributed.broadcast_object(3) == 3
    assert distributed.map_and_gather(squares, [3]).tolist() == [[3, 9]]
    model = torch.nn.Linear(1, 1)
    assert distributed.wrap_ddp(model) is model


@pytest.mark.parametrize(("variables", "expected"), [
    ({}, (1, 0, 0)),
    ({"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}, (1, 0, 0)),
    ({"WORLD_SIZE": "4"}, (1, 0, 0)),  # of another program: it does not say which of them this is
    ({"WORLD_SIZE": "", "RANK": ""}, (1, 0, 0)),
    ({"RANK": "3"}, (1, 0, 0)),  # left over from something else
    ({"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}, (4, 3, 1)),
    ({"WORLD_SIZE": "4", "RANK": "2", "LOCAL_RANK": "0", "ACCELERATE_MIXED_PRECISION": "no"}, (4, 2, 0)),
])  # fmt: skip
def test_processes_know_themselves_by_their_variables(
    variables: dict[str, str], expected: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of `torchrun`, and of `accelerate launch`, which sets the same ones beside its own."""
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (distributed.world_size(), distributed.rank(), distributed.local_rank()) == expected
    assert distributed.is_rank_zero() == (expected[1] == 0)
    with distributed.single_process():
        assert (distributed.world_size(), distributed.rank()) == (1, 0)
        assert "WORLD_SIZE" not in os.environ
    assert distributed.world_size() == expected[0]


@pytest.mark.parametrize(("wanted", "variables", "expected"), [
    (None, {}, 12),
    (5, {}, 5),
    (None, {"WORLD_SIZE": "8", "RANK": "1", "LOCAL_WORLD_SIZE": "4"}, 3),
    (None, {"WORLD_SIZE": "32", "RANK": "1", "LOCAL_WORLD_SIZE": "32"}, 1),
    (None, {"WORLD_SIZE": "2", "RANK": "1"}, 12),  # one on each of two machines, by a launcher that does not say
    (5, {"WORLD_SIZE": "8", "RANK": "1", "LOCAL_WORLD_SIZE": "4"}, 5),
])  # fmt: skip
def test_the_cores_of_a_machine_are_shared(
    wanted: int | None, variables: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(learner, "cpu_count", lambda: 12)
    runtime = learner.Runtime(make_backend("cpu"), Path(), Path(), workers=wanted)
    assert (runtime.own_workers, runtime.loader_workers) == (expected, 0)  # the network trains on the same cores
    with distributed.single_process():
        assert runtime.own_workers == (wanted or 12)


@pytest.mark.parametrize(("device", "gpus", "error"), [
    ("cuda:1", 2, "device=cuda:1 is one GPU for 2 processes"),
    ("auto", 1, "process 1 of this machine has no GPU: type --nproc-per-node=1"),
    ("auto", 0, "2 processes cannot share an Apple GPU: type device=cpu"),
])  # fmt: skip
def test_every_process_needs_a_gpu_of_its_own(
    device: str, gpus: int, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(UserError, match=error):
        distributed.init_process_group(device)


# --- what they do together ---------------------------------------------------------------------------------------


def parts_of(images: TrainingImages, number: int, rank: int, ranks: int) -> tuple[Tensor, Tensor]:
    """(pixels, labels) of one process' part of a batch of seventeen of thirty-five rows; the last batch is one row."""
    batches = EpochBatches(ROWS[:35], batch_size=17, seed=0, rank=rank, ranks=ranks)
    items = [images[key] for key in list(batches)[number]]
    return torch.from_numpy(np.stack([x for x, _ in items])), torch.tensor([y for _, y in items])


def differentiate(folder: Path, pixels: Path, micro_batch: int | None) -> None:
    model = network()
    freeze_statistics(model)
    wrapped, found = distributed.wrap_ddp(model), {}
    for number in (0, 2):
        views, labels = parts_of(images_in(pixels), number, distributed.rank(), distributed.world_size())
        said = gradients(
            wrapped, [views], labels, torch.amp.GradScaler("cpu", enabled=False), FLOAT32, label_smoothing=0.1,
            micro_batch=micro_batch,
        )  # fmt: skip
        found[f"{number}.said"] = torch.tensor(said, dtype=torch.float64)
        found |= {f"{number}.{n}": p.grad.contiguous() for n, p in model.named_parameters() if p.grad is not None}
    save_file(found, folder / "gradients")


@pytest.mark.parametrize("micro_batch", [None, 3])
def test_two_processes_have_the_gradient_of_one(
    micro_batch: int | None, company: Company, pixels: Path, tmp_path: Path
) -> None:
    """In batches of an odd number of rows, and of a single row, of which one process has nothing but padding."""
    differentiate(tmp_path, pixels, None)
    alone = load_file(tmp_path / "gradients")
    first, second = (load_file(folder / "gradients") for folder in company(differentiate, pixels, micro_batch))
    assert alone.keys() == first.keys()
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5)
    assert [int(alone[f"{number}.said"][2]) for number in (0, 2)] == [17, 1]


def fit_together(folder: Path, pixels: Path, resume: Path, way: str = "") -> None:
    """A fit, whose weights and history are left in `folder`."""
    model, runtime, recipe = network(), FitRuntime(resume), replace(ODD, batch_size=8) if way == "budget" else ODD
    recipe = replace(recipe, from_scratch=way == "from scratch")
    if way == "budget":  # the clocks of two machines differ
        runtime = replace(runtime, budget=Budget(4.0, Clock(step=lambda _: 1.0 + distributed.rank())))
    if way == "one part is no number" and distributed.rank() == 1:
        break_once(model)
    if way == "short of memory" and distributed.rank() == 1:
        crowd(model, 5)
    if way == "killed":
        die_after_an_epoch()
    history = trained(model, images_in(pixels), recipe, runtime=runtime)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "weights")
    write_json(folder / "history", [asdict(epoch) for epoch in untimed(history)])


def die_after_an_epoch() -> None:
    """Both end when the first epoch is kept."""
    commit = Loop.commit_epoch

    def last(self: Loop, *arguments: Any) -> None:
        commit(self, *arguments)
        distributed.barrier()
        os._exit(9)

    Loop.commit_epoch = last  # type: ignore[method-assign]


def break_once(model: Classifier) -> None:
    """The first gradient of its head is no number; the loss is one."""
    broken: list[int] = []

    def hook(gradient: Tensor) -> Tensor:
        broken.append(1)
        return gradient * torch.nan if len(broken) == 1 else gradient

    model.head.weight.register_hook(hook)


def weights_of(folders: list[Path]) -> dict[str, Tensor]:
    """Those of both, which are the same bit by bit; so are their histories."""
    first, second = (load_file(folder / "weights") for folder in folders)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert read_json(folders[0] / "history") == read_json(folders[1] / "history")
    return first


def test_two_processes_fit_as_one_does_and_one_of_them_writes(company: Company, pixels: Path, tmp_path: Path) -> None:
    """Also if they are killed between two epochs: then bit by bit as if they had not been."""
    alone = tmp_path / "alone"
    alone.mkdir()
    fit_together(alone, pixels, alone / "resume.safetensors")
    kept = tmp_path / "kept" / "resume.safetensors"
    folders = company(fit_together, pixels, kept)
    together = weights_of(folders)
    for name, value in load_file(alone / "weights").items():
        torch.testing.assert_close(together[name], value, rtol=1e-3, atol=1e-4)
    for found, expected in zip(read_json(folders[0] / "history"), read_json(alone / "history"), strict=True):
        for name in ("epoch", "train_loss", "valid_loss", "valid_accuracy", "lr"):
            assert found[name] == pytest.approx(expected[name], rel=1e-3)
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]

    kept.unlink()
    company(fit_together, pixels, kept, "killed", expected=(9, 9))
    folders = company(fit_together, pixels, kept)
    assert "goes on after epoch 1/2" in (folders[0] / "log").read_text()
    assert all(torch.equal(value, together[name]) for name, value in weights_of(folders).items())


def test_a_gradient_that_is_no_number_in_one_process_undoes_the_epoch_in_both(
    company: Company, pixels: Path, tmp_path: Path
) -> None:
    folders = company(fit_together, pixels, tmp_path / "kept" / "resume.safetensors", "one part is no number")
    assert all(value.isfinite().all() for value in weights_of(folders).values())
    for folder in folders:
        assert (folder / "log").read_text().count("going on from the weights before it") == 1


def test_batch_norms_that_learn_end_with_one_of_them_s_statistics(
    company: Company, pixels: Path, tmp_path: Path
) -> None:
    """Each normalises by its own rows."""
    folders = company(fit_together, pixels, tmp_path / "kept" / "resume.safetensors", "from scratch")
    weights, drawn = weights_of(folders), network().state_dict()
    learnt = [name for name in weights if name.endswith("running_mean")]
    assert learnt
    assert not any(torch.equal(weights[name], drawn[name]) for name in learnt)


def test_a_budget_ends_both_at_the_same_step(company: Company, pixels: Path, tmp_path: Path) -> None:
    """When the mean of their clocks says so."""
    folders = company(fit_together, pixels, tmp_path / "kept" / "resume.safetensors", "budget")
    assert weights_of(folders)
    (epoch,) = read_json(folders[0] / "history")
    assert (epoch["ended_by"], epoch["lr_shortened"]) == ("budget", True)


def test_memory_that_is_short_in_one_of_them_is_an_error_that_says_what_to_type(
    company: Company, pixels: Path, tmp_path: Path
) -> None:
    """The other one may be in the middle of the step: it learns of it by the loss of its neighbour."""
    folders = company(
        fit_together, pixels, tmp_path / "kept" / "resume.safetensors", "short of memory", expected=(1, 1)
    )
    assert "out of memory: type training.micro_batch=5" in (folders[1] / "log").read_text()
