"""`recjobs bench quality` against oracles in plain Python, on small files."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logs import NAN
from recjobs import models
from recjobs.bench import sampled
from recjobs.cli import main
from recjobs.console import print_json
from stub_models import STUBS, Stub, item_known, score_of, user_known

INF = float("inf")
Rows = list[tuple[Any, ...]]  # user_id, item_id, rating, ts


@pytest.fixture(autouse=True)
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "REGISTRY", {**models.REGISTRY, **STUBS})
    monkeypatch.setattr(Stub, "fits", [])
    # No Keras is needed to select the epochs of a stub.
    monkeypatch.setattr("recjobs.models.training.import_keras", lambda: None)


def write(path: Path, rows: Sequence[tuple[Any, ...]], *names: str, **types: pa.DataType) -> Path:
    """Write rows as Parquet; columns are named user_id, item_id, rating, ts if not said."""
    names = names or ("user_id", "item_id", "rating", "ts")
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    arrays = {n: pa.array(c, types.get(n)) for n, c in zip(names, columns, strict=False)}
    pq.write_table(pa.table(arrays), path)
    return path


class Files:
    """The files of one split in a folder, and the command on them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys
        self.given: list[str] = []

    def put(self, option: str, rows: Sequence[tuple[Any, ...]], *names: str, **types: Any) -> None:
        path = write(self.folder / f"{option}.parquet", rows, *names, **types)
        if f"--{option}" not in self.given:
            self.given += [f"--{option}", str(path)]

    def run(self, model: str, protocol: str, *words: str) -> tuple[int, Any]:
        code = main(
            ["bench", "quality", *self.given, "--model", model, "--protocol", protocol, "--threads",
             "1", "--json", *words]
        )  # fmt: skip
        return code, json.loads(self.capsys.readouterr().out)

    def figures(self, model: str, protocol: str, *words: str) -> dict[str, Any]:
        code, found = self.run(model, protocol, *words)
        assert code == 0, found
        return dict(found)


@pytest.fixture
def files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Files:
    return Files(tmp_path, capsys)


def drawn(seed: int, *, text: bool) -> tuple[Rows, Rows, list[Any]]:
    """A split with ties, repeats, unknown ids on both sides and pairs of E that are in T."""
    rng = np.random.default_rng(seed)

    def ids(prefix: str, high: int, n: int) -> list[Any]:
        values = rng.integers(1, high, n).tolist()
        return [f"{prefix}{value}" for value in values] if text else values

    def rows(users: int, items: int, n: int) -> Rows:
        ratings = [None if r == 0 else float(r) for r in rng.integers(0, 6, n)]
        ts = rng.integers(0, 5, n).tolist()
        return list(zip(ids("u", users, n), ids("i", items, n), ratings, ts, strict=True))

    catalogue = sorted(set(ids("i", 24, 18)))
    return rows(9, 14, 40), rows(12, 20, 30), catalogue


def popularity(train: Rows, liked: set[int]) -> Counter[Any]:
    """Time-decayed popularity of every item of T, as `popular` defines it."""
    weight: dict[tuple[Any, Any], int] = defaultdict(int)
    last: dict[tuple[Any, Any], tuple[int, int]] = {}
    for position, (user, item, _, ts) in enumerate(train):
        if position in liked:
            weight[user, item] += 1
        last[user, item] = max(last.get((user, item), (-1, -1)), (ts or 0, position))
    newest = max((last[pair][0] for pair in weight), default=0)
    found: Counter[Any] = Counter()
    for pair, total in weight.items():
        if last[pair][1] in liked:
            age = (newest - last[pair][0]) / 86_400
            found[pair[1]] += math.log2(1 + total) / (1 + age / 3.0)
    return found


def key(item: Any) -> Any:
    return item.encode() if isinstance(item, str) else item


def expected_list(
    user: Any, train: Rows, pool: set[Any], popular: Counter[Any], indexed: set[Any]
) -> list[Any]:
    """The whole ranking of one user: the model's part, then the popular rest."""
    seen = {row[1] for row in train if row[0] == user}
    free = sorted(pool - seen, key=key)
    own: list[Any] = []
    if any(row[0] == user for row in train) and user_known(user):
        own = [i for i in free if i in indexed and item_known(i) and score_of(user, i) > -np.inf]
        own.sort(key=lambda i: -score_of(user, i))  # stable: ties by id
    rest = [i for i in free if i not in own]
    # The popularity is float32 in the product.
    return own + sorted(rest, key=lambda i: -np.float32(popular[i]))


