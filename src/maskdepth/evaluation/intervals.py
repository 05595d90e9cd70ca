"""How sure a mean over test samples is, when samples of one place and samples of one object go wrong together.

Pure: tables in, tables out. The variance of the mean is clustered in two ways, and every sum is a `bincount`: time and
memory grow with samples and groups, never with places times objects. Nothing is drawn at random.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

# Below it the variance between groups is a guess: no interval, and nothing is claimed.
FEWEST_GROUPS = 5
CONFIDENCE = 0.95

Values = NDArray[np.float64]
Codes = NDArray[np.intp]


@dataclass(frozen=True)
class Grouping:
    """Which group each sample is of, and what their sizes mean for a variance between them.

    Attributes:
        codes: (N,) number of each sample's group, [0, count).
        count: How many groups there are.
        correction: What the sum of squared residuals of the groups is multiplied by; G / (G - 1) where G groups have
            one size.
        degrees_of_freedom: Of that sum; G - 1 where groups have one size, fewer where a few of them hold most samples.
    """

    codes: Codes
    count: int
    correction: float
    degrees_of_freedom: float

    def variance(self, residuals: Values) -> float:
        """Give the variance of the mean of all samples, if nothing but the groups were independent.

        Args:
            residuals: (N,) each sample less the mean of all.
        """
        sums = np.bincount(self.codes, residuals, self.count)
        return float(self.correction * np.square(sums).sum() / len(residuals) ** 2)

    def means(self, values: Values) -> Values:
        """Give each sample the mean of its group, (N,)."""
        found: Values = (np.bincount(self.codes, values) / np.bincount(self.codes))[self.codes]
        return found


class Estimate(NamedTuple):
    """A mean over samples, and how sure it is.

    Attributes:
        mean: The mean over samples.
        variance: Of that mean over other places and objects (and seeds, where there are some).
        degrees_of_freedom: Of that variance, by Satterthwaite.
    """

    mean: float
    variance: float
    degrees_of_freedom: float

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return float(np.sqrt(self.variance))

    def interval(self, confidence: float) -> tuple[float, float]:
        """Give the t interval that holds the mean of all places and objects with this confidence, (0, 1)."""
        reach = t_quantile((1 + confidence) / 2, self.degrees_of_freedom) * self.error
        return self.mean - reach, self.mean + reach


def intervals(samples: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Give mean and 95 % interval of each metric, for other places and other objects.

    Samples of one place share most of the depth error and those of one object most of the mask error: an interval over
    samples alone would be up to three times too narrow. Groups that share a place are one group, so that pictures of
    one scene do not count as several.

    With fewer than five places or fewer than five objects `low` and `high` are NaN: the groups can be counted, but what
    others would be like cannot be said.

    Args:
        samples: One row per sample: `place` (where it is missing, `background`), `foreground` and the metrics.
        metrics: Columns to summarise.

    Returns:
        One row per metric: `mean`, `low`, `high`, `groups` (places), `objects`, `degrees_of_freedom`. A metric that is
        not finite for some sample has a mean and an interval that are not.

    Reference:
        See `crossed_estimate`.
    """
    place, thing = group(samples[place_column(samples)]), group(samples["foreground"])
    cell = cross(place, thing)
    rows = {}
    for metric in metrics:
        estimate = crossed_estimate(samples[metric].to_numpy(float), place, thing, cell)
        is_sure = min(place.count, thing.count) >= FEWEST_GROUPS
        low, high = estimate.interval(CONFIDENCE) if is_sure else (np.nan, np.nan)
        rows[metric] = (estimate.mean, low, high, place.count, thing.count, estimate.degrees_of_freedom)
    columns = ["mean", "low", "high", "groups", "objects", "degrees_of_freedom"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def place_column(samples: pd.DataFrame) -> str:
    """Name the column that says of which place a sample is."""
    return "place" if "place" in samples else "background"


def group(labels: pd.Series | Codes) -> Grouping:
    """Number the groups of samples by their labels; missing labels are a group of their own.

    The residual of group g is R_g = u_g - w_g * sum(u), with w_g its share of the samples and u_g what it adds to the
    mean. If every group has an effect of one variance, Var(u_g) goes with w_g^2, and the first two moments of
    sum(R_g^2) follow from the sums of powers of w: the correction makes its mean right, and the degrees of freedom are
    those of the chi-squared with the same two moments.

    >>> equal, skewed = group(pd.Series(list("aabbcc"))), group(pd.Series(list("aaaaaaaabc")))
    >>> (equal.count, round(equal.correction, 3), round(equal.degrees_of_freedom, 3))
    (3, 1.5, 2.0)
    >>> (skewed.count, round(skewed.degrees_of_freedom, 1))  # one group has eight of ten samples
    (3, 1.3)

    Reference:
        Bell and McCaffrey 2002, Bias reduction in standard errors for linear regression with multi-stage samples.
    """
    codes, names = pd.factorize(labels, use_na_sentinel=False)
    return _weigh(codes, len(names))


def cross(first: Grouping, second: Grouping) -> Grouping:
    """Group samples that are of one group in both ways; only the pairs that occur are counted."""
    codes, names = pd.factorize(first.codes * np.intp(second.count) + second.codes)
    return _weigh(codes, len(names))


def _weigh(codes: Codes, count: int) -> Grouping:
    weights = np.bincount(codes, minlength=count) / max(len(codes), 1)
    s2, s3, s4, s5 = (float((weights**power).sum()) for power in (2, 3, 4, 5))
    expected = s2 - 2 * s3 + s2**2
    spread = s4 - 4 * s5 + 4 * s2 * s4 + 2 * s3**2 - 4 * s2**2 * s3 + s2**4
    if count < 2:
        return Grouping(codes, count, np.nan, np.nan)
    return Grouping(codes, count, s2 / expected, expected**2 / spread)


def crossed_estimate(values: Values, place: Grouping, thing: Grouping, cell: Grouping) -> Estimate:
    """Estimate a mean over samples that share places and objects.

    Var = V_place + V_object - V_cell, each the variance of the mean clustered in that way; with equal groups that is
    s2_place / P + s2_object / O - s2 / C. What two samples of one place and one object share is counted in both of the
    first terms, hence the third.

    The difference can fall below its parts, and below 0, by chance alone. The larger of V_place and V_object is then
    taken instead: both are variances of this mean that leave one kind of group out, so neither is too large but by
    chance, and the interval errs to the wide side.

    Args:
        values: (N,) one number per sample.
        place: Their places.
        thing: Their objects.
        cell: Both crossed, of `cross(place, thing)`.

    Reference:
        Cameron, Gelbach and Miller 2011, Robust inference with multiway clustering, equation 2.11, on a mean;
        MacKinnon, Nielsen and Webb 2024, Jackknife inference with two-way clustering, for the larger of the three.

    >>> table = pd.DataFrame([(p, o, p + 0.1 * o) for p in range(5) for o in range(5)], columns=["p", "o", "value"])
    >>> by_place, by_object = group(table["p"]), group(table["o"])
    >>> found = crossed_estimate(table["value"].to_numpy(), by_place, by_object, cross(by_place, by_object))
    >>> round(found.mean, 3), round(found.variance, 3), round(2.5 / 5, 3)  # the variance of 0, 1, 2, 3, 4 is 2.5
    (2.2, 0.5, 0.5)
    """
    mean = float(values.mean()) if len(values) else np.nan
    by_place, by_object, by_cell = (each.variance(values - mean) for each in (place, thing, cell))
    variance = float(np.max([by_place + by_object - by_cell, by_place, by_object]))  # NaN where there is one group
    parts = ((by_place, place), (by_object, thing), (by_cell, cell))
    return Estimate(mean, variance, satterthwaite(variance, ((part, by.degrees_of_freedom) for part, by in parts)))


def satterthwaite(variance: float, parts: Iterable[tuple[float, float]]) -> float:
    """Give the degrees of freedom of a variance that was summed from several.

    Args:
        variance: The sum.
        parts: Each part with its degrees of freedom; one that was subtracted adds to the uncertainty, too.

    Returns:
        V^2 / sum(V_i^2 / df_i); infinity where every part is 0.

    Reference:
        Satterthwaite 1946, An approximate distribution of estimates of variance components.

    >>> satterthwaite(2.0, [(1.0, 4.0), (1.0, 4.0)])
    8.0
    """
    uncertainty = sum(part**2 / degrees for part, degrees in parts)
    return float(variance**2 / uncertainty) if uncertainty != 0 else np.inf


def t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Give the quantile of Student's t; `stats.t` does the same in a hundred times the time."""
    return float(special.stdtrit(degrees_of_freedom, probability))


def t_tail(statistic: float, degrees_of_freedom: float) -> float:
    """Give the two-sided p of Student's t, [0, 1]."""
    return float(2 * special.stdtr(degrees_of_freedom, -abs(statistic)))
