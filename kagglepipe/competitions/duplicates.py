"""Near-duplicate images: resized, compressed again, recoloured, mirrored or slightly cropped copies.

A copy in another fold makes a score too good, so the connected components of the pairs become groups, and folds split
no group. Two measures must agree: perceptual hashes are quick but coarse (two pistols on white may differ in as few
bits as two copies), so the high-pass filtered thumbnails have to correlate too.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.hamming import Numbers, close_pairs

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Of 1540 photos, shrunk and compressed again, 99 % stay within 10 bits of the original, all within 16; with up to 2 %
# of each edge cut off too, 89 % and 99 %. Within 16 bits other photos outnumber copies, so pixels decide: by eye, nine
# in ten pairs that correlate above 0.93 are one photo, half down to 0.88, few below.
DETECTOR = 2  # raise by hand when other pairs or groups are found
MAX_BITS = 16
MIN_CORRELATION = 0.88
THUMBNAIL_SIDE = 32
DETAIL_SIGMA = 2.0  # thumbnail pixels, of the blur that the high-pass filter subtracts
MIN_DETAIL = 1.0  # grey levels (root mean square); an image with less is even
SAME_GREY = 8.0  # grey levels; even images no further apart than this are the same
# Plain images correlate by chance: of 5,000 handwritten digits 3,075 pairs are above 0.88, up to 0.980, and none is a
# copy; pistols on white look like others of their make, and mirrored; digits enlarged from 8x8 pixels reach 0.964.
# Compressed again, all of them stay above 0.985. The threshold is interpolated linearly.
NEEDED = (MIN_CORRELATION, 0.985)
PLAIN = (0.2, 0.5)  # share of the thumbnail without an edge, or without detail
SMOOTH = (0.33, 0.25)  # fine detail (of FINE_SIGMA) over detail, as root mean squares
FINE_SIGMA = 0.8  # thumbnail pixels
FLAT = 6  # grey levels; where 3x3 pixels of the thumbnail differ by no more there is no edge
QUIET = 3.0  # grey levels; where the high-pass filter leaves no more there is no detail
MAX_SHARE = 0.5  # of the training images; a larger component is split
BLOCK_PAIRS = 16384
HASHED_AT_ONCE = 256  # thumbnails; more leave the processor's cache
NO_PAIRS = pd.DataFrame({"i": [0], "j": [0], "bits": [0], "correlation": [0.0], "mirrored": [False]}).iloc[:0]


def perceptual_hash(image: Bytes) -> bytes:
    """Hash an image (H, W, 3), RGB uint8, into sixteen bytes that survive resizing and compression.

    Eight bytes of pHash (which of the 8×8 lowest frequencies exceed their median, taken without the mean brightness)
    and eight of dHash (where the thumbnail, shrunk to 9×8, grows brighter to the right). N. Krawetz, "Looks Like It"
    (2011) and "Kind of Like That" (2013).

    >>> perceptual_hash(np.full((9, 5, 3), 200, np.uint8)).hex()  # even: only the mean exceeds 0
    '80000000000000000000000000000000'
    """
    return thumbnail_hashes(thumbnail(image)[None]).tobytes()


def thumbnail_hashes(thumbnails: Bytes) -> Bytes:
    """(N, 16) `perceptual_hash` of thumbnails (N, 32, 32)."""
    blocks = (thumbnails[start : start + HASHED_AT_ONCE] for start in range(0, len(thumbnails), HASHED_AT_ONCE))
    return np.concatenate([np.empty((0, 16), np.uint8), *map(_hashes_at_once, blocks)])


def _hashes_at_once(thumbnails: Bytes) -> Bytes:
    """`thumbnail_hashes` by transforming all thumbnails, one below the other, in one call."""
    count, side = len(thumbnails), THUMBNAIL_SIDE
    below = thumbnails.reshape(count * side, side)
    half = cv2.dct(below.astype(np.float32), flags=cv2.DCT_ROWS)[:, :8].reshape(count, side, 8)
    turned = np.ascontiguousarray(half.transpose(0, 2, 1)).reshape(count * 8, side)
    low = cv2.dct(turned, flags=cv2.DCT_ROWS)[:, :8].reshape(count, 8, 8).transpose(0, 2, 1).reshape(count, 64)
    low = np.rint(low)  # keeps float noise out of even images
    small = _shrunk(below, 9, 8 * count).reshape(count, 8, 9)  # whole grey levels: even areas tie
    brighter = (small[:, :, 1:] > small[:, :, :-1]).reshape(count, 64)
    return np.packbits(np.hstack([low > np.median(low[:, 1:], axis=1, keepdims=True), brighter]), axis=1)


def thumbnail(image: Bytes) -> Bytes:
    """Shrink an image (H, W, 3), RGB uint8, to (32, 32) grey, stretched to a square."""
    return _shrunk(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), THUMBNAIL_SIDE, THUMBNAIL_SIDE)


def _shrunk(grey: cv2.typing.MatLike, width: int, height: int) -> Bytes:
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def near_pairs(
    hashes: Bytes, thumbnails: Bytes, *, max_bits: int = MAX_BITS, min_correlation: float = MIN_CORRELATION
) -> pd.DataFrame:
    """Find all near-duplicates: a frame of i, j (rows, i < j), bits, correlation, mirrored, sorted.

    The hashes of a pair differ in at most `max_bits` bits and the high-pass filtered thumbnails correlate by
    `min_correlation` or more, up to 0.985 the plainer and smoother they are; or so do one and the mirror image of the
    other. Even images, with no detail, pair only with even ones of nearly the same grey (two black frames).

    hashes: (N, 16) from `perceptual_hash`. thumbnails: (N, s, s) grey uint8. correlation: -1..1 to four places, 1 for
    even images. Memory grows as N and the number of pairs; time as in `close_pairs`.
    """
    flipped = np.ascontiguousarray(thumbnails[:, :, ::-1])
    found = [NO_PAIRS]
    for others, pictures, is_mirrored in ((hashes, thumbnails, False), (thumbnail_hashes(flipped), flipped, True)):
        for i, j, bits in close_pairs(hashes, others, max_bits, ordered=not is_mirrored):
            if not len(i):
                continue
            correlation, needed, are_even = _compare(thumbnails, pictures, i, j)
            keep = np.where(are_even, not is_mirrored, correlation >= np.maximum(needed, min_correlation))
            block = {"i": np.minimum(i, j), "j": np.maximum(i, j), "bits": bits, "correlation": correlation}
            found.append(pd.DataFrame(block).assign(mirrored=is_mirrored)[keep])
    pairs = pd.concat(found, ignore_index=True).sort_values(["i", "j", "mirrored", "bits", "correlation"])
    return pairs.drop_duplicates(["i", "j"], ignore_index=True)


def _compare(
    one: Bytes, other: Bytes, i: Numbers, j: Numbers
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """(correlation, needed correlation, are even), each (P,), of thumbnails one[i] and other[j].

    Even images correlate by 1 if they are equally bright, else by 0. Rounded to four places, so that the order of rows
    has no effect.
    """
    correlation, needed, are_even = np.empty(len(i)), np.empty(len(i)), np.empty(len(i), bool)
    order = np.lexsort((j, i))  # so that `_filtered` computes each image once
    for start in range(0, len(i), BLOCK_PAIRS):
        part = order[start : start + BLOCK_PAIRS]
        (a, grey_a, needed_a), (b, grey_b, needed_b) = _filtered(one, i[part]), _filtered(other, j[part])
        products = np.einsum("ps,ps->p", a, b).round(4).astype(np.float64)
        even = ~a.any(axis=1) & ~b.any(axis=1) & (abs(grey_a - grey_b) <= SAME_GREY)
        correlation[part], are_even[part] = np.where(even, 1.0, products), even
        needed[part] = np.maximum(needed_a, needed_b)
    return correlation, needed, are_even


def _filtered(thumbnails: Bytes, rows: Numbers) -> tuple[Floats, Floats, NDArray[np.float64]]:
    """(detail (P, s·s), mean grey (P,), needed correlation (P,)) of thumbnails[rows]."""
    unique, inverse = np.unique(rows, return_inverse=True)
    pictures = thumbnails[unique]
    detail, grey = _unit_detail(pictures), pictures.mean(axis=(1, 2), dtype=np.float32)
    return detail[inverse], grey[inverse], _needed_correlation(pictures)[inverse]


def _unit_detail(thumbnails: Bytes) -> Floats:
    """(N, s·s) unit vectors whose products are correlations; zeros for even images."""
    rows = _high_pass(thumbnails, DETAIL_SIGMA).reshape(len(thumbnails), math.prod(thumbnails.shape[1:]))
    rows -= rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    even = lengths < MIN_DETAIL * math.sqrt(rows.shape[1])
    return np.where(even, np.float32(0), rows / np.maximum(lengths, np.float32(1e-9)))


def _high_pass(thumbnails: Bytes, sigma: float) -> Floats:
    """(N, s, s) thumbnails less their Gaussian blur. sigma: in pixels."""
    levels = thumbnails.astype(np.float32)
    for picture in levels:
        picture -= cv2.GaussianBlur(picture, (0, 0), sigma)
    return levels


def _needed_correlation(thumbnails: Bytes) -> NDArray[np.float64]:
    """(N,) correlation that a copy of each image must reach: the plainer and smoother, the more."""
    kernel, axes = np.ones((3, 3), np.uint8), (1, 2)
    edges = np.array([cv2.morphologyEx(picture, cv2.MORPH_GRADIENT, kernel) for picture in thumbnails])
    detail, fine = (_high_pass(thumbnails, sigma) for sigma in (DETAIL_SIGMA, FINE_SIGMA))
    plain = np.maximum((edges <= FLAT).mean(axis=axes), (abs(detail) <= QUIET).mean(axis=axes))
    fineness = np.sqrt((fine**2).sum(axis=axes) / np.maximum((detail**2).sum(axis=axes), np.float32(1e-9)))
    return np.maximum(np.interp(plain, PLAIN, NEEDED), np.interp(-fineness, -np.array(SMOOTH), NEEDED))


def linked_rows(n: int, i: Sequence[int] | Numbers, j: Sequence[int] | Numbers) -> Numbers:
    """(n,) connected component of each row under the pairs (i, j), numbered from 0 by first row.

    >>> linked_rows(5, [0, 3], [3, 4]).tolist()
    [0, 1, 2, 0, 0]
    """
    from scipy.sparse import coo_array  # most commands find everything prepared, and need none of it
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(i), np.int8), (np.asarray(i, np.int64), np.asarray(j, np.int64))), shape=(n, n))
    return pd.factorize(connected_components(links, directed=False)[1])[0].astype(np.int64)


def group_pairs(
    n: int, pairs: pd.DataFrame, *, together: Numbers | None = None, weights: Numbers | None = None
) -> Numbers:
    """(n,) group of each row, numbered from 0 by first row: the connected components of the pairs.

    A component of more than half of all weight leaves no useful folds, and a chain of similar images may be its cause:
    it is split so that any two of its members are a pair (`complete_linkage`), which separates some pairs.

    pairs: from `near_pairs`. together: (n,) rows of equal numbers stay together (the user's groups); None: no such
    rows. weights: (n,) number of training images per row; None: one.

    >>> chain = pd.DataFrame({"i": [0, 1], "j": [1, 2], "bits": [4, 2], "correlation": [0.95, 0.99]})
    >>> group_pairs(9, chain).tolist()
    [0, 0, 0, 1, 2, 3, 4, 5, 6]
    >>> group_pairs(4, chain).tolist()
    [0, 1, 1, 2]
    """
    together = np.arange(n) if together is None else pd.factorize(together)[0]
    weights = np.ones(n, np.int64) if weights is None else weights
    i, j = pairs["i"].to_numpy(), pairs["j"].to_numpy()
    linked = linked_rows(together.max(initial=-1) + 1, together[i], together[j])[together]  # (n,)
    large = np.bincount(linked, weights) > MAX_SHARE * weights.sum()
    if large.any():
        inside = pairs[large[linked[i]]]
        linked = np.where(large[linked], n + complete_linkage(n, inside, together=together), linked)
    return pd.factorize(linked)[0].astype(np.int64)


def complete_linkage(n: int, pairs: pd.DataFrame, *, together: Numbers) -> Numbers:
    """(n,) groups in which any two members are a pair, or equal in `together`.

    Groups are merged along the closest pairs first (ties: earlier rows), unless two of their rows are no pair.
    """
    group = together.tolist()
    members: dict[int, set[int]] = {}
    near: dict[int, set[int]] = {row: {row} for row in range(n)}
    for row, number in enumerate(group):
        members.setdefault(number, set()).add(row)
    closest_first = pairs.sort_values(["bits", "correlation", "i", "j"], ascending=[True, False, True, True])
    ordered = list(zip(closest_first["i"].tolist(), closest_first["j"].tolist(), strict=True))
    for i, j in ordered:
        near[i].add(j)
        near[j].add(i)
    common = {number: set.intersection(*(near[row] for row in rows)) for number, rows in members.items()}
    for i, j in ordered:
        first, second = sorted((group[i], group[j]))
        if first != second and members[second] <= common[first]:
            for row in members[second]:
                group[row] = first
            members[first] |= members.pop(second)
            common[first] &= common.pop(second)
    return np.array(group, dtype=np.int64)
