"""Data sets in every way in which they were seen to go wrong, or to look wrong and be right.

Each case is a zip of its own below one raw folder, beside a good one. It may hold one sample, of the foreground that is
the case's number, on a background of the good zip; what is odd about it is its archive, or one of its three pictures.
"""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from data.archives.test_zips import (
    BAD_ZIPS,
    NOISE,
    OWN_SIZE,
    SIZE,
    patch_entry,
    patch_header,
    special_file,
    write,
)
from PIL import Image
from support.plotted import draw_levels, plot_small_page
from support.toy import TOY_SIZE, draw_background, draw_sample, encode_png, write_zip

Files = list[tuple[str, bytes]]
FOLDERS = {"composite": "fg_bg_jpg/fg_bg", "mask": "mask_black_jpg/bg_mask", "depth": "depth_fg_bg_jpg/depth_fg_bg"}


def name_of(kind: str, number: int) -> str:
    return f"{FOLDERS[kind]}_{number}_1_0_1.jpg"


def pixels_of(number: int) -> dict[str, np.ndarray]:
    sample = draw_sample(number, 1, 0, 1)
    return {"composite": sample.composite, "mask": sample.mask * 255, "depth": sample.depth}


def files_of(number: int, **instead: bytes) -> Files:
    """Give the three pictures of a sample, some of them replaced."""
    return [
        (name_of(kind, number), instead.get(kind) or encode_png(pixels)) for kind, pixels in pixels_of(number).items()
    ]


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def picture(number: int, kind: str) -> Image.Image:
    return Image.fromarray(pixels_of(number)[kind])


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (TOY_SIZE, TOY_SIZE, 3), np.uint8))


def announce_pixels(side: int) -> bytes:
    """A PNG that announces so many pixels a side and has none."""
    chunks = [b"IHDR" + struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"")]
    framed = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def without_name(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(zipfile.ZipInfo("a.jpg"), b"1")
        opened.filelist[0].filename = ""


def with_two_ends(path: Path) -> None:
    """Let the end record hold the first bytes of another one, which lies beyond the end of the file."""
    write(path, "a.jpg")
    data = bytearray(path.read_bytes())
    data[-6:-2] = b"PK\x05\x06"
    path.write_bytes(data)


# Archives that are refused, and a part of the reason that rejected.csv gives.
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    **BAD_ZIPS,
    "no name": (without_name, "member '' has no name"),
    "two ends": (with_two_ends, "names places before its beginning"),
    "character device": (lambda path: special_file(path, stat.S_IFCHR), "special file"),
    "block device": (lambda path: special_file(path, stat.S_IFBLK), "special file"),
    "directory cut off": (lambda path: path.write_bytes(b"PK\x03\x04" + NOISE), r"truncated or damaged: .* bytes are"),
}


def flip_a_stored_byte(path: Path, number: int) -> None:
    write_stored(path, files_of(number))
    path.write_bytes(path.read_bytes().replace(b"IDAT", b"IDAU", 1))


def write_stored(path: Path, files: Files) -> None:
    with zipfile.ZipFile(path, "w") as opened:
        for name, data in files:
            opened.writestr(zipfile.ZipInfo(name), data)


def claim_less(path: Path, number: int) -> None:
    write_zip(path, files_of(number, composite=bytes(1000)))
    patch_entry(path, 0, SIZE, "<I", 999)
    patch_header(path, OWN_SIZE, "<I", 999)


def rename_in_directory(path: Path, number: int) -> None:
    """Let the directory alone call the composite what it is; its own header has another name."""
    write_zip(path, files_of(number))
    data = path.read_bytes()
    name = name_of("composite", number).encode()
    assert data.count(name) == 2
    path.write_bytes(data.replace(name, name.replace(b"fg_bg_", b"xg_bg_"), 1))


def overwrite_header(path: Path, number: int) -> None:
    """Let nothing begin where the directory says that the composite does."""
    write_stored(path, files_of(number))
    patch_header(path, 0, "<4s", b"0000")


def other_members(number: int) -> Files:
    return files_of(number)[1:]


