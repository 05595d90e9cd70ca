"""The `maskdepth` command: what is done around the pipeline. The pipeline itself is `dvc repro`."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from maskdepth.completion import (
    complete_depth_losses,
    complete_experiments,
    complete_layouts,
    complete_mask_losses,
    complete_metrics,
    complete_pairs,
    complete_recipes,
    complete_results,
)
from maskdepth.process.command import BAD_INPUT, guard
from maskdepth.process.console import count, say

if TYPE_CHECKING:
    from rich.table import Table

    from maskdepth.answer import Answer

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Find the best combination of losses for one network that predicts an object's mask and the scene's depth. "
    "The pipeline is [bold]dvc repro[/bold]; its runs are compared with [bold]mlflow ui[/bold].",
)


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


@app.command(epilog="Example: [bold]maskdepth sample data/raw[/bold]")
def sample(
    folder: Annotated[Path, typer.Argument(help="Where the archives go; made when missing.")],
    layout: Annotated[
        str,
        typer.Option(help="How folders and files are named: see `maskdepth layouts`.", autocompletion=complete_layouts),
    ] = "sudhakarmlal",
    backgrounds: Annotated[int, typer.Option(min=1, help="Drawn scenes.")] = 120,
    foregrounds: Annotated[int, typer.Option(min=1, help="Drawn objects.")] = 60,
    composites: Annotated[int, typer.Option(min=1, help="Objects standing in scenes.")] = 2400,
    size: Annotated[int, typer.Option(min=32, help=r"Height and width of the pictures \[px].")] = 160,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same bytes.")] = 0,
    first: Annotated[
        int, typer.Option(min=1, help="Number of the first scene and object; beside other data, above all of theirs.")
    ] = 1,
) -> None:
    """Draw the sample data set: scenes with exactly known mask and depth, as zip archives."""
    from maskdepth.making.drawing.sample import write_sample

    write_sample(folder, layout, seed, backgrounds, foregrounds, composites, size, first)


@app.command(epilog="Example: [bold]maskdepth compose --foregrounds cutouts --backgrounds rooms --out data/raw[/bold]")
def compose(
    foregrounds: Annotated[Path, typer.Option(help="Folder of cut-outs: PNG pictures with alpha.")],
    backgrounds: Annotated[Path, typer.Option(help="Folder of pictures of any size.")],
    out: Annotated[Path, typer.Option(help="Folder for the archives.")],
    depths: Annotated[Path | None, typer.Option(help="Folder of depth maps named as their backgrounds.")] = None,
    layout: Annotated[
        str,
        typer.Option(help="How folders and files are named: see `maskdepth layouts`.", autocompletion=complete_layouts),
    ] = "sudhakarmlal",
    size: Annotated[int, typer.Option(help=r"Height and width of the composites \[px].")] = 160,
    object_size: Annotated[
        float, typer.Option(help=r"Height of objects: up to 1 of the picture's, above \[px].")
    ] = 0.5,
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


@app.command(epilog="Example: [bold]maskdepth link s3://bucket/raw data/raw/photographs.urls[/bold]")
def link(
    prefix: Annotated[str, typer.Argument(help="Where the zips are: an address of any store that fsspec reads.")],
    path: Annotated[Path, typer.Argument(help="The list to write; its name ends in .urls.")],
) -> None:
    """List the zips of an object store for data/raw, with what tells that one was replaced; they are read there."""
    from maskdepth.data.archives.remote import link as write_list

    say(f"link: {write_list(prefix, path):,} zips in {path}")


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


@app.command(epilog="Example: [bold]maskdepth losses depth[/bold]")
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


@app.command(epilog="Example: [bold]maskdepth results dice-ssim-s0[/bold]")
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


@app.command(epilog="Example: [bold]maskdepth sweep --mask bce,dice --depth l1,ssim --seeds 5[/bold]")
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


@app.command(epilog="Example: [bold]maskdepth compare --html answer.html[/bold]")
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
    background: Annotated[
        Path,
        typer.Argument(
            help="The scene without the object: a picture, or a folder of such. Alone: a CSV table of "
            "background,composite, or a data set in a known layout, as a folder or a zip."
        ),
    ],
    composite: Annotated[
        Path | None, typer.Argument(help="The scene with it: a picture, or a folder with equal names.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    model: Annotated[
        str, typer.Option(help="A trained network: a file, a run by its name or as runs:/ID, or models:/NAME@ALIAS.")
    ] = "models/model.safetensors",
    write: Annotated[
        list[str] | None,
        typer.Option(
            help="What to write of each pair, with commas between: mask, depth (16 bit), panel (for people), cutout, "
            "depth-colour, probability, onto.",
            show_default="mask,depth,panel",
        ),
    ] = None,
    onto: Annotated[Path | None, typer.Option(help="Another scene: also put the objects before it.")] = None,
    background_depth: Annotated[
        Path | None,
        typer.Option(help="Depth of the scene without the object, dark is near: a picture, or a folder of such."),
    ] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Probability above which a pixel is object.")] = 0.5,
    overwrite: Annotated[bool, typer.Option(help="Replace results that are there.")] = False,
    strict: Annotated[bool, typer.Option(help="Exit with 2 when one of many pairs fails.")] = False,
    register: Annotated[
        bool, typer.Option(help="First lay the scene over the picture: the camera may have moved, the light changed.")
    ] = True,
) -> None:
    """Predict mask and depth of pictures of any size, at their own size."""
    from maskdepth.serving.files import USUAL
    from maskdepth.serving.planning import plan_predictions

    plan = plan_predictions(
        background, composite, out, write or USUAL, onto, background_depth=background_depth, overwrite=overwrite
    )
    weights = _find_weights(model)
    from maskdepth.serving.predict import predict as write_predictions  # which takes seconds to load

    write_predictions(plan, weights, threshold=threshold, strict=strict, registers=register)


@app.command(epilog="Example: [bold]maskdepth promote dice-ssim-s0[/bold]")
def promote(
    run: Annotated[
        str,
        typer.Argument(
            help="Name or id of an MLflow run, or name of a DVC experiment.", autocompletion=complete_experiments
        ),
    ],
    metric: Annotated[
        str,
        typer.Option(
            help="What has to be better: a metric of `maskdepth compare`, or score for one of its parts.",
            autocompletion=complete_metrics,
        ),
    ] = "score",
    anyway: Annotated[str | None, typer.Option(help="Promote whatever the comparison says, for this reason.")] = None,
) -> None:
    """Register a run's model; make it models:/maskdepth@champion where it is shown to be better than the last."""
    from maskdepth.promotion import promote as move_alias

    for line in move_alias(run, metric, anyway):
        say(line)


