"""One drawn scene without and with an object, as two photographs: for whoever wants to try a network at once."""

import numpy as np

from maskdepth.making.drawing.objects import OBJECT_KINDS, draw_object
from maskdepth.making.drawing.placing import stand_object
from maskdepth.making.drawing.scenes import SCENE_KINDS, draw_scene
from maskdepth.making.layout_writer import encode_picture

_SIZE = 320  # [px]
_QUALITY = 92


def draw_pair(number: int) -> tuple[bytes, bytes]:
    """Draw background and composite, JPEG; the same number draws the same bytes.

    Args:
        number: 0 or more; scenes and objects of all kinds follow one another.
    """
    rng = np.random.default_rng(number)
    scene = draw_scene(list(SCENE_KINDS)[number % len(SCENE_KINDS)], rng, _SIZE)
    object_ = draw_object(list(OBJECT_KINDS)[number % len(OBJECT_KINDS)], rng)
    composite = stand_object(scene, object_, rng)
    return encode_picture(scene.picture, _QUALITY), encode_picture(composite.picture, _QUALITY)
