"""The arrays of the network say what the network says."""

from __future__ import annotations

import numpy as np
import pytest

from recjobs import threads
from recjobs.models.ncf import NcfSettings
from recjobs.models.ncf_network import Scorer, build_network
from recjobs.models.training import import_keras


@pytest.mark.parametrize("hidden", [(128, 64), (7, 1), (6, 13)])
def test_all_pairs_are_what_keras_predicts(
    hidden: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, keras = import_keras()
    n_users, n_items = 40, 131
    network = build_network(
        keras, n_users, n_items, NcfSettings(embedding_dim=9, hidden=hidden, dropout=0.5), seed=1
    )
    rng = np.random.default_rng(2)
    network.set_weights(
        [weight + rng.normal(0, 0.3, weight.shape) for weight in network.get_weights()]
    )
    scorer = Scorer.of(network)
    users = rng.permutation(n_users).astype(np.int32)
    pairs = np.repeat(users, n_items), np.tile(np.arange(n_items, dtype=np.int32), n_users)
    expected = np.asarray(network(list(pairs))).reshape(n_users, n_items)
    received = scorer.block(users)
    assert received.dtype == np.float32
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scorer.pairs(*pairs), expected.ravel(), rtol=1e-4, atol=1e-5)

    monkeypatch.setattr(threads, "cores", lambda: 3)
    for part in (users[:1], users[5:12]):
        place = [int(np.flatnonzero(users == user)[0]) for user in part]
        np.testing.assert_array_equal(scorer.block(part), received[place])