def ranking_metrics(
    lists: dict[Any, list[Any]], relevant: dict[Any, set[Any]], ks: Sequence[int]
) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for user, wanted in relevant.items():
        for k in ks:
            ranks = [r for r, i in enumerate(lists[user][:k], start=1) if i in wanted]
            gain = sum(1 / math.log2(r + 1) for r in ranks)
            ideal = sum(1 / math.log2(r + 1) for r in range(1, min(k, len(wanted)) + 1))
            found[f"ndcg@{k}"].append(gain / ideal)
            found[f"recall@{k}"].append(len(ranks) / len(wanted))
            found[f"recall_capped@{k}"].append(len(ranks) / min(k, len(wanted)))
            found[f"hit_rate@{k}"].append(float(bool(ranks)))
        first = [r for r, i in enumerate(lists[user][: max(ks)], start=1) if i in wanted]
        found["mrr"].append(1 / first[0] if first else 0.0)
    return {name: sum(values) / len(values) for name, values in found.items()}


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("candidates", ["train", "items", "unseen", "unseen in E"])
@pytest.mark.parametrize("seed", range(4))
def test_full_is_what_a_plain_loop_finds(
    files: Files, seed: int, candidates: str, text: bool
) -> None:
    train, test, catalogue = drawn(seed, text=text)
    files.put("train", train)
    files.put("test", test)
    with_items = candidates in ("items", "unseen")
    if with_items:
        files.put("items", [(item,) for item in catalogue], "item_id")
    found = files.figures("scored", "full", "--candidates", candidates.split()[0], "--k", "3,8")

    in_train = {row[1] for row in train}
    pool = {
        "train": in_train,
        "items": set(catalogue),
        "unseen": set(catalogue) - in_train,
        "unseen in E": {row[1] for row in test} - in_train,
    }[candidates]
    pairs = {(row[0], row[1]) for row in test}
    known = {(row[0], row[1]) for row in train}
    relevant: dict[Any, set[Any]] = defaultdict(set)
    for user, item in pairs - known:
        relevant[user].add(item)
    popular = popularity(train, set(range(len(train))))
    indexed = in_train | (set(catalogue) if with_items else set())
    lists = {u: expected_list(u, train, pool, popular, indexed) for u in relevant}

    assert found["metrics"] == pytest.approx(ranking_metrics(lists, relevant, (3, 8)))
    counts = found["counts"]
    assert counts["users"] == len(relevant)
    assert counts["users_left_out"] == len({u for u, _ in pairs}) - len(relevant)
    assert counts["users_not_in_train"] == len(relevant.keys() - {row[0] for row in train})
    assert counts["pairs"] == len(pairs - known)
    assert counts["pairs_in_train_dropped"] == len(pairs & known)
    assert counts["pairs_not_candidates"] == sum(i not in pool for _, i in pairs - known)
    assert counts["candidates"] == len(pool)
    for name, value in found["metrics"].items():
        low, high = found["intervals"][name]
        assert low <= value <= high


def test_a_split_by_hand(files: Files) -> None:
    """Popular order of T: 1 (three users), 2 (two), 3; user 9 is new, 4 of T's are seen."""
    files.put("train", [(1, 1, None, None), (2, 1, None, None), (3, 1, None, None),
                        (1, 2, None, None), (2, 2, None, None), (3, 3, None, None)])  # fmt: skip
    files.put("test", [(1, 3, None, None), (1, 2, None, None), (2, 99, None, None),
                       (9, 2, None, None), (9, 1, None, None)])  # fmt: skip
    found = files.figures("popular", "full", "--k", "1,2")
    # 1 gets [3]: a hit at rank 1, its pair (1, 2) is dropped. 2 gets [3]: 99 is a miss. 9 gets
    # [1, 2], the fallback: both are hits.
    assert found["metrics"] == pytest.approx(
        {"ndcg@1": 2 / 3, "recall@1": (1 + 0 + 0.5) / 3, "recall_capped@1": 2 / 3,
         "hit_rate@1": 2 / 3, "ndcg@2": 2 / 3, "recall@2": 2 / 3, "recall_capped@2": 2 / 3,
         "hit_rate@2": 2 / 3, "mrr": 2 / 3}
    )  # fmt: skip
    assert found["counts"]["pairs_in_train_dropped"] == 1
    assert found["counts"]["users_not_in_train"] == 1


