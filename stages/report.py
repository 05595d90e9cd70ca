"""Give the experiment its one MLflow row, and git its metrics, also when DVC restored it without running anything."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from maskdepth.figures import draw_curves
from maskdepth.params import load_params
from maskdepth.process.command import run
from maskdepth.process.console import say
from maskdepth.process.files import replace_text
from maskdepth.process.secrets import hide_secrets
from maskdepth.tracking.address import locate_store
from maskdepth.tracking.journal import read_journal
from maskdepth.tracking.pages import tell_pages
from maskdepth.tracking.runs import DATA_STAGES, curves, put_data_row, put_experiment_row
from maskdepth.tracking.sending import send_outbox

# [s] for sending: exporting the network takes most of it. What is left over waits for `maskdepth sync`.
BUDGET = 170.0


def main(
    journals: Annotated[Path, typer.Option()],
    models: Annotated[Path, typer.Option()],
    train: Annotated[Path, typer.Option()],
    test: Annotated[Path, typer.Option()],
    row: Annotated[Path, typer.Option()],
) -> None:
    """Send the rows of the data stages and of the experiment; write which MLflow run holds it, beside its metrics."""
    params = load_params()
    for measured in (train, test):  # before anything that a store could hold up
        replace_text(row.with_name(measured.name), measured.read_text(encoding="utf-8"))
    store = locate_store()
    trained = read_journal(journals / "train.jsonl")
    for stage in DATA_STAGES:
        put_data_row(journals / f"{stage}.jsonl", stage)
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "curves.png"
        draw_curves(curves(trained), picture)
        waiting = put_experiment_row(params, journals, models, train, test, picture)
    own = {trained.id, *(read_journal(journals / f"{stage}.jsonl").id for stage in DATA_STAGES)}
    sent = send_outbox(BUDGET, own)[waiting.name]

    named = {"run_id": sent.run_id, "run_name": sent.name} | ({"reason": sent.reason} if sent.reason else {})
    named = {key: hide_secrets(value) for key, value in named.items()}  # git keeps it, and a server said it
    replace_text(row, json.dumps({"mlflow": named}, indent=2) + "\n")
    if sent.is_complete:
        say(f"report: row {sent.name} in {store.address} (complete)")
        for line in tell_pages(store):
            say(line)
    else:
        say(f"report: row {sent.name} waits in the outbox ({store.address}: {sent.reason}); `maskdepth sync` sends it")


if __name__ == "__main__":
    run(main)
