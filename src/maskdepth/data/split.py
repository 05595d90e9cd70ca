"""Which samples train, which choose the best epoch, which test.

A sample goes where the hash of its group says. Where that is depends on the seed and on the group's own name alone, so
new archives never move an old sample, and all samples of one place (or object) stay together. The shares are expected
shares of the groups: few groups stray from them.
"""

import fnmatch
import hashlib
import math
from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
import pandas as pd

from maskdepth.data.samples import MIXED, TEST, TRAIN, UNUSED, VAL
from maskdepth.data.tables import make_categories
from maskdepth.params import SplitParams

_KINDS = {
    "background": ("place",),
    "foreground": ("foreground",),
    "both": ("place", "foreground"),
    "sample": ("sample_id",),
}
_SPLITS = (TRAIN, VAL, TEST, MIXED, UNUSED)
_TRAIN, _VAL, _TEST, _MIXED, _UNUSED = range(len(_SPLITS))
# The number of groups that an error recommends leaves a split empty in one case out of twenty.
_ACCEPTED_RISK = 0.05
_SEEDS_TRIED = 100
_ARCHIVES_SHOWN = 5


def assign_splits(index: pd.DataFrame, params: SplitParams) -> pd.Series:
    """Give every sample its split.

    By background, foreground or sample: train, val, test. By both: a sample whose place and object are both in train
    (val, test) is in train (val, test); `mixed` has one of them in test and the other in train; the rest is `unused`.

    What comes from an archive of `train_only` is in train, but for a group that is held out of the other archives: that
    is `unused`.

    Args:
        index: The samples: `sample_id`, `foreground`, `archive`, and `place`, as `name_places` gives it.
        params: What is held out, and how much.

    Returns:
        Split names, categories, labelled by sample_id, in the order of the index.

    Raises:
        ValueError: Train, val or test would be empty, or `train_only` names no archive that is there.
    """
    is_extra = _match_archives(index, params.train_only)
    splits = _draw(index[list(_KINDS[params.by])], is_extra, params)
    empty = [name for name in (TRAIN, VAL, TEST) if not splits.eq(name).any()]
    if empty:
        raise ValueError(_explain_empty(index[~is_extra], params, empty))
    return splits.set_axis(pd.Index(index["sample_id"]))


def count_groups(index: pd.DataFrame, splits: pd.Series, by: str) -> pd.DataFrame:
    """Count what each split holds.

    Args:
        index: The samples.
        splits: Their splits, in the order of the index.
        by: What was held out.

    Returns:
        One row per split that occurs; columns `samples` and one for each kind of group, such as `places`.
    """
    groups = index[list(_KINDS[by])].groupby(splits.array, observed=True)
    counts = pd.DataFrame({"samples": groups.size()})
    for kind in _KINDS[by]:
        counts[_many(kind)] = groups[kind].nunique()
    return counts.loc[[name for name in _SPLITS if name in counts.index]]


def _match_archives(index: pd.DataFrame, patterns: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Tell of each sample whether its archive is one of those that train only."""
    if not patterns:
        return np.zeros(len(index), bool)
    names = index["archive"].astype("category").cat
    matches = {pattern: fnmatch.filter(names.categories, pattern) for pattern in patterns}
    if missing := [pattern for pattern, found in matches.items() if not found]:
        raise ValueError(
            f"split.train_only: no archive is called {missing[0]}, only {', '.join(names.categories[:_ARCHIVES_SHOWN])}"
            + (", ..." if len(names.categories) > _ARCHIVES_SHOWN else "")
        )
    is_extra: npt.NDArray[np.bool_] = names.categories.isin(list(chain(*matches.values())))[names.codes]
    return is_extra


def _draw(groups: pd.DataFrame, is_extra: npt.NDArray[np.bool_], params: SplitParams) -> pd.Series:
    first, *others = (_draw_groups(names, kind, is_extra, params) for kind, names in groups.items())
    for other in others:
        one_in_test = (first == _TEST) & (other == _TRAIN) | (first == _TRAIN) & (other == _TEST)
        first = np.where(first == other, first, np.where(one_in_test, _MIXED, _UNUSED)).astype(np.int8)
    first[is_extra & (first != _TRAIN)] = _UNUSED
    return pd.Series(make_categories(first, _SPLITS))


def _draw_groups(
    names: pd.Series, kind: object, is_extra: npt.NDArray[np.bool_], params: SplitParams
) -> npt.NDArray[np.int8]:
    """Place each group by its hash: the lowest draws test, the next validate, so a larger share only adds groups."""
    codes, unique = pd.factorize(names)
    word = str(kind).removesuffix("_id")
    draws = np.array([_uniform(f"{params.seed}:{word}:{name}") for name in unique])
    places = np.where(draws < params.test, _TEST, np.where(draws < params.test + params.val, _VAL, _TRAIN))
    places[~np.isin(np.arange(len(unique)), codes[~is_extra])] = _TRAIN  # nothing of it can be held out
    return places.astype(np.int8)[codes]


def _uniform(text: str) -> float:
    """Hash a text to a number in [0, 1) that is the same on every machine and in every version of Python."""
    # 53 bits, all that a float holds: with more, the largest hashes would round up to 1.
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 11) / 2**53


def _many(kind: object) -> str:
    """Give the word for several groups of a kind."""
    return f"{str(kind).removesuffix('_id')}s"


def _explain_empty(index: pd.DataFrame, params: SplitParams, empty: list[str]) -> str:
    groups = index[list(_KINDS[params.by])]
    found = " and ".join(f"{names.nunique()} {_many(kind)}" for kind, names in groups.items())
    needed = math.ceil(math.log(_ACCEPTED_RISK) / math.log(1 - min(params.val, params.test)))
    seed = _first_filling_seed(groups, params)
    cure = f"split.seed={seed}, which leaves none empty" if seed is not None else "larger split.val and split.test"
    return (
        f"split by {params.by}: nothing falls into {' and '.join(empty)} with split.val={params.val:g} and "
        f"split.test={params.test:g} of {found}. Use {cure}, or more data: "
        f"{needed} {' and as many '.join(map(_many, _KINDS[params.by]))} are nearly always enough"
    )


def _first_filling_seed(groups: pd.DataFrame, params: SplitParams) -> int | None:
    distinct = groups.drop_duplicates()
    for seed in range(_SEEDS_TRIED):
        splits = _draw(distinct, np.zeros(len(distinct), bool), params.model_copy(update={"seed": seed}))
        if {TRAIN, VAL, TEST} <= set(splits):
            return seed
    return None
