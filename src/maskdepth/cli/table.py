"""Tables on a terminal."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def show(titles: list[str], rows: list[list[Any]], *, folds_names: bool = False) -> None:
    """Print a table."""
    from rich.console import Console

    Console().print(_table(titles, rows, folds_names))


def _table(titles: list[str], rows: list[list[Any]], folds_names: bool) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE)
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    for position, (title, *cells) in enumerate(zip(titles, *texts, strict=True)):
        are_numbers = any(cells) and all(cell.lstrip("+-")[:1].isdecimal() or cell in ("", "-") for cell in cells)
        # Where there is little room, names and numbers stay whole, and what explains them is folded.
        is_whole = are_numbers or (position > 0 if folds_names else position == 0)
        whole = max(map(len, [*cells, *title.split()])) if is_whole else None
        table.add_column(title, width=whole, overflow="fold", justify="right" if are_numbers else "left")
    for row in texts:
        table.add_row(*row)
    return table
