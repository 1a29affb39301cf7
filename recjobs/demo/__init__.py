"""Three nights on MovieLens latest-small, in a Postgres of its own: what a newcomer runs first.

The ratings go into ordinary application tables, as an app would have them; recjobs then reads them
as it would read anyone's. Running the demo again reuses what is there and says so.
"""

from __future__ import annotations

from recjobs.demo.nights import run, stop

__all__ = ["run", "stop"]
