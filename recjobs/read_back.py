"""What stages left, read back from a run's artifacts: the log, its split, a fitted model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from recjobs.artifacts import RunFolder
from recjobs.errors import RecJobsError

if TYPE_CHECKING:
    from recjobs.dataset import Interactions
    from recjobs.models import Model
    from recjobs.split import Split


#: What reading a run's files raises where an older version wrote them, or half of them are gone.
UNREADABLE: Final = (RecJobsError, OSError, KeyError, TypeError, ValueError)


def read_log(folder: RunFolder, *, features: bool = False) -> Interactions:
    """Read what the index stage left; features only where asked for."""
    from recjobs.dataset import Interactions

    names = list(Interactions.FILES)
    names += ["item_features.parquet", "user_features.parquet"] if features else []
    return Interactions.load(*(folder.path("index", name) for name in names))


def read_split(folder: RunFolder) -> Split:
    """Read the split that the index stage left."""
    from recjobs.split import Split

    return Split.load(folder.path("index", "split.npz"))


def read_model(
    folder: RunFolder, name: str, stage: str, part: str = "model", *, threads: int
) -> Model:
    """Read a model that a stage left, to use so many threads."""
    from recjobs import models

    return models.load(name, folder.folder(stage, part), threads=threads)
