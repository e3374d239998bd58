"""What `Recurrent` costs beside a bare torch.nn.LSTM: one forward and backward pass of the same batch.

    python benchmarks/recurrent.py [--rounds 30] [--batch 32] [--steps 64] [--features 128] [--hidden 128] [--threads 1]
                                   [--device cuda]

On a GPU (of which nothing has been seen yet) the bare network runs on cuDNN. With lengths, it packs the batch itself.
Each round runs all of a case, one after another and in an order that turns from round to round, so that whatever else
the machine does meets them alike; a ratio is the median over the rounds of ratios within a round. The equations written
out step by step stand there for curiosity.
"""

from collections.abc import Callable
from statistics import median

import torch
from measure import make_parser, seconds
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kagglepipe.models.recurrent import Recurrent

WARM_UP = 3


def bare(network: nn.LSTM, features: Tensor, lengths: Tensor | None) -> Tensor:
    """The states, as one would compute them without `Recurrent`."""
    if lengths is None:
        return network(features)[0]
    packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(network(packed)[0], batch_first=True, total_length=features.shape[1])[0]


def pass_seconds(network: nn.Module, run: Callable[[], Tensor]) -> float:
    """How long a forward and a backward pass take."""
    on_gpu = next(network.parameters()).is_cuda
    network.zero_grad()
    return seconds(lambda: run().sum().backward(), wait=torch.cuda.synchronize if on_gpu else None)


def compare(name: str, features: Tensor, lengths: Tensor | None, hidden: int, rounds: int) -> None:
    """Prints a line for each network: median milliseconds, and the median ratio to the bare one."""
    size, device = features.shape[2], features.device
    torchs = nn.LSTM(size, hidden, batch_first=True).to(device)
    ours = {kind: Recurrent(size, hidden, fused=kind == "fused").to(device) for kind in ("fused", "written")}
    for network in ours.values():
        network.rnn.load_state_dict(torchs.state_dict())
    cases = {"bare nn.LSTM": (torchs, lambda: bare(torchs, features, lengths))} | {
        f"Recurrent, {kind}": (network, lambda network=network: network.encode(features, lengths))
        for kind, network in ours.items()
    }
    taken: dict[str, list[float]] = {case: [] for case in cases}
    for number in range(WARM_UP + rounds):
        turn = number % len(cases)
        for case in [*cases, *cases][turn : turn + len(cases)]:
            taken[case].append(pass_seconds(*cases[case]))
    first = taken["bare nn.LSTM"]
    for case, times in taken.items():
        ratios = [mine / theirs for mine, theirs in zip(times, first, strict=True)][WARM_UP:]
        print(f"{name:16}{case:22}{1000 * median(times[WARM_UP:]):9.2f} ms{median(ratios):8.2f}", flush=True)


def main() -> None:
    parser = make_parser(__doc__, rounds=30, batch=32, steps=64, features=128, hidden=128, threads=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    features = torch.randn(arguments.batch, arguments.steps, arguments.features).to(arguments.device)
    lengths = torch.randint(1, arguments.steps + 1, (arguments.batch,))
    print(f"{'batch':16}{'network':22}{'median':>12}{'ratio':>8}")
    compare("whole", features, None, arguments.hidden, arguments.rounds)
    compare("with lengths", features, lengths, arguments.hidden, arguments.rounds)


if __name__ == "__main__":
    main()
