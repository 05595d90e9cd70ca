"""Commands that make, label and explain data sets."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from maskdepth.cli.completion import complete_layouts
from maskdepth.cli.table import show
from maskdepth.process.command import BAD_INPUT
from maskdepth.process.console import say

app = typer.Typer()
command = partial(app.command, rich_help_panel="Data")


@command(epilog="Example: [bold]maskdepth sample data/raw[/bold]")
def sample(
    folder: Annotated[Path, typer.Argument(help="Where the archives go; made when missing.")],
    layout: Annotated[
        str,
        typer.Option(help="How folders and files are named: see `maskdepth layouts`.", autocompletion=complete_layouts),
    ] = "sudhakarmlal",
    backgrounds: Annotated[int, typer.Option(min=1, help="Drawn scenes.")] = 400,
    foregrounds: Annotated[int, typer.Option(min=1, help="Drawn objects.")] = 60,
    composites: Annotated[int, typer.Option(min=1, help="Objects standing in scenes.")] = 2400,
    size: Annotated[int, typer.Option(min=32, help=r"Height and width of the pictures \[px].")] = 160,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed draws the same bytes on the same kind of processor.")
    ] = 0,
    first: Annotated[
        int, typer.Option(min=1, help="Number of the first scene and object; beside other data, above all of theirs.")
    ] = 1,
) -> None:
    """Draw the sample data set: scenes with exactly known mask and depth, as zip archives."""
    from maskdepth.making.drawing.sample import write_sample

    write_sample(folder, layout, seed, backgrounds, foregrounds, composites, size, first)


@command(epilog="Example: [bold]maskdepth compose --foregrounds cutouts --backgrounds rooms --out data/raw[/bold]")
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


@command(epilog="Example: [bold]maskdepth link s3://bucket/raw data/raw/photographs.urls[/bold]")
def link(
    prefix: Annotated[str, typer.Argument(help="Where the zips are: an address of any store that fsspec reads.")],
    path: Annotated[Path, typer.Argument(help="The list to write; its name ends in .urls.")],
) -> None:
    """List the zips of an object store for data/raw, with what tells that one was replaced; they are read there."""
    from maskdepth.data.archives.remote import link as write_list

    say(f"link: {write_list(prefix, path):,} zips in {path}")


@command(epilog="Example: [bold]maskdepth layouts data/raw[/bold]")
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


@command("label-depth", epilog="Example: [bold]maskdepth label-depth pictures.csv --out depth[/bold]")
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
