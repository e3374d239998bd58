"""Finds all pairs of 128-bit hashes that differ in few bits, without comparing all with all where that can be spared.

Two hashes that differ in at most 16 bits differ in at most one bit of one of seven bands of 16 bits, or in at most two
of the eighth: else they would differ in 7 · 2 + 3 = 17. So those are compared that agree so well in a band. Norouzi,
Punjani and Fleet, "Fast Exact Search in Hamming Space With Multi-Index Hashing" (2014).
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

HASH_BITS = 128
BANDS, BAND_BITS = 8, 16
MOST_MASKS = 4096  # in all bands; with more, looking a hash up takes longer than comparing it with all
FEW = 4096  # hashes that are compared with one another in no time
AT_ONCE = 1 << 17  # pairs that are looked at, which fit into a processor's cache
ROWS_AT_ONCE = 2048

Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]
Pairs = tuple[Rows, Rows, Rows]


def close_pairs(hashes: Bytes, others: Bytes, max_bits: int, *, ordered: bool) -> Iterator[Pairs]:
    """(i, j, bits) of the pairs of hashes[i] and others[j] that differ in `max_bits` bits or fewer, where i is not j.

    No pair comes twice; some come at a time, in any order. Takes memory for some millions of pairs. Time: for random
    hashes N²/256, for those of which most are alike N².

    hashes, others: (N, 16). ordered: only pairs with i < j, as when a set is compared with itself.
    """
    one, other = _mixed(hashes), _mixed(others)
    search = _by_bands if _is_sparse(one, other, max_bits) else _by_products
    for i, j, bits in search(one, other, max_bits, ordered):
        kept = i < j if ordered else i != j
        yield i[kept], j[kept], bits[kept]


def _mixed(hashes: Bytes) -> Bytes:
    """(N, 16) the hashes with their bits in another order, so that neighbours, which resemble one another, part."""
    bits = np.unpackbits(np.ascontiguousarray(hashes), axis=1)  # (N, 128)
    return np.packbits(bits.reshape(-1, BAND_BITS, BANDS).transpose(0, 2, 1).reshape(-1, HASH_BITS), axis=1)


def _bands(hashes: Bytes) -> NDArray[np.uint16]:
    """(N, 8) the numbers that the bands are."""
    return hashes.view(np.uint16)


def _most_in_band(max_bits: int) -> list[int]:
    """In how few bits two hashes differ in one of the bands, at the most; -1: it need not be looked at.

    >>> _most_in_band(16), _most_in_band(0)
    ([1, 1, 1, 1, 1, 1, 1, 2], [-1, -1, -1, -1, -1, -1, -1, 0])
    """
    return [(max_bits + 1 + band) // BANDS - 1 for band in range(BANDS)]


def _masks(most: int) -> Rows:
    """The numbers of 16 bits of which at most so many are set."""
    return np.flatnonzero(np.bitwise_count(np.arange(1 << BAND_BITS)).astype(int) <= most)


def _is_sparse(one: Bytes, other: Bytes, max_bits: int) -> bool:
    """Whether few pairs agree so well in a band: to look at one of those takes as long as to compare sixteen."""
    masks = [_masks(most) for most in _most_in_band(max_bits)]
    if len(one) <= FEW or sum(map(len, masks)) > MOST_MASKS:
        return False
    codes, agreeing = np.arange(1 << BAND_BITS), 0
    for band in range(BANDS):
        counts, others = (np.bincount(_bands(each)[:, band], minlength=1 << BAND_BITS) for each in (one, other))
        agreeing += sum(int(counts @ others[codes ^ mask]) for mask in masks[band])
    return agreeing < len(one) ** 2 / 16


def _by_bands(one: Bytes, other: Bytes, max_bits: int, ordered: bool) -> Iterator[Pairs]:
    """`close_pairs` by looking every hash up in each band, with every few bits of it changed."""
    bands, other_bands, most = _bands(one), _bands(other), np.array(_most_in_band(max_bits))
    for band in range(BANDS):
        queries, order = (np.argsort(each[:, band], kind="stable") for each in (bands, other_bands))
        far = int(band < BANDS // 2)  # the half of the hash without the band, which differs more
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


def _spans(first: Rows, last: Rows) -> Iterator[tuple[Rows, Rows]]:
    """(k, place) of every place in first[k]..last[k] - 1, many at a time."""
    counts = last - first
    ends = np.cumsum(counts)
    cuts = np.searchsorted(ends, np.arange(AT_ONCE, ends[-1], AT_ONCE), side="right")
    for start, stop in pairwise([0, *cuts.tolist(), len(counts)]):
        n = counts[start:stop]
        k = np.repeat(np.arange(start, stop), n)
        yield k, np.arange(len(k)) + np.repeat(first[start:stop] - (np.cumsum(n) - n), n)


def _by_products(one: Bytes, other: Bytes, max_bits: int, ordered: bool) -> Iterator[Pairs]:
    """`close_pairs` by comparing all with all: bits as ±1, whose products count the equal ones less the others."""

    def signs(hashes: Bytes) -> NDArray[np.float32]:
        return np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1

    for start in range(0, len(one), ROWS_AT_ONCE):
        left = signs(one[start : start + ROWS_AT_ONCE])
        for begin in range(start if ordered else 0, len(other), ROWS_AT_ONCE):
            products = left @ signs(other[begin : begin + ROWS_AT_ONCE]).T  # 128 - 2 · bits
            i, j = np.nonzero(products >= HASH_BITS - 2 * max_bits)
            yield i + start, j + begin, ((HASH_BITS - products[i, j]) / 2).astype(np.int64)
