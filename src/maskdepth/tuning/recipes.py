"""The runs of the five student projects as settings: what each trained with, for `maskdepth recipe`.

A recipe sets what is on record. Its notes say where this pipeline does otherwise: mistakes that are put right because
they were of code, mistakes that are repeated because they are settings, and guesses where nothing is on record.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from maskdepth.params import update_params
from maskdepth.process.console import say


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


_SGD = {"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.9}


def _settings(
    image_size: int,
    model: str,
    loss: dict[str, Any],
    train: dict[str, Any],
    held_out: tuple[float, float] = (0.1, 0.2),
) -> Mapping[str, Any]:
    """Join what is a run's own with what all of them share, under dotted keys.

    Args:
        image_size: [px]
        model: Name of the network.
        loss: Of the section loss; both heads weigh 1 where it says nothing else.
        train: Of the section train.
        held_out: Shares of the pictures to validate and to test; most projects tested on 0.3 and did not validate.
    """
    val, test = held_out
    sections: dict[str, dict[str, Any]] = {
        "data": {"image_size": image_size, "depth_near": "dark", "depth_frame": "crop"},
        "split": {"by": "sample", "val": val, "test": test},
        "model": {"name": model, "inputs": "auto"},
        "loss": {"mask_weight": 1.0, "depth_weight": 1.0} | loss,
        "train": {"clip_norm": 0.0, "precision": "fp32", "augment": [], "keep": "best"} | train,
    }
    settings = {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}
    return MappingProxyType(settings)


_COMMON_NOTES = (
    "repeated: pictures are split one by one (split.by: sample), so that test backgrounds and objects were seen in "
    "training; compare with split.by: background.",
    "corrected: seeds take effect, so a run can be repeated, and a resumed one keeps its split.",
    "corrected: the epoch that is kept is chosen on validation pictures, which no project had; they are a part of what "
    "it held out to test.",
    "differs: pictures are normalised by the moments of the training pictures alone, background and composite each.",
)

# Weight decay pulls on the convolutions alone here, and on every parameter there.
_DECAY_NOTE = "differs: weight decay leaves scales and biases alone."
_SIGMOID_NOTE = "corrected: depth passes a sigmoid and stays within its range; theirs was free to leave it."

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "sajnanshetty": Recipe(
            summary="two-tower U-Net, the same loss for both heads, Adam at 0.01",
            published="test mask IoU 0.942 at 64 px, epoch 15; its depth IoU 0.745 compares the far halves",
            settings=_settings(
                image_size=64,
                model="sajnanshetty",
                loss={"mask": "sajnanshetty", "depth": "sajnanshetty"},
                train={
                    "epochs": 15,
                    "batch_size": 8,
                    "optimizer": "adam",
                    "learning_rate": 0.01,
                    "momentum": 0.9,
                    "weight_decay": 0.0,
                    "schedule": "constant",
                },
            ),
            notes=(
                "repeated: the loss takes the sigmoid twice and z-scored targets, so it has a floor near 0.48; bce is "
                "what was meant.",
                "corrected: outputs go by name; the project returned depth and mask in one order and read the other.",
                "corrected: the best epoch was judged by a running sum of training IoU, every third epoch alone.",
                "differs: the project used 3 of its 100 backgrounds, 8,400 pictures to train and 3,600 to test.",
                "also: its run at 128 px has data.image_size 128 and train.epochs 9.",
            ),
        ),
        "sumankanukollu": Recipe(
            summary="steep encoder with adding decoders at 224 px, cross-entropy for both, the mask counted twice",
            published="test loss 0.374 (mask 0.0146, depth 0.345), with soft targets that keep it from 0",
            settings=_settings(
                image_size=224,
                model="sumankanukollu",
                loss={"mask": "bce", "depth": "bce", "mask_weight": 2.0},
                train={
                    "epochs": 5,
                    "batch_size": 50,
                    **_SGD,
                    "weight_decay": 1e-5,
                    "schedule": "constant",
                },
            ),
            notes=(
                "corrected: mask, composite and depth are joined by name, not by their position in the archive.",
                "corrected: weights were kept by the loss of the last training batch, by a bar carried over from "
                "archive to archive, so the later archives were trained on in vain.",
                "corrected: skips are added out of place; added in place they break the backward pass.",
                "repeated: the depth goes through four of the mask's decoder steps, without one of its skips; the four "
                "of its own are there and never trained.",
                "differs: all archives are trained on together; the project went archive by archive, 5 or 10 epochs "
                "of 7,000 pictures each, with a new split every time.",
                "corrected: its depth pictures are colour-mapped within a white frame, out of register with their "
                "composites; they are cropped and turned back to levels (data.depth_frame: keep trains on the pages).",
                "differs: its pictures were not normalised.",
                _DECAY_NOTE,
            ),
        ),
        "deepjyotisaha85": Recipe(
            summary="two streams at full resolution, SSIM, slopes and absolute error for depth, depth counting 0.7",
            published="test mask Dice 0.91; its depth Dice is 0.43, where a perfect answer has 0.50",
            settings=_settings(
                image_size=64,
                model="deepjyotisaha85",
                loss={"mask": "bce", "depth": "deepjyotisaha85", "mask_weight": 0.3, "depth_weight": 0.7},
                train={
                    "epochs": 28,
                    "batch_size": 64,
                    **_SGD,
                    "weight_decay": 0.0,
                    "schedule": "constant",
                },
            ),
            notes=(
                "not on record: optimiser and learning rate; SGD at 0.01 with momentum 0.9 is what three of the other "
                "four use.",
                "not on record: share of the test pictures, batch size (64 is its default without a GPU, 512 with one) "
                "and window of its SSIM (3 here, as its contemporaries had).",
                "not sure: 28 epochs are in its table and 25 in its text; the depth weight 0.7 is in its text and 0.5 "
                "the default of its code.",
                "corrected: the test loss had SSIM alone and could not be compared with the training loss; here both "
                "are the same.",
                "corrected: the last sample is not dropped; the schedule does not move with the loss of every batch.",
                "differs: the project normalised backgrounds by the moments of the composites.",
                _SIGMOID_NOTE,
            ),
        ),
        "mshilpaa": Recipe(
            summary="residual U-Net with two decoders, cross-entropy and SSIM, SGD in two steps, cutout",
            published="test mask Dice 0.752, depth SSIM 0.916, both of the last batch",
            settings=_settings(
                image_size=64,
                model="mshilpaa",
                loss={"mask": "bce", "depth": "mshilpaa"},
                train={
                    "epochs": 20,
                    "batch_size": 128,
                    **_SGD,
                    "weight_decay": 0.0,
                    "schedule": "step",
                    "step_epochs": 10,
                    "gamma": 0.1,
                    "augment": ["cutout"],
                },
            ),
            notes=(
                "corrected: its labels file names the wrong background in 99 of 100 rows; the index tries both orders "
                "against the pixels and takes the one that fits.",
                "corrected: testing used the batch's own statistics and pictures without normalisation; metrics were "
                "those of the last batch.",
                "corrected: a hole covers the same place in both pictures; theirs covered two places.",
                "differs: cutout paints one hole of 2 to 10 percent into half of the pictures; theirs four of 16 x 16 "
                "pixels, of the same grey.",
                "differs: the total is mask + depth as in its final code; the version that made its logs took half of "
                "it, which at the same learning rate is half the step.",
                "differs: its trials used 80,000 pictures of 20 objects, its final run 400,000.",
                "differs: the project normalised backgrounds by the moments of the composites.",
                _SIGMOID_NOTE,
            ),
        ),
        "sudhakarmlal": Recipe(
            summary="Model1: siamese mask branch and fused depth branch, cross-entropy counted twice and SSIM",
            published="training losses 0.21 (mask) and 0.095 (depth), no test",
            settings=_settings(
                image_size=64,
                model="sudhakarmlal",
                loss={"mask": "bce", "depth": "ssim_w3_kornia03", "mask_weight": 2.0},
                train={
                    "epochs": 3,
                    "batch_size": 16,
                    **_SGD,
                    "weight_decay": 1e-5,
                    "schedule": "step",
                    "step_epochs": 1,
                    "gamma": 0.01,
                },
                held_out=(0.05, 0.05),
            ),
            notes=(
                "repeated: each epoch has a hundredth of the learning rate of the one before, so hardly anything is "
                "learned after the first; a train.gamma of 0.1 and more steps is what helps.",
                "corrected: composite, mask and depth are joined by their full key; the project joined any of one "
                "object and background, so its mask loss stayed near that of a constant.",
                "corrected: it had no test pictures; here a twentieth each is held out to validate and to test.",
                "corrected: its run of four epochs ended in an error during the last and was never saved.",
                "differs: its three equal output channels are averaged and compared once.",
                "differs: its pictures were turned grey and not normalised; those of its own archives are grey.",
                "differs: it used 16,000 pictures of 10 objects and 40 backgrounds.",
                _DECAY_NOTE,
                _SIGMOID_NOTE,
            ),
        ),
        "sudhakarmlal-convgen": Recipe(
            summary="Model2: one output that is to be mask and depth at once, cross-entropy for both",
            published="training losses 0.30 (mask) and 0.81 (depth, risen from 0.71) after one epoch, no test",
            settings=_settings(
                image_size=64,
                model="sudhakarmlal-convgen",
                loss={"mask": "bce", "depth": "bce", "mask_weight": 2.0},
                train={
                    "epochs": 1,
                    "batch_size": 16,
                    **_SGD,
                    "weight_decay": 1e-5,
                    "schedule": "step",
                    "step_epochs": 1,
                    "gamma": 0.01,
                },
                held_out=(0.05, 0.05),
            ),
            notes=(
                "repeated: one output has two targets, so the better it fits the mask the worse it fits the depth.",
                "differs: its three equal output channels are averaged and compared once.",
                "corrected: composite, mask and depth are joined by their full key.",
                "corrected: it had no test pictures; here a twentieth each is held out to validate and to test.",
                "differs: its pictures were turned grey and not normalised; those of its own archives are grey.",
                _DECAY_NOTE,
            ),
        ),
    }
)


def find_recipe(name: str) -> Recipe:
    """Give the recipe of a name.

    Raises:
        ValueError: There is none; says which there are.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name.lower(), RECIPES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"unknown recipe {name!r}; {hint}known: {', '.join(RECIPES)}")
    return RECIPES[name]


def describe_recipes() -> list[dict[str, str]]:
    """List every recipe, for people: its name, what it is, its losses, and what its project published.

    >>> describe_recipes()[3]["losses"]
    'mask bce, depth mshilpaa'
    """
    return [
        {
            "name": name,
            "what it is": recipe.summary,
            "losses": "mask {}, depth {}".format(*(recipe.settings[f"loss.{head}"] for head in ("mask", "depth"))),
            "published": recipe.published,
        }
        for name, recipe in RECIPES.items()
    ]


def write_recipe(name: str, params: Path) -> None:
    """Set params.yaml to the run of a recipe, and say what changed and what to know about it.

    Args:
        name: One of RECIPES.
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
