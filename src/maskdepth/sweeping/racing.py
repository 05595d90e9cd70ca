"""Racing: which combinations are worth another seed. Pure: scores in, what has lost and what is still open out.

After each round every combination has the same seeds. A score is what its combination, its seed and chance make of it,
and chance is judged from all combinations together, so that three seeds already say something. Only what is shown to
be worse than the leader stops; what is as good as the leader within a margin needs no more seeds, either.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskdepth.evaluation.intervals import t_quantile

# How often a race may stop the best combination, all looks and combinations together.
FALSE_STOPS = 0.05
# [score] Differences below it are no matter: half a point, as of the endpoints of a comparison.
MARGIN = 0.005


@dataclass(frozen=True)
class Standing:
    """What is known after a round.

    Attributes:
        leader: The combination with the highest mean.
        lost: Those that are shown to be worse than the leader, each with how much worse it is.
        equal: Those that are shown to be within the margin of it.
        open: The others.
    """

    leader: str
    lost: Mapping[str, float]
    equal: tuple[str, ...]
    open: tuple[str, ...]

    @property
    def is_decided(self) -> bool:
        """Whether another seed could change nothing that matters."""
        return not self.open


def judge(scores: Mapping[str, Mapping[int, float]], looks: int, runners: int) -> Standing:
    """Judge the combinations that are still in a race.

    A combination has lost when a one-sided paired t test says that it is worse than the leader, by Bonferroni over all
    combinations that began and all looks. The variance of a difference is that of all combinations (what is left of a
    two-way table of combinations and seeds), or its own where that is larger.

    Args:
        scores: Of each combination by seed, higher is better; the seeds that all of them have count.
        looks: How often a race looks at most.
        runners: How many combinations began.

    Raises:
        ValueError: Fewer than two seeds are shared.
    """
    names = sorted(scores)
    seeds = sorted(set.intersection(*(set(scores[name]) for name in names)))
    if len(seeds) < 2:
        raise ValueError(f"{len(seeds)} seeds are shared by all combinations; a race needs two")
    table = np.array([[scores[name][seed] for seed in seeds] for name in names])
    order = np.argsort(-table.mean(1), kind="stable")
    leader = int(order[0])
    if len(names) == 1:
        return Standing(names[0], {}, (), ())
    degrees = (len(names) - 1) * (len(seeds) - 1)
    pooled = 2 * (residuals(table) ** 2).sum() / degrees  # of a difference of two
    reach = t_quantile(1 - FALSE_STOPS / (looks * max(1, runners - 1)), degrees)
    lost, equal, undecided = {}, [], []
    for row in (int(row) for row in order[1:]):
        differences = table[leader] - table[row]
        error = np.sqrt(max(pooled, differences.var(ddof=1)) / len(seeds))
        behind = float(differences.mean())
        if behind - reach * error > 0:
            lost[names[row]] = behind
        elif behind + reach * error < MARGIN:
            equal.append(names[row])
        else:
            undecided.append(names[row])
    return Standing(names[leader], lost, tuple(equal), tuple(undecided))


def residuals(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the means of rows, combinations, and of columns, seeds, off a table of scores."""
    left: NDArray[np.float64] = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    return left
