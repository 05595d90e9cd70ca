"""Tables on a terminal."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def show(titles: Sequence[str], rows: Sequence[Sequence[Any]], *, folds_names: bool = False) -> None:
    """Print a table.

    Args:
        titles: Of the columns.
        rows: Their cells.
        folds_names: Where there is little room, the first column is folded, between the losses that it names; else all
            columns but those of names and numbers.
    """
    from rich.console import Console

    console = Console()
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    table = _lay_out(titles, texts, folds_names)
    if folds_names:
        # A column has three characters around it, and the table one more.
        room = console.width - sum(column.width or 0 for column in table.columns) - 3 * len(titles) - 1
        texts = [[fold_name(name, room), *cells] for name, *cells in texts]
    for row in texts:
        table.add_row(*row)
    console.print(table)


def fold_name(name: str, room: int) -> str:
    """Break the name of a combination into lines of at most `room` characters, after a | or + where that is possible.

    >>> fold_name("bce|grad+0.1*l1+ssim", 12)
    'bce|grad+\\n0.1*l1+ssim'
    """
    lines = [""]
    for part in re.split(r"(?<=[|+])", name):
        if lines[-1] and len(lines[-1]) + len(part) > room:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _lay_out(titles: Sequence[str], texts: Sequence[Sequence[str]], folds_names: bool) -> "Table":
    """Make a table without rows, whose columns have the width that these take."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE)
    for position, (title, *cells) in enumerate(zip(titles, *texts, strict=True)):
        are_numbers = any(cells) and all(cell.lstrip("+-")[:1].isdecimal() or cell in ("", "-") for cell in cells)
        # Where there is little room, names and numbers stay whole, and what explains them is folded.
        is_whole = are_numbers or (position > 0 if folds_names else position == 0)
        whole = max(map(len, [*cells, *title.split()])) if is_whole else None
        table.add_column(title, width=whole, overflow="fold", justify="right" if are_numbers else "left")
    return table