@pytest.mark.parametrize("model", ["scored", "factored"])
@pytest.mark.parametrize("seed", range(6))
def test_sampled_is_what_a_plain_loop_finds(files: Files, seed: int, model: str) -> None:
    train, test, _ = drawn(seed, text=False)
    users = sorted({row[0] for row in test})
    rng = np.random.default_rng(seed)
    negatives = {u: rng.integers(1, 22, rng.integers(0, 9)).tolist() for u in [*users, 500]}
    shuffled = [(u, negatives[u]) for u in rng.permutation(list(negatives)).tolist()]
    files.put("train", train)
    files.put("test", test)
    files.put("negatives", shuffled, "user_id", "negatives")
    found = files.figures(model, "sampled", "--k", "1,3")

    popular = popularity(train, set(range(len(train))))
    in_train = {row[1] for row in train}
    of_train = {row[0] for row in train}

    def score(user: int, item: int) -> float:
        if item not in in_train:
            return -math.inf
        if user not in of_train or not user_known(user):
            return float(np.float32(popular[item]))
        if not item_known(item):
            return -math.inf
        return score_of(user, item) if model == "scored" else (1 + user % 3) * (item % 4)

    by_user: dict[int, list[int]] = defaultdict(list)
    for user, item, *_ in test:
        against = sum(score(user, other) >= score(user, item) for other in negatives[user])
        by_user[user].append(1 + against)

    def mean(of_rank: Any) -> float:
        return float(np.mean([np.mean([of_rank(r) for r in by_user[u]]) for u in by_user]))

    for k in (1, 3):
        hit = mean(lambda r, k=k: r <= k)
        gain = mean(lambda r, k=k: 1 / math.log2(r + 1) if r <= k else 0)
        assert found["metrics"][f"hit_rate@{k}"] == pytest.approx(hit)
        assert found["metrics"][f"ndcg@{k}"] == pytest.approx(gain)
    assert found["metrics"]["mrr"] == pytest.approx(mean(lambda r: 1 / r))
    assert set(found["metrics"]) == set(found["intervals"])
    assert found["counts"]["pairs"] == len(test)


def peak_of(call: Callable[[], Any]) -> int:
    """Return the most bytes that a call holds, once all that it imports is there."""
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_sampled_holds_no_number_for_each_pair_and_negative(files: Files) -> None:
    files.put("train", [(user, item, None, None) for user in range(4) for item in range(user + 1)])
    files.put("test", [(user, item, None, None) for user in range(4) for item in range(2000)])
    rows = [(user, list(range(2000))) for user in range(4)]
    files.put("negatives", rows, "user_id", "negatives")
    assert peak_of(lambda: files.figures("popular", "sampled")) < 4 * 2000 * 2000


