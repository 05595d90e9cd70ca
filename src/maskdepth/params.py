"""params.yaml as frozen, checked models: every number and choice of the pipeline, and no default.

DVC hashes params.yaml and not our defaults, so the file is complete: a missing key is an error like an unknown one.
"""

import difflib
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError

from maskdepth.process.files import replacing

Share = Annotated[float, Field(gt=0, lt=1)]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

SMALLEST_IMAGE, LARGEST_IMAGE = 8, 4096  # side of the pictures that a network sees [px]

# All that the parser was seen to raise: explicit types with nothing behind them, numbers of thousands of digits.
_YAML_ERRORS = (YAMLError, ValueError, LookupError, TypeError, RecursionError)
_MOST_BYTES = 100_000  # the parser takes a second for them, and minutes for what is no settings file
# Problems that an error shows: a file may be wrong from end to end.
_SHOWN = 10


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataParams(_Section):
    """Reading pictures: their layout, store, size and motion, which end of the depth is near, and what is too large."""

    layout: str | dict[str, str | list[str]]
    image_size: Annotated[int, Field(ge=SMALLEST_IMAGE, le=LARGEST_IMAGE)]
    store: Literal["pixels", "encoded"]
    depth_near: Literal["dark", "bright"]
    depth_frame: Literal["refuse", "crop", "keep"]
    registration: Literal["auto", "off"]
    max_rejected: Annotated[float, Field(ge=0, le=1)]
    max_pixels: Annotated[int, Field(ge=10_000, le=89_000_000)]  # above, Pillow itself warns
    max_member_bytes: Annotated[int, Field(ge=1)]


class SplitParams(_Section):
    """What is held out: shares are shares of the groups."""

    by: Literal["background", "foreground", "both", "sample"]
    val: Share
    test: Share
    seed: Seed
    train_only: list[str]


# What a network sees: the pictures that are stacked for it.
Inputs = Literal[
    "background+composite",
    "background+composite+difference",
    "background+composite+background_depth",
    "background+composite+difference+background_depth",
]


class ModelParams(_Section):
    """The network; its names are those of `maskdepth models`."""

    name: str
    inputs: Literal["auto"] | Inputs


class LossParams(_Section):
    """Sums of named terms per target; their names are those of `maskdepth losses`."""

    mask: str | dict[str, float]
    depth: str | dict[str, float]
    mask_weight: Weight
    depth_weight: Weight


class TrainParams(_Section):
    """Optimisation, augmentation and checkpoints."""

    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    micro_batch: Literal["auto"] | Annotated[int, Field(ge=2)]
    optimizer: Literal["muon", "adamw", "adam", "sgd"]
    learning_rate: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Weight
    schedule: Literal["constant", "step", "cosine", "one_cycle", "plateau"]
    step_epochs: Count
    gamma: Annotated[float, Field(gt=0, lt=1)]
    clip_norm: Weight
    precision: Literal["fp32", "bf16"]
    compile: Literal["auto", "off"]
    augment: list[Literal["flip", "scene", "cutout", "camera_jitter"]]
    shuffle_window: Annotated[float, Field(gt=0, le=1)]
    keep: Literal["best", "last"]
    checkpoint_seconds: Positive
    seed: Seed

    @property
    def parts(self) -> int:
        """How many parts a whole batch has whose samples are normalised together."""
        return 1 if self.micro_batch == "auto" else self.batch_size // self.micro_batch


class EvaluateParams(_Section):
    """Test metrics and their pictures."""

    threshold: Share | Literal["tuned"]
    batch_size: Count
    pictures: Annotated[int, Field(ge=0, le=50)]


