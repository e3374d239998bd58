"""Values of options that are refused as soon as they are typed, in one line."""

import pytest

from kagglepipe.errors import UserError
from kagglepipe.options import TrainingOptions


@pytest.mark.parametrize("grid", [[], [0.0], [1.0, -1.0]])
def test_a_head_needs_values_of_c_above_0(grid: list[float]) -> None:
    with pytest.raises(UserError, match=r"training\.regularisation") as caught:
        TrainingOptions(regularisation=grid)
    assert "\n" not in str(caught.value)
