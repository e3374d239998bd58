"""Threads map in order, a bounded number of items ahead."""

from collections.abc import Iterator, Sequence

import pytest

from kagglepipe.parallel import cpu_count, parallel_chunks, parallel_map


@pytest.mark.parametrize("count", [0, 200])
@pytest.mark.parametrize("workers", [1, 2, 5, None])
def test_results_come_in_the_order_of_the_items(workers: int | None, count: int) -> None:
    assert 1 <= cpu_count() <= 4096
    assert list(parallel_map(lambda n: n * n, range(count), workers=workers)) == [n * n for n in range(count)]


@pytest.mark.parametrize(("count", "sizes"), [(0, set()), (7, {1}), (500, {31, 4}), (9999, {32, 15})])
def test_chunks_come_in_the_order_of_their_items(count: int, sizes: set[int]) -> None:
    seen = []

    def squares(numbers: Sequence[int]) -> list[int]:
        seen.append(len(numbers))
        return [number**2 for number in numbers]

    assert list(parallel_chunks(squares, range(count), chunk=32, workers=2)) == [n * n for n in range(count)]
    assert set(seen) == sizes


@pytest.mark.parametrize(("workers", "ahead"), [(1, 1), (2, 3), (3, 2)])
def test_only_so_many_items_are_taken_ahead(workers: int, ahead: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    for done, result in enumerate(parallel_map(lambda n: n, items(), workers=workers, ahead=ahead), 1):
        assert result == done - 1
        assert taken <= done + workers * ahead
    assert taken == 100


def test_an_error_comes_in_its_place_and_ends_the_work() -> None:
    seen = []

    def inverse(number: int) -> float:
        seen.append(number)
        return 1 / (3 - number)

    results = parallel_map(inverse, range(1000), workers=2, ahead=2)
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert len(seen) < 20
    assert list(results) == []


def test_an_error_of_the_items_themselves_is_passed_on() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"):
        list(parallel_map(str, items(), workers=2))


def test_closing_the_generator_stops_the_work() -> None:
    seen = []
    results = parallel_map(seen.append, range(1000), workers=2, ahead=2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(seen) < 20
