"""iALS: matrix factorization of implicit feedback by alternating least squares.

Score: p_u · q_i. Loss: the sum over positives of w (1 - p·q)², plus alpha0 times the sum over all
pairs of (p·q)², plus l2 times every vector's squared length, scaled by how often its row occurs:
W_u + alpha0 |I| for a user, W_i + alpha0 |U| for an item, where W sums the weights w of the row.
Nothing is sampled: with one side fixed, the other has a least squares solution, which a few steps
of conjugate gradients, started from the epoch before, come close enough to. In the end the users
are solved for, given the items: a new user folds in just so.

Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008; the
regularization: Rendle, Krichene, Zhang and Koren, "Revisiting the Performance of iALS on Item
Recommendation Benchmarks", RecSys 2022; the steps: Takács, Pilászy and Tikk, "Applications of the
Conjugate Gradient Method for Implicit Feedback Collaborative Filtering", RecSys 2011.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse

from recjobs.config import Section
from recjobs.dataset import BoolArray, Float32Array, TrainingSet
from recjobs.models.base import Arrays, Epoch, FactorModel, History, known_of, strengths
from recjobs.models.relations import ItemVectors
from recjobs.progress import Progress, silent
from recjobs.threads import blas_threads, over_rows

#: Parts of the rows for each thread: few, for a part's busiest rows share what they ask for.
_PARTS: Final = 8
#: Vectors of a product.
_TURNED: Final = 1024
_ML_1M_ITEMS: Final = 3700


class IalsSettings(Section):
    """Hyperparameters of `Ials`."""

    embedding_dim: int = Field(default=192, ge=1)
    # Beyond these ranges float32 can't solve a row's equations, or all vectors shrink to nothing.
    l2: float | None = Field(default=None, ge=1e-6, le=1e3)  #: per occurrence; or `default_l2`
    #: the weight of every pair, a positive's being 1; default: `default_alpha0`
    alpha0: float | None = Field(default=None, ge=1e-9, le=1e3)
    epochs: int = Field(default=12, ge=1)
    cg_steps: int = Field(default=3, ge=1)  #: of conjugate gradients, per row and half epoch
    init_std: float = Field(default=0.1, ge=1e-3, le=100)  #: the first vectors' length


class Ials(FactorModel):
    """Recommends by vectors whose products tell the pairs that occurred from all the others."""

    name: ClassVar[str] = "ials"
    goes_on: ClassVar[bool] = True
    Settings: ClassVar[type[Section]] = IalsSettings
    settings: IalsSettings
    user_vectors: Float32Array
    item_vectors: Float32Array
    _l2: float
    _alpha0: float

    def fit(
        self,
        train: TrainingSet,
        *,
        validation: TrainingSet | None = None,
        epochs: int | None = None,
        progress: Progress = silent,
    ) -> History:
        """Solve for users and items in turn; see `Model.fit`. The validation part is not used."""
        train.require_rows()
        by_user = strengths(train)
        self.known_users, self.known_items = known_of(by_user)
        size = int(min(self.known_users.sum(), self.known_items.sum()))
        self._l2 = self.settings.l2 or default_l2(size)
        self._alpha0 = self.settings.alpha0 or default_alpha0(by_user)
        rng = np.random.default_rng(self.seed)
        users = self._first_vectors(rng, self.known_users)
        items = self._first_vectors(rng, self.known_items)
        if self.start is not None:
            users = self.start.rows(users, self.start.model.user_vectors, self.start.users)
            items = self.start.rows(items, self.start.model.item_vectors, self.start.items)
        # The busiest first, on both sides: most vectors that a row asks for are then near by.
        user_at, item_at = _busiest_first(by_user), _busiest_first(by_user.T)
        by_item = by_user[user_at].T.tocsr()[item_at]
        by_user = by_item.T.tocsr()
        users, items = users[user_at], items[item_at]
        steps = self.settings.cg_steps
        done: list[Epoch] = []
        epochs = epochs or self.settings.epochs
        for number in range(1, epochs + 1):
            users, _ = self._improve(by_user, users, items, steps)
            of_users = self._ridge(by_user, items) @ np.square(users).sum(axis=1)
            items, loss = self._improve(by_item, items, users, steps)
            loss = (loss + float(of_users)) / by_user.nnz
            done.append(Epoch(number, loss, None))
            progress(number / epochs, f"epoch {number}: loss {loss:.4f}")
        # As `fold_in` would, only sooner: from where they are.
        users, _ = self._improve(by_user, users, items, users.shape[1])
        self.user_vectors, self.item_vectors = np.empty_like(users), np.empty_like(items)
        self.user_vectors[user_at], self.item_vectors[item_at] = users, items
        return History(tuple(done), len(done), "ndcg@10")

    def fold_in(self, histories: sparse.csr_matrix) -> Float32Array:
        """Return the vectors of users, who may be new ones, from what they liked.

        Args:
            histories: Strengths as of `base.strengths`, float32 CSR ``(n, n_items)``; items that
                the model does not know say nothing.

        Returns:
            float32, ``(n, dim)``: the solution for these items; 0 for a user without history.
        """
        histories = histories.sorted_indices()
        # The vector of an unknown item is 0, but in the ridge its weight would count.
        histories.data *= self.known_items[histories.indices]
        start = np.zeros((histories.shape[0], self.item_vectors.shape[1]), dtype=np.float32)
        return self._improve(histories, start, self.item_vectors, start.shape[1])[0]

    def _first_vectors(self, rng: np.random.Generator, known: BoolArray) -> Float32Array:
        dim = self.settings.embedding_dim
        vectors = rng.standard_normal((len(known), dim), dtype=np.float32)
        vectors *= np.float32(self.settings.init_std / np.sqrt(dim)) * known[:, None]
        return vectors

    def _ridge(self, positives: sparse.csr_matrix, others: Float32Array) -> Float32Array:
        """Return the weight of each row's squared length, float32 ``(n_rows,)``."""
        n_others = int((others != 0).any(axis=1).sum())
        occurs = np.asarray(positives.sum(axis=1, dtype=np.float64)).ravel()
        ridge = self._l2 * (occurs + self._alpha0 * n_others)
        return ridge.astype(np.float32)

    def _improve(
        self, positives: sparse.csr_matrix, rows: Float32Array, others: Float32Array, steps: int
    ) -> tuple[Float32Array, float]:
        """Return improved vectors of the rows, and the loss before, but for the others' ridge."""
        from recjobs.models import ials_solver

        indptr = positives.indptr.astype(np.int64, copy=False)
        indices = positives.indices.astype(np.int32, copy=False)
        ridge = self._ridge(positives, others)
        with blas_threads(1):
            values, vectors = np.linalg.eigh((others.T @ others).astype(np.float64))
        basis = vectors.astype(np.float32)
        shared = (self._alpha0 * np.maximum(values, 0)).astype(np.float32)
        others = self._turned(others, basis)

        # Parts of about as many positives each; a row takes no time of its own to speak of.
        n_parts = _PARTS * self.threads
        cuts = np.searchsorted(indptr, np.linspace(0, indptr[-1], n_parts + 1)[1:-1])
        bounds = np.concatenate([[0], cuts, [len(rows)]])
        improved, losses = np.empty_like(rows), np.zeros(n_parts)

        def work(part: slice) -> None:
            begin, end = bounds[part.start], bounds[part.stop]
            improved[begin:end] = rows[begin:end] @ basis
            losses[part] = ials_solver.improve_rows(
                begin, end, indptr, indices, positives.data,
                others, shared, ridge, steps, improved,
            )  # fmt: skip
            improved[begin:end] = improved[begin:end] @ basis.T

        over_rows(work, n_parts, 1, threads=self.threads)
        return improved, float(losses.sum())

    def _turned(self, vectors: Float32Array, basis: Float32Array) -> Float32Array:
        """Return the vectors in another basis.

        In threads of our own: those of BLAS go on spinning where the solver's are to run.
        """
        turned = np.empty_like(vectors)

        def work(rows: slice) -> None:
            np.matmul(vectors[rows], basis, out=turned[rows])

        over_rows(work, len(vectors), _TURNED, threads=self.threads)
        return turned

    def factors(self) -> tuple[Float32Array, Float32Array]:
        """Return the users' and the items' vectors."""
        return self.user_vectors, self.item_vectors

    def relation(self) -> ItemVectors:
        """Return the items' vectors."""
        return ItemVectors.of(self.item_vectors, self.known_items)

    def _state(self) -> Arrays:
        weights = np.array([self._l2, self._alpha0])
        return {"users": self.user_vectors, "items": self.item_vectors, "weights": weights}

    def _restore(self, arrays: Arrays) -> None:
        self.user_vectors, self.item_vectors = arrays["users"], arrays["items"]
        self._l2, self._alpha0 = arrays["weights"].tolist()


