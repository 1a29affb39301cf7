"""What every model must do: subclass `ModelContract`, name the model, and its tests run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from logs import every, log_of
from recjobs import models
from recjobs.config import FeedbackSettings
from recjobs.dataset import (
    Float32Array,
    Int32Array,
    Interactions,
    SeenItems,
    TrainingSet,
    training_set,
)
from recjobs.errors import ConfigError, DataError
from recjobs.features import Features
from recjobs.featurize import from_table
from recjobs.models.warm import Start
from recjobs.score import top_n

_SIZE = 24
_AS_OF = 400 * 86_400_000_000


def colours(log: Interactions) -> Features:
    """What is known of an item: its colour."""
    ids = log.items.ids.to_pylist()
    colour = pa.array(["black" if item % 2 else "white" for item in ids], pa.string())
    return from_table(pa.table({"item_id": log.items.ids, "colour": colour}), log.items)


class ModelContract:
    """Runs on one model; a subclass sets the class variables.

    Attributes:
        name: The model's name in the registry.
        feedback: What it is fitted on.
        params: Hyperparameters that suit a set as small as the checkerboard.
        personal: False for a model that gives everyone the same list.
        misspelt: A hyperparameter that is nearly one of the model's, and that one.
    """

    name: ClassVar[str]
    feedback: ClassVar[str] = "implicit"
    params: ClassVar[dict[str, Any]] = {}
    personal: ClassVar[bool] = True
    misspelt: ClassVar[tuple[str, str]]

    def test_finds_the_withheld_item_of_a_checkerboard(self) -> None:
        if not self.personal:
            pytest.skip("everyone gets the same list")
        board = self.checkerboard()
        lists, _ = self.lists(self.fitted(board), board, 1)
        # User u was shown every item of its colour but item u.
        assert (lists[:, 0] == np.arange(_SIZE)).mean() >= 0.95

    def test_never_recommends_a_seen_item(self) -> None:
        board = self.checkerboard()
        lists, _ = self.lists(self.fitted(board), board, _SIZE)
        for user, row in enumerate(lists):
            given = row[row >= 0]
            seen = board.item_idx[board.indptr[user] : board.indptr[user + 1]]
            assert len(np.unique(given)) == len(given)
            assert not np.isin(given, seen).any()
            assert len(given) == _SIZE - len(seen)  # the fallback completes what the model omits

    def test_same_seed_same_lists(self) -> None:
        board = self.checkerboard()
        one, other = (self.lists(self.fitted(board), board, 5) for _ in range(2))
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])

    def test_identical_after_save_and_load(self, tmp_path: Path) -> None:
        board = self.checkerboard()
        model = self.fitted(board)
        model.save(tmp_path / "model")
        loaded = models.load(self.name, tmp_path / "model")
        for one, other in zip(
            self.lists(model, board, 5), self.lists(loaded, board, 5), strict=True
        ):
            np.testing.assert_array_equal(one, other)
        assert loaded.settings == model.settings
        assert loaded.rating_range == model.rating_range
        assert (loaded.seed, loaded.threads) == (model.seed, model.threads)
        assert models.load(self.name, tmp_path / "model", threads=1).threads == 1
        for path in (tmp_path / "model").rglob("*.*"):
            assert path.suffix in {".json", ".npz", ".keras"}

    def test_loading_under_another_name_is_refused(self, tmp_path: Path) -> None:
        self.fitted(self.checkerboard()).save(tmp_path)
        other = "ease" if self.name == "popular" else "popular"
        with pytest.raises(DataError, match=f"expected a model '{other}'"):
            models.load(other, tmp_path)

    def test_trains_on_one_user_and_one_item(self) -> None:
        train = self.set_of([(1, 1, 1.0, 4.0)])
        lists, _ = self.lists(self.fitted(train, epochs=1), train, 3)
        assert (lists == -1).all()  # there is nothing left to recommend

    def test_a_user_without_history_gets_the_popular_list(self) -> None:
        rows = [(user, item, float(user), 5.0) for user in range(4) for item in range(3 - user % 2)]
        log = self.log_of(rows, users=[9])
        train = training_set(log, every(log), _AS_OF, self.feedback_settings())
        lists = next(self.blocks(self.fitted(train, epochs=1), train, 3, 100))
        assert lists.n_model[-1] == 0
        assert lists.item_idx[-1].tolist() == [0, 1, 2]

    def test_refuses_an_empty_set(self) -> None:
        with pytest.raises(DataError, match="nothing to learn from"):
            self.fitted(self.set_of([]))

    def test_what_is_years_old_is_still_learned_from(self) -> None:
        if self.feedback == "explicit":
            pytest.skip("a rating does not fade")
        # Most users are long gone, and with them two items that nobody else knows.
        new = 1200.0
        rows = [
            (user, item, day + new * (user < 4), 5.0) for user, item, day, _ in self.board_rows()
        ]
        rows += [(user, item, 0.0, 5.0) for user in (50, 51) for item in (0, 100, 102)]
        log = self.log_of(rows)
        fading = self.feedback_settings().model_copy(update={"half_life_days": 1.0})
        as_of = round(new + 30) * 86_400_000_000
        train = training_set(log, every(log), as_of, fading)
        model = self.fitted(train)
        assert model.known_users.all()
        assert model.known_items.all()
        scores = self.scores(model)
        assert np.isfinite(scores).any(axis=1).all()
        assert np.isneginf(scores[~np.isfinite(scores)]).all()  # where there is nothing to say

    def test_refuses_an_unknown_hyperparameter(self) -> None:
        wrong, right = self.misspelt
        with pytest.raises(ConfigError, match=f"{self.name} has no such .*'{right}'"):
            models.check_params(self.name, {wrong: 1})

    def test_says_why_an_item_is_recommended(self) -> None:
        board = self.checkerboard()
        model = self.fitted(board)
        relation = model.relation()
        if relation is None:
            assert not self.personal
            return
        users = np.arange(_SIZE, dtype=np.int32)
        lists, _ = self.lists(model, board, 1)
        because = relation.because(lists, users, SeenItems(board.indptr, board.item_idx))
        # An item of the user's own history, of the item's own colour.
        for user, (item, reason) in enumerate(zip(lists[:, 0], because[:, 0], strict=True)):
            assert reason in board.item_idx[board.indptr[user] : board.indptr[user + 1]]
            assert reason != item
        assert (because[:, 0] % 2 == lists[:, 0] % 2).mean() >= 0.95
        similar, likeness = relation.similar(users, board.candidates, 3)
        assert (similar[:, 0] % 2 == users % 2).mean() >= 0.95
        assert (similar != users[:, None]).all()
        assert (np.diff(np.nan_to_num(likeness, neginf=-1), axis=1) <= 0).all()

    def test_lists_do_not_depend_on_the_block(self) -> None:
        board = self.checkerboard()
        model = self.fitted(board)
        expected = self.lists(model, board, 7)
        for size in (1, 7):
            blocks = list(self.blocks(model, board, 7, size))
            np.testing.assert_array_equal(np.concatenate([b.item_idx for b in blocks]), expected[0])
            np.testing.assert_array_equal(np.concatenate([b.score for b in blocks]), expected[1])

    def test_a_fit_starts_where_its_parent_ended(self) -> None:
        self.require_warm()
        board = self.checkerboard()
        parent = models.make(self.name, self.params, seed=3, threads=2)
        cold = parent.fit(board).epochs
        still = self.started(parent, board, board, learning_rate=1e-12)
        still.fit(board, epochs=1)
        np.testing.assert_allclose(self.scores(still), self.scores(parent), atol=1e-4)
        for kept in (1.0, 0.5):
            warm = self.started(parent, board, board, kept=kept).fit(board, epochs=1).epochs
            assert warm[0].loss < cold[0].loss

    def test_a_start_is_matched_by_raw_id(self, tmp_path: Path) -> None:
        """A user and an item are gone, others are new and come first in the indexes."""
        self.require_warm()
        gone = [(50, item, 30.0, 5.0) for item in (0, 2, 4, 50)]
        new = [(-5, item, 30.0, 5.0) for item in (0, 2, 4, -5)]
        before, now = (self.set_of(self.board_rows() + rows) for rows in (gone, new))
        self.fitted(before).save(tmp_path / "model")
        parent = models.load(self.name, tmp_path / "model")
        child = self.started(parent, before, now, learning_rate=1e-12)
        child.fit(now, epochs=1)
        theirs, ours = self.scores(parent), self.scores(child)
        np.testing.assert_allclose(ours[1:, 1:], theirs[:_SIZE, :_SIZE], atol=1e-4)
        assert child.known_users.all()
        assert child.known_items.all()
        assert np.isfinite(ours).all()
        assert (np.ptp(ours, axis=0) > 0).all()  # the new item's weights are no zeros

    def checkerboard(self) -> TrainingSet:
        """Users like the items of their own colour; user u's item u is withheld.

        With ratings, they also dislike half of the other colour.
        """
        return self.set_of(self.board_rows())

    def board_rows(self) -> list[tuple[int, int, float, float]]:
        """The rows of the checkerboard."""
        rows = [
            (user, item, float(user), 5.0)
            for user in range(_SIZE)
            for item in range(user % 2, _SIZE, 2)
            if item != user
        ]
        if self.feedback == "explicit":
            rows += [
                (user, item, float(user), 1.0)
                for user in range(_SIZE)
                for item in range(1 - user % 2, _SIZE, 2)
                if (user + item) % 4 == 1
            ]
        return rows

    def feedback_settings(self) -> FeedbackSettings:
        """The feedback section for this model."""
        return FeedbackSettings.model_validate({"kind": self.feedback, "positive_at": 3.0})

    def set_of(self, rows: list[tuple[Any, ...]]) -> TrainingSet:
        """All of the rows as a training set."""
        log = self.log_of(rows)
        return training_set(log, every(log), _AS_OF, self.feedback_settings())

    def log_of(
        self, rows: list[tuple[Any, ...]], *, users: list[int] | None = None
    ) -> Interactions:
        """The rows as a log, and users without a row."""
        log = log_of(rows, users=users or [])
        needed = models.model_class(self.name).needs_features
        return replace(log, item_features=colours(log)) if needed else log

    def fitted(self, train: TrainingSet, *, epochs: int | None = None) -> models.Model:
        """The model, fitted."""
        model = models.make(self.name, self.params, seed=3, threads=2)
        model.fit(train, epochs=epochs)
        return model

    def require_warm(self) -> None:
        """Skip where every fit is from scratch."""
        if not models.model_class(self.name).warm_starts:
            pytest.skip("it does not start from another's weights")

    def started(
        self,
        parent: models.Model,
        theirs: TrainingSet,
        train: TrainingSet,
        kept: float = 1.0,
        **params: Any,
    ) -> models.Model:
        """An unfitted model that will start from another, of another seed."""
        model = models.make(self.name, {**self.params, **params}, seed=4, threads=2)
        model.start = Start.of(parent, theirs.users, theirs.items, train, kept)
        return model

    def scores(self, model: models.Model) -> Float32Array:
        """Everybody's scores of all items."""
        if isinstance(model, models.FactorModel):
            users, items = model.factors()
            return users @ items.T
        assert isinstance(model, models.BlockModel)
        return model.score_block(np.arange(len(model.known_users), dtype=np.int32))

    def blocks(self, model: models.Model, train: TrainingSet, n: int, block_users: int) -> Any:
        """Everybody's lists, in blocks."""
        users = np.arange(train.n_users, dtype=np.int32)
        seen = SeenItems(train.indptr, train.item_idx)
        return top_n(model, train, users, seen, train.candidates, n, block_users=block_users)

    def lists(
        self, model: models.Model, train: TrainingSet, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Everybody's lists and their scores, in one block."""
        (block,) = self.blocks(model, train, n, 4096)
        return block.item_idx, block.score
