"""The `maskdepth` command: what is done around the pipeline. The pipeline itself is `dvc repro`."""

import os
from typing import Annotated

import typer

from maskdepth.cli import data, experiments, networks, repository
from maskdepth.process.command import guard
from maskdepth.process.console import say

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Find the best combination of losses for one network that predicts an object's mask and the scene's depth. "
    "The pipeline is [bold]dvc repro[/bold]; its runs are compared with [bold]mlflow ui[/bold].",
)
for room in (data, experiments, networks, repository):
    app.add_typer(room.app)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        say(f"maskdepth {version('maskdepth')}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Take what stands before a command."""


def main() -> None:
    """Run the command; what a user can mend ends in one line."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the stages; read once, when torch is loaded
    guard(app)