def test_pairs_count_towards_a_block_as_negatives_do(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.put("train", [(user, item, None, None) for user in range(9) for item in range(3)])
    files.put("test", [(user, item, None, None) for user in range(9) for item in range(3, 33)])
    files.put("negatives", [(user, [0, 40]) for user in range(9)], "user_id", "negatives")
    found = files.figures("factored", "sampled")["metrics"]
    ranks, pairs = sampled._ranks, []

    def counted(*args: Any) -> Any:
        pairs.append(len(args[2]))
        return ranks(*args)

    monkeypatch.setattr(sampled, "_ranks", counted)
    monkeypatch.setattr(sampled, "_NUMBERS", 3 * sampled._OF_SCORE * (30 + 2) + 1)
    assert files.figures("factored", "sampled")["metrics"] == found
    assert pairs == [90, 90, 90]


def test_lists_are_no_longer_than_there_are_candidates(files: Files) -> None:
    files.put("train", [(user, item, None, None) for user in range(30) for item in range(5)])
    files.put("test", [(user, 5 + user, None, None) for user in range(30)])
    found = files.figures("popular", "full", "--k", "3,5")["metrics"]
    long = ("--k", "3,1000000")
    assert files.figures("popular", "full", *long)["metrics"]["mrr"] == found["mrr"]
    assert peak_of(lambda: files.figures("popular", "full", *long)) < 30 * 1_000_000


def test_where_nothing_is_a_candidate_everything_is_a_miss(files: Files) -> None:
    files.put("train", [(1, 1, None, None), (2, 2, None, None)])
    files.put("items", [(1,)], "item_id")
    files.put("test", [(1, 2, None, None), (3, 1, None, None)])
    found = files.figures("scored", "full", "--candidates", "unseen")
    assert found["counts"]["candidates"] == 0
    assert set(found["metrics"].values()) == {0.0}


def test_sampled_removes_no_candidate(files: Files) -> None:
    """Negatives that are the positive itself or in T stay, and a tie counts against."""
    files.put("train", [(1, 1, None, None), (2, 2, None, None), (3, 2, None, None)])
    files.put("test", [(1, 2, None, None)])
    files.put("negatives", [(1, [2, 1])], "user_id", "negatives")
    assert files.figures("popular", "sampled")["metrics"]["mrr"] == 1 / 2
    files.put("negatives", [(1, [77, 78])], "user_id", "negatives")
    files.put("test", [(1, 76, None, None)])  # all three are unknown: all tie
    assert files.figures("popular", "sampled")["metrics"]["mrr"] == 1 / 3


def test_rating_predicts_every_row(files: Files) -> None:
    train = [(1, 1, 2.0, None), (1, 2, 5.0, None), (2, 1, 3.0, None), (2, 3, 4.0, None),
             (3, 2, 1.5, None), (1, 1, 4.0, None)]  # fmt: skip
    test = [(1, 3, 3.0, None), (2, 2, 2.0, None), (9, 1, 1.0, None), (1, 99, 5.0, None),
            (9, 99, 4.0, None), (5, 1, 2.0, None), (1, 3, 2.0, None)]  # fmt: skip
    files.put("train", train)
    files.put("test", test)
    found = files.figures("rated", "rating")

    latest = {(u, i): r for u, i, r, _ in train}  # the last rating of a pair counts
    mean = np.mean(list(latest.values()))
    of_item: dict[int, float] = defaultdict(float)
    of_user: dict[int, float] = defaultdict(float)
    for item in {i for _, i in latest}:
        left = [r - mean for (_, i), r in latest.items() if i == item]
        of_item[item] = sum(left) / (len(left) + 5)
    for user in {u for u, _ in latest}:
        left = [r - mean - of_item[i] for (u, i), r in latest.items() if u == user]
        of_user[user] = sum(left) / (len(left) + 5)

    def predicted(user: int, item: int) -> float:
        in_train = user in {1, 2, 3} and item in {1, 2, 3}
        guess = (1 + user % 3) * (item % 4) if in_train else mean + of_user[user] + of_item[item]
        return float(min(max(guess, 1.5), 5.0))

    errors = [predicted(u, i) - r for u, i, r, _ in test]
    assert found["metrics"] == pytest.approx(
        {"rmse": np.sqrt(np.mean(np.square(errors))), "mae": np.mean(np.abs(errors))}
    )
    assert found["counts"]["rows"] == 7
    assert found["counts"]["rows_by_biases"] == 4
    assert Stub.fits[-1]["train"].feedback == "explicit"


def test_a_rating_is_a_positive_unless_min_rating_says(files: Files) -> None:
    files.put("train", [(1, 1, -2.0, None), (1, 2, 4.0, None), (2, 2, 2.0, None),
                        (2, 3, None, None), (3, 3, 5.0, None)])  # fmt: skip
    files.put("test", [(3, 2, 5.0, None), (3, 1, 1.0, None), (2, 1, 2.0, None)])
    every = files.figures("scored", "full")
    assert every["counts"]["pairs"] == 3
    assert Stub.fits[-1]["train"].positives().nnz == 5
    assert Stub.fits[-1]["train"].feedback == "implicit"
    some = files.figures("scored", "full", "--set", "min_rating=4")
    assert some["counts"]["pairs"] == 1
    assert some["counts"]["users_left_out"] == 1
    assert some["counts"]["rows_not_positive_dropped"] == 2
    assert some["settings"]["min_rating"] == 4
    positives = Stub.fits[-1]["train"].positives()
    assert positives.toarray().tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 1]]


def test_events_may_have_weights(files: Files) -> None:
    names = ("user_id", "item_id", "event")
    files.put("train", [(1, 1, "view"), (1, 2, "buy"), (2, 1, "buy"), (2, 2, None)], *names)
    files.put("test", [(1, 3, "view"), (2, 3, "buy")], *names)
    found = files.figures("scored", "full", "--set", "event_weights={buy=3, rent=2}")
    assert Stub.fits[-1]["train"].positives().toarray().tolist() == [[0, 3], [3, 0]]
    assert found["counts"]["users"] == 1


def test_repeats_are_summed_in_matrices_and_kept_in_sequences(files: Files) -> None:
    # The file is in no order: time decides, and among equal times the row.
    files.put("train", [(1, 5, None, 20), (1, 4, None, 10), (1, 6, None, 10), (1, 5, None, 10),
                        (1, 4, None, 20), (2, 6, None, 5)])  # fmt: skip
    files.put("test", [(2, 4, None, 1)])
    files.figures("ordered", "full")
    train = Stub.fits[-1]["train"]
    assert train.positives().toarray().tolist() == [[2, 2, 1], [0, 0, 1]]
    sequences = train.sequences()
    ids = train.items.decode(sequences.item_idx).to_pylist()
    assert ids == [4, 6, 5, 5, 4, 6]
    assert sequences.ts[:5].tolist() == [10_000_000] * 3 + [20_000_000] * 2


