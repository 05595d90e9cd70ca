"""A trained network as one file that runs without this project: a torch program (pt2) or ONNX.

Normalisation and output scale are within the graph, and what one must know to use it in the file's metadata. A file is
held against the network at several sizes and batches before it takes its place.
"""

import copy
import itertools
import json
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as tracing

from maskdepth.models.catalogue import MODELS, SMALLEST_SIDE
from maskdepth.models.network import Network
from maskdepth.models.saved import load_network
from maskdepth.process.files import parse_json, replacing

ONNX, PT2 = "onnx", "pt2"
FORMATS = (ONNX, PT2)
# Of outputs in [0, 1]: other kernels add in another order.
TOLERANCE = 1e-4

_CARD = "maskdepth.json"
_INPUTS, _OUTPUTS = ("background", "composite"), ("mask", "depth")
# The version of ONNX's operators: what the exporter translates to, so that nothing is converted a second time.
_OPSET = 20
_LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
# Batches and sides [px] beside the trained one: odd, of two lengths, and as small as they come.
_CHECKED = ((3, 33, 47), (2, SMALLEST_SIDE, 21))
# What an exporter that meets a network it cannot follow raises.
_EXPORT_ERRORS = (RuntimeError, ValueError, TypeError, AssertionError, AttributeError, KeyError)

Pictures = NDArray[np.float32]
Runner = Callable[[Pictures, Pictures], list[Pictures]]


class Exported(NamedTuple):
    """A network as one graph.

    Attributes:
        program: Maps background and composite, (B, 3, H, W) RGB in [0, 1] each, to mask probability and depth,
            (B, 1, H, W) in [0, 1] each; on the CPU.
        card: What one must know to use it, by name.
    """

    program: ExportedProgram
    card: dict[str, str]

    @property
    def image_size(self) -> int:
        """Side of the pictures that the network was trained on [px]."""
        return int(self.card["image_size"])


class _Served(nn.Module):
    """A network whose outputs are what people want: a probability instead of a score."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, background: Tensor, composite: Tensor) -> tuple[Tensor, Tensor]:
        prediction = self.network(background, composite)
        return prediction.mask_logits.sigmoid(), prediction.depth


def export_network(network: Network) -> Exported:
    """Make one graph of a network, for any batch, height and width that the network itself takes.

    Raises:
        ValueError: It cannot be followed, or predicts something else as a graph.
    """
    # Of channels-last weights the export warns that none of them is complete.
    served = _Served(copy.deepcopy(network)).cpu().to(memory_format=torch.contiguous_format).eval()
    served.network.fusion = None  # its weights would travel along, and never be asked
    side = _round_up(2 * SMALLEST_SIDE, network.spec.architecture)
    sizes = {0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO}
    try:
        # By default a size that is 1 somewhere within is another graph, so that small pictures would be refused.
        with warnings.catch_warnings(), tracing.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
            warnings.simplefilter("ignore")
            example = _draw(2, side, side)
            program = torch.export.export(served, tuple(map(torch.from_numpy, example)), dynamic_shapes=(sizes, sizes))
    except _EXPORT_ERRORS as error:
        raise ValueError(f"{network.spec.architecture} cannot be exported: {_first_line(error)}") from error
    exported = Exported(program, _describe(network))
    _check(_run_program(exported), _run_module(served), exported)
    return exported


def read_exported(path: Path) -> Exported:
    """Read what `write_pt2` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; `maskdepth export --to pt2` makes one")
    extra = {_CARD: ""}
    try:
        program = torch.export.load(path, extra_files=extra)
        card = parse_json(extra[_CARD])
        return Exported(program, {str(key): str(value) for key, value in card.items()})
    except (*_EXPORT_ERRORS, OSError, BadZipFile) as error:
        raise ValueError(f"{path} is no exported network of ours: {_first_line(error)}") from error


def save_pt2(exported: Exported, path: Path) -> None:
    """Write a program that `torch.export.load` reads, unchecked: for whom it is about to load it."""
    torch.export.save(exported.program, path, extra_files={_CARD: json.dumps(exported.card)})


def write_pt2(exported: Exported, path: Path) -> None:
    """Write a program that `torch.export.load` reads, once what was written predicts the same.

    Raises:
        ValueError: What was written predicts something else.
    """
    with replacing(path) as partial:
        save_pt2(exported, partial)
        _check(_run_program(read_exported(partial)), _run_program(exported), exported)


def write_onnx(exported: Exported, path: Path) -> None:
    """Write an ONNX model with the inputs background and composite and the outputs mask and depth, once it agrees.

    Raises:
        ValueError: A library is missing, the network cannot be translated, or what was written predicts something else.
    """
    onnx = _require_onnx()
    batch, height, width = (Dim(name) for name in ("batch", "height", "width"))
    sizes = {0: batch, 2: height, 3: width}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            translated = torch.onnx.export(
                exported.program,
                dynamo=True,
                input_names=_INPUTS,
                output_names=_OUTPUTS,
                opset_version=_OPSET,
                verbose=False,
                dynamic_shapes=(sizes, sizes),
            )
    except _EXPORT_ERRORS as error:
        raise ValueError(f"{exported.card['architecture']} has no ONNX form: {_first_line(error)}") from error
    assert translated is not None  # it is where no file is asked for
    model = translated.model_proto
    onnx.helper.set_model_props(model, exported.card)
    with replacing(path) as partial:
        onnx.save(model, partial)
        _check(run_onnx(partial), _run_program(exported), exported)


