"""One user's list as the live run serves it, beside the history that it was made from."""

from recjobs.show.terminal import render
from recjobs.show.user import UserView, of, show

__all__ = ["UserView", "of", "render", "show"]
