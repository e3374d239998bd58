"""Pairs of 128-bit hashes within a Hamming distance, by multi-index hashing.

Two hashes that differ in at most 16 bits differ in at most one bit of one of seven bands of 16 bits, or in at most two
of the eighth: else they would differ in 7 · 2 + 3 = 17. So only hashes that agree so well in a band are compared.
Norouzi, Punjani and Fleet, "Fast Exact Search in Hamming Space With Multi-Index Hashing" (2014).
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

HASH_BITS = 128
BANDS, BAND_BITS = 8, 16
MAX_MASKS = 4096  # in all bands; with more, the index is slower than comparing all with all
MIN_INDEXED = 4096  # hashes; fewer are compared all with all in no time
BLOCK_PAIRS = 1 << 17  # compared at once, in a processor's cache
BLOCK_ROWS = 2048

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]  # of rows
Pairs = tuple[Numbers, Numbers, Numbers]


def close_pairs(hashes: Bytes, others: Bytes, max_bits: int, *, ordered: bool) -> Iterator[Pairs]:
    """Yield blocks of (i, j, bits), each (P,), for hashes[i] and others[j] within `max_bits` bits, i ≠ j.

    Each pair comes once, in any order. Time grows as N²/256 for random hashes, as N² where most are alike.

    hashes, others: (N, 16) uint8. ordered: only pairs with i < j, for a set compared with itself.
    """
    one, other = _interleaved(hashes), _interleaved(others)
    search = _by_bands if _is_sparse(one, other, max_bits) else _by_products
    for i, j, bits in search(one, other, max_bits, ordered):
        keep = i < j if ordered else i != j
        yield i[keep], j[keep], bits[keep]


def _interleaved(hashes: Bytes) -> Bytes:
    """(N, 16) hashes with neighbouring bits, which are correlated, in different bands."""
    bits = np.unpackbits(np.ascontiguousarray(hashes), axis=1)  # (N, 128)
    return np.packbits(bits.reshape(-1, BAND_BITS, BANDS).transpose(0, 2, 1).reshape(-1, HASH_BITS), axis=1)


def _bands(hashes: Bytes) -> NDArray[np.uint16]:
    """(N, 8) bands as numbers."""
    return hashes.view(np.uint16)


def _most_in_band(max_bits: int) -> list[int]:
    """Largest number of bits that differ in some band of two hashes within `max_bits`; -1: skip the band.

    >>> _most_in_band(16), _most_in_band(0)
    ([1, 1, 1, 1, 1, 1, 1, 2], [-1, -1, -1, -1, -1, -1, -1, 0])
    """
    return [(max_bits + 1 + band) // BANDS - 1 for band in range(BANDS)]


def _masks(most: int) -> Numbers:
    """(M,) numbers of 16 bits with at most `most` bits set."""
    return np.flatnonzero(np.bitwise_count(np.arange(1 << BAND_BITS)).astype(int) <= most)


def _is_sparse(one: Bytes, other: Bytes, max_bits: int) -> bool:
    """Whether the index is faster: a pair that agrees in a band costs as much as sixteen compared directly."""
    masks = [_masks(most) for most in _most_in_band(max_bits)]
    if len(one) <= MIN_INDEXED or sum(map(len, masks)) > MAX_MASKS:
        return False
    codes, agreeing = np.arange(1 << BAND_BITS), 0
    for band in range(BANDS):
        counts, others = (np.bincount(_bands(each)[:, band], minlength=1 << BAND_BITS) for each in (one, other))
        agreeing += sum(int(counts @ others[codes ^ mask]) for mask in masks[band])
    return agreeing < len(one) ** 2 / 16


def _by_bands(one: Bytes, other: Bytes, max_bits: int, ordered: bool) -> Iterator[Pairs]:
    """`close_pairs` by looking every hash up in each band, with every mask of bits flipped."""
    bands, other_bands, most = _bands(one), _bands(other), np.array(_most_in_band(max_bits))
    for band in range(BANDS):
        queries, order = (np.argsort(each[:, band], kind="stable") for each in (bands, other_bands))
        far = int(band < BANDS // 2)  # the half of the hash without the band differs more: test it first
        words, other_words = one.view(np.uint64)[queries], other.view(np.uint64)[order]
        codes = bands[queries, band].astype(np.int64)
        starts = np.searchsorted(other_bands[order, band], np.arange((1 << BAND_BITS) + 1))
        for mask in _masks(int(most[band])):
            for k, place in _spans(starts[codes ^ mask], starts[(codes ^ mask) + 1]):
                found = np.bitwise_count(words[k, far] ^ other_words[place, far]) <= max_bits
                k, place = k[found], place[found]
                i, j = queries[k], order[place]
                bits = np.bitwise_count(one.view(np.uint64)[i] ^ other.view(np.uint64)[j]).sum(axis=1, dtype=np.int64)
                earlier = np.bitwise_count(bands[i, :band] ^ other_bands[j, :band]) <= most[:band]
                fresh = (bits <= max_bits) & ~earlier.any(axis=1)  # found in no band before
                yield i[fresh], j[fresh], bits[fresh]


def _spans(first: Numbers, last: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield blocks of (k, place), each (P,), for every place in first[k]..last[k] - 1."""
    counts = last - first
    ends = np.cumsum(counts)
    cuts = np.searchsorted(ends, np.arange(BLOCK_PAIRS, ends[-1], BLOCK_PAIRS), side="right")
    for start, stop in pairwise([0, *cuts.tolist(), len(counts)]):
        n = counts[start:stop]
        k = np.repeat(np.arange(start, stop), n)
        yield k, np.arange(len(k)) + np.repeat(first[start:stop] - (np.cumsum(n) - n), n)


def _by_products(one: Bytes, other: Bytes, max_bits: int, ordered: bool) -> Iterator[Pairs]:
    """`close_pairs` by matrix products of bits as ±1, which are 128 - 2 · bits."""

    def signs(hashes: Bytes) -> NDArray[np.float32]:
        return np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1

    for start in range(0, len(one), BLOCK_ROWS):
        left = signs(one[start : start + BLOCK_ROWS])
        for begin in range(start if ordered else 0, len(other), BLOCK_ROWS):
            products = left @ signs(other[begin : begin + BLOCK_ROWS]).T
            i, j = np.nonzero(products >= HASH_BITS - 2 * max_bits)
            yield i + start, j + begin, ((HASH_BITS - products[i, j]) / 2).astype(np.int64)
