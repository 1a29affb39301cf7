"""Which items may be among a user's best by `ncf`'s network, told in whole numbers.

The first layer's output h, in units s of its own, and the second layer's kernel are rounded to
int16, of which twice as many are multiplied in the same time. With W the second kernel times s, w
the output's kernel, and m units, rounding h by d and W by D moves a score by no more than

    sum_j |w_j| |W d + D h|_j  <=  sqrt(m) (‖diag(w) W‖ ‖d‖ + ‖diag(w) D‖ ‖h‖),

for relu takes no two values further apart; the norms of matrices are their greatest singular
values. No d is above 1, half for the user's part and half for the item's. What falls short of the
n-th best by more than twice the bound is no candidate; what is left is scored in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems
from recjobs.threads import over_rows
from recjobs.topn import empty_lists

if TYPE_CHECKING:
    from recjobs.models.ncf_network import Scorer

#: Users whose parts of the first layer are computed at a time, to know the greatest.
_USERS: Final = 65_536
#: The greatest of the first layer's sums of rounded parts, next to rounding.
_LEVELS: Final = 16_000
#: Below what int32 holds, by more than rounding adds to a product.
_GREATEST: Final = 2e9
#: Products of three numbers up to here, and sums of many, don't overflow in float32.
_GREAT: Final = 1e10
#: More than what rounding next to zero does to a score.
_TINY: Final = 1e-25


@dataclass(frozen=True, slots=True)
class Filter:
    """The network, rounded.

    Attributes:
        scorer: The network.
        unit: Of the first layer's sums, ``(hidden_1,)``.
        item_part: What the items add to the first layer, in panels, flat.
        second: The second layer's kernel in panels, flat; its bias and the output's kernel, both
            for the kernel's unit.
        off: How far a score is off for every user; for each of the length of the user's part; for
            each of the length of the weighted vector; for each of the bias.
    """

    scorer: Scorer
    unit: npt.NDArray[np.float64]
    item_part: Int32Array
    second: tuple[Int32Array, Float32Array, Float32Array]
    off: tuple[float, float, float, float]

    @classmethod
    def of(cls, scorer: Scorer) -> Filter | None:
        """Round a network; None where its numbers are none, or near to float32's greatest."""
        from recjobs.panels import COLUMNS, in_pairs, in_panels
        from recjobs.panels import ROWS as UNITS

        dim, n_users = scorer.product.size, len(scorer.users)
        greatest = np.abs(scorer.item_part).max(axis=0, initial=0).astype(np.float64)
        greatest += np.max(
            [
                np.abs(scorer.users[start : start + _USERS] @ scorer.first[0][:dim]).max(axis=0)
                for start in range(0, n_users, _USERS)
            ],
            axis=0,
            initial=0,
        )
        arrays = (greatest, *scorer.second, *scorer.output, scorer.users, scorer.items)
        others = (scorer.product, scorer.user_bias, scorer.item_bias)
        if not all(_greatest(values) < _GREAT for values in (*arrays, *others)):
            return None
        unit = np.where(greatest > 0, greatest / _LEVELS, 1.0)
        items = scorer.item_part / unit

        kernel = (scorer.second[0] * unit[:, None]).T  # (hidden_2, hidden_1)
        units, width = kernel.shape
        length = np.linalg.norm(kernel, axis=1)
        most = min(_GREATEST / ((_LEVELS + 2) * width**0.5) - width**0.5, 2 * _LEVELS)
        of_kernel = np.maximum(length / most, 1e-12)[:, None]
        rounded = np.rint(kernel / of_kernel)

        bias, output = scorer.second[1][:, None], np.abs(scorer.output[0].astype(np.float64))
        moved, missed = (
            units**0.5 * np.linalg.norm(output * matrix, 2)
            for matrix in (kernel, kernel - of_kernel * rounded)
        )
        # A float32 sum of n terms is off by no more than n * 2^-24 of what they come to unsigned.
        share = (width + units + 2 * dim + 32) * 2.0**-23
        by_length = float(missed + share * (output[:, 0] @ length))
        longest = np.linalg.norm(items, axis=1).max(initial=0) + width**0.5
        terms = (output * np.abs(bias)).sum() + np.abs(scorer.output[1]).sum()
        terms += np.abs(scorer.item_bias).max(initial=0)
        everyone = _TINY + 1.01 * width**0.5 * moved + by_length * longest + share * terms
        vectors = np.linalg.norm(scorer.items, axis=1).max(initial=0)
        return cls(
            scorer,
            unit,
            in_panels(in_pairs(np.rint(items)), COLUMNS).ravel(),
            (
                in_panels(in_pairs(rounded), UNITS).ravel(),
                in_panels((bias / of_kernel).astype(np.float32), UNITS).ravel(),
                in_panels((scorer.output[0] * of_kernel).astype(np.float32), UNITS).ravel(),
            ),
            (float(everyone), by_length, share * float(vectors), share),
        )

    def top_n(
        self, users: Int32Array, seen: SeenItems, candidates: BoolArray, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Return each user's n best unseen candidates; see `BlockModel.top_n`."""
        from recjobs import topn_kernels
        from recjobs.models import ncf_kernels
        from recjobs.models.ncf_network import ROWS

        scorer = self.scorer
        exact = (scorer.item_part, scorer.items, *scorer.second_panels)
        item_idx, score = empty_lists(len(users), n)

        def work(rows: slice) -> None:
            block = users[rows]
            parts, weighted = scorer.of_users(block)
            scores, off = self.near(block, parts, weighted)
            topn_kernels.blank_seen(scores, block, seen.indptr, seen.indices)
            _, best = nearest = empty_lists(len(block), n)
            topn_kernels.keep_best(scores, candidates, *nearest)
            limit = (best[:, -1] - 2 * off).astype(np.float32)
            ncf_kernels.score_near(parts, weighted, *exact, limit, scores)
            scorer.add_biases(block, scores)
            topn_kernels.keep_best(scores, candidates, item_idx[rows], score[rows])

        over_rows(work, len(users), ROWS)
        return item_idx, score

    def near(
        self, users: Int32Array, parts: Float32Array, weighted: Float32Array
    ) -> tuple[Float32Array, npt.NDArray[np.float64]]:
        """Return scores without what is the same for all of a user's, and how far they may be off.

        Args:
            users: int32, ``(b,)``.
            parts: What `Scorer.of_users` says of them.
            weighted: The same.

        Returns:
            float32 ``(b, n_items)`` and float64 ``(b,)``.
        """
        from recjobs.models import ncf_kernels
        from recjobs.panels import in_pairs

        scorer, rounded = self.scorer, parts / self.unit
        scores = weighted @ scorer.items.T
        scores += scorer.item_bias
        ncf_kernels.add_rounded(in_pairs(np.rint(rounded)), self.item_part, *self.second, scores)
        everyone, by_part, by_vector, by_bias = self.off
        off = everyone + by_part * np.linalg.norm(rounded, axis=1)
        off += by_vector * np.linalg.norm(weighted, axis=1)
        off += by_bias * np.abs(scorer.user_bias[users])
        return scores, off


def _greatest(values: npt.NDArray[np.floating]) -> float:
    return float(max(values.max(initial=0), -values.min(initial=0)))
