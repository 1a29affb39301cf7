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
from recjobs.models.sequence import SequenceModel, SequenceSettings
from recjobs.models.sequence_training import ITEMS

#: Of the embeddings before training.
_STDDEV: Final = 0.02
#: How much wider than the embeddings the dense network's middle is.
_WIDER: Final = 1


class SasRecSettings(SequenceSettings):
    """Hyperparameters of `SasRec`."""

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
        dim, wide = self.settings.embedding_dim, self.settings.embedding_dim * _WIDER

        def normal(stddev: float, *shape: int) -> Float32Array:
            return rng.normal(0.0, stddev, shape).astype(np.float32)

        def glorot(rows: int, columns: int) -> Float32Array:
            return normal((2 / (rows + columns)) ** 0.5, rows, columns)

        zeros, ones = np.zeros(dim, dtype=np.float32), np.ones(dim, dtype=np.float32)
        weights = {
            ITEMS: normal(_STDDEV, n_columns, dim),
            "places": normal(_STDDEV, self.settings.length, dim),
        }
        for block in range(self.settings.blocks):
            weights |= {
                f"{block}_norm_scale": ones,
                f"{block}_norm_shift": zeros,
                f"{block}_query_key_value": np.concatenate([glorot(dim, dim) for _ in range(3)], 1),
                f"{block}_query_key_value_bias": np.zeros(3 * dim, dtype=np.float32),
                f"{block}_out": glorot(dim, dim),
                f"{block}_out_bias": zeros,
                f"{block}_dense_norm_scale": ones,
                f"{block}_dense_norm_shift": zeros,
                f"{block}_dense_1": glorot(dim, wide),
                f"{block}_dense_1_bias": np.zeros(wide, dtype=np.float32),
                f"{block}_dense_2": glorot(wide, dim),
                f"{block}_dense_2_bias": zeros,
            }
        return weights | {"norm_scale": ones, "norm_shift": zeros}

    def _network(
        self,
        tf: Any,
        weights: Mapping[str, Any],
        column: Any,
        length: Any,
        drop: Callable[[Any], Any],
    ) -> Any:
        """Return what each place tells; see `SequenceModel._network`."""

        def linear(x: Any, name: str) -> Any:
            return tf.matmul(x, weights[name]) + weights[f"{name}_bias"]

        def norm(x: Any, name: str) -> Any:
            centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
            variance = tf.reduce_mean(centred * centred, axis=-1, keepdims=True)
            scale, shift = weights[f"{name}_scale"], weights[f"{name}_shift"]
            return centred * tf.math.rsqrt(variance + 1e-6) * scale + shift

        width = tf.shape(column)[1]
        place = tf.range(width)
        from_end = tf.maximum(length[:, None] - 1 - place, 0)
        x = tf.gather(weights[ITEMS], column) + tf.gather(weights["places"], from_end)
        x = drop(x)
        later = tf.where(place[:, None] < place[None], -np.float32(1e9), np.float32(0))
        for block in range(self.settings.blocks):
            read = linear(norm(x, f"{block}_norm"), f"{block}_query_key_value")
            x += drop(linear(self._attend(tf, read, later), f"{block}_out"))
            wide = tf.nn.relu(linear(norm(x, f"{block}_dense_norm"), f"{block}_dense_1"))
            x += drop(linear(drop(wide), f"{block}_dense_2"))
        return norm(x, "norm")

    def _attend(self, tf: Any, read: Any, later: Any) -> Any:
        """Return each place's mean of the values up to it, by how its query meets their keys."""
        heads, dim = self.settings.heads, self.settings.embedding_dim
        shape = tf.shape(read)[:2]

        def split(x: Any) -> Any:
            if heads == 1:
                return x
            x = tf.reshape(x, [shape[0], shape[1], heads, dim // heads])
            return tf.transpose(x, [0, 2, 1, 3])

        query, key, value = (split(x) for x in tf.split(read, 3, axis=-1))
        match = tf.matmul(query, key, transpose_b=True) * (dim // heads) ** -0.5 + later
        mean = tf.matmul(tf.nn.softmax(match), value)
        if heads > 1:
            mean = tf.reshape(tf.transpose(mean, [0, 2, 1, 3]), [shape[0], shape[1], dim])
        return mean
