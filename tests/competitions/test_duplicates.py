"""Near-duplicates: copies are found, likenesses are not, and whatever pairs link is one group."""

import zipfile
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.competitions.duplicates import complete_linkage, group_pairs, near_pairs, perceptual_hash, thumbnail

REAL = Path(__file__).parents[3] / "shared/data/pistolas-vs-smartphones-con-deep-learning.zip"


def picture(seed, *, height=240, width=320):
    """A random picture: soft colours with some coarse shapes, as photos have."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(6):
        centre, axes = (int(rng.integers(width)), int(rng.integers(height))), rng.integers(10, 80, 2).tolist()
        cv2.ellipse(image, centre, axes, int(rng.integers(180)), 0, 360, rng.integers(0, 256, 3).tolist(), -1)
    return image


def resized(image, factor):
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def compressed(image, quality):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


COPIES = {
    "smaller": lambda image: resized(image, 0.4),
    "larger": lambda image: resized(image, 1.7),
    "narrower": lambda image: cv2.resize(image, (200, 240)),
    "compressed": lambda image: compressed(image, 40),
    "smaller and compressed": lambda image: compressed(resized(image, 0.6), 60),
    "darker": lambda image: (image * 0.8).astype(np.uint8),
    "grey": lambda image: np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2),
    "slightly cropped": lambda image: image[3:-2, 2:-4],
    "mirrored": lambda image: image[:, ::-1],
    "mirrored, smaller and compressed": lambda image: compressed(resized(image[:, ::-1], 0.6), 60),
}


def measured(images):
    """(N, 16) hashes and (N, 32, 32) thumbnails."""
    hashes = np.frombuffer(b"".join(perceptual_hash(image) for image in images), np.uint8).reshape(-1, 16)
    return hashes, np.stack([thumbnail(image) for image in images])


def found(images, **limits):
    """The pairs (i, j) that are near."""
    pairs = near_pairs(*measured(images), **limits)
    return set(zip(pairs["i"], pairs["j"], strict=True))


# --- pairs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_copies_are_found_and_different_pictures_are_not(copy):
    images = [picture(seed) for seed in range(40)]
    assert found(images + [copy(image) for image in images]) == {(i, i + 40) for i in range(40)}


def test_a_pair_tells_its_distances():
    image, other = picture(1), picture(2)
    hashes, thumbnails = measured([other, image, image, compressed(image, 30)])
    pairs = near_pairs(hashes, thumbnails)
    assert pairs.columns.tolist() == ["i", "j", "bits", "correlation", "mirrored"]
    assert pairs[["i", "j"]].to_numpy().tolist() == [[1, 2], [1, 3], [2, 3]]
    assert not pairs["mirrored"].any()
    assert pairs["bits"].tolist() == [np.unpackbits(hashes[i] ^ hashes[j]).sum() for i, j in ((1, 2), (1, 3), (2, 3))]
    assert pairs["correlation"].iloc[0] == 1
    assert (pairs["correlation"].iloc[1:] < 1).all()


def test_a_mirrored_pair_is_told_from_one_that_is_not():
    image = picture(1)
    symmetric = np.concatenate([image, image[:, ::-1]], axis=1)
    pairs = near_pairs(*measured([image, image[:, ::-1], picture(2), symmetric, compressed(symmetric, 60)]))
    found = list(zip(pairs["i"], pairs["j"], pairs["mirrored"], strict=True))
    assert found == [(0, 1, True), (3, 4, False)]  # once, though its mirror image is a copy too


def test_the_order_of_pictures_has_no_say():
    images = [picture(1), compressed(picture(1)[:, ::-1], 30), picture(3), compressed(resized(picture(3), 0.4), 40)]
    pairs, turned = (near_pairs(*measured(each)) for each in (images, images[::-1]))
    facts = ["bits", "correlation", "mirrored"]
    assert pairs[facts].to_numpy().tolist() == turned[facts].to_numpy().tolist()[::-1]


def stroke(seed, *, size=28):
    """A handwritten one: a bent line across an empty ground."""
    rng = np.random.default_rng(seed)
    points = np.array([[15, 5], [14, 14], [13, 23]]) + rng.uniform(-2, 2, (3, 2))
    image = np.zeros((size, size, 3), np.uint8)
    width, points = max(1, int(rng.uniform(2, 3.4) * size / 28)), (points * size / 28 * 16).astype(np.int32)
    cv2.polylines(image, [points], False, (255, 255, 255), width, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(image, (0, 0), 0.6 * size / 28)


@pytest.mark.parametrize("size", [28, 200])
def test_plain_pictures_that_are_alike_are_no_copies_of_one_another(size):
    images = [stroke(seed, size=size) for seed in range(60)]
    copies = [compressed(image, 90) for image in images[:10]]
    hashes, thumbnails = measured(images)
    levels = thumbnails.reshape(60, -1).astype(float)
    assert (np.corrcoef(levels) > 0.9).sum() > 200  # they are alike
    assert near_pairs(hashes, thumbnails).empty
    assert found(images + copies) == {(i, i + 60) for i in range(10)}


def test_smooth_pictures_that_are_alike_are_no_copies_of_one_another():
    """As those are that were enlarged, which have no more detail than few pixels have."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 200, (8, 8))
    pixels = np.clip(base + rng.normal(0, 22, (60, 8, 8)), 0, 255).astype(np.uint8)
    large = [cv2.resize(picture, (64, 64), interpolation=cv2.INTER_CUBIC) for picture in pixels]
    images = [np.repeat(picture[:, :, None], 3, axis=2) for picture in large]
    hashes, thumbnails = measured(images)
    assert len(near_pairs(hashes, thumbnails)) == 0
    assert (np.bitwise_count(hashes[:, None] ^ hashes).sum(axis=2) <= 16).sum() > 100  # their hashes are close
    copies = [compressed(image, 80) for image in images[:10]]
    assert found(images + copies) == {(i, i + 60) for i in range(10)}


