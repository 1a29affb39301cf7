"""Sequence models: what a place may see, what the loss is, what is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logs import every, log_of
from recjobs import models
from recjobs.config import FeedbackSettings
from recjobs.dataset import Float32Array, TrainingSet, training_set
from recjobs.errors import ConfigError, DataError
from recjobs.models import sequence_training
from recjobs.models.sequence import SequenceModel
from recjobs.models.sequence_batches import Histories
from recjobs.models.training import start_keras

_KINDS: list[tuple[str, dict[str, Any]]] = [
    ("sasrec", {"heads": 2}),
    ("gru4rec", {"hidden": 12}),
    ("gru4rec", {"hidden": 12, "cell": "lstm"}),
]
_N_ITEMS = 12


def _of(rows: list[tuple[Any, ...]]) -> TrainingSet:
    log = log_of(rows)
    return training_set(log, every(log), 10**15, FeedbackSettings())


def _rounds(n_users: int = 40) -> TrainingSet:
    """Everyone goes round in a circle of items, from wherever they begin."""
    return _of(
        [
            (u, (u + turn) % _N_ITEMS, float(turn))
            for u in range(n_users)
            for turn in range(3 + u % 6)
        ]
    )


def _model(name: str, **params: Any) -> SequenceModel:
    small = {
        "batch_size": 8,
        "dropout": 0.1,
        "embedding_dim": 16,
        "length": 8,
        "learning_rate": 0.01,
        "epochs": 60,
    }
    model = models.make(name, {**small, **params}, seed=5, threads=2)
    assert isinstance(model, SequenceModel)
    return model


def _outputs(model: SequenceModel, column: Any, length: Any, **how: bool) -> Float32Array:
    tf, _ = start_keras(5, 2)
    rng = np.random.default_rng(0)
    weights = {
        name: tf.constant(value + rng.normal(0, 0.3, value.shape).astype(np.float32))
        for name, value in model._initial(_N_ITEMS, rng).items()
    }
    args = (tf.constant(np.int32(column)), tf.constant(np.int32(length)), lambda x: x)
    out: Float32Array = model._network(tf, weights, *args, **how).numpy()
    return out


@pytest.mark.parametrize(("name", "params"), _KINDS)
def test_a_place_sees_no_later_one(name: str, params: dict[str, Any]) -> None:
    model = _model(name, **params)
    one = _outputs(model, [[1, 2, 3, 4, 5]], [5])
    other = _outputs(model, [[1, 2, 3, 9, 8]], [5])
    np.testing.assert_array_equal(one[0, :3], other[0, :3])
    assert (one[0, 3:] != other[0, 3:]).any(axis=1).all()


@pytest.mark.parametrize(("name", "params"), _KINDS)
def test_padding_and_neighbours_do_not_matter(name: str, params: dict[str, Any]) -> None:
    model = _model(name, **params)
    alone = _outputs(model, [[1, 2, 3]], [3])
    padded = _outputs(model, [[7, 7, 7, 7, 7, 7], [1, 2, 3, 0, 9, 4]], [6, 3])
    np.testing.assert_allclose(alone[0], padded[1, :3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "params"), _KINDS)
def test_the_last_place_alone_is_the_last_of_all(name: str, params: dict[str, Any]) -> None:
    model, histories = _model(name, **params), ([[1, 2, 3, 9], [4, 5, 6, 7]], [2, 4])
    every_place, last = _outputs(model, *histories), _outputs(model, *histories, last=True)
    assert last.shape == (2, 1, 16)
    expected = every_place[[0, 1], [1, 3]]
    np.testing.assert_allclose(last[:, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "params"), _KINDS)
def test_order_matters(name: str, params: dict[str, Any]) -> None:
    model = _model(name, **params)
    one, other = _outputs(model, [[1, 2, 3], [2, 1, 3]], [3, 3])
    assert np.abs(one[2] - other[2]).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "params"), [*_KINDS, ("sasrec", {"negatives": 4}), ("gru4rec", {"negatives": 4})]
)
def test_learns_what_follows(name: str, params: dict[str, Any]) -> None:
    train = _rounds()
    model = _model(name, **params)
    history = model.fit(train)
    assert history.epochs[-1].loss < history.epochs[0].loss
    users = np.arange(train.n_users, dtype=np.int32)
    sequences = train.sequences()
    last = sequences.item_idx[sequences.indptr[1:] - 1]
    assert (model.score_block(users).argmax(axis=1) == (last + 1) % _N_ITEMS).mean() >= 0.9


@pytest.mark.parametrize(("name", "params"), _KINDS)
def test_scores_are_the_same_in_any_block_and_after_load(
    name: str, params: dict[str, Any], tmp_path: Path
) -> None:
    train = _rounds(150)
    model = _model(name, **params, length=40)
    model.fit(train, epochs=1)
    users = np.arange(train.n_users, dtype=np.int32)
    together = model.score_block(users)
    alone = np.concatenate([model.score_block(users[u : u + 1]) for u in (0, 77, 149)])
    np.testing.assert_array_equal(alone, together[[0, 77, 149]])
    model.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "arrays.npz"}
    loaded = models.load(name, tmp_path)
    assert isinstance(loaded, SequenceModel)
    np.testing.assert_array_equal(loaded.score_block(users), together)


def test_unknown_items_have_no_score() -> None:
    train = _of([(1, 1, 1.0, 5.0), (1, 2, 2.0, 5.0), (2, 3, 1.0, 1.0)])
    train = training_set(train.log, every(train.log), 10**15, FeedbackSettings(positive_at=3.0))
    model = _model("sasrec")
    model.fit(train, epochs=1)
    scores = model.score_block(np.array([0], dtype=np.int32))
    assert np.isneginf(scores[0]).tolist() == [False, False, True]
    assert model.known_users.tolist() == [True, False]


def test_refuses_ratings_without_a_positive() -> None:
    train = _of([(1, 1, 1.0, 2.0)])
    feedback = FeedbackSettings(kind="explicit", positive_at=3.0)
    train = training_set(train.log, every(train.log), 10**15, feedback)
    with pytest.raises(DataError, match="sasrec has nothing to learn from"):
        _model("sasrec").fit(train)


@pytest.mark.parametrize("places", [1, 7, 1000])
@pytest.mark.parametrize("drawn", [False, True])
def test_the_loss_is_the_softmax_over_all_items(
    monkeypatch: pytest.MonkeyPatch, places: int, drawn: bool
) -> None:
    """Every item drawn once is the full softmax: the correction is then 0."""
    tf, _ = start_keras(5, 2)
    rng = np.random.default_rng(1)
    hidden, items = (
        tf.Variable(rng.normal(size=(rows, 6)).astype(np.float32)) for rows in (23, _N_ITEMS)
    )
    target = tf.constant(rng.integers(0, _N_ITEMS, 23).astype(np.int32))
    columns = tf.constant(rng.permutation(_N_ITEMS).astype(np.int32)) if drawn else None
    monkeypatch.setattr(sequence_training, "_SCORES", places * _N_ITEMS)

    def gradients(loss: Any) -> list[Any]:
        with tf.GradientTape() as tape:
            value = loss()
        gradient = tape.gradient(value, [hidden, items])
        return [value.numpy(), *(tf.convert_to_tensor(part).numpy() for part in gradient)]

    ours = gradients(
        lambda: sequence_training._softmax_loss(
            tf, tf.identity(hidden), tf.identity(items), target, columns
        )
    )
    plain = gradients(
        lambda: tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(
                target, tf.matmul(hidden, items, transpose_b=True)
            )
        )
    )
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_histories_keep_the_last_items_in_order() -> None:
    train = _of([(1, item, float(day)) for day, item in enumerate([5, 3, 5, 9])] + [(2, 3, 1.0)])
    histories = Histories.of(train, np.arange(3, dtype=np.int32), 3)
    users = np.array([1, 0], dtype=np.int32)
    assert histories.padded(users, 4).tolist() == [[0, 0, 0, 0], [0, 1, 2, 0]]
    assert histories.lengths.tolist() == [3, 1]


def test_training_reads_as_many_places_as_scoring() -> None:
    model = _model("sasrec", length=4, dropout=0.0)
    first = model._initial(_N_ITEMS, np.random.default_rng(5))["places"]
    model.fit(_rounds(), epochs=2)
    assert (np.abs(model._weights["places"] - first).max(axis=1) > 1e-4).all()
    assert model._histories.lengths.max() == 4


def test_every_step_of_every_history_is_told_once() -> None:
    lengths = np.random.default_rng(2).integers(0, 9, 100)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    histories = Histories(indptr, np.arange(indptr[-1], dtype=np.int32))
    told: list[int] = []
    for batch in histories.batches(8, np.random.default_rng(3)):
        assert batch.column.shape == (len(batch.length), batch.length.max())
        read = batch.column.ravel()[batch.place]
        np.testing.assert_array_equal(batch.target, read + 1)
        told += batch.target.tolist()
    first = indptr[:-1][lengths > 0]
    assert sorted(told) == sorted(set(range(indptr[-1])) - set(first.tolist()))


def test_heads_divide_the_embedding() -> None:
    with pytest.raises(ConfigError) as raised:
        models.check_params("sasrec", {"heads": 3})
    expected = "model.params.heads: expected a divisor of embedding_dim, 64. Received: 3"
    assert str(raised.value) == expected


def test_only_sequence_models_need_times() -> None:
    needing = {name for name in models.REGISTRY if models.model_class(name).needs_time}
    assert needing == {"gru4rec", "sasrec"}
