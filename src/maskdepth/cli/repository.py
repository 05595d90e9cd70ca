"""Commands that keep a repository, its tracking store and its remote in order."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from maskdepth.process.command import BAD_INPUT
from maskdepth.process.console import count, say

app = typer.Typer()
command = partial(app.command, rich_help_panel="The repository")


@command()
def doctor() -> None:
    """Look for what would go wrong later, and say what to do; exit code 2 when something was found."""
    from maskdepth.doctor import describe_machine, examine

    for line in describe_machine():
        say(line)
    findings = examine()
    for line in findings or ["nothing is wrong"]:
        say(line)
    if findings:
        raise typer.Exit(BAD_INPUT)


@command()
def sync(
    seconds: Annotated[float, typer.Option(min=1, help=r"How long to try \[s].")] = 600,
    row: Annotated[Path, typer.Option(help="The file in which an experiment names its row.")] = Path(
        "metrics/mlflow.json"
    ),
) -> None:
    """Send what an unreachable tracking server missed, end dead rows, rename renamed ones."""
    from maskdepth.tracking import repair
    from maskdepth.tracking.sending import ask_store

    told = False
    for line in ask_store(seconds, repair.sync, seconds, row):
        say(line)
        told = True
    if not told:
        say("nothing to do: every row is complete")


@command(epilog="Whoever pulls it types [bold]dvc exp run --pull[/bold] in place of [bold]dvc exp run[/bold].")
def share() -> None:
    """Push what this repository has computed to DVC's remote, so that others need not compute it again."""
    from maskdepth.process.workspace import repository_root
    from maskdepth.tracking.sharing import share_runs

    shared = share_runs(repository_root())
    runs, files = count(shared.runs, "runs"), count(shared.files, "files")
    say(f"share: {shared.remote} has {runs} of stages with what they made; {files} are new there")


@command()
def relocate() -> None:
    """Mend the absolute paths in the SQLite store after the repository moved."""
    from maskdepth.process.workspace import repository_root
    from maskdepth.tracking.sqlite import find_moved_root, relocate

    before, here = find_moved_root(), repository_root()
    if before is None:
        say("the store is where it was made; nothing to mend")
        return
    say(f"{relocate(before, here)} paths changed from {before} to {here}")
