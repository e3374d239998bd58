"""Close hashes: each pair once, none missed, whichever way they are found."""

from itertools import combinations, permutations

import numpy as np
import pytest

from kagglepipe.competitions import hamming
from kagglepipe.competitions.hamming import close_pairs


def pairs_of(hashes, others, max_bits, *, ordered):
    """{(i, j): bits}, after a check that no pair comes twice."""
    found = [
        pair for part in close_pairs(hashes, others, max_bits, ordered=ordered) for pair in zip(*part, strict=True)
    ]
    assert len({pair[:2] for pair in found}) == len(found)
    return {(i, j): bits for i, j, bits in found}


@pytest.fixture(scope="module")
def hashes():
    """Three hundred, many of them near to one of thirty, and their distances to one another."""
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 256, (30, 16), dtype=np.uint8)
    flips = np.packbits(rng.random((300, 128)) < rng.choice([0, 0.03, 0.08, 0.2], (300, 1)), axis=1)
    hashes = centres[rng.integers(0, 30, 300)] ^ flips
    return hashes, np.bitwise_count(hashes[:, None] ^ hashes).sum(axis=2, dtype=int)


WAYS = [*(("bands", most) for most in (0, 6, 7, 16, 23)), *(("products", most) for most in (0, 16, 128))]


@pytest.mark.parametrize(("way", "max_bits"), WAYS)
def test_no_pair_is_missed(way, max_bits, hashes, monkeypatch):
    monkeypatch.setattr(hamming, "_is_sparse", lambda *_: way == "bands")
    monkeypatch.setattr(hamming, "BLOCK_PAIRS", 700)
    monkeypatch.setattr(hamming, "BLOCK_ROWS", 250)
    hashes, bits = hashes
    near = {pair: bits[pair] for pair in combinations(range(300), 2) if bits[pair] <= max_bits}
    assert pairs_of(hashes, hashes, max_bits, ordered=True) == near
    assert near
    turned = bits[:, ::-1]
    near = {(i, j): turned[i, j] for i, j in permutations(range(300), 2) if turned[i, j] <= max_bits}
    assert pairs_of(hashes, hashes[::-1].copy(), max_bits, ordered=False) == near


def test_many_hashes_are_looked_up_unless_most_are_alike():
    rng = np.random.default_rng(0)
    many = rng.integers(0, 256, (10_000, 16), dtype=np.uint8)
    many[5000:5010] = many[:10]
    assert hamming._is_sparse(many, many, 16)
    assert pairs_of(many, many, 16, ordered=True) == {(i, i + 5000): 0 for i in range(10)}
    assert not hamming._is_sparse(many, many, 60)
    assert not hamming._is_sparse(many & 1, many & 1, 16)
    assert not hamming._is_sparse(many[:100], many[:100], 16)
    for n in (0, 1):
        assert pairs_of(many[:n], many[:n], 16, ordered=True) == {}
