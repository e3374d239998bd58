"""What is typed for a sweep, in Hydra's own words, and what it may be."""

from collections.abc import Iterator
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from hydra_plugins.kagglepipe_sweeper._arguments import Arguments, read_arguments
from kagglepipe.config import CONF, schema
from kagglepipe.errors import UserError
from kagglepipe.sweeps.space import Choice, Span


@pytest.fixture(scope="module")
def composed() -> Iterator[tuple[Any, Any]]:
    """(the configuration of sweep=head, what loads configurations)."""
    ConfigStore.instance().store(name="schema", node=schema())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield compose("config", ["sweep=head"]), GlobalHydra.instance().config_loader()


@pytest.fixture
def read(composed: tuple[Any, Any]) -> Any:
    """read("training.lr=1,2", …) -> what is typed."""
    config, loader = composed
    return lambda *arguments: read_arguments(arguments, config, loader)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("model=lite0,lite1", Choice(("lite0", "lite1"))),
        ("training.views=choice(0,1)", Choice(("0", "1"))),
        ("training.schedule=choice('cosine',onecycle)", Choice(("cosine", "onecycle"))),
        ("training.regularisation=[0.1],[1,10]", Choice(("[0.1]", "[1,10]"))),
        ("training.views=range(0,4)", Span(0, 3, 1, whole=True)),
        ("training.views=range(1,8,3)", Span(1, 7, 3, whole=True)),
        ("training.lr=range(0.1,0.5,0.1)", Span(0.1, 0.4, 0.1)),
        ("training.lr=interval(0.1,0.5)", Span(0.1, 0.5)),
        ("training.lr=tag(log,interval(1e-5,1e-2))", Span(1e-5, 1e-2, log=True)),
        ("training.epochs=interval(1,6)", Span(1, 6, whole=True)),
        ("training.epochs=tag(log,interval(1,64))", Span(1, 64, log=True, whole=True)),
        ("model.image_size=int(interval(64,128))", Span(64, 128)),
        ("training.views=range(3,0,-1)", Choice(("3", "2", "1"))),
        ("training.views=shuffle(range(0,3))", None),
    ],
)
def test_words_of_hydra_are_lists_and_stretches(words: str, found: Choice | Span | None, read: Any) -> None:
    name = words.partition("=")[0]
    space = read(words).space
    if found is None:  # whatever the order
        assert isinstance(space[name], Choice)
        assert sorted(space[name].listed()) == ["0", "1", "2"]
    else:
        assert space[name] == found


def test_what_is_typed_takes_the_place_of_what_the_file_says(read: Any) -> None:
    usual = read("sweep=head").space
    assert list(usual) == ["model", "model.crop", "augmentation", "training.views"]
    typed: Arguments = read("sweep=head", "model=lite0", "training.views=0,5", "training.weight_decay=interval(0,1)")
    assert list(typed.space) == ["model.crop", "augmentation", "training.views", "training.weight_decay"]
    assert typed.space["training.views"] == Choice(("0", "5"))
    assert typed.words == ["sweep=head", "model=lite0"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("training.lr=interval(1,1)", r"training\.lr=interval\(1,1\) must begin below its end"),
        ("training.lr=tag(log,interval(0,1))", "must begin above 0 and below its end"),
        ("training.lr=tag(often,interval(0,1))", r"type tag\(log, interval\(…\)\)"),
        ("training.views=interval(0.2,0.8)", r"views=interval\(0\.2,0\.8\) holds no whole number, and training"),
        ("training.views=range(3,3)", r"training\.views=range\(3,3\) holds no number"),
    ],
)
def test_what_cannot_be_meant_is_said(words: str, complaint: str, read: Any) -> None:
    with pytest.raises(UserError, match=complaint):
        read(words)


def test_what_is_told_to_be_typed_is_written_as_people_write() -> None:
    from hydra_plugins.kagglepipe_sweeper._end import unquoted

    assert unquoted("competition.source='x (1).zip'") == "competition.source=x (1).zip"
    assert unquoted("competition.source='it\\'s'") == "competition.source='it\\'s'"
    assert unquoted("training.schedule='cosine'") == "training.schedule='cosine'"


def test_an_experiment_holds_what_differs_and_nothing_else() -> None:
    from hydra_plugins.kagglepipe_sweeper._end import difference

    old = {"a": 1, "b": {"c": 2, "d": [1]}, "e": {}}
    new = {"a": 1, "b": {"c": 3, "d": [1]}, "e": {"f": 4}, "g": None}
    assert difference(new, old) == {"b": {"c": 3}, "e": {"f": 4}, "g": None}
    assert difference(old, old) == {}
