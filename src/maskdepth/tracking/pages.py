"""Where the runs can be looked at, whatever folder one is in and wherever the store is."""

from maskdepth.tracking.address import EXPERIMENT, Store
from maskdepth.tracking.sqlite import experiment_number, holds_something
from maskdepth.tracking.store import Deadline, connect, trouble
from maskdepth.tracking.views import page_links, viewer_command

# [s] for a server: links are a convenience.
_PATIENCE = 10.0


def tell_pages(store: Store) -> list[str]:
    """Say how to look at the runs, one line each; nothing where there are none or the store is away."""
    number = _find_number(store)
    if number is None:
        return []
    command = viewer_command(store)
    links = [f"{title}: {link}" for title, link in page_links(store, number).items()]
    return [f"look at the runs with `{command}`, then open", *links] if command else links


def _find_number(store: Store) -> str | None:
    if store.database is not None:
        return experiment_number(store.database, EXPERIMENT) if holds_something(store.database) else None
    with Deadline(_PATIENCE) as deadline:
        try:
            deadline.check()
            return connect(store).experiments[EXPERIMENT]
        except trouble():
            return None
