"""SASRec: a causal transformer over a user's last items.

Score: h · q_i, with h the last place's output of ``blocks`` blocks of causal self-attention and a
small dense network, each normalised before (pre-norm) and added to what it read. A place is known
by how far it is from the end. Loss: softmax cross-entropy of the next item at every place.
Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018; Klenitskiy and Vasilev,
"Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?", RecSys 2023 (the loss).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np
from pydantic import Field, model_validator

from recjobs.config import Section
from recjobs.dataset import Float32Array
from recjobs.models.sequence import SequenceModel, SequenceSettings, last_places
from recjobs.models.sequence_training import ITEMS

#: Of the embeddings before training.
_STDDEV: Final = 0.02


class SasRecSettings(SequenceSettings):
    """Hyperparameters of `SasRec`."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    blocks: int = Field(default=2, ge=1)
    heads: int = Field(default=1, ge=1)  #: of a block's attention; divides embedding_dim

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.embedding_dim % self.heads:
            raise ValueError(
                f"heads: expected a divisor of embedding_dim, {self.embedding_dim}. "
                f"Received: {self.heads}"
            )
        return self


class SasRec(SequenceModel):
    """Recommends what self-attention over the last items tells."""

    name: ClassVar[str] = "sasrec"
    Settings: ClassVar[type[Section]] = SasRecSettings
    settings: SasRecSettings

    def _initial(self, n_columns: int, rng: np.random.Generator) -> dict[str, Float32Array]:
        """Return the weights; see `SequenceModel._initial`."""
        dim = self.settings.embedding_dim

        def normal(stddev: float, *shape: int) -> Float32Array:
            return rng.normal(0.0, stddev, shape).astype(np.float32)

        def glorot(rows: int, columns: int) -> Float32Array:
            return normal((2 / (rows + columns)) ** 0.5, rows, columns)

        def linear(name: str, times: int = 1) -> dict[str, Float32Array]:
            kernel = np.concatenate([glorot(dim, dim) for _ in range(times)], axis=1)
            return {name: kernel, f"{name}_bias": np.zeros(times * dim, dtype=np.float32)}

        def norm(name: str) -> dict[str, Float32Array]:
            shift = np.zeros(dim, dtype=np.float32)
            return {f"{name}_scale": np.ones_like(shift), f"{name}_shift": shift}

        weights = {
            ITEMS: normal(_STDDEV, n_columns, dim),
            "places": normal(_STDDEV, self.settings.length, dim),
        }
        for block in range(self.settings.blocks):
            weights |= norm(f"{block}_norm")
            weights |= linear(f"{block}_query") | linear(f"{block}_key_value", 2)
            weights |= linear(f"{block}_out") | norm(f"{block}_dense_norm")
            weights |= linear(f"{block}_dense_1") | linear(f"{block}_dense_2")
        return weights | norm("norm")

    def _network(
        self,
        tf: Any,
        weights: Mapping[str, Any],
        column: Any,
        length: Any,
        drop: Callable[[Any], Any],
        *,
        last: bool = False,
    ) -> Any:
        """Return what each place tells; see `SequenceModel._network`."""

        def linear(x: Any, name: str) -> Any:
            return tf.matmul(x, weights[name]) + weights[f"{name}_bias"]

        def norm(x: Any, name: str) -> Any:
            centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
            variance = tf.reduce_mean(centred * centred, axis=-1, keepdims=True)
            scale, shift = weights[f"{name}_scale"], weights[f"{name}_shift"]
            return centred * tf.math.rsqrt(variance + 1e-6) * scale + shift

        place = tf.range(tf.shape(column)[1])
        from_end = length[:, None] - 1 - place
        later = place[None, :, None] < place
        x = tf.gather(weights[ITEMS], column)
        x = drop(x + tf.gather(weights["places"], tf.maximum(from_end, 0)))
        for block in range(self.settings.blocks):
            seen = asking = norm(x, f"{block}_norm")
            if last and block == self.settings.blocks - 1:  # no later block reads the other places
                x, asking = last_places(tf, x, length), last_places(tf, seen, length)
                later = from_end[:, None] < 0
            query, pair = linear(asking, f"{block}_query"), linear(seen, f"{block}_key_value")
            x += drop(linear(self._attend(tf, query, pair, later), f"{block}_out"))
            wide = tf.nn.relu(linear(norm(x, f"{block}_dense_norm"), f"{block}_dense_1"))
            x += drop(linear(drop(wide), f"{block}_dense_2"))
        return norm(x, "norm")

    def _attend(self, tf: Any, query: Any, pair: Any, later: Any) -> Any:
        """Return means of the values, by how each query meets their keys.

        Args:
            tf: The module.
            query: ``(b, q, dim)``.
            pair: Keys and values, ``(b, t, 2 * dim)``.
            later: Which places a query must not see, bool ``(b or 1, q, t)``.

        Returns:
            float32 ``(b, q, dim)``.
        """
        heads, dim = self.settings.heads, self.settings.embedding_dim

        def split(x: Any) -> Any:
            """Return ``(b, heads, places, dim / heads)``."""
            x = tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1], heads, dim // heads])
            return tf.transpose(x, [0, 2, 1, 3])

        key, value = (split(x) for x in tf.split(pair, 2, axis=-1))
        match = tf.matmul(split(query), key, transpose_b=True) * (dim // heads) ** -0.5
        match += tf.where(later, np.float32(-1e9), np.float32(0))[:, None]
        mean = tf.transpose(tf.matmul(tf.nn.softmax(match), value), [0, 2, 1, 3])
        return tf.reshape(mean, tf.shape(query))