def test_both_measures_must_agree():
    hashes, thumbnails = measured([picture(1), picture(2)])
    same_hash, same_pixels = hashes[[0, 0]], thumbnails[[0, 0]]
    assert len(near_pairs(same_hash, same_pixels)) == 1
    assert len(near_pairs(hashes, same_pixels)) == 0
    assert len(near_pairs(same_hash, thumbnails)) == 0
    for n in (0, 1):
        pairs = near_pairs(hashes[:n], thumbnails[:n])
        assert (len(pairs), pairs.columns.tolist()) == (0, ["i", "j", "bits", "correlation", "mirrored"])
        assert group_pairs(n, pairs, together=np.zeros(n, int)).tolist() == [0] * n


def test_even_pictures_pair_with_their_like_only():
    noise = [np.random.default_rng(level).integers(-1, 2, (60, 80, 3)) + level for level in (3, 6, 128, 131, 252)]
    assert found([*(np.clip(image, 0, 255).astype(np.uint8) for image in noise), picture(0)]) == {(0, 1), (2, 3)}


def test_one_outline_does_not_make_twins():
    """Things of one shape on white correlate well as a whole; what is on them tells them apart."""

    def thing(seed):
        grain = np.random.default_rng(seed).integers(0, 200, (24, 32), dtype=np.uint8)
        image = np.full((240, 320, 3), 255, np.uint8)
        image[60:180, 80:240] = cv2.resize(grain, (160, 120), interpolation=cv2.INTER_CUBIC)[:, :, None]
        return image

    images = [thing(seed) for seed in range(12)]
    assert np.corrcoef(measured(images)[1].reshape(12, -1)).min() > 0.93
    assert found(images, max_bits=128) == set()
    assert found([*images, compressed(resized(images[5], 0.7), 60)]) == {(5, 12)}


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (29, 1200), (3, 3)])
def test_any_shape_is_measured(shape):
    image = picture(0)[: shape[0], : shape[1]] if max(shape) < 200 else picture(0, height=shape[0], width=shape[1])
    assert len(perceptual_hash(image)) == 16
    assert (thumbnail(image).shape, thumbnail(image).dtype) == ((32, 32), np.uint8)
    assert found([image, image]) == {(0, 1)}


