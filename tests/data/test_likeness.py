"""Pictures of one scene that were changed a little are proposed as one place, and different scenes are not."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.toy import draw_background

from maskdepth.data.likeness import describe_proposals, propose_places

NUMBERS = range(1, 31)
SCENES = np.stack([draw_background(number) for number in NUMBERS])


def table(num_pictures):
    ids = [str(number) for number in range(1, num_pictures + 1)]
    return pd.DataFrame({"background": ids, "place": ids})


def rebrighten(picture):
    return np.clip(picture.astype(int) + 12, 0, 255).astype(np.uint8)


CHANGES = {
    "saved again": lambda picture: picture // 8 * 8,
    "brighter": rebrighten,
    "shifted": lambda picture: np.roll(picture, 2, axis=1),
    "cropped": lambda picture: np.asarray(Image.fromarray(picture[2:-2, 2:-2]).resize(picture.shape[1::-1])),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_picture_of_a_scene_is_proposed(change):
    pictures = np.concatenate([SCENES, CHANGES[change](SCENES[6])[None]])
    assert ["7", "31"] in propose_places(table(31), pictures)


def test_different_scenes_are_not_proposed():
    assert propose_places(table(12), SCENES[:12]) == []


def test_what_is_called_one_place_is_not_proposed_again():
    pictures = np.concatenate([SCENES[:12], SCENES[6:7]])
    assert propose_places(table(13).assign(place="hall"), pictures) == []


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pictures_to_compare_are_no_proposal(count):
    assert propose_places(table(count), SCENES[:count]) == []


def test_a_proposal_says_what_to_write():
    told = "the backgrounds 3, 7 look like one place: if they are, write into places.csv 3,3 7,3"
    assert list(describe_proposals([["3", "7"]])) == [told]
