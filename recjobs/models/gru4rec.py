"""GRU4Rec: a recurrent network over a user's last items.

Score: h · q_i, with h the state of a gated recurrent cell (GRU, or LSTM) after the last item,
through a dense layer as wide as the embeddings. Loss: softmax cross-entropy of the next item at
every place.
Hidasi, Karatzoglou, Baltrunas and Tikk, "Session-based Recommendations with Recurrent Neural
Networks", ICLR 2016; Klenitskiy and Vasilev, "Turning Dross Into Gold Loss: is BERT4Rec really
better than SASRec?", RecSys 2023 (the loss).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from recjobs.config import Section
from recjobs.dataset import Float32Array
from recjobs.models.sequence import SequenceModel, SequenceSettings, last_places
from recjobs.models.sequence_training import ITEMS

#: Gates of a cell: so many times the state's width is computed per place.
_GATES: Final = {"gru": 3, "lstm": 4}
#: Of the item embeddings before training.
_STDDEV: Final = 0.05


class Gru4RecSettings(SequenceSettings):
    """Hyperparameters of `Gru4Rec`."""

    cell: Literal["gru", "lstm"] = "gru"
    hidden: int = Field(default=128, ge=1)  #: width of the state


class Gru4Rec(SequenceModel):
    """Recommends what a recurrent network's state tells after the last item."""

    name: ClassVar[str] = "gru4rec"
    Settings: ClassVar[type[Section]] = Gru4RecSettings
    settings: Gru4RecSettings

    def _initial(self, n_columns: int, rng: np.random.Generator) -> dict[str, Float32Array]:
        """Return the weights; see `SequenceModel._initial`."""
        dim, hidden = self.settings.embedding_dim, self.settings.hidden
        gates = _GATES[self.settings.cell]

        def uniform(rows: int, columns: int) -> Float32Array:
            limit = (6 / (rows + columns)) ** 0.5
            return rng.uniform(-limit, limit, (rows, columns)).astype(np.float32)

        def orthogonal() -> Float32Array:
            found: Float32Array = np.linalg.qr(rng.normal(size=(hidden, hidden)))[0]
            return found.astype(np.float32)

        bias = np.zeros(gates * hidden, dtype=np.float32)
        bias[:hidden] = 1.0  # the gate that keeps the state starts open
        return {
            ITEMS: rng.normal(0.0, _STDDEV, (n_columns, dim)).astype(np.float32),
            "read": np.concatenate([uniform(dim, hidden) for _ in range(gates)], axis=1),
            "read_bias": bias,
            "keep": np.concatenate([orthogonal() for _ in range(gates)], axis=1),
            "keep_bias": np.zeros(gates * hidden, dtype=np.float32),
            "tell": uniform(hidden, dim),
            "tell_bias": np.zeros(dim, dtype=np.float32),
        }

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
        x = drop(tf.gather(weights[ITEMS], column))
        read = tf.matmul(x, weights["read"]) + weights["read_bias"]
        n_users, width, gates = tf.shape(read)[0], tf.shape(read)[1], read.shape[2]
        # Taken apart first: the gradient of a slice is as large as all places, at every place.
        reads = tf.TensorArray(tf.float32, width, element_shape=[None, gates])
        reads = reads.unstack(tf.transpose(read, [1, 0, 2]))
        cell = _gru if self.settings.cell == "gru" else _lstm
        start = tf.zeros([n_users, self.settings.hidden])
        states = tf.TensorArray(tf.float32, width, element_shape=[None, self.settings.hidden])

        def body(place: Any, state: Any, memory: Any, states: Any) -> Any:
            kept = tf.matmul(state, weights["keep"]) + weights["keep_bias"]
            state, memory = cell(tf, reads.read(place), kept, state, memory)
            return place + 1, state, memory, states.write(place, state)

        *_, states = tf.while_loop(
            lambda place, *_: place < width,
            body,
            (0, start, start, states),
            parallel_iterations=1,
        )
        out = tf.transpose(states.stack(), [1, 0, 2])
        out = drop(last_places(tf, out, length) if last else out)
        return tf.matmul(out, weights["tell"]) + weights["tell_bias"]


def _gru(tf: Any, read: Any, kept: Any, state: Any, memory: Any) -> tuple[Any, Any]:
    """Return the next state; a GRU has no memory beside it."""
    keep, reset, new = tf.split(read, 3, axis=1)
    keep_kept, reset_kept, new_kept = tf.split(kept, 3, axis=1)
    keep = tf.sigmoid(keep + keep_kept)
    new = tf.tanh(new + tf.sigmoid(reset + reset_kept) * new_kept)
    return keep * state + (1 - keep) * new, memory


def _lstm(tf: Any, read: Any, kept: Any, state: Any, memory: Any) -> tuple[Any, Any]:
    """Return the next state and memory."""
    keep, take, show, new = tf.split(read + kept, 4, axis=1)
    memory = tf.sigmoid(keep) * memory + tf.sigmoid(take) * tf.tanh(new)
    return tf.sigmoid(show) * tf.tanh(memory), memory
