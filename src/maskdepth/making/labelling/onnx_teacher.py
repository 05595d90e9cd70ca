"""A network for depth in one ONNX file, run by ONNX Runtime: what was exported anywhere needs nothing else.

A file says which numbers it takes and gives, and seldom what they mean. Nothing is guessed: how pixels become numbers
is read from its metadata or asked for; which end of its answers is near is seen, by what holds of nearly every picture,
and told.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from maskdepth.device import set_threads
from maskdepth.making.labelling.alignment import Distance
from maskdepth.making.labelling.teacher import RELATIVE, Teacher, first_line
from maskdepth.process.console import say, warn

SUFFIX = ".onnx"

# What pixels of 0 to 255 become: mean and deviation per channel on the scale [0, 1].
PIXELS = {
    "bytes": ((0.0,) * 3, (1 / 255,) * 3),
    "unit": ((0.0,) * 3, (1.0,) * 3),
    "signed": ((0.5,) * 3, (0.5,) * 3),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
# Which end of the answers is larger.
NEAR, FAR = "near", "far"
_OUTPUTS = {NEAR: RELATIVE, FAR: "relative depth"}

# Keys of the file's metadata.
PIXELS_KEY, LARGER_KEY, LICENCE_KEY = "maskdepth.pixels", "maskdepth.larger", "license"

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
# How much the ratio of width to height of a map may differ from that of its picture, a share: strides round sides.
_SAME_SHAPE = 0.1

# Pictures that are looked at to tell near from far, and the share of those with an opinion that must have the same one:
# the lower third is nearer than the upper one, as ground is, by so many of the picture's own deviations or more.
LOOKED_AT = 16
_AGREEING, _CLEAR = 0.75, 0.25


class Wanted(NamedTuple):
    """What the user says about a file; None leaves it to the file, or to looking.

    Attributes:
        pixels: A key of `PIXELS`.
        larger: `NEAR` or `FAR`.
        input_size: Side to which pictures are resized, where the file leaves that open [px].
    """

    pixels: str | None
    larger: str | None
    input_size: int | None


class OnnxFile(NamedTuple):
    """A network that was loaded.

    Attributes:
        path: The file.
        session: Of ONNX Runtime.
        metadata: What its makers wrote into it, by key.
    """

    path: Path
    session: Any
    metadata: dict[str, str]

    @property
    def licence(self) -> str:
        """The licence of the weights, in small letters; "" where nothing is said."""
        return self.metadata.get(LICENCE_KEY, "").lower()


class Contract(NamedTuple):
    """What a network takes and gives.

    Attributes:
        takes: Name of its input.
        gives: Name of the map among its outputs.
        batch: How many pictures at once; None is any number.
        height: Of the pictures [px].
        width: [px]
        is_planar: Whether channels come before rows.
        dtype: Of the numbers that it takes.
        pixels: A key of `PIXELS`.
    """

    takes: str
    gives: str
    batch: int | None
    height: int
    width: int
    is_planar: bool
    dtype: type
    pixels: str


def open_onnx(path: Path) -> OnnxFile:
    """Load a network.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or needs operators that ONNX Runtime does not have; or that is not installed.
    """
    onnxruntime = _require_onnxruntime()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; name an ONNX file, an id on the hub, or a folder")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = set_threads()
    options.log_severity_level = 4  # what is wrong is raised as well
    with _readable_errors(path):
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return OnnxFile(path, session, dict(session.get_modelmeta().custom_metadata_map))


def load_onnx_teacher(file: OnnxFile, licence: str, wanted: Wanted, pictures: Sequence[Image.Image]) -> Teacher:
    """Try a network, and see which end of its answers is near.

    Args:
        file: The network.
        licence: Of the weights, for the record.
        wanted: What the user says about it.
        pictures: Some of those that are to be labelled, RGB, up to `LOOKED_AT`.

    Raises:
        ValueError: It is no network for depth, or does not say how it takes pictures, or they do not show which end is
            near.
    """
    pixels = _choose(file, "pixels", wanted.pixels, PIXELS_KEY, PIXELS)
    if pixels is None:
        raise ValueError(
            f"{file.path} does not say what it takes for pixels; give --pixels {', '.join(PIXELS)}, as its makers say"
        )
    contract = _read_contract(file, wanted.input_size, pixels)
    see = partial(_see, file, contract)
    said = _choose(file, "larger", wanted.larger, LARGER_KEY, (NEAR, FAR))
    larger = _see_larger(file.path, [see(1.0, [picture])[0] for picture in pictures], said)
    facts = {
        "checkpoint": str(file.path),
        "revision": None,
        "weights": hashlib.sha256(file.path.read_bytes()).hexdigest(),
        "licence": licence,
        "model_type": "onnx",
        "output": _OUTPUTS[larger],
        "input": {"height": contract.height, "width": contract.width, "pixels": pixels},
        "onnxruntime": _require_onnxruntime().__version__,
    }
    return Teacher(partial(see, -1.0 if larger == NEAR else 1.0), facts)


def _require_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            f"an ONNX network needs the library onnxruntime ({error}); pip install 'maskdepth[depth]'"
        ) from error
    return onnxruntime


@contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    """Turn what ONNX Runtime raises, kinds without a common base, into one line."""
    from onnxruntime.capi import onnxruntime_pybind11_state as raised

    kinds = tuple(kind for kind in vars(raised).values() if isinstance(kind, type) and issubclass(kind, Exception))
    try:
        yield
    except kinds as error:
        problem = first_line(error).rpartition(" : ")[2]
        raise ValueError(
            f"{path} is damaged, or needs what ONNX Runtime does not have: {problem}; get it again, or export it anew"
        ) from error


def _choose(file: OnnxFile, option: str, wanted: str | None, key: str, known: Iterable[str]) -> str | None:
    """Take what the user says before what the file says; None where neither does."""
    for name, source in ((wanted, f"--{option}"), (file.metadata.get(key), f"{file.path}: {key} of its metadata")):
        if name is not None and name not in known:
            raise ValueError(f"{source} is {name!r}; known: {', '.join(known)}")
        if name is not None:
            return name
    return None


def _read_contract(file: OnnxFile, input_size: int | None, pixels: str) -> Contract:
    """Read what the network takes, one batch of RGB pictures, and find by trying what it gives."""
    inputs = file.session.get_inputs()
    told = ", ".join(f"{one.name} {one.type} {list(one.shape)}" for one in inputs)
    if len(inputs) != 1 or inputs[0].type not in _TYPES or len(inputs[0].shape) != 4 or 3 not in inputs[0].shape[1::2]:
        raise ValueError(
            f"{file.path} is no network for pictures: it takes {told}; expected one input of 1 x 3 x height x width "
            "or of 1 x height x width x 3"
        )
    shape = [side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape]
    is_planar = shape[1] == 3
    height, width = shape[2:] if is_planar else shape[1:3]
    if input_size is None and None in (height, width):
        raise ValueError(
            f"{file.path} leaves the size of its pictures open: it takes {told}; give --input-size, as its makers say"
        )
    if input_size is not None and {height, width} - {None, input_size}:
        raise ValueError(f"{file.path} takes pictures of {width} x {height} px and no others; leave --input-size out")
    height, width = height or input_size, width or input_size
    assert height and width
    dtype = _TYPES[inputs[0].type]
    contract = Contract(inputs[0].name, "", shape[0], height, width, is_planar, dtype, pixels)
    return contract._replace(gives=_find_map(file, contract))


def _find_map(file: OnnxFile, contract: Contract) -> str:
    """Name the output that is a map of one number a pixel, by trying.

    Raises:
        ValueError: None is, or several are; or the network cannot take such a picture after all.
    """
    noise = np.random.default_rng(0).integers(0, 256, (contract.height, contract.width, 3), np.uint8)
    batch = [Image.fromarray(noise)] * (contract.batch or 1)
    names = [output.name for output in file.session.get_outputs()]
    with _readable_errors(file.path):
        answers = file.session.run(names, {contract.takes: _prepare(batch, contract)})
    shapes = {name: list(np.shape(answer)) for name, answer in zip(names, answers, strict=True)}
    maps = [name for name, shape in shapes.items() if _is_map(shape, len(batch), contract)]
    if len(maps) != 1:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"{file.path} is no network for depth: it gives {told}; expected one map of a number a pixel, such as "
            f"{[len(batch), 1, contract.height, contract.width]}"
        )
    return str(maps[0])


def _is_map(shape: Sequence[int], batch: int, contract: Contract) -> bool:
    """Tell whether an answer is a map for each picture, of its shape and perhaps smaller."""
    sides = [side for side in shape[1:] if side > 1]
    if list(shape[:1]) != [batch] or len(sides) != 2:
        return False
    return abs(sides[0] * contract.width / (sides[1] * contract.height) - 1) < _SAME_SHAPE


def _prepare(pictures: Sequence[Image.Image], contract: Contract) -> npt.NDArray[Any]:
    """Bring RGB pictures to the size, the numbers and the order that the network takes."""
    size = (contract.width, contract.height)
    stacked = np.stack([np.asarray(one.resize(size, Image.Resampling.BILINEAR)) for one in pictures])
    if contract.dtype is not np.uint8:
        mean, deviation = (np.array(values, np.float32) for values in PIXELS[contract.pixels])
        stacked = ((stacked.astype(np.float32) / 255 - mean) / deviation).astype(contract.dtype)
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2)) if contract.is_planar else stacked


def _see(file: OnnxFile, contract: Contract, sign: float, pictures: Sequence[Image.Image]) -> list[Distance]:
    """Let the network look at pictures, as many at once as it takes; its answers get a sign, and the pictures' size."""
    step = contract.batch or len(pictures)
    found: list[Distance] = []
    for start in range(0, len(pictures), step):
        some = list(pictures[start : start + step])
        filled = some + [some[-1]] * ((contract.batch or len(some)) - len(some))
        with _readable_errors(file.path):
            (answers,) = file.session.run([contract.gives], {contract.takes: _prepare(filled, contract)})
        for picture, answer in zip(some, answers, strict=False):
            image = Image.fromarray(np.squeeze(answer).astype(np.float32))
            found.append(sign * np.asarray(image.resize(picture.size, Image.Resampling.BILINEAR), np.float64))
    return found


