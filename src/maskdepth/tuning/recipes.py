"""The runs of the five student projects as settings: what each trained with, for `maskdepth recipe`.

A recipe is one TOML file in the folder `known_recipes` and sets what is on record. Its notes say where this pipeline
does otherwise: mistakes that are put right because they were of code, mistakes that are repeated because they are
settings, and guesses where nothing is on record.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from maskdepth.params import update_params
from maskdepth.process.console import say, suggest


@dataclass(frozen=True)
class Recipe:
    """One run.

    Attributes:
        summary: What was trained, in a few words.
        published: The result that its project reports, and on what.
        settings: Values by dotted key of params.yaml; what is not named stays as it is.
        notes: What differs from the project's own run, what does not, and what nobody knows; one sentence or two each.
    """

    summary: str
    published: str
    settings: Mapping[str, Any]
    notes: tuple[str, ...]


_COMMON_NOTES = (
    "repeated: pictures are split one by one (split.by: sample), so that test backgrounds and objects were seen in "
    "training; compare with split.by: background.",
    "corrected: seeds take effect, so a run can be repeated, and a resumed one keeps its split.",
    "corrected: the epoch that is kept is chosen on validation pictures, which no project had; they are a part of what "
    "it held out to test.",
    "differs: pictures are normalised by the moments of the training pictures alone, background and composite each.",
)


@cache
def read_recipes() -> dict[str, Recipe]:
    """Read every recipe that comes with the package, by name."""
    folder = files("maskdepth.tuning") / "known_recipes"
    found = {file.name.removesuffix(".toml"): file for file in folder.iterdir() if file.name.endswith(".toml")}
    return {name: _read(found[name].read_text(encoding="utf-8")) for name in sorted(found)}


def _read(text: str) -> Recipe:
    recipe = tomllib.loads(text)
    sections = recipe["settings"].items()
    settings = {f"{section}.{name}": value for section, values in sections for name, value in values.items()}
    return Recipe(recipe["summary"], recipe["published"], settings, tuple(recipe["notes"]))


def find_recipe(name: str) -> Recipe:
    """Give the recipe of a name.

    Raises:
        ValueError: There is none; says which there are.
    """
    known = read_recipes()
    if name not in known:
        raise ValueError(f"unknown recipe {name!r}; {suggest(name, known)}")
    return known[name]


def describe_recipes() -> list[dict[str, str]]:
    """List every recipe, for people: its name, what it is, its losses, and what its project published.

    >>> describe_recipes()[1]["losses"]
    'mask bce, depth mshilpaa'
    """
    return [
        {
            "name": name,
            "what it is": recipe.summary,
            "losses": "mask {}, depth {}".format(*(recipe.settings[f"loss.{head}"] for head in ("mask", "depth"))),
            "published": recipe.published,
        }
        for name, recipe in read_recipes().items()
    ]


def write_recipe(name: str, params: Path) -> None:
    """Set params.yaml to the run of a recipe, and say what changed and what to know about it.

    Args:
        name: One of `read_recipes`.
        params: The file to change; its comments and all that the recipe does not name stay.

    Raises:
        ValueError: There is no such recipe, or `params` is not valid.
        FileNotFoundError: `params` is missing.
    """
    recipe = find_recipe(name)
    changes = update_params(params, recipe.settings)
    for key, (before, after) in changes.items():
        say(f"{key}: {before} -> {after}")
    say(f"recipe: {name}, {len(changes)} settings of {params} changed; {recipe.summary}")
    say(f"published: {recipe.published}")
    for note in (*recipe.notes, *_COMMON_NOTES):
        say(f"- {note}")
