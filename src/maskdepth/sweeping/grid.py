"""What a sweep consists of: combinations of losses, each with the same seeds, and the experiments that makes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maskdepth.losses.names import normal_form
from maskdepth.params import Params, Seed, override, parse_yaml, read_yaml

# What the name of an experiment may have, as git and shells take it.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Grid(BaseModel):
    """What is to be run; the keys of a sweep's file.

    Attributes:
        mask: Losses of the mask, each with each of `depth`; those of params.yaml where none are named.
        depth: Losses of the depth, likewise.
        pairs: Further combinations, as `bce|ssim`.
        seeds: How many seeds, from 0 on, or which.
        set: Settings that all runs share, by dotted key, where they are not as in params.yaml.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    mask: list[str] = Field(default_factory=list)
    depth: list[str] = Field(default_factory=list)
    pairs: list[str] = Field(default_factory=list)
    seeds: list[Seed] | Seed = 5
    set: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """One run of a sweep.

    Attributes:
        name: Of the DVC experiment, `dice-ssim-s0`.
        signature: Both losses in normal form, `dice|ssim`.
        seed: Of the training.
        settings: What is not as in params.yaml, by dotted key.
    """

    name: str
    signature: str
    seed: int
    settings: Mapping[str, Any] = field(hash=False)


def read_grid(path: Path) -> Grid:
    """Read the file of a sweep.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Not YAML, or an unknown or wrong key; names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; it holds mask:, depth: and seeds:, as docs/COMPARING.md shows")
    try:
        return Grid.model_validate(dict(read_yaml(path)))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part not in ("int", "list[constrained-int]"))
        known = ", ".join(Grid.model_fields)
        raise ValueError(f"{path}: {key}: {first['msg'].lower()}; known here: {known}") from error


def gather(file: Path | None, mask: str, depth: str, pairs: str, seeds: int | None, settings: Sequence[str]) -> Grid:
    """Bring the file of a sweep and what was typed beside it together; what was typed wins.

    Args:
        file: Of the sweep, if there is one.
        mask: Losses, separated by commas.
        depth: Likewise.
        pairs: Combinations, likewise.
        seeds: How many.
        settings: As `train.epochs=4`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Something in it or in a setting cannot be read.
    """
    grid = read_grid(file) if file else Grid()
    typed: dict[str, Any] = {
        key: [part.strip() for part in text.split(",") if part.strip()]
        for key, text in {"mask": mask, "depth": depth, "pairs": pairs}.items()
        if text
    }
    if seeds is not None:
        typed["seeds"] = seeds
    return grid.model_copy(update=typed | {"set": grid.set | dict(map(_read_setting, settings))})


def _read_setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key or not value:
        raise ValueError(f"{text!r} sets nothing; expected a key and a value, as train.epochs=4")
    return key, parse_yaml(f"value: {value}")["value"]


def plan(grid: Grid, params: Params, name: str = "") -> tuple[Experiment, ...]:
    """List the experiments of a grid: all combinations with the first seed, then with the next.

    So a sweep that is stopped halfway has something to say of every combination.

    Args:
        grid: What is to be run.
        params: The settings here.
        name: What all names begin with, for a second sweep of the same losses with other settings.

    Raises:
        ValueError: A loss that does not exist, a setting that is not allowed or belongs to the sweep itself, no seeds,
            or a name that git does not take.
    """
    if name and not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot begin the names of experiments; letters, digits, '.', '_' and '-' can")
    taken = [key for key in grid.set if key in ("loss.mask", "loss.depth", "train.seed")]
    if taken:
        raise ValueError(f"{taken[0]} is what a sweep goes through; name it by --mask, --depth or --seeds")
    override(params, grid.set, "the sweep's settings")
    seeds = list(dict.fromkeys(range(grid.seeds) if isinstance(grid.seeds, int) else grid.seeds))
    if not seeds:
        raise ValueError("a sweep needs a seed at least; from fewer than three nothing can be claimed")
    begin = f"{name}-" if name else ""
    return tuple(
        Experiment(
            name=f"{begin}{_spell(mask)}-{_spell(depth)}-s{seed}",
            signature=f"{mask}|{depth}",
            seed=seed,
            settings={**grid.set, "loss.mask": mask, "loss.depth": depth, "train.seed": seed},
        )
        for seed in seeds
        for mask, depth in _combinations(grid, params)
    )


def _combinations(grid: Grid, params: Params) -> list[tuple[str, str]]:
    """Give each combination once, in normal form, in the order in which they were named."""
    masks: Sequence[str | Mapping[str, float]] = grid.mask or [params.loss.mask]
    depths: Sequence[str | Mapping[str, float]] = grid.depth or [params.loss.depth]
    crossed = [(mask, depth) for mask in masks for depth in depths] if grid.mask or grid.depth else []
    pairs = [pair.partition("|")[::2] for pair in grid.pairs]
    if not crossed and not pairs:
        raise ValueError(
            "no losses are named: --mask bce,dice --depth l1,ssim, or --file; `maskdepth losses` lists all"
        )
    named = [*crossed, *pairs]
    return list(dict.fromkeys((normal_form(mask, "mask"), normal_form(depth, "depth")) for mask, depth in named))


def _spell(loss: str) -> str:
    """Write a loss as a part of a name: git takes no star."""
    return loss.replace("*", "")
