"""A view is a function of (seed, epoch, id): nothing drawn before, beside or elsewhere changes it."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest

from kagglepipe.errors import UserError
from kagglepipe.images.augment import POLICIES, Transform, make_steps
from kagglepipe.images.decode import Pixels
from kagglepipe.images.depth import PixelFormat
from kagglepipe.images.policy_file import policy_hash
from kagglepipe.images.views import Views, clean_view, draw_seed
from kagglepipe.options import CROPS
from kagglepipe.training.advice import is_mirroring

RANDOM = [name for name in POLICIES if name != "none"]
MIRRORING = [name for name in RANDOM if is_mirroring(name)]
SIZE = 48


def picture(height: int = 60, width: int = 80, seed: int = 0) -> Pixels:
    """Soft random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="none, light, strong, resolution, dihedral, elastic, paste"):
        Transform("lite", SIZE)


@pytest.mark.parametrize("policy", RANDOM)
def test_the_same_key_gives_the_same_view_whatever_was_drawn_between(policy: str) -> None:
    transform = Transform(policy, SIZE)
    first = transform(picture(), 1, 2, "a.jpg")
    for number in range(7):
        transform(picture(seed=number), number, 3, "b.jpg")
    np.random.default_rng(3).random(5)
    random.random()
    for again in (transform, Transform(policy, SIZE)):
        np.testing.assert_array_equal(again(picture(), 1, 2, "a.jpg"), first)


