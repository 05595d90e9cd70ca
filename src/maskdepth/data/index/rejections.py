"""What did not become part of a sample, why, what to do about it, and when it is too much to trust the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from maskdepth.data.archives.members import Members
from maskdepth.data.tables import write_table

if TYPE_CHECKING:
    from maskdepth.data.index.joining import Index

_REJECTED = ["archive", "member", "reason", "cure"]
_TEXTS = ["archive", "reason", "cure"]

# Beginnings of reasons that tell nothing bad about the data; they do not count against data.max_rejected.
COPY, WITHOUT_DEPTH = "the same bytes as ", "this layout has no depth "

# Rejected members that an error shows.
_SHOWN = 10

_Where = pd.Series | npt.NDArray[np.bool_]


class Rejections:
    """Which members are turned down, and why."""

    def __init__(self) -> None:
        self._found: list[pd.DataFrame] = []

    def add(self, table: pd.DataFrame, reason: str | pd.Series, cure: str | pd.Series) -> None:
        """Turn down all rows of a table."""
        if len(table):
            facts = table[["place", "archive"]].assign(reason=reason, cure=cure)
            self._found.append(facts.astype(dict.fromkeys(_TEXTS, str)))

    def drop(
        self, table: pd.DataFrame, where: _Where, reason: str | Callable[[pd.DataFrame], pd.Series], cure: str
    ) -> pd.DataFrame:
        """Turn down the rows `where`, and give the others; a reason may depend on the row."""
        if not where.any():
            return table
        bad = table[where]
        self.add(bad, reason if isinstance(reason, str) else reason(bad), cure)
        return table[~where].reset_index(drop=True)

    def collect(self, members: Members) -> pd.DataFrame:
        """Give the columns of rejected.csv, as text and in order."""
        empty = pd.DataFrame(columns=["place", *_TEXTS], dtype=str).astype({"place": np.int64})
        rejected = pd.concat([empty, *self._found], ignore_index=True)
        rejected["member"] = members.look_up(rejected["place"].to_numpy(), "member")
        return rejected[_REJECTED].astype("str").sort_values(_REJECTED, ignore_index=True)


def judge_rejected(index: "Index", max_share: float) -> str:
    """Say that too much was rejected for the rest to be trusted, or "" if it was not.

    Nobody knows how many members a refused archive has, so archives are counted for themselves.

    Args:
        index: The samples, and what is none.
        max_share: As `data.max_rejected` of params.yaml. Copies, and composites for which the layout has no depth, do
            not count.
    """
    if index.samples.empty:
        return f"none of {index.num_members:,} members became part of a sample"
    is_archive = index.rejected["member"].eq("")
    is_bad = ~is_archive & ~index.rejected["reason"].str.startswith((COPY, WITHOUT_DEPTH))
    shares = {
        f"of {index.num_archives:,} archives are refused": is_archive.sum() / index.num_archives,
        f"of {index.num_members:,} members are rejected": is_bad.sum() / index.num_members,
    }
    problems = [f"{share:.1%} {what}" for what, share in shares.items() if share > max_share]
    return f"{' and '.join(problems)}; data.max_rejected allows {max_share:.1%}" if problems else ""


def check_rejected(index: "Index", max_share: float) -> None:
    """Stop when too much was rejected.

    Raises:
        ValueError: As `judge_rejected` says; shows ten rejections, of different reasons as far as there are.
    """
    problem = judge_rejected(index, max_share)
    if not problem:
        return
    # One of each reason before any second one: what follows from another rejection is often the most frequent.
    order = index.rejected.groupby("reason").cumcount().argsort(kind="stable")
    shown = [
        f"{archive}: {member or 'all of it'}: {reason} ({cure})"
        for archive, member, reason, cure in index.rejected.iloc[order].head(_SHOWN).to_numpy().tolist()
    ]
    more = [f"and {len(index.rejected) - _SHOWN:,} more in rejected.csv"] if len(index.rejected) > _SHOWN else []
    raise ValueError("; ".join([problem, *shown, *more]))


def write_rejected(path: Path, rejected: pd.DataFrame) -> None:
    """Write rejected.csv."""
    write_table(path, rejected[_REJECTED])
