"""The convolution by loops is torch's, and its filters find what they are said to find."""

import pytest
import torch
from torch.nn import functional as F

from kagglepipe.course.convolution import FILTERS, SOBEL, convolve, largest_difference, load_photo, run
from kagglepipe.course.lesson import Lesson
from kagglepipe.errors import UserError
from kagglepipe.models.weights import find_weights
from kagglepipe.options import CourseOptions


@pytest.mark.parametrize(("stride", "padding", "size"), [(1, 0, 3), (2, 1, 3), (3, 2, 5), (1, 0, 1)])
def test_loops_equal_conv2d(stride, padding, size):
    x, W, b = (torch.randn(shape, dtype=torch.float64) for shape in ((2, 9, 8), (3, 2, size, size), (3,)))
    wanted = torch.tanh(F.conv2d(x[None], W, b, stride=stride, padding=padding))[0]
    found = convolve(x, W, b, stride=stride, padding=padding, f=torch.tanh)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    assert largest_difference(seed=0) < 1e-12


def test_sobel_finds_the_slope_of_a_ramp_in_its_direction_only():
    ramp = torch.arange(6.0).repeat(5, 1)[None]  # grows by 1 to the right
    y = convolve(ramp, torch.stack([SOBEL, SOBEL.T])[:, None], torch.zeros(2), f=lambda a: a)
    assert (y[0] == 2).all()  # a difference over two pixels
    assert (y[1] == 0).all()
    assert [float(one.sum()) for one in FILTERS.values()] == [0, 0, 0]  # nothing is found where nothing changes


def test_a_file_that_is_no_photo_is_named(tmp_path):
    (tmp_path / "notes.jpg").write_text("no photo")
    for name in ("notes.jpg", "."):
        with pytest.raises(UserError, match=r"^course\.source=.* is no photo"):
            load_photo(str(tmp_path / name), 0)
    assert load_photo(None, 0).shape[2] == 3


def test_the_lesson_draws_edges_and_maps(tmp_path):
    try:
        find_weights("tf_efficientnet_lite0")
    except UserError as error:
        pytest.skip(str(error))
    metrics = run(Lesson(CourseOptions(quick=True), tmp_path, torch.device("cpu")))
    assert {path.name for path in tmp_path.glob("*.png")} == {"edges.png", "maps.png"}
    assert metrics["weights_of_first_convolution"] == 32 * 3 * 3 * 3
    assert metrics["weights_of_a_dense_layer_in_its_place"] == 3 * 224**2 * 32 * 112**2
