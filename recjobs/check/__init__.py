"""The last look at the scored lists before anyone reads them."""

from recjobs.check.stage import check

__all__ = ["check"]