@app.command(epilog="Example: [bold]maskdepth export models/model.safetensors --to onnx[/bold]")
def export(
    model: Annotated[str, typer.Argument(help="A trained network, or models:/maskdepth@champion of the store.")],
    to: Annotated[str, typer.Option(help="onnx or pt2.")],
    out: Annotated[Path | None, typer.Option(help="The file; maskdepth.onnx or maskdepth.pt2 without it.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
) -> None:
    """Write a network as a file that runs without this project, once it is seen to predict the same."""
    from tempfile import TemporaryDirectory

    from maskdepth.serving.exporting import export as write_export
    from maskdepth.tracking.registry import URI_START, fetch_network

    with TemporaryDirectory() as folder:
        source = fetch_network(model, Path(folder)) if model.startswith(URI_START) else Path(model)
        say(write_export(source, to, out or Path(f"maskdepth.{to}"), overwrite=overwrite))


@app.command(epilog="Example: [bold]maskdepth demo[/bold]")
def demo(
    model: Annotated[Path, typer.Option(help="A trained network.")] = Path("models/model.safetensors"),
    host: Annotated[str, typer.Option(help="Address to listen on; anybody who reaches it may ask.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 7860,
) -> None:
    """Open a page on which a person drops two pictures, or takes them, and looks at mask, cut-out and depth."""
    from maskdepth.making.drawing.pair import draw_pair
    from maskdepth.models.saved import load_network
    from maskdepth.serving.answers import PairPredictor
    from maskdepth.serving.demo import make_server
    from maskdepth.serving.exporting import export_network

    server = make_server(PairPredictor(export_network(load_network(model))), draw_pair, host, port)
    say(f"look at http://{host}:{server.server_port}/ and end with Ctrl-C")
    with suppress(KeyboardInterrupt), server:
        server.serve_forever()


@app.command(epilog="Example: [bold]maskdepth recipe mshilpaa[/bold]")
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


@app.command("label-depth", epilog="Example: [bold]maskdepth label-depth pictures.csv --out depth[/bold]")
def label_depth(
    pictures: Annotated[
        Path,
        typer.Argument(help="A folder, or a CSV table of composite,background,mask; zip archives need no unpacking."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the 16-bit labels; dark is near.")],
    checkpoint: Annotated[
        str, typer.Option(help="Id on the hub, a folder, or an ONNX file.")
    ] = "depth-anything/Depth-Anything-V2-Small-hf",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures that the network sees at once.")] = 8,
    allow_noncommercial: Annotated[bool, typer.Option(help="Also use weights that forbid commercial use.")] = False,
    layout: Annotated[
        str | None,
        typer.Option(
            help="Label its composites alone, in its names for depth: ready for data/raw.",
            autocompletion=complete_layouts,
        ),
    ] = None,
    input_size: Annotated[
        int | None, typer.Option(min=1, help=r"Side to which the network resizes pictures \[px]; larger shows more.")
    ] = None,
    backgrounds: Annotated[
        bool, typer.Option("--backgrounds", help="Label the layout's backgrounds, one map each, not its composites.")
    ] = False,
    pixels: Annotated[
        str | None, typer.Option(help="Of an ONNX file: it takes bytes (0 to 255), unit, signed or imagenet pixels.")
    ] = None,
    larger: Annotated[
        str | None, typer.Option(help="Of an ONNX file: its larger answers are near, or far; else that is seen.")
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
        backgrounds=backgrounds,
        pixels=pixels,
        larger=larger,
    )


@app.command()
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


@app.command(epilog="Whoever pulls it types [bold]dvc exp run --pull[/bold] in place of [bold]dvc exp run[/bold].")
def share() -> None:
    """Push what this repository has computed to DVC's remote, so that others need not compute it again."""
    from maskdepth.process.workspace import repository_root
    from maskdepth.tracking.sharing import share_runs

    shared = share_runs(repository_root())
    runs, files = count(shared.runs, "runs"), count(shared.files, "files")
    say(f"share: {shared.remote} has {runs} of stages with what they made; {files} are new there")


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


def _find_weights(model: str) -> Path:
    """Find the weights of a network: the file itself, or what the tracking store has under a name."""
    path = Path(model)
    is_name = model.startswith(("runs:/", "models:/")) or (path.suffix != ".safetensors" and len(path.parts) == 1)
    if path.is_file() or not is_name:
        if not path.is_file():
            raise FileNotFoundError(f"{model} is missing; `dvc repro train` makes it")
        return path
    from maskdepth.tracking.weights import fetch_weights

    return fetch_weights(model)


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
