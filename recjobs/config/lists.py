"""What a list is: how long, of what, in which order."""

from __future__ import annotations

from pydantic import Field

from recjobs.config.section import Section


class ScoreSettings(Section):
    """The lists."""

    n: int = Field(default=10, ge=1, le=1000)
    margin: int = Field(default=10, ge=0, le=1000)  #: spares, for items blocked after publishing
    similar: int = Field(default=20, ge=0, le=1000)
    similar_users: int = Field(default=0, ge=0, le=1000)  #: neighbours per user; 0: none
    block_users: int = Field(default=4096, ge=1)


class RerankSettings(Section):
    """More than accuracy: weights against a relevance of 0 to 1; all 0, lists stay as they are."""

    diversity: float = Field(default=0.0, ge=0)  #: against items like those above
    calibration: float = Field(default=0.0, ge=0)  #: for the history's shares of categories
    popularity: float = Field(default=0.0, ge=0)  #: against what is popular anyway
    pool: int = Field(default=100, ge=2, le=1000)  #: the model's best, of which lists are made

    @property
    def asked(self) -> bool:
        """Whether lists are re-ranked at all."""
        return any((self.diversity, self.calibration, self.popularity))
