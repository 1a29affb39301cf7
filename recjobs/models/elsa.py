"""ELSA: the linear item-item model of low rank, for catalogues whose square does not fit memory.

Score: y_u = x_u (A A' - I), with rows of A of length 1, so that the diagonal is 0. Loss: the mean
over users of |y/|y| - x/|x||² = 2 - 2 cos(y, x), by Adam with Nesterov momentum on batches of
users. Nothing is sampled: with z = x A and M = A'A, y·x = |z|² - |x|² and
|y|² = z M z' - 2 |z|² + |x|², so that neither the loss nor its gradient ever takes a row of y.
Vančura, Alves, Kasalický and Kordík, "Scalable Linear Shallow Autoencoder for Collaborative
Filtering", RecSys 2022.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from pydantic import Field
from scipy import sparse

from recjobs.config import Section
from recjobs.dataset import Float32Array, Int32Array, TrainingSet, rows_of
from recjobs.models.base import Arrays, BlockModel, Epoch, History, known_of, strengths
from recjobs.models.feature_rows import unit_rows
from recjobs.models.low_rank import LowRankItemItem
from recjobs.progress import Progress, silent
from recjobs.threads import blas_threads, over_rows

#: Items handed to a thread at a time.
_ROWS: Final = 256
#: Keeps a quotient from being one by 0.
_TINY: Final = np.float32(1e-12)


class ElsaSettings(Section):
    """Hyperparameters of `Elsa`."""

    embedding_dim: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=0.03, gt=0, le=1e3)  #: falls to 0 over the epochs
    batch_size: int = Field(default=1024, ge=1)  #: users
    epochs: int | None = Field(default=None, ge=1)  #: default: enough for 400 steps, at least 5


class Elsa(BlockModel):
    """Recommends what is near, in a space of its own, to what the user liked."""

    name: ClassVar[str] = "elsa"
    Settings: ClassVar[type[Section]] = ElsaSettings
    settings: ElsaSettings
    _relation: LowRankItemItem

    def fit(
        self,
        train: TrainingSet,
        *,
        validation: TrainingSet | None = None,
        epochs: int | None = None,
        progress: Progress = silent,
    ) -> History:
        """Learn the vectors; see `Model.fit`. The validation part is not used."""
        train.require_rows()
        history = strengths(train)
        self.known_users, self.known_items = known_of(history)
        rng = np.random.default_rng(self.seed)
        dim = self.settings.embedding_dim
        free = rng.standard_normal((train.n_items, dim), dtype=np.float32) / np.float32(dim**0.5)
        descent = _Descent(free * self.known_items[:, None], self.threads)
        users = np.flatnonzero(self.known_users)
        batches = -(-len(users) // self.settings.batch_size)
        epochs = epochs or self.settings.epochs or max(5, -(-400 // batches))
        done: list[Epoch] = []
        with blas_threads(self.threads):
            for number in range(1, epochs + 1):
                losses = []
                for part in np.array_split(rng.permutation(users), batches):
                    left = 1 - descent.steps / (epochs * batches)
                    rate = self.settings.learning_rate * left
                    x = unit_rows(rows_of(history, np.sort(part)))
                    losses.append(descent.step(x, rate) * len(part))
                done.append(Epoch(number, sum(losses) / len(users), None))
                progress(number / epochs, f"epoch {number}: loss {done[-1].loss:.4f}")
        minus_itself = sparse.diags(-self.known_items.astype(np.float32), format="csr")
        minus_itself.indptr = minus_itself.indptr.astype(np.int64)
        self._relation = LowRankItemItem(
            history, minus_itself, descent.unit, descent.unit, self.known_items
        )
        return History(tuple(done), epochs, "ndcg@10")

    def score_block(self, user_idx: Int32Array) -> Float32Array:
        """Return scores; see `BlockModel.score_block`."""
        return self._relation.scores(user_idx)

    def relation(self) -> LowRankItemItem:
        """Return the item-item matrix, as its factors."""
        return self._relation

    def _state(self) -> Arrays:
        state = self._relation.state()
        del state["targets"]  # the sources again
        return state

    def _restore(self, arrays: Arrays) -> None:
        arrays = {**arrays, "targets": arrays["sources"]}
        self._relation = LowRankItemItem.of_state(arrays, len(self.known_users), self.known_items)


class _Descent:
    """Learns vectors of length 1 by gradient steps.

    Args:
        free: The first vectors, float32 ``(n_items, dim)``, of any length; 0 for one that is not
            to be learned.
        threads: How many.
    """

    def __init__(self, free: Float32Array, threads: int) -> None:
        length = np.linalg.norm(free, axis=1, keepdims=True)
        self.unit = free / np.maximum(length, _TINY)
        self.steps = 0
        self._free = free
        self._mean, self._square = np.zeros_like(free), np.zeros_like(free)
        self._threads = threads

    def step(self, x: sparse.csr_matrix, learning_rate: float) -> float:
        """Take a step on a batch of users, and return the mean of their loss before it."""
        from recjobs.models import elsa_kernels

        self.steps += 1
        gradient, loss = loss_gradient(x, self.unit)

        def work(rows: slice) -> None:
            elsa_kernels.nadam_rows(
                rows.start, rows.stop, self.steps, learning_rate,
                gradient, self._free, self._mean, self._square, self.unit,
            )  # fmt: skip

        over_rows(work, len(self.unit), _ROWS, threads=self._threads)
        return loss


def loss_gradient(x: sparse.csr_matrix, vectors: Float32Array) -> tuple[Float32Array, float]:
    """Return the gradient of the mean of 2 - 2 cos(x (A A' - I), x) by A, and that mean.

    Args:
        x: float32 CSR ``(b, n_items)``; no row is empty.
        vectors: A, float32 ``(n_items, dim)``.
    """
    z = x @ vectors
    zm = z @ (vectors.T @ vectors)
    xx = np.asarray(x.multiply(x).sum(axis=1), dtype=np.float32).ravel()
    zz = np.einsum("bd,bd->b", z, z)
    size = np.sqrt(np.maximum(np.einsum("bd,bd->b", zm, z) - 2 * zz + xx, _TINY))  # |y|
    cosine = (zz - xx) / (size * np.sqrt(xx))
    # dL/dy = s x + t y per user, where y A = z M - z; and y = x A A' - x makes dL/dA the sum of
    # x' (dL/dy A) and (dL/dy)' z.
    s = -2 / (size * np.sqrt(xx)) / len(xx)
    t = 2 * cosine / size**2 / len(xx)
    inner = s[:, None] * z + t[:, None] * (zm - z)
    gradient = x.T @ (inner + (s - t)[:, None] * z)
    gradient += vectors @ (z.T @ (t[:, None] * z))
    return gradient.astype(np.float32, copy=False), float(np.mean(2 - 2 * cosine))
