"""The pretrained networks that depth labels are made with: which may be used, how they are loaded, what they say.

They come through the library transformers, an extra of this package. Their licences differ, and some forbid commercial
use, perhaps of the labels too; such networks are refused unless a person says otherwise.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maskdepth.making.labelling.alignment import Distance

if TYPE_CHECKING:
    import torch
    from PIL import Image

DEFAULT_CHECKPOINT = "depth-anything/Depth-Anything-V2-Small-hf"

# Licences of weights, by id in small letters. Sizes of one family differ, so only what was looked up is here; the rest
# is "unknown".
LICENCES = {
    "depth-anything/depth-anything-v2-small-hf": "apache-2.0",
    "depth-anything/depth-anything-v2-base-hf": "cc-by-nc-4.0",
    "depth-anything/depth-anything-v2-large-hf": "cc-by-nc-4.0",
    "intel/dpt-large": "apache-2.0",
    "intel/dpt-hybrid-midas": "apache-2.0",
    "intel/dpt-swinv2-tiny-256": "mit",
    "intel/zoedepth-nyu-kitti": "mit",
    "vinvino02/glpn-nyu": "apache-2.0",
    "apple/depthpro-hf": "apple-amlr",
}
UNKNOWN_LICENCE = "unknown"
# Licences that begin so allow research or private use only.
_NONCOMMERCIAL = ("cc-by-nc", "apple-amlr", "fair-noncommercial")

RELATIVE, METRIC = "relative inverse depth", "metric depth"
# What a network of each type gives; configurations can say otherwise, see `_read_output`.
_OUTPUTS = {"depth_anything": RELATIVE, "dpt": RELATIVE, "depth_pro": METRIC, "glpn": METRIC, "zoedepth": METRIC}

# [m] Driving data sets end here. Depth Pro puts the sky at 10 km, beside which all else would be equally near.
_FARTHEST = 80.0

# The first fusion layer has nothing to add: these weights are never used, and published checkpoints leave them out.
_UNUSED_WEIGHTS = re.compile(r"fusion_stage\.layers\.0\.residual_layer1\.")

_INPUT_SETTINGS = ("size", "ensure_multiple_of", "keep_aspect_ratio", "size_divisor")


@dataclass(frozen=True)
class Teacher:
    """A loaded network.

    Attributes:
        see: Gives of RGB pictures of one size what `predict_distances` gives of any.
        facts: What labels made with it should tell about their origin; plain JSON values.
    """

    see: "Callable[[Sequence[Image.Image]], list[Distance]]"
    facts: dict[str, Any]


def check_licence(checkpoint: str, allow_noncommercial: bool, said: str = "") -> str:
    """Give the licence of a checkpoint's weights, or "unknown".

    Args:
        checkpoint: Id on the hub, a folder, or a file.
        allow_noncommercial: Whether any licence will do.
        said: What the weights themselves say about it.

    Raises:
        ValueError: It forbids commercial use and `allow_noncommercial` is not set.
    """
    licence = said or LICENCES.get(checkpoint.lower()) or _read_card_licence(Path(checkpoint)) or UNKNOWN_LICENCE
    if licence.startswith(_NONCOMMERCIAL) and not allow_noncommercial:
        raise ValueError(
            f"the weights of {checkpoint} are under {licence}: no commercial use, perhaps of the labels too; "
            f"use --allow-noncommercial if that suits you, or {DEFAULT_CHECKPOINT}, which is free"
        )
    return licence


def _read_card_licence(folder: Path) -> str:
    """Read the licence from the head of a folder's model card, README.md; "" where there is none."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    head = re.match(r"---\s*\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    found = re.search(r"^license:[ \t]*[\"']?([\w.-]+)", head[1], re.MULTILINE) if head else None
    return found[1].lower() if found else ""


def load_teacher(checkpoint: str, licence: str, device: "torch.device", input_size: int | None = None) -> Teacher:
    """Load a network for depth from the hub, its local cache, or a folder.

    Args:
        checkpoint: Id on the hub, or a folder with config.json, model.safetensors and preprocessor_config.json.
        licence: Of the weights, for the record.
        device: Where to compute.
        input_size: Side [px] to which pictures are resized; None is as preprocessor_config.json says.

    Raises:
        ValueError: transformers is not installed, or the checkpoint cannot be had, is damaged, or is no network for
            depth that is known here; or it cannot take pictures of `input_size`.
    """
    transformers = require_transformers()
    import torch

    with _readable_errors(checkpoint):
        config = transformers.AutoConfig.from_pretrained(checkpoint)
    output = _read_output(checkpoint, config)
    with _readable_errors(checkpoint):
        processor = transformers.AutoImageProcessor.from_pretrained(checkpoint)
        model, loading = transformers.AutoModelForDepthEstimation.from_pretrained(
            checkpoint, output_loading_info=True, dtype=torch.float32
        )
    if input_size:
        _set_input_size(checkpoint, processor, input_size)
    missing = set(loading["missing_keys"])
    _check_complete(checkpoint, missing)
    facts = {
        "checkpoint": checkpoint,
        "revision": _find_revision(checkpoint),
        "weights": _digest_weights(model, missing),
        "licence": licence,
        "model_type": config.model_type,
        "output": output,
        "input": {key: value for key, value in processor.to_dict().items() if key in _INPUT_SETTINGS},
        "transformers": transformers.__version__,
    }
    teacher = Teacher(partial(_predict_batch, model.eval().to(device), processor, device, facts), facts)
    if input_size:
        _try_input_size(teacher, input_size)
    return teacher