def _see_larger(path: Path, answers: Sequence[Distance], said: str | None) -> str:
    """See whether larger answers are nearer, and tell; what is said about it wins.

    Raises:
        ValueError: The pictures do not agree, and nobody says it.
    """
    votes = [_vote(answer) for answer in answers]
    seen = NEAR if votes.count(NEAR) > votes.count(FAR) else FAR
    agreeing = votes.count(seen)
    is_clear = agreeing >= max(1, _AGREEING * sum(vote is not None for vote in votes))
    told = f"in {agreeing} of {len(votes)} pictures the ground, below, is {'larger' if seen == NEAR else 'smaller'}"
    if said is None and not is_clear:
        raise ValueError(
            f"{path} does not say which end is near, and the pictures do not show it ({told}); give --larger near, "
            "or --larger far"
        )
    if said is not None and is_clear and said != seen:
        warn(f"larger answers of {path} are said to be {said}, but {told}: look at some labels, whether dark is near")
    say(f"label-depth: larger answers of {path} are {said or seen}, as {'is said' if said else told}")
    return said or seen


def _vote(answer: Distance) -> str | None:
    """Say which end is larger by the lower third and the upper one; None if they hardly differ."""
    third = max(1, len(answer) // 3)
    step = float(answer[-third:].mean() - answer[:third].mean())
    if not abs(step) > _CLEAR * float(answer.std()):  # also where it is not finite
        return None
    return NEAR if step > 0 else FAR
