"""Features as sparse rows of length 1, so that a dot product is a likeness.

Three groups, each scaled to length 1 in every row and then weighted: the words of the text by
TF-IDF (sublinear counts), the categories by IDF, and each number spread over the two nearest of a
few quantiles, which suits skewed scales and makes near numbers alike. What is learned (vocabulary,
frequencies, quantiles) comes from one side, the items; another side's rows are then in the same
terms, as a user's search queries in the words of the titles.

Salton and Buckley, "Term-weighting Approaches in Automatic Text Retrieval", 1988.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recjobs.dataset import Float32Array
from recjobs.features import Features

#: Quantiles that a number is spread over.
_QUANTILES = 8


class FeatureRows:
    """Learns from one side's features how to turn features into rows.

    Args:
        features: With at least one row.
        text: Weight of the text's group; 0 leaves it out.
        categories: Weight of the categories'.
        numbers: Weight of the numbers'.

    Attributes:
        names: What people call the features: a word, a category as ``column=value``, a number by
            its column. Distinct, but that one may be both a word and a column.
        name_of: The name of each of a row's places, int32 ``(dim,)``; ascending.
    """

    def __init__(
        self,
        features: Features,
        *,
        text: float = 1.0,
        categories: float = 1.0,
        numbers: float = 1.0,
    ) -> None:
        self._weights = (text, categories, numbers)
        self._analyze = _analyzer()
        words = _word_counts(features, self._analyze)
        self._words: dict[str, int] = {word: place for place, word in enumerate(sorted(words))}
        n = len(features)
        self._word_idf = _idf(np.array([words[word] for word in self._words], dtype=np.float64), n)
        self._tokens = {token: place for place, token in enumerate(features.tokens)}
        count = np.bincount(features.token_idx, minlength=len(self._tokens))
        self._token_idf = _idf(count.astype(np.float64), n)
        self._knots = [_knots(column) for column in features.numbers.T]
        self.names = (*self._words, *self._tokens, *features.number_names)
        apart = np.arange(len(self._words) + len(self._tokens))
        knots = np.repeat(np.arange(len(self._knots)), [len(knots) for knots in self._knots])
        self.name_of = np.concatenate([apart, len(apart) + knots]).astype(np.int32)

    def rows(self, features: Features, *, numbers: bool = True) -> sparse.csr_matrix:
        """Return rows float32 ``(n, dim)``, each of length 1, or 0 where nothing is known.

        Args:
            features: Of the side that was learned from, or of another.
            numbers: False for another side, whose numbers mean something else.
        """
        groups = [self._text(features), self._categories(features)]
        groups.append(self._numbers(features.numbers if numbers else None, len(features)))
        weighted = [
            unit_rows(group) * np.float32(weight)
            for group, weight in zip(groups, self._weights, strict=True)
        ]
        together = sparse.hstack(weighted, format="csr", dtype=np.float32)
        together.eliminate_zeros()  # of a group that weighs nothing
        return unit_rows(together)

    def _text(self, features: Features) -> sparse.csr_matrix:
        indptr = [0]
        place: list[int] = []
        value: list[int] = []
        for text in features.text.to_pylist():
            counts: dict[int, int] = {}
            for word in self._analyze(text):
                if word in self._words:
                    counts[self._words[word]] = counts.get(self._words[word], 0) + 1
            place += counts.keys()
            value += counts.values()
            indptr.append(len(place))
        where = np.array(place, dtype=np.int64)
        sublinear = 1 + np.log(np.array(value, dtype=np.float64))
        return _csr(indptr, where, sublinear * self._word_idf[where], len(self._words))

    def _categories(self, features: Features) -> sparse.csr_matrix:
        known = np.array([self._tokens.get(token, -1) for token in features.tokens], dtype=np.int64)
        where = known[features.token_idx]
        kept = where >= 0
        indptr = np.concatenate([[0], np.cumsum(kept)])[features.indptr]
        return _csr(indptr, where[kept], self._token_idf[where[kept]], len(self._tokens))

    def _numbers(self, numbers: Float32Array | None, n: int) -> sparse.csr_matrix:
        if numbers is None:
            return _csr([0] * (n + 1), np.zeros(0, dtype=np.int64), [], sum(map(len, self._knots)))
        blocks = [
            _spread(column, knots) for column, knots in zip(numbers.T, self._knots, strict=True)
        ]
        none = _csr([0] * (n + 1), np.zeros(0, dtype=np.int64), [], 0)
        found: sparse.csr_matrix = sparse.hstack([none, *blocks], format="csr", dtype=np.float32)
        return found


def unit_rows(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the rows scaled to length 1; empty ones stay empty."""
    square = np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel()
    scale = np.divide(1, np.sqrt(square), out=np.zeros_like(square), where=square > 0)
    scaled: sparse.csr_matrix = matrix.copy()
    scaled.data = matrix.data * np.repeat(scale, np.diff(matrix.indptr)).astype(np.float32)
    return scaled


def _analyzer() -> Callable[[str], list[str]]:
    from sklearn.feature_extraction.text import CountVectorizer

    found: Callable[[str], list[str]] = CountVectorizer(strip_accents="unicode").build_analyzer()
    return found


def _word_counts(features: Features, analyze: Callable[[str], list[str]]) -> dict[str, int]:
    """Return in how many rows each word occurs."""
    counts: dict[str, int] = {}
    for text in features.text.to_pylist():
        for word in set(analyze(text)):
            counts[word] = counts.get(word, 0) + 1
    return counts


def _idf(count: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.float64]:
    idf: npt.NDArray[np.float64] = np.log((1 + n) / (1 + count)) + 1
    return idf


def _knots(column: Float32Array) -> Float32Array:
    """Return the distinct quantiles of a number; none where it does not vary."""
    known = column[~np.isnan(column)]
    if not len(known):
        return np.zeros(0, dtype=np.float32)
    quantiles = np.quantile(known, np.linspace(0, 1, _QUANTILES))
    knots = np.unique(quantiles.astype(np.float32))  # float64, some may differ by less
    return knots if len(knots) > 1 else knots[:0]


def _spread(column: Float32Array, knots: Float32Array) -> sparse.csr_matrix:
    """Return each number as the shares of the knots below and above it."""
    if not len(knots):
        return sparse.csr_matrix((len(column), 0), dtype=np.float32)
    known = np.flatnonzero(~np.isnan(column))
    value = column[known].clip(knots[0], knots[-1])
    above = np.searchsorted(knots, value).clip(1, len(knots) - 1)
    share = (value - knots[above - 1]) / (knots[above] - knots[above - 1])
    rows, places = np.concatenate([known, known]), np.concatenate([above - 1, above])
    shape = (len(column), len(knots))
    found: sparse.csr_matrix = sparse.csr_matrix(
        (np.concatenate([1 - share, share]), (rows, places)), shape
    )
    return found.astype(np.float32)


def _csr(indptr: Any, place: npt.NDArray[np.int64], value: Any, width: int) -> sparse.csr_matrix:
    data = np.asarray(value, dtype=np.float32)
    found: sparse.csr_matrix = sparse.csr_matrix(
        (data, place, indptr), shape=(len(indptr) - 1, width)
    )
    found.sort_indices()
    return found
