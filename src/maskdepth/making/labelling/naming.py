"""What depth labels are called: as their pictures, or as a layout names the depth of its composites.

Under a layout's names a folder of labels is a part of the data set: put beside the composites, in `data/raw`, it is
found there. The suffix is then the layout's, `.jpg`, and the content PNG all the same: readers look at the content.
"""

from pathlib import PurePosixPath

from maskdepth.data.layouts.layout import Layout, read_layouts
from maskdepth.making.layout_writer import WRITTEN_LAYOUTS

# How much of the end of a composite's path its depth names anew, in folders and the file; wrapper folders stay.
_RENAMED = {"sajnanshetty": 3}
_USUALLY_RENAMED = 2


def find_layout(name: str) -> Layout:
    """Give the layout of a name.

    Raises:
        ValueError: There is none; says which there are.
    """
    if name not in WRITTEN_LAYOUTS:
        raise ValueError(f"unknown layout {name!r}; known: {', '.join(sorted(WRITTEN_LAYOUTS))}")
    return read_layouts()[name]


def is_composite(layout: Layout, path: str) -> bool:
    """Tell whether the layout takes a file for a composite."""
    recognised = layout.recognise(path)
    return recognised is not None and recognised.kind == "composite"


def name_as_picture(path: str) -> str:
    """Name a label as its picture, but for the suffix.

    >>> name_as_picture("rooms/7.jpg")
    'rooms/7.png'
    """
    return PurePosixPath(path).with_suffix(".png").as_posix()


def name_as_depth(layout: Layout, path: str) -> str | None:
    """Name a label as a layout names the depth of a composite; None where it has no name for it.

    >>> name_as_depth(find_layout("mshilpaa"), "mine/data_2/Fg-Bg/fg-bg41.jpg")
    'mine/data_2/Depth/depth41.jpg'
    >>> name_as_depth(find_layout("sumankanukollu"), "bg_fgFlip_1/3_bg_7_fg.jpg")  # depth maps are of plain ones only
    """
    recognised = layout.recognise(path)
    if recognised is None or recognised.kind != "composite":
        return None
    renamed = _RENAMED.get(layout.name, _USUALLY_RENAMED)
    template = "/".join(WRITTEN_LAYOUTS[layout.name].paths["depth"].replace(".zip/", "/").split("/")[-renamed:])
    ids = {name: int(text) for name, text in recognised.ids.items()}
    depth = PurePosixPath(*PurePosixPath(path).parts[:-renamed], template.format(**ids)).as_posix()
    found = layout.recognise(depth)
    if found is None or found.kind != "depth":
        return None
    # Numbers may be written with zeros before them; they are read as the same ones.
    return depth if {name: int(text) for name, text in found.ids.items()} == ids else None
