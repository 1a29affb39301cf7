"""Honest numbers: the evaluated model, the baselines and the champion on the same held-out rows."""

from recjobs.evaluate.champion import Champion, refusal
from recjobs.evaluate.stage import evaluate

__all__ = ["Champion", "evaluate", "refusal"]
