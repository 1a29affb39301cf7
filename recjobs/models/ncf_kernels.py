"""The inner loops of `ncf_network` and `ncf_filter`: pairs of users and items, panel by panel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled
from recjobs.panels import COLUMNS, ROWS, add_clipped, add_rectified


@compiled
def user_parts(
    users: npt.NDArray[np.float32], first_kernel: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return what the users add to the first layer, ``(n_rows, hidden_1)``.

    Args:
        users: Vectors, ``(n_rows, dim)``.
        first_kernel: The users' part of the first layer, ``(dim, hidden_1)``.
    """
    n_rows, dim = users.shape
    parts = np.zeros((n_rows, first_kernel.shape[1]), dtype=np.float32)
    for row in range(n_rows):
        for d in range(dim):
            for unit in range(first_kernel.shape[1]):
                parts[row, unit] += users[row, d] * first_kernel[d, unit]
    return parts


@compiled
def score_pairs(
    user_part: npt.NDArray[np.float32],
    weighted: npt.NDArray[np.float32],
    item_part: npt.NDArray[np.float32],
    items: npt.NDArray[np.float32],
    second_kernel: npt.NDArray[np.float32],
    second_bias: npt.NDArray[np.float32],
    output: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
) -> None:
    """Write the network's score of each pair, without the biases of the output, users and items.

    Args:
        user_part: What the users add to the first layer, ``(n_rows, hidden_1)``.
        weighted: Vectors, each dimension times the product's weight, ``(n_rows, dim)``.
        item_part: What the items add to the first layer, ``(n_panels, hidden_1, COLUMNS)``.
        items: Vectors, ``(n_panels, dim, COLUMNS)``.
        second_kernel: ``(n_groups, hidden_1, ROWS)``, flat.
        second_bias: ``(n_groups * ROWS,)``.
        output: The last layer's kernel, ``(n_groups * ROWS,)``; 0 for a unit that is none.
        out: ``(n_rows, n_items)``.
    """
    n_rows, n_items = out.shape
    n_panels, width, _ = item_part.shape
    first = np.empty((width, COLUMNS), dtype=np.float32)
    total = np.empty(COLUMNS, dtype=np.float32)
    for panel in range(n_panels):
        start = panel * COLUMNS
        for row in range(n_rows):
            for unit in range(width):
                for column in range(COLUMNS):
                    value = item_part[panel, unit, column] + user_part[row, unit]
                    first[unit, column] = max(value, np.float32(0))
            _score(first, weighted[row], items[panel], second_kernel, second_bias, output, total)
            for column in range(min(COLUMNS, n_items - start)):
                out[row, start + column] = total[column]


@compiled
def score_near(
    user_part: npt.NDArray[np.float32],
    weighted: npt.NDArray[np.float32],
    item_part: npt.NDArray[np.float32],
    items: npt.NDArray[np.float32],
    second_kernel: npt.NDArray[np.float32],
    second_bias: npt.NDArray[np.float32],
    output: npt.NDArray[np.float32],
    limit: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
) -> None:
    """Put what `score_pairs` says in the place of what reaches a row's limit, -inf in the others'.

    Args:
        user_part: See `score_pairs`.
        weighted: See `score_pairs`.
        item_part: ``(n_items, hidden_1)``.
        items: Vectors, ``(n_items, dim)``.
        second_kernel: See `score_pairs`.
        second_bias: See `score_pairs`.
        output: See `score_pairs`.
        limit: ``(n_rows,)``.
        out: ``(n_rows, n_items)``.
    """
    n_rows, n_items = out.shape
    width, dim = item_part.shape[1], items.shape[1]
    first = np.zeros((width, COLUMNS), dtype=np.float32)
    vectors = np.zeros((dim, COLUMNS), dtype=np.float32)
    total = np.empty(COLUMNS, dtype=np.float32)
    near = np.empty(n_items, dtype=np.int64)
    for row in range(n_rows):
        count = 0
        for item in range(n_items):
            near[count] = item
            count += out[row, item] >= limit[row] and out[row, item] > -np.inf
        out[row] = -np.inf
        for start in range(0, count, COLUMNS):
            chosen = near[start : min(start + COLUMNS, count)]
            for column in range(len(chosen)):
                for unit in range(width):
                    value = item_part[chosen[column], unit] + user_part[row, unit]
                    first[unit, column] = max(value, np.float32(0))
                for d in range(dim):
                    vectors[d, column] = items[chosen[column], d]
            _score(first, weighted[row], vectors, second_kernel, second_bias, output, total)
            for column in range(len(chosen)):
                out[row, chosen[column]] = total[column]


@compiled
def _score(
    first: npt.NDArray[np.float32],
    weighted: npt.NDArray[np.float32],
    items: npt.NDArray[np.float32],
    second_kernel: npt.NDArray[np.float32],
    second_bias: npt.NDArray[np.float32],
    output: npt.NDArray[np.float32],
    total: npt.NDArray[np.float32],
) -> None:
    """Write the scores of a user and COLUMNS items, whose first layer is given."""
    width = len(first)
    total[:] = 0
    for unit in range(0, len(output), ROWS):
        add_rectified(second_kernel, unit * width, first, width, second_bias, output, unit, total)
    for d in range(len(weighted)):
        for column in range(COLUMNS):
            total[column] += weighted[d] * items[d, column]


@compiled
def add_rounded(
    user_part: npt.NDArray[np.int32],
    item_part: npt.NDArray[np.int32],
    second_kernel: npt.NDArray[np.int32],
    second_bias: npt.NDArray[np.float32],
    output: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
) -> None:
    """Add about what the dense layers say of each pair.

    Args:
        user_part: What the users add to the first layer, rounded, ``(n_rows, n_pairs)``.
        item_part: What the items add, ``(n_panels, n_pairs, COLUMNS)``, flat.
        second_kernel: Rounded, ``(n_groups, n_pairs, ROWS)``, flat.
        second_bias: ``(n_groups * ROWS,)``, in the unit of the kernel's product.
        output: The last layer's kernel times that unit, ``(n_groups * ROWS,)``.
        out: ``(n_rows, n_items)``.
    """
    n_rows, n_items = out.shape
    n_pairs = user_part.shape[1]
    first = np.empty(n_pairs * COLUMNS, dtype=np.int32)
    total = np.empty(COLUMNS, dtype=np.float32)
    for start in range(0, n_items, COLUMNS):
        for row in range(n_rows):
            add_clipped(item_part, start * n_pairs, user_part[row], n_pairs, first)
            total[:] = 0
            for unit in range(0, len(output), ROWS):
                add_rectified(
                    second_kernel, unit * n_pairs, first, n_pairs, second_bias, output, unit, total
                )
            for column in range(min(COLUMNS, n_items - start)):
                out[row, start + column] += total[column]
