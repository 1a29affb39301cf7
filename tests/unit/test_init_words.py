"""What names say, by the examples in the module."""

from __future__ import annotations

import doctest

import pytest

from recjobs.init import words


def test_the_examples_hold() -> None:
    result = doctest.testmod(words)
    assert (result.attempted, result.failed) == (2, 0)


@pytest.mark.parametrize(
    "name", ["user_id", "userId", "uid", "product_id", "isbn", "artist", "sku"]
)
def test_names_of_ids(name: str) -> None:
    assert words.looks_like_id(name)


@pytest.mark.parametrize("name", ["item_count", "user_name", "price", "video_url", "movie_title"])
def test_names_of_other_columns(name: str) -> None:
    assert not words.looks_like_id(name)
