"""Search for bytes on which the reader of archives or of pictures does anything but read or refuse them.

    python -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris
    PYTHONPATH=.venv/lib/python3.11/site-packages /tmp/fuzz/bin/python tests/faults/fuzz.py archives --seconds 600

The search is guided by coverage of the reader and of the library below it. It wants atheris, which has no wheels for
every Python that the project runs on, and is therefore none of its dependencies: Python 3.11 is known to work. It
begins with the bad archives and pictures of the tests. An input is handled when it is read or refused with a
`RefusedError`, within five seconds and the memory said below; anything else is kept as a file, and the exit code is 1.
"""

import argparse
import io
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import traceback
import zlib
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

SECONDS_AN_INPUT = 5  # on a machine with a core for it
# [MB] of the whole process: the fuzzer and the libraries take 400, a member of an archive up to twice its 256 MB, and a
# picture of the 40 million pixels that are allowed up to 18 bytes for each.
MEMORY = {"archives": 400 + 2 * 256, "pictures": 400 + 18 * 40}
LARGEST_INPUT = 20_000
PNG_START = b"\x89PNG\r\n\x1a\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", choices=SEARCHES)
    parser.add_argument("--seconds", type=int, default=600)
    kept = Path(tempfile.gettempdir(), "maskdepth-findings")
    parser.add_argument("--findings", type=Path, default=kept, help="folder for what was found")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)  # folder of the corpus
    options = parser.parse_args()
    if find_spec("atheris") is None:
        sys.exit("atheris is not installed for this Python; tests/faults/fuzz.py --help says how to run it")
    if options.child:
        search(options.reader, options.seconds, options.findings, options.child)
    options.findings.mkdir(parents=True, exist_ok=True)
    before = len(list(options.findings.iterdir()))
    with tempfile.TemporaryDirectory(prefix="maskdepth-fuzz-", dir="/dev/shm") as folder:
        write_seeds(options.reader, Path(folder))
        # The fuzzer ends its process itself, so that it needs one of its own.
        child = subprocess.run(
            [sys.executable, *sys.argv, f"--child={folder}", f"--findings={options.findings.resolve()}"],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    found = len(list(options.findings.iterdir())) - before
    executions = re.findall(r"stat::number_of_executed_units:\s*(\d+)", child.stderr)
    coverage = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", child.stderr)
    if child.returncode or not executions or not coverage:
        print(child.stderr[-3000:], file=sys.stderr)
    points, features, corpus = map(int, coverage[-1]) if coverage else (0, 0, 0)
    told = {
        "reader": options.reader,
        "seconds": options.seconds,
        "executions": int(executions[-1]) if executions else 0,
    }
    told |= {"coverage": points, "features": features, "corpus": corpus, "findings": found, "exit": child.returncode}
    print(json.dumps({"benchmark": "fuzz", **told}))
    return int(found > 0 or child.returncode != 0)


def search(reader: str, seconds: int, findings: Path, corpus: Path) -> None:
    """Try inputs for so long; never returns."""
    import atheris

    with atheris.instrument_imports(include=["maskdepth", "zipfile", "PIL"]):
        handle = SEARCHES[reader]()
    seen = set()

    def try_input(data: bytes) -> None:
        try:
            handle(data)
        except Exception as error:  # whatever gets here is a finding
            place = traceback.extract_tb(error.__traceback__)[-1]
            key = (type(error).__name__, place.filename, place.lineno)
            if key not in seen:
                seen.add(key)
                (findings / f"{reader}-{zlib.crc32(data):08x}").write_bytes(data)
                print(f"found {key}: {error}", file=sys.stderr)

    patience = round(SECONDS_AN_INPUT * max(1, os.getloadavg()[0] / (os.cpu_count() or 1)))
    limits = [f"-timeout={patience}", f"-rss_limit_mb={MEMORY[reader]}", f"-max_len={LARGEST_INPUT}"]
    where = [f"-artifact_prefix={findings}/{reader}-", "-print_final_stats=1", str(corpus)]
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", *limits, *where], try_input)
    atheris.Fuzz()


def search_archives():
    """Give the function that reads a zip and every member of it, as the unzip stage does."""
    from maskdepth.data.archives.archive import Archive
    from maskdepth.data.layouts.layout import read_layouts
    from maskdepth.data.pictures.refusal import RefusedError

    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    archive = Archive("fuzzed.zip", folder, is_zip=True)
    layouts = list(read_layouts().values())

    def handle(data: bytes) -> None:
        (folder / archive.name).write_bytes(data)
        try:
            members = archive.members()
        except RefusedError:
            return
        with archive.opened(members) as read:
            for member in members:
                for layout in layouts:
                    layout.recognise(archive.path_of(member))
                try:
                    content = read(member)
                except RefusedError:
                    continue
                assert (len(content), zlib.crc32(content)) == (member.size, member.crc)

    return handle


def search_pictures():
    """Give the function that decodes a picture; the first byte of an input says as what."""
    import numpy as np

    from maskdepth.data.pictures.decoding import PICTURE_KINDS, decode_picture
    from maskdepth.data.pictures.refusal import RefusedError

    def handle(data: bytes) -> None:
        choice = data[0] if data else 0
        kind, frame = PICTURE_KINDS[choice & 3], ("refuse", "crop", "keep")[(choice >> 2) % 3]
        try:
            picture = decode_picture(with_checksums(data[1:]) if choice & 0x80 else data[1:], kind, 16, "dark", frame)
        except RefusedError:
            return
        assert picture.pixels.shape[:2] == (16, 16) and picture.pixels.dtype == np.uint8
        assert kind != "mask" or picture.pixels.max() <= 1
        assert picture.width * picture.height > 0

    return handle


SEARCHES = {"archives": search_archives, "pictures": search_pictures}


def with_checksums(data: bytes) -> bytes:
    """Give the chunks of a PNG true checksums: without, what has been changed in it is hardly looked at."""
    if not data.startswith(PNG_START):
        return data
    chunks, place = [PNG_START], len(PNG_START)
    while place + 12 <= len(data):
        size = struct.unpack_from(">I", data, place)[0]
        chunk = data[place + 4 : place + 8 + size]
        chunks += [data[place : place + 4], chunk, struct.pack(">I", zlib.crc32(chunk))]
        place += 12 + size
    return b"".join(chunks)


def write_seeds(reader: str, folder: Path) -> None:
    """Write the inputs to begin with."""
    if reader == "archives":
        from data.archives.test_zips import BAD_ZIPS, write

        for number, (make, _) in enumerate(BAD_ZIPS.values()):
            make(folder / str(number))
        write(folder / "good", "bg_jpg/bg_img_1.jpg", "fg_bg_jpg/fg_bg_1_1_0_1.jpg", data=b"abc" * 50)
        for path in folder.iterdir():
            if path.stat().st_size > LARGEST_INPUT:
                path.unlink()
        return
    for number, picture in enumerate(list_pictures()):
        for kind in range(4):
            (folder / f"{number}-{kind}").write_bytes(bytes([0x80 | (number % 3) << 2 | kind]) + picture)


def list_pictures() -> list[bytes]:
    """Encode a small ramp in every way that Pillow knows for JPEG and PNG."""
    from PIL import Image
    from support.plotted import draw_levels, plot_small_page

    ramp = Image.linear_gradient("L").resize((12, 12))
    turned = Image.Exif()
    turned[0x0112] = 6
    ways = [("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")]
    ways += [("JPEG", mode, {}) for mode in ("L", "RGB", "CMYK")]
    ways += [("JPEG", "RGB", {"progressive": True, "exif": turned}), ("PNG", "RGB", {"exif": turned, "optimize": True})]
    pictures = []
    for form, mode, options in ways:
        data = io.BytesIO()
        ramp.convert(mode).save(data, form, **options)
        pictures.append(data.getvalue())
    page = plot_small_page(draw_levels(112))
    return [*pictures, page] if len(page) < LARGEST_INPUT else pictures


if __name__ == "__main__":
    sys.exit(main())
