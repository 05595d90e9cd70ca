"""Commands that find the best combination of losses: what can be chosen, the runs, the answer."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from maskdepth.cli.completion import (
    complete_depth_losses,
    complete_mask_losses,
    complete_pairs,
    complete_recipes,
    complete_results,
)
from maskdepth.cli.table import show
from maskdepth.process.command import BAD_INPUT
from maskdepth.process.console import say

if TYPE_CHECKING:
    from maskdepth.answer import Answer

app = typer.Typer()
command = partial(app.command, rich_help_panel="Which losses are best")


@command(epilog="Example: [bold]maskdepth losses depth[/bold]")
def losses(
    head: Annotated[
        Literal["mask", "depth"] | None, typer.Argument(help="Whose, with formulas; all names without it.")
    ] = None,
    names: Annotated[bool, typer.Option("--names", help="Of one head: the names alone, one a line.")] = False,
) -> None:
    """List the terms that loss.mask and loss.depth can be summed from."""
    from maskdepth.losses.names import known_losses

    if head is None:
        show(["head", "names"], [[each, ", ".join(known_losses(each))] for each in ("mask", "depth")])
        say("What each is: maskdepth losses mask, maskdepth losses depth. Sums: bce+dice, 0.5*l1+ssim.")
    elif names:
        for name in known_losses(head):
            say(name)
    else:
        from maskdepth.losses.catalogue import describe_losses

        columns = ["name", "formula", "summary"]
        show(columns, [[row[key] for key in columns] for row in describe_losses() if row["head"] == head])


@command()
def models() -> None:
    """List the networks that model.name can be, with parameters and cost."""
    from maskdepth.models.catalogue import describe_models

    rows = describe_models()
    show(list(rows[0]), [list(row.values()) for row in rows])


@command(epilog="Example: [bold]maskdepth recipe mshilpaa[/bold]")
def recipe(
    name: Annotated[
        str | None,
        typer.Argument(help="A student's run; all are listed without it.", autocompletion=complete_recipes),
    ] = None,
    params: Annotated[Path, typer.Option(help="The file to write.")] = Path("params.yaml"),
) -> None:
    """Write the settings of a student's run into params.yaml; comments stay."""
    from maskdepth.tuning.recipes import describe_recipes, write_recipe

    if name is None:
        rows = describe_recipes()
        show(list(rows[0]), [list(row.values()) for row in rows])
    else:
        write_recipe(name, params)


@command("find-learning-rate", epilog="Example: [bold]maskdepth find-learning-rate --steps 60[/bold]")
def find_learning_rate(
    data: Annotated[Path, typer.Option(help="Folder of what `dvc repro split` prepared.")] = Path("data"),
    out: Annotated[Path, typer.Option(help="Folder for the curve as a table and a picture.")] = Path("learning_rate"),
    first: Annotated[float, typer.Option(help="Lowest rate.")] = 1e-6,
    last: Annotated[float, typer.Option(help="Highest rate.")] = 10.0,
    steps: Annotated[int, typer.Option(min=10, help="Updates from the one to the other.")] = 100,
) -> None:
    """Try ever higher learning rates with the settings of params.yaml, and suggest one; keeps no model."""
    from maskdepth.params import load_params
    from maskdepth.tuning.find_rate import PICTURE
    from maskdepth.tuning.find_rate import find_learning_rate as sweep

    suggestion = sweep(load_params(), data, out, first, last, steps)
    say(
        f"the loss falls fastest at {suggestion.steepest:.2g} and is lowest at {suggestion.lowest:.2g}: {out / PICTURE}"
    )
    say(f"to train with it: dvc exp run -S train.learning_rate={suggestion.steepest:.2g}")


@command(epilog="Example: [bold]maskdepth sweep --mask bce,dice --depth l1,ssim --seeds 5[/bold]")
def sweep(
    mask: Annotated[
        str,
        typer.Option(
            help="Losses of the mask, by commas; each with each of --depth.", autocompletion=complete_mask_losses
        ),
    ] = "",
    depth: Annotated[
        str,
        typer.Option(
            help="Losses of the depth, by commas; without, that of params.yaml.", autocompletion=complete_depth_losses
        ),
    ] = "",
    pairs: Annotated[
        str,
        typer.Option(help="Further combinations, by commas: 'bce|ssim,dice|l1'.", autocompletion=complete_pairs),
    ] = "",
    seeds: Annotated[int | None, typer.Option(min=1, help="Of each combination; 5 unless the file says.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", "-S", help="Of all runs, as in `dvc exp run`: -S train.epochs=4.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A sweep that is kept in git, with these as its keys.")] = None,
    name: Annotated[str, typer.Option(help="Begins the names of all runs.")] = "",
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at a time; without, what the machine bears.")] = None,
    until_decided: Annotated[
        bool, typer.Option(help="Stop combinations that have lost, and all when more seeds would change nothing.")
    ] = False,
    plan: Annotated[bool, typer.Option(help="Say what would be run, and run nothing.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the answer as one page, too.")] = None,
) -> None:
    """Run combinations of losses with several seeds each, and say which is best; goes on where it was stopped."""
    from maskdepth.sweeping.grid import gather
    from maskdepth.sweeping.sweep import file_answer, judge, prepare, run, tell

    planned = prepare(gather(file, mask, depth, pairs, seeds, settings or []), name, jobs)
    for line in tell(planned):
        say(line)
    if plan:
        return
    is_complete = run(planned, races=until_decided)
    found = judge(planned)
    _show_answer(found, html=html)
    say(file_answer(planned, found))
    if not is_complete:
        raise typer.Exit(BAD_INPUT)


@command(epilog="Example: [bold]maskdepth compare --html answer.html[/bold]")
def compare(
    control: Annotated[
        str | None,
        typer.Option(
            help="What the others are compared with, such as 'bce|ssim'; else that of params.yaml.",
            autocompletion=complete_pairs,
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write one page with curves and pictures.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write every number.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write verdict, table and sentences.")] = None,
    experiment: Annotated[str, typer.Option(help="Of MLflow.")] = "maskdepth",
) -> None:
    """Say which combination of losses is better, and how sure that is, from all runs of the MLflow store."""
    from maskdepth.answer import answer

    _show_answer(answer(experiment, control), html, csv, markdown)


@command(epilog="Example: [bold]maskdepth results dice-ssim-s0[/bold]")
def results(
    experiment: Annotated[
        str | None,
        typer.Argument(
            help="A DVC experiment, branch, tag or commit; the last `dvc repro` without it.",
            autocompletion=complete_results,
        ),
    ] = None,
    metrics: Annotated[Path, typer.Option(help="Folder of test.json.")] = Path("metrics"),
    reports: Annotated[Path, typer.Option(help="Folder of details.json.")] = Path("reports"),
) -> None:
    """Show what a run measured, beside the best that has learned nothing; arrows show which way is better."""
    from maskdepth.results import TITLES, read_results, tabulate, tell_next_steps

    show(TITLES, tabulate(read_results(experiment, metrics, reports)))
    for line in tell_next_steps(experiment):
        say(line)


def _show_answer(
    found: "Answer", html: Path | None = None, csv: Path | None = None, markdown: Path | None = None
) -> None:
    from maskdepth.answer import tabulate, tell_rest, tell_verdict, write_answer

    for line in tell_verdict(found):
        say(line)
    show(*tabulate(found), folds_names=True)
    say("Minus the control: points (hundredths) of IoU and SSIM, SSI-MAE as it is. *: shown, by Holm's p over all.")
    for line in [*tell_rest(found), *write_answer(found, html, csv, markdown)]:
        say(line)
