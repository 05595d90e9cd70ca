"""The `maskdepth` command: what is done around the pipeline. The pipeline itself is `dvc repro`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskdepth.process.command import BAD_INPUT, guard
from maskdepth.process.console import say

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Find the best combination of losses for one network that predicts an object's mask and the scene's depth. "
    "The pipeline is [bold]dvc repro[/bold]; its runs are compared with [bold]mlflow ui[/bold].",
)


def main() -> None:
    """Run the command; what a user can mend ends in one line."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the stages; read once, when torch is loaded
    guard(app)


@app.command(epilog="Example: [bold]maskdepth sample data/raw[/bold]")
def sample(
    folder: Annotated[Path, typer.Argument(help="Where the archives go; made when missing.")],
    layout: Annotated[
        str, typer.Option(help="How folders and files are named: see `maskdepth layouts`.")
    ] = "sudhakarmlal",
    backgrounds: Annotated[int, typer.Option(min=1, help="Drawn scenes.")] = 120,
    foregrounds: Annotated[int, typer.Option(min=1, help="Drawn objects.")] = 60,
    composites: Annotated[int, typer.Option(min=1, help="Objects standing in scenes.")] = 2400,
    size: Annotated[int, typer.Option(min=32, help="Height and width of the pictures [px].")] = 160,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same bytes.")] = 0,
) -> None:
    """Draw the sample data set: scenes with exactly known mask and depth, as zip archives."""
    from maskdepth.making.drawing.sample import write_sample

    write_sample(folder, layout, seed, backgrounds, foregrounds, composites, size)