def test_timestamps_are_read_too(files: Files) -> None:
    times = pa.array([20, 10], pa.timestamp("s", "UTC")).to_pylist()
    files.put("train", [(1, 5, None, times[0]), (1, 4, None, times[1])])
    files.put("test", [(1, 4, None, None), (2, 4, None, None)])
    files.figures("ordered", "full")
    assert Stub.fits[-1]["train"].sequences().ts.tolist() == [10_000_000, 20_000_000]


def test_a_sequence_model_refuses_null_times(files: Files) -> None:
    files.put("train", [(1, 5, None, 20), (1, 4, None, None)])
    files.put("test", [(1, 4, None, 1), (1, 6, None, 1)])
    code, error = files.run("ordered", "full")
    assert code == 3
    assert "ordered learns from the order" in error["message"]
    assert not Stub.fits
    assert files.run("scored", "full")[0] == 0


def test_no_number_is_no_time(files: Files) -> None:
    files.put("train", [(1, 1, None, 1.0), (1, 2, None, NAN), (2, 1, None, 3.0)])
    files.put("test", [(2, 2, None, None)])
    code, error = files.run("ordered", "full")
    assert code == 3
    assert "1 nulls in 3 rows" in error["message"]


def test_the_farthest_second_is_in_5138(files: Files) -> None:
    files.put("train", [(1, 1, None, 100_000_000_000), (2, 1, None, None)])
    files.put("test", [(2, 2, None, None)])
    files.run("scored", "full")
    assert Stub.fits[-1]["train"].log.ts.max() == 10**17


@pytest.mark.parametrize(
    ("value", "kind", "seconds"),
    [
        (10**12, pa.timestamp("s"), "1000000000000"),  # its microseconds are beyond int64
        (1 - 2**63, pa.timestamp("us"), "9223372036854"),
        (2**31 - 1, pa.date32(), "185542587100800"),
    ],
)
def test_no_timestamp_is_farther(files: Files, value: int, kind: pa.DataType, seconds: str) -> None:
    files.put("train", [(1, 1, None, value), (2, 1, None, None)], ts=kind)
    files.put("test", [(2, 2, None, None)])
    code, error = files.run("scored", "full")
    assert code == 3
    assert f"Received: {seconds} seconds from 1970" in error["message"]


def test_what_is_finer_than_a_microsecond_is_cut_off(files: Files) -> None:
    files.put("train", [(1, 1, None, 1999), (2, 1, None, None)], ts=pa.timestamp("ns"))
    files.put("test", [(2, 2, None, None)])
    files.figures("scored", "full")
    assert Stub.fits[-1]["train"].log.ts.max() == 1


def test_so_does_a_blend_with_one(files: Files) -> None:
    files.put("train", [(1, 5, None, 20), (1, 4, None, None), (2, 5, None, 20)])
    files.put("test", [(1, 6, None, 1)])
    code, error = files.run("blend", "full", "--set", "models={ordered={}, scored={}}")
    assert (code, Stub.fits) == (3, [])
    assert "ordered learns from the order" in error["message"]


