"""The inner loop of `ncf_network`: all pairs of some users, panel by panel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled
from recjobs.panels import COLUMNS, ROWS, add_rectified


@compiled
def score_pairs(
    users: npt.NDArray[np.float32],
    first_kernel: npt.NDArray[np.float32],
    item_part: npt.NDArray[np.float32],
    product: npt.NDArray[np.float32],
    items: npt.NDArray[np.float32],
    second_kernel: npt.NDArray[np.float32],
    second_bias: npt.NDArray[np.float32],
    output: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
) -> None:
    """Write the network's score of each pair, without the biases of the output, users and items.

    Args:
        users: Vectors, ``(n_rows, dim)``.
        first_kernel: The users' part of the first layer, ``(dim, hidden_1)``.
        item_part: What the items add to the first layer, ``(n_panels, hidden_1, COLUMNS)``.
        product: Weight of each dimension of the vectors' product, ``(dim,)``.
        items: Vectors, ``(n_panels, dim, COLUMNS)``.
        second_kernel: ``(n_groups, hidden_1, ROWS)``, flat.
        second_bias: ``(n_groups * ROWS,)``.
        output: The last layer's kernel, ``(n_groups * ROWS,)``; 0 for a unit that is none.
        out: ``(n_rows, n_items)``.
    """
    n_rows, n_items = out.shape
    n_panels, width, _ = item_part.shape
    dim = len(product)
    user_part = np.zeros((n_rows, width), dtype=np.float32)
    for row in range(n_rows):
        for d in range(dim):
            for unit in range(width):
                user_part[row, unit] += users[row, d] * first_kernel[d, unit]
    first = np.empty((width, COLUMNS), dtype=np.float32)
    total = np.empty(COLUMNS, dtype=np.float32)
    for panel in range(n_panels):
        start = panel * COLUMNS
        for row in range(n_rows):
            for unit in range(width):
                for column in range(COLUMNS):
                    value = item_part[panel, unit, column] + user_part[row, unit]
                    first[unit, column] = max(value, np.float32(0))
            total[:] = 0
            for unit in range(0, len(output), ROWS):
                add_rectified(
                    second_kernel, unit * width, first, width, second_bias, output, unit, total
                )
            for d in range(dim):
                value = users[row, d] * product[d]
                for column in range(COLUMNS):
                    total[column] += value * items[panel, d, column]
            for column in range(min(COLUMNS, n_items - start)):
                out[row, start + column] = total[column]