@app.command(epilog="Example: [bold]maskdepth compose --foregrounds cutouts --backgrounds rooms --out data/raw[/bold]")
def compose(
    foregrounds: Annotated[Path, typer.Option(help="Folder of cut-outs: PNG pictures with alpha.")],
    backgrounds: Annotated[Path, typer.Option(help="Folder of pictures of any size.")],
    out: Annotated[Path, typer.Option(help="Folder for the archives.")],
    depths: Annotated[Path | None, typer.Option(help="Folder of depth maps named as their backgrounds.")] = None,
    layout: Annotated[
        str, typer.Option(help="How folders and files are named: see `maskdepth layouts`.")
    ] = "sudhakarmlal",
    size: Annotated[int, typer.Option(help="Height and width of the composites [px].")] = 160,
    object_size: Annotated[float, typer.Option(help="Height of objects: up to 1 of the picture's, above [px].")] = 0.5,
    placements: Annotated[int, typer.Option(min=1, help="Of each object on each background.")] = 20,
    mirror: Annotated[str, typer.Option(help="Mirrored objects: none, same or independent places.")] = "independent",
    rule: Annotated[str, typer.Option(help="Where objects go: uniform, or standing on the ground.")] = "uniform",
    quality: Annotated[int, typer.Option(help="JPEG quality of composites, 1 to 100; 0 is PNG.")] = 60,
    mask_quality: Annotated[int, typer.Option(help="Likewise of masks.")] = 60,
    depth_quality: Annotated[int, typer.Option(help="Likewise of depth maps.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="The same seed composes the same bytes.")] = 0,
) -> None:
    """Paste cut-outs on backgrounds and write a data set; goes on where it was stopped."""
    from maskdepth.making.composing.compose import compose as write_composition
    from maskdepth.making.composing.composition import Composition
    from maskdepth.process.workers import usable_cores

    settings = Composition(
        foregrounds=foregrounds, backgrounds=backgrounds, depths=depths, out=out, layout=layout, size=size,
        object_size=object_size, placements=placements, mirror=mirror, rule=rule, quality=quality,
        mask_quality=mask_quality, depth_quality=depth_quality, seed=seed,
    )  # fmt: skip
    write_composition(settings, usable_cores())


@app.command(epilog="Example: [bold]maskdepth layouts data/raw[/bold]")
def layouts(
    path: Annotated[Path | None, typer.Argument(help="A folder of archives or pictures, or a zip.")] = None,
    params: Annotated[
        Path | None, typer.Option(help="Its section data is followed; params.yaml here, if there is one.")
    ] = None,
) -> None:
    """List the known layouts, or explain what is in a folder; exit code 2 when the pipeline would stop at it."""
    from maskdepth.data.layouts.layout import read_layouts
    from maskdepth.data.places import read_places
    from maskdepth.data.preview import explain_archives
    from maskdepth.params import load_params

    if path is None:
        show(["name", "what it is"], [[layout.name, layout.title] for layout in read_layouts().values()])
        return
    if params is None and Path("params.yaml").is_file():
        params = Path("params.yaml")
    if params is None:
        explanation = explain_archives(path, "auto")
    else:
        data, table = load_params(params).data, params.with_name("places.csv")
        known = read_places(table).items() if table.is_file() else ()
        places = {str(background): str(place) for background, place in known}
        explanation = explain_archives(path, data.layout, data.max_rejected, places)
    for line in explanation.lines:
        say(line)
    if not explanation.is_usable:
        raise typer.Exit(BAD_INPUT)


@app.command()
def models() -> None:
    """List the networks that model.name can be, with parameters and cost."""
    from maskdepth.models.catalogue import describe_models

    rows = describe_models()
    show(list(rows[0]), [list(row.values()) for row in rows])


@app.command()
def losses() -> None:
    """List the terms that loss.mask and loss.depth can be summed from."""
    from maskdepth.losses.catalogue import describe_losses

    rows = describe_losses()
    show(list(rows[0]), [list(row.values()) for row in rows])


@app.command(epilog="Example: [bold]maskdepth results dice-ssim-s0[/bold]")
def results(
    experiment: Annotated[
        str | None, typer.Argument(help="A DVC experiment, branch, tag or commit; the last `dvc repro` without it.")
    ] = None,
    metrics: Annotated[Path, typer.Option(help="Folder of test.json.")] = Path("metrics"),
    reports: Annotated[Path, typer.Option(help="Folder of details.json.")] = Path("reports"),
) -> None:
    """Show what a run measured, beside the best that has learned nothing; arrows show which way is better."""
    from maskdepth.results import TITLES, read_results, tabulate, tell_next_steps

    show(TITLES, tabulate(read_results(experiment, metrics, reports)))
    for line in tell_next_steps(experiment):
        say(line)


@app.command(epilog="Example: [bold]maskdepth compare --html answer.html[/bold]")
def compare(
    control: Annotated[
        str | None,
        typer.Option(help="What the others are compared with, such as 'bce|ssim'; else that of params.yaml."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write one page with curves and pictures.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write every number.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write verdict, table and sentences.")] = None,
    experiment: Annotated[str, typer.Option(help="Of MLflow.")] = "maskdepth",
) -> None:
    """Say which combination of losses is better, and how sure that is, from all runs of the MLflow store."""
    from maskdepth.answer import answer, tabulate, tell_rest, tell_verdict, write_answer

    found = answer(experiment, control)
    for line in tell_verdict(found):
        say(line)
    show(*tabulate(found), folds_names=True)
    say("Minus the control: points (hundredths) of IoU and SSIM, SSI-MAE as it is. *: shown, by Holm's p over all.")
    for line in [*tell_rest(found), *write_answer(found, html, csv, markdown)]:
        say(line)


@app.command("find-learning-rate", epilog="Example: [bold]maskdepth find-learning-rate --steps 60[/bold]")
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


@app.command(epilog="Example: [bold]maskdepth predict room.jpg visitor.jpg --out predictions[/bold]")
def predict(
    background: Annotated[Path, typer.Argument(help="The scene without the object: a picture, or a folder.")],
    composite: Annotated[Path, typer.Argument(help="The scene with it: a picture, or a folder with equal names.")],
    out: Annotated[Path, typer.Option(help="Folder for masks, depth maps and side-by-side pictures.")],
    model: Annotated[Path, typer.Option(help="A trained network.")] = Path("models/model.safetensors"),
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Probability above which a pixel is object.")] = 0.5,
    probability: Annotated[bool, typer.Option(help="Also write the mask before the threshold.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace results that are there.")] = False,
    strict: Annotated[bool, typer.Option(help="Exit with 2 when one of many pairs fails.")] = False,
    register: Annotated[
        bool, typer.Option(help="First lay the scene over the picture: the camera may have moved, the light changed.")
    ] = True,
) -> None:
    """Predict mask and depth of pictures of any size, at their own size."""
    from maskdepth.serving.files import require_inputs

    require_inputs(background, composite, model)  # loading what predicts takes seconds
    from maskdepth.serving.predict import predict as write_predictions

    write_predictions(
        background,
        composite,
        out,
        model,
        threshold=threshold,
        probability=probability,
        overwrite=overwrite,
        strict=strict,
        registers=register,
    )


@app.command(epilog="Example: [bold]maskdepth recipe mshilpaa[/bold]")
def recipe(
    name: Annotated[str | None, typer.Argument(help="A student's run; all are listed without it.")] = None,
    params: Annotated[Path, typer.Option(help="The file to write.")] = Path("params.yaml"),
) -> None:
    """Write the settings of a student's run into params.yaml; comments stay."""
    from maskdepth.tuning.recipes import describe_recipes, write_recipe

    if name is None:
        rows = describe_recipes()
        show(list(rows[0]), [list(row.values()) for row in rows])
    else:
        write_recipe(name, params)


@app.command("label-depth", epilog="Example: [bold]maskdepth label-depth pictures.csv --out depth[/bold]")
def label_depth(
    pictures: Annotated[
        Path,
        typer.Argument(help="A folder, or a CSV table of composite,background,mask; zip archives need no unpacking."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the 16-bit labels; dark is near.")],
    checkpoint: Annotated[
        str, typer.Option(help="Id on the hub, or a folder.")
    ] = "depth-anything/Depth-Anything-V2-Small-hf",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures that the network sees at once.")] = 8,
    allow_noncommercial: Annotated[bool, typer.Option(help="Also use weights that forbid commercial use.")] = False,
    layout: Annotated[
        str | None, typer.Option(help="Label its composites alone, in its names for depth: ready for data/raw.")
    ] = None,
    input_size: Annotated[
        int | None, typer.Option(min=1, help="Side to which the network resizes pictures [px]; larger shows more.")
    ] = None,
) -> None:
    """Make depth maps with a pretrained network; goes on where it was stopped."""
    from maskdepth.device import choose_device
    from maskdepth.making.labelling.labels import label_depth as write_labels

    write_labels(
        pictures,
        out,
        checkpoint,
        batch_size,
        allow_noncommercial,
        choose_device(),
        layout=layout,
        input_size=input_size,
    )


@app.command()
def sync(
    seconds: Annotated[float, typer.Option(min=1, help="How long to try [s].")] = 600,
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


@app.command()
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


@app.command()
def relocate() -> None:
    """Mend the absolute paths in the SQLite store after the repository moved."""
    from maskdepth.process.workspace import repository_root
    from maskdepth.tracking.sqlite import find_moved_root, relocate

    before, here = find_moved_root(), repository_root()
    if before is None:
        say("the store is where it was made; nothing to mend")
        return
    say(f"{relocate(before, here)} paths changed from {before} to {here}")


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


if __name__ == "__main__":
    main()
