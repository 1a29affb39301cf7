"""The loop of `popular`, in numba."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled


@compiled
def count_popularity(
    indptr: npt.NDArray[np.int64],
    items: npt.NDArray[np.int32],
    positive: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.float32],
    ts: npt.NDArray[np.int64],
    newest: int,
    half_life: float,
    segment: npt.NDArray[np.int64],
    out: npt.NDArray[np.float64],
) -> None:
    """Add what each positive pair counts to its user's segment and to everybody's.

    Args:
        indptr: Of the pairs by user, ``(n_users + 1,)``.
        items: Of each pair.
        positive: Of each pair.
        weight: Of each pair; the sum of several interactions counts by its logarithm.
        ts: Of each pair.
        newest: The greatest of the positives' ``ts``: nothing has decayed there.
        half_life: On the scale of ``ts``.
        segment: Of each user, -1 for none.
        out: ``(n_segments + 1, n_items)``; everybody's is the last row.
    """
    for user in range(len(segment)):
        for p in range(indptr[user], indptr[user + 1]):
            if not positive[p]:
                continue
            age = (newest - ts[p]) / half_life
            counts = np.log1p(np.float64(weight[p])) / np.log(2.0) / (1 + age)
            out[-1, items[p]] += counts
            if segment[user] >= 0:
                out[segment[user], items[p]] += counts
