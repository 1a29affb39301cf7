"""What the towers are fed: features as dense vectors, and their means over histories."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recjobs.dataset import (
    BoolArray,
    Float32Array,
    Int32Array,
    Int64Array,
    TrainingSet,
    rows_of,
)
from recjobs.features import Features
from recjobs.models.base import strengths
from recjobs.models.content import halved
from recjobs.models.feature_rows import FeatureRows

#: Added to the weight of a history before its mean is taken: few items say less than many.
_SHRINKAGE = 1.0


def dense_features(features: Features, n: int, dim: int, seed: int) -> Float32Array:
    """Return features as dense vectors, float32 ``(n, width)``.

    The width is that of the distinct features, at most ``dim``; reduced, it is at most ``n`` too.

    Args:
        features: Of ``n`` rows, or of none.
        n: How many rows to return; those without features are 0.
        dim: Above it a truncated SVD reduces them.
        seed: Of the SVD's start.
    """
    if not len(features):
        return np.zeros((n, 0), dtype=np.float32)
    rows = FeatureRows(features).rows(features)
    rows = rows[:, np.unique(rows.indices)]
    if rows.shape[1] <= dim:
        dense: Float32Array = rows.toarray()
        return dense
    from sklearn.utils.extmath import randomized_svd

    left, values, _ = randomized_svd(rows, min(dim, *rows.shape), random_state=seed)
    reduced: Float32Array = (left * values).astype(np.float32)
    reduced[np.diff(rows.indptr) == 0] = 0  # what rounding leaves would say that they are known
    return reduced


def expected_popularity(items: Float32Array, count: Int64Array, l2: float) -> Float32Array:
    """Return the log popularity to expect of each item by its features, float32 ``(n_items,)``.

    A ridge regression on the items that have any, around their mean: learned with the towers it
    would soon tell the known items apart, and say nothing of others.

    Args:
        items: float32, ``(n_items, dim)``.
        count: By how many each was liked, int ``(n_items,)``.
        l2: Of the regression.
    """
    some = count > 0
    x, y = items[some].astype(np.float64), np.log(count[some])
    gram = x.T @ x + l2 * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x.T @ (y - y.mean()))
    expected: Float32Array = (items @ weights).astype(np.float32)
    return expected


def nearest_mapping(
    features: Float32Array, theirs: Float32Array, place: Int32Array, initial: Float32Array
) -> Float32Array:
    """Return the weights that make of features most nearly what another fit made of its own.

    Args:
        features: ``(n, dim)``.
        theirs: What it made of each row of its own, ``(their_n, width)``.
        place: Its row of each, int32 ``(n,)``; -1 for none.
        initial: Where there is nothing to go by, ``(dim, width)``.
    """
    rows = place >= 0
    if not (rows.any() and features.shape[1]):
        return initial
    found: Float32Array = np.linalg.lstsq(features[rows], theirs[place[rows]], rcond=None)[0]
    return found.astype(np.float32)


class Histories:
    """Means of item features over users' histories, or over a random part of the items in them.

    Args:
        train: Whose trained users' positives.
        items: Of each item, float32 ``(n_items, dim)``.
        half_life_days: What was liked so long before a user's last interaction counts half.
    """

    def __init__(
        self, train: TrainingSet, items: Float32Array, half_life_days: float | None
    ) -> None:
        self._liked = halved(strengths(train), train, half_life_days)
        self._items = items
        ones = np.ones((len(items), 1), dtype=np.float32)
        self._summed = np.concatenate([items, ones], axis=1)
        self._parts = [self._summed, self._summed]

    def split(self, second: BoolArray) -> None:
        """Part the items in two, bool ``(n_items,)``, for `from_other_part`."""
        self._parts = [self._summed * (second == part)[:, None] for part in (False, True)]

    def from_other_part(self, users: Int32Array, second: BoolArray) -> Float32Array:
        """Return each user's mean over the part that is not asked for, ``(n, dim)``.

        Args:
            users: int32, ``(n,)``.
            second: Which part each row is to predict, bool ``(n,)``.
        """
        out = np.empty((len(users), self._items.shape[1]), dtype=np.float32)
        for part in (False, True):
            rows = np.flatnonzero(second == part)
            out[rows] = _means(rows_of(self._liked, users[rows]), self._parts[1 - part])
        return out

    def projected(self, weights: Float32Array) -> Float32Array:
        """Return every user's whole mean times the weights, ``(n_users, n_outputs)``."""
        ones = self._summed[:, -1:]
        return _means(self._liked, np.concatenate([self._items @ weights, ones], axis=1))


def _means(liked: sparse.csr_matrix, summed: Float32Array) -> Float32Array:
    total = liked @ summed
    means: Float32Array = total[:, :-1] / (total[:, -1:] + np.float32(_SHRINKAGE))
    return means
