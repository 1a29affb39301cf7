"""`ncf` by its product alone and by its dense layers alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from logs import every, log_of
from recjobs.config import FeedbackSettings
from recjobs.dataset import TrainingSet, training_set
from recjobs.errors import ConfigError
from recjobs.models import make
from recjobs.models.ncf import NeuralCollaborativeFiltering

_LEFT_AWAY = {"gmf": ("first", "second", "output"), "mlp": ("product",)}


def of_two_colours(kind: str) -> TrainingSet:
    """Users like the items of their own parity; what they rate otherwise, they rate low."""
    rng = np.random.default_rng(3)
    rows = [
        (user, item, float(user), 5.0 if user % 2 == item % 2 else 1.0)
        for user in range(40)
        for item in range(30)
        if rng.random() < 0.5 and (kind == "explicit" or user % 2 == item % 2)
    ]
    log = log_of(rows)
    return training_set(
        log, every(log), 400 * 86_400_000_000, FeedbackSettings.model_validate({"kind": kind})
    )


@pytest.mark.parametrize("kind", ["implicit", "explicit"])
@pytest.mark.parametrize("parts", ["gmf", "mlp"])
def test_a_part_learns_by_itself_and_the_other_stays_away(
    kind: str, parts: str, tmp_path: Path
) -> None:
    settings = {"parts": parts, "embedding_dim": 8, "learning_rate": 0.02, "dropout": 0.0,
                "l2": 0.001, "batch_size": 32}  # fmt: skip
    model = make("ncf", settings, seed=1, threads=2)
    model.fit(of_two_colours(kind), epochs=15)
    model.save(tmp_path)
    loaded = NeuralCollaborativeFiltering.load(tmp_path)
    for name in _LEFT_AWAY[parts]:
        for weights in loaded.network.get_layer(name).get_weights():
            assert not weights.any() or name == "output"
    users = np.arange(40, dtype=np.int32)
    scores = loaded.score_block(users)
    own = users[:, None] % 2 == np.arange(30) % 2
    likes, others = (np.where(mine, scores, np.nan) for mine in (own, ~own))
    assert (np.nanmedian(likes, axis=1) > np.nanmax(others, axis=1)).mean() > 0.95


@pytest.mark.parametrize(("hidden", "place"), [([0, 8], 0), ([8, -1], 1)])
def test_a_dense_layer_has_a_unit(hidden: list[int], place: int) -> None:
    with pytest.raises(ConfigError) as raised:
        make("ncf", {"hidden": hidden}, seed=1, threads=1)
    assert str(raised.value) == (
        f"model.params.hidden.{place}: Input should be greater than 0. Received: {hidden[place]}"
    )