@pytest.mark.parametrize("policy", RANDOM)
def test_threads_draw_what_one_thread_draws(policy: str) -> None:
    transform = Transform(policy, SIZE)
    keys = [(seed, epoch, f"{number}.jpg") for seed in range(2) for epoch in range(3) for number in range(12)]
    serial = [transform(picture(), *key) for key in keys]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda key: transform(picture(), *key), keys))
    for one, other in zip(serial, parallel, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("policy", [name for name in RANDOM if name != "dihedral"])  # which has eight views only
def test_another_seed_epoch_or_id_gives_another_view(policy: str) -> None:
    transform = Transform(policy, SIZE)
    keys = [(0, 1, "a"), (1, 1, "a"), (0, 2, "a"), (0, 1, "b"), (0, 1, "1/a")]
    assert len({transform(picture(), *key).tobytes() for key in keys}) == len(keys)


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("policy", [None, *POLICIES])
def test_view_0_is_clean_and_the_others_are_the_policys(crop: str, policy: str | None) -> None:
    transform = policy and Transform(policy, SIZE)
    views = Views([picture(), picture(seed=1)], SIZE, crop, 0.9, ids=["a", "b"], transform=transform or None, seed=3)
    clean = clean_view(picture(seed=1), SIZE, crop=crop, crop_pct=0.9)
    np.testing.assert_array_equal(views[1, 0], clean)
    drawn = transform(picture(seed=1), 3, 2, "b") if transform and policy != "none" else clean
    np.testing.assert_array_equal(views[1, 2], drawn)
    np.testing.assert_array_equal(views.apply(picture(seed=1), 2, "b"), drawn)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_image_itself_is_never_changed(policy: str) -> None:
    """Images from the cache are read-only maps of a file."""
    image = picture(SIZE, SIZE)
    image.setflags(write=False)
    for number in range(10):
        Transform(policy, SIZE)(image, 0, number, "a")
    np.testing.assert_array_equal(image, picture(SIZE, SIZE))


@pytest.mark.parametrize("shape", [(1, 1), (29, 300), (2000, 40), (1, 500), (SIZE, SIZE)])
@pytest.mark.parametrize("policy", POLICIES)
def test_every_view_is_a_square_of_bytes(policy: str, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    views = Views([image], SIZE, ids=["a"], transform=Transform(policy, SIZE))
    for epoch in range(6):
        view = views[0, epoch]
        assert view.shape == (SIZE, SIZE, 3)
        assert view.dtype == np.uint8


def kinds(transforms: Any) -> list[Any]:
    """The classes of transforms, nested as they are."""
    return [kinds(t) if isinstance(t, A.BaseCompose) else type(t) for t in transforms]


@pytest.mark.parametrize("policy", RANDOM)
def test_the_serialised_policy_draws_the_same_views(policy: str) -> None:
    transform = Transform(policy, SIZE)
    back = A.from_dict(json.loads(json.dumps(transform.serialised())))
    for epoch in range(5):
        number = draw_seed(0, epoch, "a")
        back.set_random_state(np.random.default_rng(number), random.Random(number))
        np.testing.assert_array_equal(back(image=picture())["image"], transform(picture(), 0, epoch, "a"))


def test_policies_differ_in_what_they_serialise() -> None:
    """But `paste`, which is `strong` on other pictures."""
    texts = {str(Transform(policy, size).serialised()) for policy in POLICIES for size in (32, SIZE)}
    assert len(texts) == 2 * (len(POLICIES) - 1) - 1  # `none` is nothing at any size


def half_white() -> Pixels:
    """White on the left, black on the right."""
    return (
        np.repeat([[[255]], [[0]]], 40, axis=0).reshape(1, 80, 1).repeat(60, axis=0).repeat(3, axis=2).astype(np.uint8)
    )


@pytest.mark.parametrize(
    "policy", [name for name in MIRRORING if name != "dihedral"]
)  # which also turns them upside down
def test_views_are_mirrored_unless_that_is_switched_off(policy: str) -> None:
    def sides(mirror: bool) -> set[bool]:
        transform = Transform(policy, SIZE, mirror=mirror)
        views = [transform(half_white(), 0, epoch, "a.jpg").astype(int) for epoch in range(30)]
        differ = [int(view[:, : SIZE // 2].mean() - view[:, SIZE // 2 :].mean()) for view in views]
        return {difference > 0 for difference in differ if abs(difference) > 20}

    assert sides(True) == {True, False}
    assert sides(False) == {True}


@pytest.mark.parametrize("policy", MIRRORING)
def test_without_mirroring_nothing_else_changes(policy: str) -> None:
    """The policy that is kept beside the contact sheet, and that names the store of features, lacks the flip alone."""
    flips, plain = (kinds(make_steps(policy, SIZE, mirror=mirror)) for mirror in (True, False))
    assert [kind for kind in flips if kind is not A.HorizontalFlip] == plain != flips


def test_light_keeps_the_colours_roughly() -> None:
    """At most 15 % of brightness, contrast and saturation; a flat image stays flat."""
    flat = np.full((60, 80, 3), (100, 150, 200), np.uint8)
    for epoch in range(20):
        view = Transform("light", SIZE)(flat, 0, epoch, "a").astype(int)
        assert np.ptp(view, axis=(0, 1)).max() <= 1
        assert np.abs(view - flat[0, 0]).max() < 80


def test_resolution_loses_detail() -> None:
    """Fine noise comes out smoother than `light` leaves it, in the mean over many views."""
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)

    def detail(policy: str) -> float:
        views = [Transform(policy, SIZE)(noise, 0, epoch, "a").astype(float) for epoch in range(30)]
        return float(np.mean([np.abs(np.diff(view, axis=1)).mean() for view in views]))

    assert detail("resolution") < 0.8 * detail("light")


# --- dihedral ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("side", [SIZE // 2, SIZE, 2 * SIZE])
def test_dihedral_draws_the_eight_flips_and_rotations_of_the_clean_view_equally_often(side: int, mirror: bool) -> None:
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    transform, clean = Transform("dihedral", SIZE, mirror=mirror), clean_view(image, SIZE).astype(int)
    wanted = [np.rot90(one, k) for one in ((clean, clean[:, ::-1]) if mirror else (clean,)) for k in range(4)]
    drawn = [transform(image, 0, epoch, "a").astype(int) for epoch in range(400)]
    counts = np.zeros(len(wanted), int)
    for view in drawn:
        (found,) = [k for k, one in enumerate(wanted) if np.abs(one - view).max() <= 1]  # rounding of the resize
        counts[found] += 1
    expected = 400 / len(wanted)
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()


# --- a policy of the user's own ------------------------------------------------------------------------------------

OWN = A.Compose([A.RandomResizedCrop((SIZE, SIZE)), A.OneOf([A.GaussianBlur(), A.ToGray()], p=0.5), A.D4(p=1.0)])


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_a_serialised_pipeline_draws_what_it_draws_in_albumentations(tmp_path: Path, ending: Any) -> None:
    file = tmp_path / f"my policy.{ending}"
    A.save(OWN, file, data_format=ending)
    transform = Transform(str(file), SIZE)
    file.unlink()  # it was read once
    for epoch in range(9):
        number = draw_seed(3, epoch, "a")
        OWN.set_random_state(np.random.default_rng(number), random.Random(number))
        np.testing.assert_array_equal(transform(picture(), 3, epoch, "a"), OWN(image=picture())["image"])
    assert A.from_dict(transform.serialised()).to_dict() == OWN.to_dict()


def test_a_policy_that_leaves_sizes_alone_is_followed_by_a_resize(tmp_path: Path) -> None:
    A.save(A.Transpose(p=1.0), tmp_path / "own.json")
    view = Transform(str(tmp_path / "own.json"), SIZE)(picture(), 0, 1, "a")
    np.testing.assert_array_equal(view, clean_view(picture().transpose(1, 0, 2), SIZE))


def test_the_hash_of_a_policy_is_of_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("# mine\ntransform: {p: 1.0, __class_fullname__: ToGray}")
    (tmp_path / "b.json").write_text('{"__version__": "9", "transform": {"__class_fullname__": "ToGray", "p": 1.0}}')
    (tmp_path / "c.yaml").write_text("transform: {p: 0.5, __class_fullname__: ToGray}")
    a, b, c = (policy_hash(str(tmp_path / name)) for name in ("a.yaml", "b.json", "c.yaml"))
    assert a == b != c


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "cannot be read: No such file or directory"),
        ("a: [", "is no plain YAML"),
        ("!!python/object/apply:os.system ['true']", "is no plain YAML"),
        ("transforms: []", "has no `transform:` at its top"),
        ("transform: {p: 1.0}", "needs `__class_fullname__:`"),
        ("transform: {__class_fullname__: Compose, transforms: [3]}", "has '3' where a transform needs"),
        ("transform: {__class_fullname__: Flipp, p: 1.0}", "names Flipp, which is no transform"),
        ("transform: {__class_fullname__: os.system, p: 1.0}", "names os.system, which is no transform"),
        ("transform: {__class_fullname__: Lambda, __name__: x, p: 1.0}", "names Lambda, which is no transform"),
        ("transform: {__class_fullname__: ToGray}", "cannot be made: .*has no 'p'"),
        ("transform: {__class_fullname__: ToGray, p: 3}", "cannot be made: .*less than or equal to 1"),
        ("transform: {__class_fullname__: ToGray, p: 1.0, q: 2}", "cannot be made: .*'q'"),
        ("transform: {__class_fullname__: Compose, transforms: []}", "changes no image"),
        ("transform: {__class_fullname__: TimeReverse, p: 1.0}", "."),
        ("transform: {__class_fullname__: MaskDropout, p: 1.0}", "fails on a picture of 48 x 48"),
        (
            "transform: {__class_fullname__: Resize, height: 9, width: 9, p: 1.0}",
            "pictures of 9 x 9, the network sees 48",
        ),
        ("transform: {__class_fullname__: ToFloat, p: 1.0}", r"gives float32 of shape \(48, 48, 3\)"),
        ("transform: {__class_fullname__: ToTensorV2, p: 1.0}", "gives Tensor"),
    ],
)
def test_what_is_no_policy_is_refused_in_one_line(tmp_path: Path, text: str | None, why: str) -> None:
    file = tmp_path / "own.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=why) as error:
        Transform(str(file), SIZE)
    assert "\n" not in str(error.value)
    assert f"augmentation.policy={file}" in str(error.value)


# --- other channels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [PixelFormat(1), PixelFormat(5), PixelFormat(3, 16), PixelFormat(5, 16)])
@pytest.mark.parametrize("policy", [name for name in RANDOM if name != "paste"])
def test_views_of_other_channels_are_squares_of_them(
    policy: str, form: PixelFormat, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever part of a policy they can have is drawn, by the same keys; the rest is named."""
    with caplog.at_level("INFO"):
        transform = Transform(policy, SIZE, form=form)
    image = np.random.default_rng(0).integers(0, 2**form.bits, (50, 70, form.channels), form.dtype)
    for epoch in range(1, 13):
        view = transform(image, 0, epoch, "a")
        assert (view.shape, view.dtype) == ((SIZE, SIZE, form.channels), form.dtype)
        np.testing.assert_array_equal(view, transform(image, 0, epoch, "a"))
    is_changed = policy in ("strong", "resolution") or (policy == "light" and form != PixelFormat(1))
    named = f"augmentation={policy}: without " in caplog.text
    assert named == (is_changed and not (policy == "resolution" and form == PixelFormat(1)))


def test_the_eight_positions_of_five_channels_are_those_of_each(caplog: pytest.LogCaptureFixture) -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 5), np.uint8)
    whole, parts = Transform("dihedral", SIZE, form=PixelFormat(5)), Transform("dihedral", SIZE)
    for epoch in range(1, 9):
        view = whole(image, 0, epoch, "a")
        for first in (0, 2):
            part = np.ascontiguousarray(image[..., first : first + 3])
            np.testing.assert_array_equal(view[..., first : first + 3], parts(part, 0, epoch, "a"))


def test_a_policy_of_ones_own_that_needs_colours_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("transform: {__class_fullname__: ToGray, p: 1.0}")
    with pytest.raises(UserError, match=r"own.yaml fails on a picture of .* ToGray transformation expects 3-channel"):
        Transform(str(file), SIZE, form=PixelFormat(5))
    file.write_text("transform: {__class_fullname__: D4, p: 1.0}")
    image = np.zeros((SIZE, SIZE, 5), np.uint16)
    assert Transform(str(file), SIZE, form=PixelFormat(5, 16))(image, 0, 1, "").dtype == np.uint16
