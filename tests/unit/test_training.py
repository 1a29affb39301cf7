"""What Keras models train with: Adam in one pass, and batches of one size."""

from __future__ import annotations

import gc
import sys
from typing import Any

import numpy as np
import pytest

from logs import every, log_of
from recjobs.config import FeedbackSettings
from recjobs.dataset import training_set
from recjobs.models.ratings import Ratings
from recjobs.models.training import Adam, _lasting, start_keras

_AS_OF = 400 * 86_400_000_000


def test_adam_takes_the_steps_of_keras() -> None:
    tf, keras = start_keras(1, 2)
    rng = np.random.default_rng(1)
    first = rng.normal(size=(6, 3)).astype(np.float32)
    ours, theirs = keras.Variable(first), keras.Variable(first)
    adam, reference = Adam(tf, [ours]), keras.optimizers.Adam(0.01)
    reference.build([theirs])

    def gradient(rows: Any, values: Any) -> Any:
        return tf.IndexedSlices(values, rows, tf.constant([6, 3], tf.int64))

    for _ in range(5):
        # Row 1 comes twice, row 5 never.
        drawn = np.array([1, 4, 1, rng.integers(5)]), rng.normal(size=(4, 3)).astype(np.float32)
        adam.apply([gradient(*drawn)], 0.01)
        reference.apply([tf.convert_to_tensor(gradient(*drawn))], [theirs])
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5)
    np.testing.assert_array_equal(ours.numpy()[5], first[5])


def test_an_epoch_has_each_rating_and_batches_of_one_size() -> None:
    log = log_of([(user, item, 0.0, float(item)) for user in range(3) for item in range(5)])
    train = training_set(log, every(log), _AS_OF, FeedbackSettings(kind="explicit"))
    user, item, centred = Ratings(train, 4, 0).batches()
    assert user.shape == item.shape == centred.shape == (4, 4)
    pairs = list(zip(user.ravel().tolist(), item.ravel().tolist(), strict=True))
    assert len(set(pairs[:15])) == 15
    assert pairs[15] == pairs[0]
    for size in (15, 16, 10_000, None):  # never one twice in a batch
        assert Ratings(train, size, 0).batches()[0].shape == (1, 15)


@pytest.mark.parametrize("collects", [True, False])
def test_what_an_import_leaves_is_not_collected_again(
    collects: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    gc.unfreeze()
    (gc.enable if collects else gc.disable)()
    try:
        with pytest.raises(ImportError), _lasting():
            raise ImportError
        assert gc.isenabled() == collects
        assert gc.get_freeze_count() == 0
        with _lasting():
            pass
        assert gc.isenabled() == collects
        assert gc.get_freeze_count() > 0
    finally:
        gc.enable()
