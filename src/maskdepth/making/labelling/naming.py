"""What depth labels are called: as their pictures, or as a layout names the depth of its composites or backgrounds.

Under a layout's names a folder of labels is a part of the data set: put beside the composites, in `data/raw`, it is
found there. The suffix is then the layout's, `.jpg`, and the content PNG all the same: readers look at the content.
"""

from pathlib import PurePosixPath

from maskdepth.data.layouts.layout import Layout, read_layouts
from maskdepth.making.layout_writer import find_written

# What a layout calls the depth of each kind.
_DEPTH_OF = {"composite": "depth", "background": "background_depth"}
# How much of the end of a picture's path its depth may name anew, in folders and the file; wrapper folders stay.
_RENAMED = (2, 3)


def find_layout(name: str) -> Layout:
    """Give the layout of a name.

    Raises:
        ValueError: There is none that can be written; says which there are.
    """
    find_written(name)
    return read_layouts()[name]


def is_of_kind(layout: Layout, path: str, kind: str) -> bool:
    """Tell whether the layout takes a file for one of a kind."""
    recognised = layout.recognise(path)
    return recognised is not None and recognised.kind == kind


def name_as_picture(path: str) -> str:
    """Name a label as its picture, but for the suffix.

    >>> name_as_picture("rooms/7.jpg")
    'rooms/7.png'
    """
    return PurePosixPath(path).with_suffix(".png").as_posix()


def name_as_depth(layout: Layout, path: str) -> str | None:
    """Name a label as a layout names the depth of a composite or a background; None where it has no name for it.

    >>> name_as_depth(find_layout("mshilpaa"), "mine/data_2/Fg-Bg/fg-bg41.jpg")
    'mine/data_2/Depth/depth41.jpg'
    >>> name_as_depth(find_layout("mshilpaa"), "mine/Background/bg7.jpg")
    'mine/Background-Depth/bg-depth7.png'
    >>> name_as_depth(find_layout("sumankanukollu"), "bg_fgFlip_1/3_bg_7_fg.jpg")  # depth maps are of plain ones only
    """
    recognised = layout.recognise(path)
    if recognised is None or recognised.kind not in _DEPTH_OF:
        return None
    kind = _DEPTH_OF[recognised.kind]
    ids = {name: int(text) for name, text in recognised.ids.items()}
    template = find_written(layout.name).paths[kind].replace(".zip/", "/").split("/")
    for renamed in _RENAMED:
        named = "/".join(template[-renamed:])
        if "{batch}" in named:  # a folder that nothing in the name of the composite tells
            return None
        depth = PurePosixPath(*PurePosixPath(path).parts[:-renamed], named.format(**ids)).as_posix()
        found = layout.recognise(depth)
        # Numbers may be written with zeros before them; they are read as the same ones.
        if found and found.kind == kind and {name: int(text) for name, text in found.ids.items()} == ids:
            return depth
    return None