@given(st.lists(st.integers(0, 5), max_size=12))
def test_equal_hashes_are_found_without_comparing_all(numbers):
    hashes = np.zeros((len(numbers), 16), np.uint8)
    hashes[:, 9] = numbers
    pairs = near_pairs(hashes, np.zeros((len(numbers), 32, 32), np.uint8), max_bits=0)
    expected = {(i, j, 0) for i, j in combinations(range(len(numbers)), 2) if numbers[i] == numbers[j]}
    found = list(zip(pairs["i"], pairs["j"], pairs["bits"], strict=True))
    assert set(found) == expected
    assert len(found) == len(expected)


# --- groups -------------------------------------------------------------------------------------------------


def table(*pairs):
    """Pairs as `near_pairs` gives them; each is (i, j, bits)."""
    frame = pd.DataFrame(pairs, columns=["i", "j", "bits"]).astype(np.int64)
    return frame.assign(correlation=1 - frame["bits"] / 100)


CHAIN = table((0, 1, 2), (1, 2, 3))


@pytest.mark.parametrize(
    ("n", "pairs", "more", "groups"),
    [
        (6, table((1, 2, 5), (2, 4, 3)), {}, [0, 1, 1, 2, 1, 3]),
        (3, table(), {}, [0, 1, 2]),
        # rows that are together need no pair
        (4, table(), {"together": [7, 8, 7, 9]}, [0, 1, 0, 2]),
        (7, table((1, 2, 0)), {"together": [7, 8, 7, 9, 1, 2, 3]}, [0, 0, 0, 1, 2, 3, 4]),
        # what links more than half of all is split, unless all of it are pairs, or together
        (6, CHAIN, {}, [0, 0, 0, 1, 2, 3]),
        (5, CHAIN, {}, [0, 0, 1, 2, 3]),
        (5, table((0, 1, 2), (1, 2, 3), (0, 2, 16)), {}, [0, 0, 0, 1, 2]),
        (5, table((0, 1, 2)), {"together": [0, 1, 0, 2, 3]}, [0, 1, 0, 2, 3]),
        (5, CHAIN, {"weights": [1, 0, 0, 1, 1]}, [0, 0, 0, 1, 2]),
    ],
)
def test_whatever_pairs_link_is_one_group(n, pairs, more, groups):
    assert group_pairs(n, pairs, **{name: np.array(values) for name, values in more.items()}).tolist() == groups


def test_a_chain_of_pictures_is_split_into_groups_of_pairs():
    start, end = picture(1).astype(float), picture(2).astype(float)
    images = [(start + share * (end - start)).astype(np.uint8) for share in np.linspace(0, 1, 30)]
    pairs = near_pairs(*measured(images))
    near = set(zip(pairs["i"], pairs["j"], strict=True))
    assert {(i, i + 1) for i in range(29)} <= near  # linked all the way
    assert (0, 29) not in near
    groups = group_pairs(30, pairs)
    assert all(pair in near for pair in combinations(range(30), 2) if groups[pair[0]] == groups[pair[1]])
    assert 2 <= len(set(groups)) <= 15


def test_a_thousand_copies_of_one_picture_are_grouped_at_once():
    i, j = np.triu_indices(1000, 1)
    pairs = pd.DataFrame({"i": i, "j": j, "bits": 1, "correlation": 0.99})
    assert group_pairs(1000, pairs).tolist() == [0] * 1000