def run_onnx(path: Path, threads: int = 1) -> Runner:
    """Open an ONNX model in ONNX Runtime, on the CPU.

    Raises:
        ValueError: The library is missing.
    """
    _require_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda *pictures: session.run(_OUTPUTS, dict(zip(_INPUTS, pictures, strict=True)))


def export(source: Path, to: str, out: Path, *, overwrite: bool) -> str:
    """Write a network as a file for elsewhere.

    Args:
        source: Weights as `dvc repro` leaves them, or a pt2 file of ours.
        to: One of `FORMATS`.
        out: The file to write.
        overwrite: Whether it may be there.

    Returns:
        What was written, in a line.

    Raises:
        FileNotFoundError: There is no source.
        ValueError: It is no network of ours, the file is there already, a library is missing, or what was written
            differs from the network.
    """
    if to not in FORMATS:
        raise ValueError(f"--to {to}: expected one of {', '.join(FORMATS)}")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} is there already; choose another --out, or replace it with --overwrite")
    if to == ONNX:
        _require_onnx()  # before anything that takes long
    exported = read_exported(source) if source.suffix == f".{PT2}" else export_network(load_network(source))
    (write_onnx if to == ONNX else write_pt2)(exported, out)
    card = exported.card
    return (
        f"{out}: {card['architecture']} as {to}, {out.stat().st_size / 2**20:.1f} MB, within {TOLERANCE:g} of the "
        f"network; any batch, sides of {card['sides']}; made for pictures of {card['image_size']} px"
    )


def _describe(network: Network) -> dict[str, str]:
    spec = network.spec
    multiple = MODELS[spec.architecture].multiple
    unseen = ". The depth of the background, which it could see, is taken as unknown" * network.sees_background_depth
    return {
        "maskdepth": version("maskdepth"),
        "architecture": spec.architecture,
        "image_size": str(spec.image_size),
        "multiple": str(multiple),
        "sides": f"multiples of {multiple} px" if multiple > 1 else f"{SMALLEST_SIDE} px or more",
        "inputs": "background and composite: float32 (batch, 3, height, width), RGB, 0 to 1; normalised within. Resize "
        f"both to {spec.image_size} x {spec.image_size}, which the network was trained on{unseen}",
        "outputs": "mask: probability that a pixel is of the object; depth: relative, 0 near, 1 far; both float32 "
        "(batch, 1, height, width)",
    }


def _check(run: Runner, expected: Runner, exported: Exported) -> None:
    """Hold what was exported against what it was made of.

    Raises:
        ValueError: They differ, or one does not take a size; says at which.
    """
    name, side = exported.card["architecture"], exported.image_size
    for batch, height, width in ((1, side, side), *_CHECKED):
        size = [_round_up(length, name) for length in (height, width)]
        pictures = _draw(batch, *size)
        try:
            pairs = zip(run(*pictures), expected(*pictures), strict=True)
            difference = max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)
        except _EXPORT_ERRORS as error:  # a guard: something within was taken for a constant
            reason = _first_line(error)
            raise ValueError(f"{name} cannot be exported: at {batch} x {size[0]} x {size[1]} px {reason}") from error
        if not difference < TOLERANCE:
            raise ValueError(f"{name}, exported, differs by {difference:g} at {batch} x {size[0]} x {size[1]} px")


def _round_up(side: int, architecture: str) -> int:
    """Give the next side that a network takes [px]."""
    multiple = MODELS[architecture].multiple
    return -(-side // multiple) * multiple


def _draw(batch: int, height: int, width: int) -> tuple[Pictures, Pictures]:
    random = np.random.default_rng(0)
    background, composite = random.random((2, batch, 3, height, width), dtype=np.float32)
    return background, composite


def _run_program(exported: Exported) -> Runner:
    return _run_module(exported.program.module())


def _run_module(module: nn.Module) -> Runner:
    @torch.inference_mode()
    def run(*pictures: Pictures) -> list[Pictures]:
        return [maps.numpy() for maps in module(*map(torch.from_numpy, pictures))]

    return run


def _require_onnx() -> Any:
    try:
        for library in _LIBRARIES:
            __import__(library)
        import onnx.helper
    except ImportError as error:
        raise ValueError(f"ONNX needs three more libraries ({error}); pip install 'maskdepth[export]'") from error
    return onnx


def _first_line(error: BaseException) -> str:
    lines = itertools.dropwhile(lambda line: not line.strip(), str(error).splitlines())
    return next(lines, type(error).__name__).strip()