# Zips in which the composite, or the picture named in the case, is turned down, and why.
REJECTED: dict[str, tuple[Callable[[Path, int], object], str]] = {
    "damaged member": (flip_a_stored_byte, "its CRC differs from the one in its archive"),
    "member of another size": (claim_less, "its size is not the 999 bytes"),
    "renamed member": (rename_in_directory, "its header calls it"),
    "member at no header": (overwrite_header, "its header is not where the directory of the zip says"),
}


def with_picture(kind: str, data: bytes) -> Callable[[Path, int], object]:
    return lambda path, number: write_zip(path, files_of(number, **{kind: data}))


def scan_again(count: int) -> bytes:
    """A progressive JPEG whose last scan is there so many times."""
    data = encode(noise(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


NOISE_PNG, NOISE_JPEG = encode(noise()), encode(noise(), "JPEG")
REJECTED |= {
    "truncated PNG": (with_picture("composite", NOISE_PNG[:-800]), "it cannot be decoded"),
    "truncated JPEG": (with_picture("composite", NOISE_JPEG[:-400]), "it cannot be decoded"),
    "JPEG without its last bytes": (with_picture("composite", NOISE_JPEG[:-2]), "it cannot be decoded"),
    "GIF named JPEG": (with_picture("composite", encode(noise(), "GIF")), "it is not a JPEG or PNG picture"),
    "TIFF of floats": (with_picture("depth", encode(Image.new("F", (8, 8)), "TIFF")), "it is not a JPEG or PNG pict"),
    "web page named JPEG": (with_picture("composite", b"<html>quota exceeded</html>"), "it is not a JPEG or PNG pict"),
    "picture bomb": (with_picture("composite", announce_pixels(60_000)), "pixels|not a JPEG or PNG"),
    "scans without end": (with_picture("composite", scan_again(1000)), "it has over 200 scans"),
    "picture without pixels": (with_picture("composite", announce_pixels(0)), "it is not a JPEG or PNG picture"),
    "colours in a mask": (with_picture("mask", NOISE_PNG), "its channels differ by up to"),
    "colours in a depth map": (with_picture("depth", NOISE_PNG), "its channels differ by up to"),
    "depth drawn on a page": (with_picture("depth", plot_small_page(draw_levels(112))), "a drawing on a white page"),
    "no bytes": (
        lambda path, number: write_zip(path, [(name_of("composite", number), b""), *other_members(number)]),
        "it is not a JPEG or PNG picture",
    ),
    "mask of another shape": (with_picture("mask", encode(Image.new("L", (32, 16)))), "32x32 px, but its mask 32x16"),
    "no mask": (lambda path, number: write_zip(path, [files_of(number)[n] for n in (0, 2)]), "no mask bears its name"),
    "no depth": (lambda path, number: write_zip(path, files_of(number)[:2]), "no depth bears its name"),
    "no composite": (lambda path, number: write_zip(path, other_members(number)), "no composite bears its name"),
    "zip within a zip": (
        lambda path, number: write_zip(path, [("more/inner.zip", NOISE), *files_of(number)]),
        "only zip archives are opened, and none within another",
    ),
    "a foreign file": (
        lambda path, number: write_zip(path, [("notes.txt", b"hello"), *files_of(number)]),
        "its name fits no pattern of layout sudhakarmlal",
    ),
    "sample of the good zip with other pixels": (
        lambda path, number: write_zip(path, [(name_of("composite", 1), NOISE_PNG)]),
        "the same name with other content",
    ),
}


def turned(number: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    return encode(picture(number, "composite").rotate(90, expand=True), exif=exif)


def streamed(path: Path, number: int) -> None:
    """Write the sizes behind each member, as programs do that cannot go back."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *place: int) -> int:
            raise io.UnsupportedOperation

        tell = seek

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in files_of(number):
            opened.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    path.write_bytes(pipe.getvalue())


def with_comment(path: Path, number: int) -> None:
    write_zip(path, files_of(number))
    with zipfile.ZipFile(path, "a") as opened:
        opened.comment = b"from us with love"


def as_programs(path: Path, number: int) -> None:
    """Mark the pictures as programs that run as root; nothing is ever unpacked, so that means nothing."""
    with zipfile.ZipFile(path, "w") as opened:
        for name, data in files_of(number):
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFREG | stat.S_ISUID | 0o755) << 16
            opened.writestr(info, data)


def named(change: Callable[[str], str]) -> Callable[[Path, int], object]:
    return lambda path, number: write_stored(path, [(change(name), data) for name, data in files_of(number)])


def deep(number: int) -> bytes:
    return encode(Image.fromarray(pixels_of(number)["depth"].astype(np.uint16) * 257))


def shown_as(kind: str, mode: str, form: str = "PNG", **options: object) -> Callable[[Path, int], object]:
    return lambda path, number: write_zip(
        path, files_of(number, **{kind: encode(picture(number, kind).convert(mode), form, **options)})
    )


BEST = {"quality": 100, "subsampling": 0}
# Zips that look odd and are right: their sample is in the index, with the pixels that were drawn.
ACCEPTED: dict[str, Callable[[Path, int], object]] = {
    "in a folder more": named(lambda name: f"batch 7/{name}"),
    "in folders that are not ASCII": named(lambda name: f"donn\u00e9es/\u56fe\u7247/{name}"),
    "backslashes between folders": named(lambda name: name.replace("/", "\\")),
    "a dot in front": named(lambda name: f"./{name}"),
    "stored": named(str),
    "sizes behind the members": streamed,
    "with a comment": with_comment,
    "setuid programs": as_programs,
    "with what a desktop left": lambda path, number: write_zip(path, [("__MACOSX/._x.jpg", b"x"), *files_of(number)]),
    "the same sample a second time": lambda path, number: write_zip(path, [*files_of(number), *files_of(2)]),
    "colour JPEG": shown_as("composite", "RGB", "JPEG", **BEST),
    "progressive JPEG": shown_as("composite", "RGB", "JPEG", progressive=True, **BEST),
    "CMYK JPEG": shown_as("composite", "CMYK", "JPEG", **BEST),
    "transparency": shown_as("composite", "RGBA"),
    "palette": shown_as("depth", "P"),
    "grey with transparency": shown_as("depth", "LA"),
    "one bit": shown_as("mask", "1"),
    "grey as colour": shown_as("mask", "RGB"),
    "mask as JPEG": shown_as("mask", "L", "JPEG", quality=60),
    "16 bits": lambda path, number: write_zip(path, files_of(number, depth=deep(number))),
    "turned": lambda path, number: write_zip(path, files_of(number, composite=turned(number))),
    "junk behind the picture": lambda path, number: write_zip(
        path, files_of(number, composite=encode(picture(number, "composite")) + NOISE)
    ),
    "twice the size": lambda path, number: write_zip(
        path, files_of(number, composite=encode(picture(number, "composite").resize((64, 64), Image.Resampling.BOX)))
    ),
}


def zip_name(case: str) -> str:
    return f"{case.replace(' ', '_')}.zip"


def numbered(cases: dict) -> list[tuple[int, str]]:
    """Give each case of a table its foreground, from 11: the good zip has those below."""
    kinds = (REFUSED, REJECTED, ACCEPTED)
    start = 11 + sum(len(kind) for kind in kinds[: next(n for n, kind in enumerate(kinds) if kind is cases)])
    return list(enumerate(cases, start))


def write_everything(raw: Path) -> None:
    """Write a good zip with backgrounds 1 and 2 and foregrounds 1 and 2, and the zip of every case beside it."""
    samples = [file for number in (1, 2) for file in files_of(number)]
    backgrounds = [(f"bg_jpg/bg_img_{number}.jpg", encode_png(draw_background(number))) for number in (1, 2)]
    write_zip(raw / "good.zip", backgrounds + samples)
    for case, (make, _) in REFUSED.items():
        make(raw / zip_name(case))
    for number, case in numbered(REJECTED):
        REJECTED[case][0](raw / zip_name(case), number)
    for number, case in numbered(ACCEPTED):
        ACCEPTED[case](raw / zip_name(case), number)