@st.composite
def graphs(draw):
    """(n, pairs with bits all different, numbers of which equal ones are together)."""
    n = draw(st.integers(2, 12))
    edges = draw(st.lists(st.sampled_from([*combinations(range(n), 2)]), unique=True))
    bits = draw(st.permutations(range(len(edges))))
    pairs = [(*edge, distance) for edge, distance in zip(edges, bits, strict=True)]
    return n, pairs, np.array(draw(st.lists(st.integers(0, 8), min_size=n, max_size=n)))


@given(graphs())
def test_members_of_a_split_group_are_all_pairs_or_together(graph):
    n, pairs, together = graph
    near = {pair[:2] for pair in pairs}
    same = {(i, j) for i, j in combinations(range(n), 2) if together[i] == together[j]}
    groups = complete_linkage(n, table(*pairs), together=together).tolist()
    found = {(i, j) for i, j in combinations(range(n), 2) if groups[i] == groups[j]}
    assert same <= found <= near | same


@given(graphs(), st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_the_order_of_rows(graph, random):
    n, pairs, together = graph
    order = list(range(n))
    random.shuffle(order)  # the row that was i is now order[i]
    moved = [(*sorted((order[i], order[j])), bits) for i, j, bits in pairs]
    random.shuffle(moved)
    before = group_pairs(n, table(*pairs), together=together)
    after = group_pairs(n, table(*moved), together=together[np.argsort(order)])
    assert list(dict.fromkeys(before)) == list(range(max(before) + 1))
    for i, j in combinations(range(n), 2):
        assert (before[i] == before[j]) == (after[order[i]] == after[order[j]])


# --- the real photos ----------------------------------------------------------------------------------------

TWINS = [  # seen to be one photo: at another size, recoloured, cut closer
    ("Train/Pistol/120px-S&W4566side.jpg", "Test/img74.jpg"),
    ("Train/Smartphone/smartphone_15.jpg", "Test/img22.jpg"),
    ("Train/Smartphone/smartphone_426.jpg", "Test/img516.jpg"),
    ("Train/Smartphone/smartphone_256.jpg", "Test/img138.jpg"),
]
LIKENESSES = [  # seen to be two things of one make, though their hashes differ in 7 to 9 bits only
    ("Train/Pistol/120px-S&W_Mod19_LethalWeapon.jpg", "Test/img162.jpg"),
    ("Train/Pistol/120px-S&WModel28RubberCombatGrips.jpg", "Test/img101.jpg"),
    ("Train/Pistol/120px-S&W_M24.jpg", "Test/img457.jpg"),
]


def real_images():
    """(names, RGB images) of the archive, the large ones decoded at a half or a quarter, for speed."""
    names, images = [], []
    with zipfile.ZipFile(REAL) as archive:
        for name in archive.namelist():
            data = np.frombuffer(archive.read(name), np.uint8)
            reduced = cv2.IMREAD_REDUCED_COLOR_2 if len(data) < 60_000 else cv2.IMREAD_REDUCED_COLOR_4
            image = cv2.imdecode(data, cv2.IMREAD_COLOR if len(data) < 15_000 else reduced)
            if image is not None:
                names.append(name)
                images.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return names, images


@pytest.mark.slow
@pytest.mark.real
def test_the_real_archive():
    if not REAL.exists():
        pytest.skip("real archive not at ../shared/data")
    names, images = real_images()
    assert len(images) == 741 + 799
    pairs = near_pairs(*measured(images))
    near = {(names[i], names[j]) for i, j in zip(pairs["i"], pairs["j"], strict=True)}
    assert near.issuperset(TWINS)
    assert near.isdisjoint(LIKENESSES)
    twins = {second for first, second in near if first.startswith("Train") and second.startswith("Test")}
    assert 25 <= len(twins) <= 30
    sizes = np.bincount(group_pairs(len(images), pairs))
    assert 32 <= (sizes > 1).sum() <= 40
    assert sizes.max() <= 5
