"""Finds pictures that were stored twice: resized, compressed again, recoloured or slightly cropped.

A copy in another fold makes a score too good, so copies share a group and no group is split. Two measures
must agree. Hashes are quick but coarse: two pistols on white may differ in as few bits as two copies do. The
fine detail of the thumbnails tells those apart, where a plain correlation sees little but the silhouette.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import product

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

# Of 1540 photos, shrunk and compressed again, 99 % stay within 10 bits of the original, all within 16; with
# up to 2 % of each edge cut off too, 89 % and 99 %. Within 16 bits likenesses outnumber copies, so pixels
# decide: by eye, nine in ten pairs that correlate above 0.93 are one photo, half down to 0.88, few below.
MAX_BITS = 16
MIN_CORRELATION = 0.88
THUMBNAIL_SIDE = 32
DETAIL_SIGMA = 2.0  # thumbnail pixels; what a blur this wide leaves out is detail
MIN_DETAIL = 1.0  # grey levels (root mean square); a picture with less is even
SAME_GREY = 8.0  # grey levels; even pictures no further apart than this are the same
ROWS_AT_ONCE = 256
PAIRS_AT_ONCE = 8192
NO_PAIRS = pd.DataFrame({"i": [0], "j": [0], "bits": [0], "correlation": [0.0]}).iloc[:0]  # names and types


def perceptual_hash(image: Bytes) -> bytes:
    """Sixteen bytes that change little when the picture is resized or compressed again.

    The first eight tell which of the 8×8 lowest frequencies of the thumbnail exceed their median (in which
    the mean brightness has no say), the last eight where the thumbnail, shrunk to 9×8, grows brighter to the
    right. They are the pHash and dHash of N. Krawetz, "Looks Like It" (2011) and "Kind of Like That" (2013).

    image: (H, W, 3) RGB of any size.

    >>> perceptual_hash(np.full((9, 5, 3), 200, np.uint8)).hex()  # even: nothing but the mean exceeds 0
    '80000000000000000000000000000000'
    """
    grey = thumbnail(image)
    low = cv2.dct(grey.astype(np.float32))[:8, :8].ravel()
    low = np.rint(low)  # keeps the noise of float arithmetic out of even pictures
    small = _shrunk(grey, 9, 8)  # whole grey levels, so that even areas tie instead of hashing compression noise
    bits = np.concatenate([low > np.median(low[1:]), (small[:, 1:] > small[:, :-1]).ravel()])
    return np.packbits(bits).tobytes()


def thumbnail(image: Bytes) -> Bytes:
    """The picture in grey, 32×32 pixels, stretched to a square.

    image: (H, W, 3) RGB of any size.
    """
    return _shrunk(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), THUMBNAIL_SIDE, THUMBNAIL_SIDE)


def _shrunk(grey: cv2.typing.MatLike, width: int, height: int) -> Bytes:
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def near_pairs(
    hashes: Bytes, thumbnails: Bytes, *, max_bits: int = MAX_BITS, min_correlation: float = MIN_CORRELATION
) -> pd.DataFrame:
    """One row for every two pictures that are nearly the same: i, j, bits, correlation, with i < j.

    Two pictures are near if their hashes differ in at most `max_bits` bits and the details of their
    thumbnails correlate by `min_correlation` or more. An even picture has no details: it is near another even
    one of such a hash and nearly the same grey (two black frames are one picture to any eye), and no other.

    hashes: (N, 16) from `perceptual_hash`. thumbnails: (N, s, s) grey. i, j: row numbers. bits: 0..max_bits.
    correlation: -1..1 to four places, 1 for even pictures. Time grows as N², memory as N; with max_bits=0 time as N.
    """
    details = _details(thumbnails)
    grey = thumbnails.mean(axis=(1, 2))
    even = np.logical_not(details.any(axis=1))
    found = [NO_PAIRS]
    for i, j, bits in _close_hashes(hashes, max_bits):
        correlation = _correlations(details, i, j)
        correlation[even[i] & even[j] & (abs(grey[i] - grey[j]) <= SAME_GREY)] = 1.0
        block = pd.DataFrame({"i": i, "j": j, "bits": bits, "correlation": correlation})
        found.append(block[correlation >= min_correlation])
    return pd.concat(found, ignore_index=True)


def _details(thumbnails: Bytes) -> Floats:
    """(N, s·s) rows of length 1 whose products are correlations; rows of zeros for even pictures."""
    levels = thumbnails.astype(np.float32)
    for picture in levels:
        picture -= cv2.GaussianBlur(picture, (0, 0), DETAIL_SIGMA)
    rows = levels.reshape(len(levels), math.prod(levels.shape[1:]))  # (N, s·s)
    rows -= rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    even = lengths < MIN_DETAIL * math.sqrt(rows.shape[1])
    return np.where(even, np.float32(0), rows / np.maximum(lengths, np.float32(1e-9)))


def _close_hashes(hashes: Bytes, max_bits: int) -> Iterator[tuple[Rows, Rows, Rows]]:
    """(i, j, bits) of the pairs whose hashes differ in at most `max_bits`, some rows at a time."""
    words = np.ascontiguousarray(hashes).view(np.uint64)  # (N, 2)
    if max_bits == 0:
        yield from _equal_hashes(words)
        return
    for start in range(0, len(words), ROWS_AT_ONCE):
        differing = words[start : start + ROWS_AT_ONCE, None] ^ words[None, start:]  # (rows, N - start, 2)
        bits = np.bitwise_count(differing).sum(axis=2, dtype=np.uint8)
        i, j = np.nonzero(np.triu(bits <= max_bits, k=1))
        yield i + start, j + start, bits[i, j].astype(np.int64)


def _equal_hashes(words: NDArray[np.uint64]) -> Iterator[tuple[Rows, Rows, Rows]]:
    """`_close_hashes` of those that differ in nothing, which need no comparing of all with all."""
    alike = np.unique(words, axis=0, return_inverse=True)[1].ravel()
    order = np.argsort(alike, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(alike[order])) + 1):
        if len(rows) > 1:
            i, j = np.triu_indices(len(rows), k=1)
            yield rows[i], rows[j], np.zeros(len(i), np.int64)


def _correlations(details: Floats, i: Rows, j: Rows) -> NDArray[np.float64]:
    """The products of rows i and j, so many at a time; rounded, so that the order of rows has no effect."""
    products = np.empty(len(i))
    for start in range(0, len(i), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        products[part] = np.einsum("ps,ps->p", details[i[part]], details[j[part]])
    return products.round(4)


def group_pairs(n: int, pairs: pd.DataFrame, *, exact: Sequence[str] | None = None) -> Rows:
    """(n,) the group number of each row, from 0 in the order of the groups' first rows.

    Any two members of a group are a pair or equal files, so that a chain of likenesses never links strangers
    (complete linkage). The closest pairs come first, among equals the earlier rows; a pair whose groups hold
    two rows that are no pair stays apart.

    pairs: from `near_pairs`. exact: a checksum for each row, equal where files are; such rows are one group
    whatever `pairs` holds. None: no files are known to be equal.

    >>> chain = pd.DataFrame({"i": [0, 1], "j": [1, 2], "bits": [4, 2], "correlation": [0.95, 0.99]})
    >>> group_pairs(4, chain).tolist()
    [0, 1, 1, 2]
    >>> group_pairs(4, chain, exact=["a", "b", "c", "a"]).tolist()
    [0, 1, 1, 0]
    """
    group = pd.factorize(pd.Series(range(n) if exact is None else exact))[0]
    members: dict[int, list[int]] = {}
    for row, number in enumerate(group.tolist()):
        members.setdefault(number, []).append(row)
    closest_first = pairs.sort_values(["bits", "correlation", "i", "j"], ascending=[True, False, True, True])
    ordered = list(zip(closest_first["i"].tolist(), closest_first["j"].tolist(), strict=True))
    near = {frozenset(pair) for pair in ordered}
    for i, j in ordered:
        first, second = sorted((int(group[i]), int(group[j])))
        if first != second and all(frozenset(p) in near for p in product(members[first], members[second])):
            members[first] += members[second]
            group[members.pop(second)] = first
    return np.unique(group, return_inverse=True)[1].astype(np.int64)