def _set_input_size(checkpoint: str, processor: Any, side: int) -> None:
    """Let a network's pictures be resized to another side [px].

    Raises:
        ValueError: It does not resize pictures, or not to such a side.
    """
    settings = processor.to_dict()
    multiple = settings.get("ensure_multiple_of") or 1
    if set(settings.get("size") or ()) != {"height", "width"}:
        raise ValueError(f"{checkpoint} looks at pictures of any size as they are; leave --input-size out")
    if side % multiple or side < multiple:
        fitting = max(round(side / multiple), 1) * multiple
        raise ValueError(f"--input-size is {side}; {checkpoint} takes multiples of {multiple} px, such as {fitting}")
    processor.size = {"height": side, "width": side}


def _try_input_size(teacher: Teacher, side: int) -> None:
    """Let the network look at a black picture: some take the size they were made for and no other.

    Raises:
        ValueError: It cannot.
    """
    from PIL import Image

    try:
        predict_distances(teacher, [Image.new("RGB", (side, side))])
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"{teacher.facts['checkpoint']} cannot take pictures of {side} px ({first_line(error)}); leave "
            "--input-size out"
        ) from error


def require_transformers() -> Any:
    """Import transformers.

    Raises:
        ValueError: It is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise ValueError(
            f"depth labels need the library transformers ({error}); pip install 'maskdepth[depth]'"
        ) from error
    return transformers


def predict_distances(teacher: Teacher, pictures: "Sequence[Image.Image]") -> list[Distance]:
    """Let the network look at RGB pictures, at once those that have the same size.

    Returns:
        For each picture (H, W), larger is farther: depth [m] of a metric network, minus the inverse depth, up to a
        scale and a shift, of a relative one.

    Raises:
        MemoryError: A batch does not fit on the device.
    """
    rows: dict[tuple[int, int], list[int]] = {}
    for row, picture in enumerate(pictures):
        rows.setdefault(picture.size, []).append(row)
    found: dict[int, Distance] = {}
    for same_size in rows.values():
        found |= zip(same_size, teacher.see([pictures[row] for row in same_size]), strict=True)
    return [found[row] for row in range(len(pictures))]


def _predict_batch(
    model: Any, processor: Any, device: "torch.device", facts: dict[str, Any], pictures: "Sequence[Image.Image]"
) -> list[Distance]:
    import torch

    inputs = processor(images=list(pictures), return_tensors="pt").to(device)
    try:
        with torch.inference_mode():
            output = model(pixel_values=inputs["pixel_values"])
    except torch.OutOfMemoryError as error:
        raise MemoryError(f"{len(pictures)} pictures at once on {device}; use a smaller batch size") from error
    sizes = [(picture.height, picture.width) for picture in pictures]
    if facts["model_type"] == "zoedepth":  # it pads pictures, by widths that follow from their size
        found = processor.post_process_depth_estimation(output, source_sizes=sizes, target_sizes=sizes)
    else:
        found = processor.post_process_depth_estimation(output, target_sizes=sizes)
    maps = (one["predicted_depth"].double().cpu().numpy() for one in found)
    return [_orient(depth.reshape(size), facts["output"]) for depth, size in zip(maps, sizes, strict=True)]


def _orient(depth: Distance, output: str) -> Distance:
    """Turn a network's map so that larger is farther."""
    return -depth if output == RELATIVE else np.minimum(depth, _FARTHEST)


@contextmanager
def _readable_errors(checkpoint: str) -> Iterator[None]:
    """Turn what loading raises, often pages long, into one line with a cure."""
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        raise ValueError(
            f"the checkpoint {checkpoint} cannot be had: {first_line(error)}; where there is a network "
            f"`hf download {checkpoint}` fetches it; or name a folder that holds config.json, model.safetensors and "
            "preprocessor_config.json"
        ) from error
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"the checkpoint {checkpoint} is damaged or no network for depth: {first_line(error)}; "
            f"download it again, or use {DEFAULT_CHECKPOINT}"
        ) from error


def _read_output(checkpoint: str, config: Any) -> str:
    if config.model_type not in _OUTPUTS:
        raise ValueError(
            f"{checkpoint} is a network of type {config.model_type}; depth labels can be made with "
            f"{', '.join(sorted(_OUTPUTS))}"
        )
    if config.model_type == "depth_anything":
        return METRIC if config.depth_estimation_type == "metric" else RELATIVE
    if config.model_type == "dpt" and getattr(config.backbone_config, "model_type", "") == "dinov2":
        return METRIC  # trained on NYU or KITTI by the makers of DINOv2, unlike all others of this type
    return _OUTPUTS[config.model_type]


def _check_complete(checkpoint: str, missing: set[str]) -> None:
    # transformers fills the gaps with random numbers and goes on.
    needed = sorted(name for name in missing if not _UNUSED_WEIGHTS.search(name))
    if needed:
        raise ValueError(f"the checkpoint {checkpoint} lacks {len(needed)} weights, {needed[0]} first; use another one")


def _find_revision(checkpoint: str) -> str | None:
    """Give the commit on the hub that the local cache holds; None for a folder."""
    if Path(checkpoint).is_dir():
        return None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(checkpoint, "config.json")
    return Path(cached).parent.name if isinstance(cached, str) else None


def _digest_weights(model: Any, missing: set[str]) -> str:
    """Name the weights by their content: the same whether they came from the hub or a folder."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        if name not in missing:
            digest.update(name.encode())
            digest.update(weight.contiguous().numpy().tobytes())
    return digest.hexdigest()


def first_line(error: Exception) -> str:
    """Give the beginning of what a library says, which may be pages long."""
    return str(error).partition("\n")[0][:200].rstrip(" .")
