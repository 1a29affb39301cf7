"""The reranker's network, compiled; imported where it runs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled

_Floats = npt.NDArray[np.float32]


@compiled
def score_rows(
    features: _Floats,
    blended: _Floats,
    hidden: _Floats,
    bias: _Floats,
    out: _Floats,
    scale: np.float32,
    scores: _Floats,
) -> None:
    """Write ``scale * blended + out . relu(features @ hidden + bias)`` of each candidate.

    Args:
        features: ``(b, c, n_features)``.
        blended: ``(b, c)``.
        hidden: ``(n_features, n_hidden)``.
        bias: ``(n_hidden,)``.
        out: ``(n_hidden,)``.
        scale: Of the blend's score.
        scores: ``(b, c)``; set.
    """
    inner = np.empty(len(bias), dtype=np.float32)
    for row in range(features.shape[0]):
        for place in range(features.shape[1]):
            inner[:] = bias
            for number in range(len(hidden)):
                value = features[row, place, number]
                for unit in range(len(inner)):
                    inner[unit] += value * hidden[number, unit]
            total = scale * blended[row, place]
            for unit in range(len(inner)):
                total += max(inner[unit], np.float32(0)) * out[unit]
            scores[row, place] = total
