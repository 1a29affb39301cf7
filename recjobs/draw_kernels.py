"""The loop of the bootstrap, in numba."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled


@compiled
def count_draws(drawn: npt.NDArray[np.int32], out: npt.NDArray[np.float64]) -> None:
    """Write how many times each draw has each user.

    Args:
        drawn: ``(n_draws, n_users)``, each from 0 to n_users - 1.
        out: ``(n_draws, n_users)``.
    """
    out[:] = 0
    for draw in range(len(drawn)):
        line = out[draw]
        for place in range(drawn.shape[1]):
            line[drawn[draw, place]] += 1
