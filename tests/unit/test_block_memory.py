"""What a block of users takes does not grow with what is known of all the others."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from recjobs.dataset import SeenItems
from recjobs.models.comparable import scores_of
from recjobs.models.content import Content, ContentSettings
from recjobs.models.low_rank import LowRankItemItem
from recjobs.models.popular import Popular, PopularSettings
from recjobs.models.ranking import Ranker
from recjobs.models.two_tower_inputs import Histories
from recjobs.models.user_knn import NeighbourRelation

N_USERS, N_ITEMS, LENGTH = 200_000, 30, 10
USERS = np.arange(100, dtype=np.int32)
LISTS = np.tile(np.arange(5, dtype=np.int32), (100, 1))


def history() -> sparse.csr_matrix:
    """As models keep it: pointers of int64, indexes of int32."""
    ones = np.ones(N_USERS * LENGTH, dtype=np.float32)
    items = np.tile(np.arange(LENGTH, dtype=np.int32), N_USERS)
    return wide((ones, items, np.arange(N_USERS + 1) * LENGTH), (N_USERS, N_ITEMS))


def wide(arrays: Any, shape: tuple[int, int]) -> sparse.csr_matrix:
    matrix = sparse.csr_matrix(shape, dtype=np.float32)
    matrix.data, matrix.indices, matrix.indptr = arrays
    return matrix


def each_item_its_own() -> sparse.csr_matrix:
    items = np.arange(N_ITEMS, dtype=np.int32)
    ones = np.ones(N_ITEMS, dtype=np.float32)
    return wide((ones, items, np.arange(N_ITEMS + 1)), (N_ITEMS, N_ITEMS))


def content() -> Content:
    model = Content(ContentSettings(), seed=1, threads=1)
    model._history, model._rows = history(), each_item_its_own()
    model._by_feature, model._own = each_item_its_own(), each_item_its_own()[:0]
    model._popularity = np.zeros(N_ITEMS, dtype=np.float32)
    model._names, model._name_of = ("word",), np.zeros(N_ITEMS, dtype=np.int32)
    model.known_items = np.ones(N_ITEMS, dtype=np.bool_)
    return model


def of_low_rank() -> Callable[[], Any]:
    vectors = np.ones((N_ITEMS, 4), dtype=np.float32)
    known = np.ones(N_ITEMS, dtype=np.bool_)
    relation = LowRankItemItem(history(), each_item_its_own(), vectors, vectors, known)
    return lambda: relation.scores(USERS)


def of_content() -> Callable[[], Any]:
    model = content()
    return lambda: model.score_block(USERS)


def of_told_features() -> Callable[[], Any]:
    relation = content().relation()
    return lambda: relation.because_features(LISTS, USERS)


def of_neighbours() -> Callable[[], Any]:
    near = np.zeros((N_USERS, 2), dtype=np.int32)
    relation = NeighbourRelation(history(), near, 0.0)
    return lambda: relation.because(LISTS, USERS, None)  # type: ignore[arg-type]


def of_towers() -> Callable[[], Any]:
    histories = object.__new__(Histories)
    histories._liked = history()
    histories._items = np.ones((N_ITEMS, 3), dtype=np.float32)
    histories._parts = [np.ones((N_ITEMS, 4), dtype=np.float32)] * 2
    return lambda: histories.from_other_part(USERS, USERS % 2 > 0)


def of_popular() -> Callable[[], Any]:
    model = Popular(PopularSettings(), seed=1, threads=1)
    model._popularity = np.ones((40, N_ITEMS), dtype=np.float32)
    model._segment = np.arange(N_USERS, dtype=np.int64).astype(np.int16) % 40
    model.known_items = np.ones(N_ITEMS, dtype=np.bool_)
    nothing = SeenItems(np.zeros(N_USERS + 1, dtype=np.int64), np.zeros(0, dtype=np.int32))

    def work() -> None:
        scores_of(model, USERS)
        Ranker(model, model.known_items).top_n(USERS, nothing, 5)

    return work


@pytest.mark.parametrize(
    "make", [of_low_rank, of_content, of_told_features, of_neighbours, of_towers, of_popular]
)
def test_a_block_takes_no_memory_for_all_the_others(
    make: Callable[[], Callable[[], Any]],
) -> None:
    work = make()
    work()  # everything is imported and compiled
    tracemalloc.start()
    try:
        work()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < N_USERS * LENGTH * 4