def _busiest_first(positives: sparse.csr_matrix) -> npt.NDArray[np.int64]:
    """Return the rows by falling number of positives."""
    count = np.asarray((positives != 0).sum(axis=1)).ravel()
    order: npt.NDArray[np.int64] = np.argsort(-count, kind="stable")
    return order


def default_l2(size: int) -> float:
    """Return the l2 that suits the smaller of the numbers of users and items.

    As measured on MovieLens-1M, and for more less: 0.003 at 20,000 is published for MovieLens-20M.
    """
    return float(0.007 * min(1.0, (_ML_1M_ITEMS / size) ** 0.5))


def default_alpha0(positives: sparse.csr_matrix) -> float:
    """Return the alpha0 that suits how expected the positives are.

    Of what everybody has a pair says little, and that the others did not occur says much. How
    likely a positive is by its user's activity and its item's popularity alone is, in the mean, the
    sum of users' squared counts times that of items' over the cube of all: 0.3 on MovieLens-1M,
    0.1 on MovieTweetings, 0.04 on Last.fm, 0.005 on Gowalla, whose best alpha0 on parts carved from
    their training rows are 0.3 to 0.6, 0.2, 0.1 and 0.01 to 0.02.

    Args:
        positives: CSR, ``(n_users, n_items)``, with at least one; the weights play no role.
    """
    by_user = np.diff(positives.indptr).astype(np.float64)
    by_item = np.bincount(positives.indices).astype(np.float64)
    expected = (by_user @ by_user) * (by_item @ by_item) / float(positives.nnz) ** 3
    return float(0.7 * min(1.0, expected) ** (2 / 3))