def test_the_fit_opens_neither_E_nor_N(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the files hold when the fit ends is what is judged: nothing was read before."""
    files.put("train", [(1, 1, None, 1), (2, 2, None, 1)])
    files.put("test", [(1, 2, None, 1)])
    files.put("negatives", [(1, [1])], "user_id", "negatives")

    def replace() -> None:
        files.put("test", [(2, 1, None, 1), (1, 2, None, 1)])
        files.put("negatives", [(1, [1, 2, 3]), (2, [1])], "user_id", "negatives")

    monkeypatch.setattr(Stub, "on_fit", staticmethod(replace))
    found = files.figures("scored", "sampled")
    assert (found["counts"]["pairs"], found["counts"]["negatives"]) == (2, 4)
    for fit in Stub.fits:
        assert len(fit["train"].log) == 2
        assert len(fit["train"].users) == 2


@pytest.mark.parametrize("timed", [True, False])
def test_epochs_are_chosen_on_a_part_of_T_and_all_of_T_is_fitted(files: Files, timed: bool) -> None:
    train = [(u, i, None, 100 - i if timed else None) for u in range(1, 5) for i in range(1, 11)]
    files.put("train", train)
    files.put("test", [(1, 20, None, None)])
    found = files.figures("epochs", "full", "--seed", "5")
    chosen, final = Stub.fits
    fit, held = chosen["train"], chosen["validation"]
    assert fit.n_pairs + held.n_pairs == final["train"].n_pairs == 40
    assert held.n_pairs == 4
    assert (fit.history > 0).all()
    if timed:  # the newest row of each user
        assert held.items.decode(held.item_idx).to_pylist() == [1, 1, 1, 1]
    assert (chosen.get("epochs"), final["epochs"]) == (None, 3)
    assert final.get("validation") is None
    assert (final["model"].seed, final["model"].threads) == (5, 1)
    counts = found["counts"]
    assert counts["epochs"] == 3
    both = counts["selection_seconds"] + counts["refit_seconds"]
    assert found["fit_seconds"] == pytest.approx(both, abs=0.002)


def test_a_blend_trains_no_epochs_of_its_own(files: Files) -> None:
    files.put("train", [(u, i, None, 100 - i) for u in range(1, 5) for i in range(1, 11)])
    files.put("test", [(1, 9, None, None), (2, 20, None, None)])
    counts = files.figures("blend", "full", "--set", "models={popular={}, item_knn={}}")["counts"]
    assert "epochs" not in counts
    assert counts["selection_seconds"] > 0
    assert counts["refit_seconds"] > 0


def test_the_newest_rows_of_all_may_validate(files: Files) -> None:
    # User 1 acted before the others, so that no row of theirs is among the newest tenth.
    train = [(u, i, None, 100 * u + i) for u in range(1, 5) for i in range(1, 11)]
    files.put("train", train)
    files.put("test", [(1, 20, None, None)])
    found = files.figures("epochs", "full", "--set", "validation=newest")
    held = Stub.fits[0]["validation"]
    assert held.users.decode(held.user_idx).to_pylist() == [4] * 4
    assert held.items.decode(held.item_idx).to_pylist() == [7, 8, 9, 10]
    assert found["settings"]["validation"] == "newest"


def test_the_newest_rows_need_times(files: Files) -> None:
    files.put("train", [(1, 1, None, None), (1, 2, None, 5), (2, 1, None, 6)])
    files.put("test", [(2, 2, None, None)])
    code, error = files.run("epochs", "full", "--set", "validation=newest")
    assert code == 3
    assert "a ts in every row of T. Received: 1 nulls in 3 rows" in error["message"]
    assert not Stub.fits


def test_items_bring_their_features(files: Files) -> None:
    files.put("train", [(1, 1, None, 3), (2, 3, None, 4)])
    files.put("test", [(1, 2, None, None)])
    files.put("items", [(2, "A tale", ["x", "y"]), (1, "Two", ["y"])], "item_id", "title", "genres")
    files.figures("scored", "full", "--candidates", "unseen")
    train = Stub.fits[-1]["train"]
    assert train.items.ids.to_pylist() == [1, 2, 3]
    assert train.log.item_features.text.to_pylist() == ["Two", "A tale", ""]
    assert train.log.item_features.tokens == ("genres=x", "genres=y")
    assert train.candidates.tolist() == [True, True, True]


def test_what_is_printed(files: Files) -> None:
    files.put("train", [(1, 1, None, 1), (1, 2, None, 1), (2, 1, None, 1), (2, 2, None, 1)])
    files.put("test", [(3, 2, None, 1)])
    words = ["size=3", "share=0.25", "flag=true", "word=gru", "days=[1, 2.5]"]
    sets = [part for word in words for part in ("--set", word)]
    found = files.figures("scored", "full", "--seed", "7", *sets)
    assert set(found) == {
        "model", "settings", "protocol", "seed", "threads", "metrics", "intervals", "counts",
        "fit_seconds", "score_seconds", "peak_memory_mb", "versions",
    }  # fmt: skip
    assert found["settings"] == {
        "size": 3, "share": 0.25, "flag": True, "word": "gru", "days": [1.0, 2.5],
    }  # fmt: skip
    assert (found["model"], found["protocol"], found["seed"]) == ("scored", "full", 7)
    assert found["threads"] == 1
    assert {"ndcg@10", "recall@20", "hit_rate@10"} <= set(found["metrics"])
    assert found["peak_memory_mb"] > 10
    assert found["versions"]["numpy"] == np.__version__
    assert files.figures("scored", "full", "--seed", "7", *sets)["metrics"] == found["metrics"]


def test_values_by_user(files: Files) -> None:
    train, test, _ = drawn(3, text=True)
    files.put("train", train)
    files.put("test", test)
    path = files.folder / "users.parquet"
    found = files.figures("scored", "full", "--k", "3", "--per-user", str(path))
    table = pq.read_table(path).to_pydict()
    ids = table.pop("user_id")
    assert ids == sorted(set(ids))
    assert {name: np.mean(column) for name, column in table.items()} == pytest.approx(
        found["metrics"]
    )


GOOD = [(1, 1, 4.0, 1), (1, 2, 3.0, 2), (2, 1, 5.0, 1)]


@pytest.mark.parametrize("option", ["train", "test", "negatives", "items"])
def test_values_by_user_replace_no_given_file(files: Files, option: str) -> None:
    files.put("train", GOOD)
    files.put("test", [(2, 2, 4.0, 1)])
    files.put("negatives", [(2, [1])], "user_id", "negatives")
    files.put("items", [(1,), (2,)], "item_id")
    path = files.folder / f"{option}.parquet"
    before = path.read_bytes()
    link = files.folder / "link.parquet"
    link.symlink_to(path)
    for per_user in (path, link):
        code, error = files.run("scored", "sampled", "--per-user", str(per_user))
        assert code == 2
        assert f"--per-user: expected another file than {path}" in error["message"]
    assert (path.read_bytes(), Stub.fits) == (before, [])


@pytest.mark.parametrize("option", ["train", "test"])
@pytest.mark.parametrize(
    ("event", "kind"), [(["buy"], pa.list_(pa.string())), (b"\xff\xfe", pa.binary())]
)
def test_an_event_is_text(files: Files, option: str, event: Any, kind: pa.DataType) -> None:
    files.put("train", GOOD)
    files.put("test", [(2, 2, 4.0, 1)])
    files.put(option, [(2, 2, event)], "user_id", "item_id", "event", event=kind)
    code, error = files.run("scored", "full")
    assert code == 3
    path = files.folder / f"{option}.parquet"
    name = "list" if pa.types.is_list(kind) else "binary"
    assert f"{path}: expected event as text. Received: {name}" in error["message"]
    if name == "list":  # of bytes the schema does not tell
        assert not Stub.fits


def test_texts_may_be_views(files: Files) -> None:
    def put(**kinds: pa.DataType) -> dict[str, Any]:
        ids = {name: kinds["text"] for name in ("user_id", "item_id", "event")}
        names = ("user_id", "item_id", "event")
        files.put(
            "train", [("a", "x", "buy"), ("b", "y", "buy"), ("b", "z", "look")], *names, **ids
        )
        files.put("test", [("a", "y", "buy"), ("c", "x", "buy")], *names, **ids)
        lists = {"user_id": kinds["text"], "negatives": pa.list_(kinds["text"])}
        rows = [("a", ["z", "v"]), ("c", ["y", "w"])]
        files.put("negatives", rows, "user_id", "negatives", **lists)
        files.put("items", [("x", "a title"), ("v", "other")], "item_id", "title",
                  item_id=kinds["text"], title=kinds["text"])  # fmt: skip
        return files.figures("popular", "sampled")

    plain, viewed = put(text=pa.string()), put(text=pa.string_view())
    assert viewed["metrics"] == plain["metrics"]
    assert viewed["counts"] == plain["counts"]


@pytest.mark.parametrize(
    ("change", "words", "code", "message"),
    [
        ({}, ["easse", "full"], 2, "did you mean 'ease'"),
        ({}, ["scored", "full", "--set", "sise=1"], 2, "did you mean 'size'"),
        ({}, ["scored", "full", "--set", "size"], 2, "expected KEY=VALUE"),
        ({}, ["scored", "full", "--k", "ten"], 2, "--k: expected cutoffs"),
        ({}, ["scored", "full", "--k", "0"], 2, "--k: expected cutoffs"),
        ({}, ["scored", "full", "--candidates", "items"], 2, "needs --items"),
        ({}, ["scored", "full", "--set", "min_rating=high"], 2, "min_rating: "),
        ({}, ["scored", "full", "--set", "validation=oldest"], 2, "expected last or newest"),
        ({}, ["rated", "rating", "--set", "validation=last"], 2, "rows drawn at random"),
        ({}, ["scored", "sampled"], 2, "--negatives"),
        ({}, ["scored", "rating"], 2, "the model scored predicts no ratings"),
        ({}, ["rated", "rating", "--set", "min_rating=3"], 2, "no positives"),
        ({}, ["rated", "rating", "--per-user", "p"], 2, "no values by user"),
        ({}, ["scored", "full", "--per-user", "/"], 2, "--per-user: / can't be written: Is a dir"),
        ({}, ["scored", "full", "--per-user", "/gone/p"], 2, "can't be written: No such file"),
        ({"gone": True}, ["scored", "full"], 2, "there is no file"),
        ({"text": "no Parquet"}, ["scored", "full"], 3, "can't be read as Parquet"),
        ({"rows": [(1,)], "names": ["user_id"]}, ["scored", "full"], 3, "a column item_id"),
        ({"rows": [(1, "i2")], "names": ["user_id", "item_id"]}, ["scored", "full"], 3, "bigint"),
        ({"rows": [(1.5, 2)], "names": ["user_id", "item_id"]}, ["scored", "full"], 3, "double"),
        ({"rows": [(1, None), (2, 2)], "names": ["user_id", "item_id"]}, ["scored", "full"], 3,
         "no nulls"),
        ({"train": [(1, 1, None, 1)]}, ["rated", "rating"], 3, "no rating in 1 rows"),
        ({"rows": [GOOD[0]]}, ["scored", "full"], 3, "leaves nothing to judge by"),
        ({"rows": [(1, 2, None, 1), (2, 2, 3.0, 1)]}, ["rated", "rating"], 3, "1 nulls in 2"),
        ({"train": [(1, 1, INF, 1)]}, ["scored", "full"], 3,
         "finite numbers in rating. Received: inf in row 0"),
        ({"train": [(1, 1, 3.0, 1), (1, 2, -1e39, 1)]}, ["scored", "full"], 3,
         "finite numbers in rating. Received: -1e+39 in row 1"),
        ({"rows": [(2, 2, INF, 1)]}, ["rated", "rating"], 3, "finite numbers in rating"),
        ({"train": [(1, 1, 3.0, INF)]}, ["scored", "full"], 3,
         "ts as epoch seconds. Received: an infinite number"),
        ({"train": [(1, 1, 3.0, 1.7e12)]}, ["scored", "full"], 3,
         "look like milliseconds or finer. Received: 1700000000000"),
        ({"train": [(1, 1, 3.0, 1), (1, 2, 3.0, 1_700_000_000_000)]}, ["scored", "full"], 3,
         "look like milliseconds or finer. Received: 1700000000000"),
        ({}, ["scored", "full", "--set", "share=inf"], 2, "share: Input should be a finite number"),
    ],
)  # fmt: skip
def test_what_is_refused(
    files: Files, change: dict[str, Any], words: list[str], code: int, message: str
) -> None:
    files.put("train", change.get("train", GOOD))
    files.put("test", change.get("rows", [(2, 2, 4.0, 1)]), *change.get("names", ()))
    path = files.folder / "test.parquet"
    if "text" in change:
        path.write_text(change["text"])
    if "gone" in change:
        path.unlink()
    found, error = files.run(*words)
    assert (found, error["exit"]) == (code, code), error
    assert message in error["message"]
    if "can't" in message or code == 2 or "column" in message:
        assert not Stub.fits  # said before the fit, not after it


def test_what_is_no_json_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"metrics": {"rmse": NAN}})
    assert capsys.readouterr().out == ""


def test_negatives_are_one_list_for_each_user(files: Files) -> None:
    files.put("train", GOOD)
    files.put("test", [(2, 2, 4.0, 1)])
    for rows in ([(1, [2])], [(2, [1]), (2, [3])]):
        files.put("negatives", rows, "user_id", "negatives")
        code, error = files.run("scored", "sampled")
        assert code == 3
        assert "one row for each user of E" in error["message"]
    files.put("negatives", [(2, None)], "user_id", "negatives", negatives=pa.list_(pa.int64()))
    code, error = files.run("scored", "sampled")
    assert code == 3
    assert "a list in every row. Received: 1 nulls" in error["message"]


def test_an_unknown_word_exits_as_wrong_settings_do(files: Files) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "speed"])
    assert ended.value.code == 2


def test_progress_goes_to_standard_error(files: Files) -> None:
    files.put("train", GOOD)
    files.put("test", [(2, 2, 4.0, 1)])
    main(["bench", "quality", *files.given, "--model", "popular", "--protocol", "full"])
    printed = files.capsys.readouterr()
    assert json.loads(printed.out)["model"] == "popular"
    assert "fit" in printed.err


def test_a_learned_model_end_to_end(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    rng = np.random.default_rng(1)
    rows = [(int(u), int(i), float(1 + (u + i) % 5), int(t)) for t, (u, i) in
            enumerate(rng.integers(0, 20, (300, 2)))]  # fmt: skip
    files.put("train", rows[:250])
    files.put("test", rows[250:])
    found = files.figures("mf", "rating", "--set", "epochs=2", "--set", "embedding_dim=4",
                          "--threads", "2")  # fmt: skip
    assert 0 < found["metrics"]["rmse"] < 2.5
    assert 1 <= found["counts"]["epochs"] <= 2
