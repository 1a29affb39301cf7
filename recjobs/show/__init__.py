"""One user's list as the live run serves it, beside the history that it was made from."""

from recjobs.show.terminal import render
from recjobs.show.user import UserView, as_dict, of, show

__all__ = ["UserView", "as_dict", "of", "render", "show"]