class Params(_Section):
    """All of params.yaml."""

    data: DataParams
    split: SplitParams
    model: ModelParams
    loss: LossParams
    train: TrainParams
    evaluate: EvaluateParams


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Not YAML, or an unknown, missing or wrong value; names every dotted key, what was found and what
            is allowed.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.absolute()} is missing; run this in the folder that holds params.yaml, or name the file"
        )
    return check_params(read_yaml(path), str(path))


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Read a small YAML file of named values, as DVC does: by YAML 1.2, where 1e-3 is a number and a key occurs once.

    Raises:
        ValueError: Too large to be settings, not YAML, or no mapping.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path}: it has over {_MOST_BYTES:,} bytes; settings are a few thousand")
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_yaml(text: str) -> Mapping[str, Any]:
    """Parse YAML of named values.

    Raises:
        ValueError: Not YAML, or no mapping.
    """
    try:
        values = YAML(typ="safe", pure=True).load(text)
    except _YAML_ERRORS as error:
        raise ValueError(f"not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, Mapping):
        raise ValueError(f"expected sections such as data: and train:, found {type(values).__name__}")
    return values


def check_params(values: Mapping[str, Any], source: str) -> Params:
    """Check the values of a params.yaml.

    Args:
        values: By section, then by key.
        source: Where they are from, for messages.

    Raises:
        ValueError: An unknown, missing or wrong value; names every dotted key, what was found and what is allowed.
    """
    try:
        params = Params.model_validate(values)
    except ValidationError as error:
        problems = list(_explain(error))
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise ValueError(f"{source}: " + "; ".join(problems[:_SHOWN] + more)) from error
    held_out = params.split.val + params.split.test
    if held_out >= 1:
        raise ValueError(f"{source}: split.val + split.test is {held_out:g}, which leaves nothing to train on")
    train = params.train
    if train.micro_batch != "auto" and train.batch_size % train.micro_batch:
        raise ValueError(
            f"{source}: train.micro_batch: {train.micro_batch} does not divide train.batch_size, {train.batch_size}; "
            "take a divisor, or auto for the whole batch"
        )
    return params


def override(params: Params, values: Mapping[str, Any], source: str) -> Params:
    """Give settings other values, as `dvc exp run -S` would.

    Args:
        params: The settings; they stay as they are.
        values: By dotted key.
        source: Who asks for them, for messages.

    Raises:
        ValueError: An unknown key, or a value that is not allowed.
    """
    sections = params.model_dump()
    for key, value in values.items():
        section, _, name = key.partition(".")
        if name not in sections.get(section, {}):
            raise ValueError(f"{source}: {key}: unknown key{_nearest(key)}")
        sections[section][name] = value
    return check_params(sections, source)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Turn nested settings into dotted keys and texts.

    >>> flatten({"loss": {"mask": "bce", "mask_weight": 1.0}, "train": {"augment": ["flip", "cutout"]}})
    {'loss.mask': 'bce', 'loss.mask_weight': '1.0', 'train.augment': 'flip,cutout'}
    """
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return flat


def update_params(path: Path, values: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Change values of a params.yaml; all else, its comments too, stays as it is.

    Args:
        path: The file; valid as it is.
        values: New value by dotted key.

    Returns:
        What changed: dotted key to the values before and after.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not valid, or would not be with these values; it is then left as it was.
    """
    before = load_params(path).model_dump()
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # a long line stays one
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(path.read_text(encoding="utf-8"))
    changes = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        if name not in before.get(section, {}):
            raise ValueError(f"{path}: {key}: unknown key{_nearest(key)}")
        if before[section][name] != value:
            changes[key] = (before[section][name], value)
            document[section][name] = _in_brackets(value) if isinstance(value, list) else value
            # DVC writes a list below its key; a value that is on the key's line has its comment there as well.
            comments = document[section].ca.items.get(name)
            if comments and comments[3] == []:
                comments[3] = None
    with replacing(path) as partial:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            yaml.dump(document, file)
        try:
            load_params(partial)
        except ValueError as error:
            raise ValueError(f"{path} was not changed: {str(error).removeprefix(f'{partial}: ')}") from error
    return changes


def _in_brackets(values: list[Any]) -> CommentedSeq:
    """Make a list that is written on one line, where the comment of the line stays behind it."""
    sequence = CommentedSeq(values)
    sequence.fa.set_flow_style()
    return sequence


def _explain(error: ValidationError) -> Iterator[str]:
    """Say each problem as one sentence: dotted key, what was found, what is allowed."""
    wrong: dict[str, list[str]] = {}
    for problem in error.errors():
        # A union reports each of its branches; the branch's own name is not a key of the file.
        key = ".".join(str(part) for part in problem["loc"] if not _is_union_branch(str(part)))
        if problem["type"] == "extra_forbidden":
            yield f"{key}: unknown key{_nearest(key)}"
        elif problem["type"] == "missing":
            yield f"{key}: missing; params.yaml is complete, there are no defaults"
        else:
            wrong.setdefault(f"{key}: found {reprlib.repr(problem['input']):.100}; ", []).append(problem["msg"])
    for found, allowed in wrong.items():
        yield found + " or ".join(allowed)


def _is_union_branch(part: str) -> bool:
    return part in {"str", "list[str]"} or part.startswith(("dict[", "literal[", "constrained-"))


def _nearest(key: str) -> str:
    known = list(_known_keys(Params))
    near = difflib.get_close_matches(key, known, n=1)
    section = key.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == section]
    return (f"; did you mean {near[0]}?" if near else ".") + f" Known here: {', '.join(siblings)}"


def _known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        annotation: Any = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _known_keys(annotation, f"{prefix}{name}.")
