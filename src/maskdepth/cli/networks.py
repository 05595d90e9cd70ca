"""Commands for a trained network: predict with it, show it, promote it, give it away."""

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from maskdepth.cli.completion import complete_experiments, complete_metrics
from maskdepth.process.console import say

app = typer.Typer()
command = partial(app.command, rich_help_panel="A trained network")
_NETWORK = "A trained network: a file, a run by its name or as runs:/ID, or models:/NAME@ALIAS."
_TRAINED_HERE = "models/model.safetensors"


@command(epilog="Example: [bold]maskdepth predict room.jpg visitor.jpg --out predictions[/bold]")
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
    model: Annotated[str, typer.Option(help=_NETWORK)] = _TRAINED_HERE,
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
    depth_is_estimated: Annotated[
        bool, typer.Option("--estimated", help="That depth is less exact than that of the training data.")
    ] = False,
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

    write_predictions(
        plan, weights, threshold=threshold, strict=strict, registers=register, depth_is_estimated=depth_is_estimated
    )


@command(epilog="Example: [bold]maskdepth demo[/bold]")
def demo(
    model: Annotated[str, typer.Option(help=_NETWORK)] = _TRAINED_HERE,
    host: Annotated[str, typer.Option(help="Address to listen on; anybody who reaches it may ask.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 7860,
) -> None:
    """Open a page on which a person drops two pictures, or takes them, and looks at mask, cut-out and depth."""
    weights = _find_weights(model)
    from maskdepth.making.drawing.pair import draw_pair
    from maskdepth.models.saved import load_network
    from maskdepth.serving.answers import PairPredictor
    from maskdepth.serving.demo import make_server
    from maskdepth.serving.exporting import export_network

    server = make_server(PairPredictor(export_network(load_network(weights))), draw_pair, host, port)
    say(f"look at http://{host}:{server.server_port}/ and end with Ctrl-C")
    with suppress(KeyboardInterrupt), server:
        server.serve_forever()


@command(epilog="Example: [bold]maskdepth promote dice-ssim-s0[/bold]")
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


@command(epilog="Example: [bold]maskdepth export models/model.safetensors --to onnx[/bold]")
def export(
    model: Annotated[str, typer.Argument(help=_NETWORK)],
    to: Annotated[str, typer.Option(help="onnx or pt2.")],
    out: Annotated[Path | None, typer.Option(help="The file; maskdepth.onnx or maskdepth.pt2 without it.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
) -> None:
    """Write a network as a file that runs without this project, once it is seen to predict the same."""
    weights = _find_weights(model)
    from maskdepth.serving.exporting import export as write_export

    say(write_export(weights, to, out or Path(f"maskdepth.{to}"), overwrite=overwrite))


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
