"""What is done ahead comes in order, and an error where its item would have come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from recjobs.threads import ahead


def test_items_come_in_order_and_one_is_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            yield number

    for number in ahead(items()):
        assert len(made) <= number + 2
        assert number == made[number]
    assert made == [0, 1, 2, 3, 4]
    assert list(ahead([])) == []


def test_an_error_comes_in_the_place_of_its_item() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    coming = ahead(items())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="the second"):
        next(coming)
