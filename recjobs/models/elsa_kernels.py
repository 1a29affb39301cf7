"""The inner loop of `elsa`, in numba."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled_fast

_MOMENTUM = 0.9
_DECAY = 0.999


@compiled_fast
def nadam_rows(
    first: int,
    last: int,
    step: int,
    learning_rate: float,
    gradient: npt.NDArray[np.float32],
    free: npt.NDArray[np.float32],
    mean: npt.NDArray[np.float32],
    square: npt.NDArray[np.float32],
    unit: npt.NDArray[np.float32],
) -> None:
    """Take one step of Adam with Nesterov momentum on rows whose length does not count.

    Args:
        first: The first row.
        last: The row after the last.
        step: From 1.
        learning_rate: Of this step.
        gradient: By ``unit``, ``(n_rows, dim)``.
        free: The rows as they are learned; changed in place. A row of zeros stays one.
        mean: Of the gradient by ``free``, decayed; changed in place.
        square: Mean of its square, decayed; changed in place.
        unit: ``free`` with rows of length 1; changed in place.
    """
    dim = free.shape[1]
    now = (1 - _MOMENTUM) / (1 - _MOMENTUM**step)
    before = _MOMENTUM / (1 - _MOMENTUM ** (step + 1))
    bias = 1 - _DECAY**step
    for row in range(first, last):
        length = np.float32(0)
        along = np.float32(0)
        for d in range(dim):
            length += free[row, d] * free[row, d]
            along += unit[row, d] * gradient[row, d]
        if length == 0:
            continue
        length = np.sqrt(length)
        after = np.float32(0)
        for d in range(dim):
            # What the gradient has along the row would change its length alone.
            slope = (gradient[row, d] - along * unit[row, d]) / length
            mean[row, d] = _MOMENTUM * mean[row, d] + (1 - _MOMENTUM) * slope
            square[row, d] = _DECAY * square[row, d] + (1 - _DECAY) * slope * slope
            move = before * mean[row, d] + now * slope
            free[row, d] -= learning_rate * move / (np.sqrt(square[row, d] / bias) + 1e-7)
            after += free[row, d] * free[row, d]
        after = np.float32(1) / np.sqrt(after)
        for d in range(dim):
            unit[row, d] = free[row, d] * after
