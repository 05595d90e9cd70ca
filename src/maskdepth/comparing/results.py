"""What a comparison consists of: the endpoints that were fixed beforehand, and what can be said by them."""

from enum import StrEnum
from typing import Literal, NamedTuple

import pandas as pd

from maskdepth.evaluation.intervals import FEWEST_GROUPS
from maskdepth.metrics.names import METRICS

FEWEST_SEEDS = 3
# How often a combination that is no better may be called better: all primary endpoints together.
FALSE_CLAIMS = 0.05

Target = Literal["mask", "depth"]


class Endpoint(NamedTuple):
    """One metric that combinations are judged by; all were fixed before any result was seen.

    Attributes:
        metric: Its column.
        title: What a reader calls it.
        target: Which of both heads it judges.
        margin: How much worse is no matter.
        is_primary: Whether it can make a combination better or worse; the others can only speak against that.
        is_share: Whether differences are told in points, hundredths.
    """

    metric: str
    title: str
    target: Target
    margin: float
    is_primary: bool
    is_share: bool

    @property
    def is_higher_better(self) -> bool:
        """Its direction."""
        return METRICS[self.metric] == "high"

    def gain(self, difference: float) -> float:
        """Turn a difference so that more is better."""
        return difference if self.is_higher_better else -difference


ENDPOINTS = (
    Endpoint("mask_iou", "mask IoU", "mask", 0.005, True, True),
    Endpoint("mask_boundary_iou", "boundary IoU", "mask", 0.005, True, True),
    Endpoint("depth_ssim", "depth SSIM", "depth", 0.01, True, True),
    Endpoint("depth_ssi_mae", "depth SSI-MAE", "depth", 0.005, True, False),
    Endpoint("depth_mae", "depth MAE", "depth", 0.005, False, False),
    Endpoint("depth_mae_foreground", "depth MAE on the object", "depth", 0.005, False, False),
)
# Two-sided, for each of them: on the better side each has half of it, and all halves add up to what is allowed at most.
LEVEL = 2 * FALSE_CLAIMS / sum(endpoint.is_primary for endpoint in ENDPOINTS)


class Verdict(StrEnum):
    """What can be said of a combination against the control, in the order in which a reader wants them."""

    BETTER = "better"
    MIXED = "mixed"
    CANNOT_TELL = "cannot tell"
    WORSE = "worse"
    TOO_FEW_SEEDS = "too few seeds"
    TOO_FEW_GROUPS = "too few groups"


class Effect(NamedTuple):
    """The difference of one combination to the control by one endpoint, not turned: below 0 is lower.

    Attributes:
        endpoint: The metric.
        difference: Mean over paired seeds and samples.
        low: Lower end of its 95 % interval; NaN where nothing is claimed.
        high: Upper end.
        p: Two-sided p of the t test; NaN where nothing is claimed.
        holm: The same after Holm's correction over all combinations; NaN likewise.
        places_won: Share of the places where the mean is on the better side, [0, 1]; a tie counts half.
        visible: The smallest difference that would have been seen four times of five.
    """

    endpoint: Endpoint
    difference: float
    low: float
    high: float
    p: float
    holm: float
    places_won: float
    visible: float

    @property
    def is_better(self) -> bool:
        """Whether the combination is shown to be better by this endpoint."""
        return self.holm < LEVEL and self.endpoint.gain(self.difference) > 0

    @property
    def is_worse(self) -> bool:
        """Whether the combination is shown to be worse by this endpoint."""
        return self.holm < LEVEL and self.endpoint.gain(self.difference) < 0

    @property
    def is_shown(self) -> bool:
        """Whether the difference is shown, in whichever direction."""
        return self.is_better or self.is_worse


class Counts(NamedTuple):
    """Of what was paired: seeds, test samples, their places and their objects."""

    seeds: int
    samples: int
    places: int
    objects: int

    @property
    def bear_a_claim(self) -> bool:
        """Whether there are enough of each to say something of others."""
        return self.seeds >= FEWEST_SEEDS and min(self.places, self.objects) >= FEWEST_GROUPS


class Answer(NamedTuple):
    """What can be said of one combination.

    Attributes:
        combination: Its name.
        verdict: In a word or two.
        sentence: In one sentence.
        seeds: Seeds that it shares with the control.
        samples: Test samples that both were measured on.
        places: Groups of those samples.
        objects: Likewise.
        effects: One for each endpoint.
    """

    combination: str
    verdict: Verdict
    sentence: str
    seeds: int
    samples: int
    places: int
    objects: int
    effects: tuple[Effect, ...]


class Comparison(NamedTuple):
    """All combinations against one control.

    Attributes:
        control: Its name.
        endpoints: What was measured.
        answers: One for each other combination, the better ones first.
        means: One row per combination and metric: `combination`, `metric`, `mean`, `low`, `high`, `seeds`; the control
            comes first, the others in the order of the answers.
    """

    control: str
    endpoints: tuple[Endpoint, ...]
    answers: tuple[Answer, ...]
    means: pd.DataFrame
