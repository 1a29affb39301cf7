"""The encoded log, and what is cut out of it: training sets, seen items.

`Interactions` is the whole log before ``as_of`` with ids replaced by indexes, user by user.
`training_set` cuts rows out of it and aggregates them to one row per (user, item): the same
function makes what a model is fitted on, a validation part and a holdout, so they can't differ in
meaning.
"""

from recjobs.dataset.arrays import (
    BoolArray,
    Float32Array,
    Int32Array,
    Int64Array,
    contains,
    distinct,
    rows_of,
)
from recjobs.dataset.log import NEVER, Interactions
from recjobs.dataset.seen import SeenItems, seen_items, seen_of, seen_rows
from recjobs.dataset.training import Sequences, TrainingSet, candidates_of, training_set

__all__ = [
    "NEVER",
    "BoolArray",
    "Float32Array",
    "Int32Array",
    "Int64Array",
    "Interactions",
    "SeenItems",
    "Sequences",
    "TrainingSet",
    "candidates_of",
    "contains",
    "distinct",
    "rows_of",
    "seen_items",
    "seen_of",
    "seen_rows",
    "training_set",
]
