"""A preset varies what the runs read, and nothing else."""

from hydra_plugins.kagglepipe_sweeper._run import unread_of_preset
from kagglepipe.sweeps.space import Choice, Span
from tests.composing import config_of


def test_what_numbers_do_not_read_is_left_out_of_the_space_of_a_preset() -> None:
    name = "training.label_smoothing"
    space = {"training.lr": Span(1e-5, 1e-3), name: Choice(("0.0", "0.1")), "augmentation": Choice(("light", "strong"))}
    numbers, tags = (
        config_of(f"competition={one}", "training=finetune", "device=cpu") for one in ("petfinder", "planet")
    )
    assert unread_of_preset(space, ["competition=petfinder"], [numbers]) == [name]
    assert unread_of_preset(space, [f"{name}=0.0,0.1"], [numbers]) == []  # which is an error
    assert unread_of_preset(space, [], [tags]) == []
