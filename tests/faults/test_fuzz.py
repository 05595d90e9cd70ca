"""Proves that what `fuzz.py` beside this begins with, and random changes of it, are read or refused; it searches on."""

import importlib.util
import random
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("fuzz", ROOT / "tests" / "faults" / "fuzz.py")
fuzz = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(fuzz)

# What the search has found, mended since: a member without a name, an end record that holds the start of another, and
# a file that is nothing but the start of one.
FOUND = {
    "archives": [
        "504b03041400000008000000210000000000080000009600000000000000"
        "4b4c1c4e4a7c0800504b010214031400000008000000210000000000080000009600000000000000000000000000000080010000"
        "0000504b050600000000010001002e000000260000000000",
        "504b03048d0000000000002100fc2f6f46060070677461726765745"
        "04b0102031400004000000000210"
        "0fc2f6f4606000062675f6a70672f62675f2e6d675f312e6a7067a1000000006f64642e6a7067504b0506000000000100010035000000"
        "504b05060000",
        "504b0506002dea4c02ba2f47c2",
    ],
    "pictures": [],
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about damaged EXIF
@pytest.mark.parametrize("reader", fuzz.SEARCHES)
def test_seeds_and_their_changes_are_read_or_refused(reader, tmp_path):
    fuzz.write_seeds(reader, tmp_path)
    seeds = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert len(seeds) > 20
    handle, chance = fuzz.SEARCHES[reader](), random.Random(0)
    for data in [*seeds, *map(bytes.fromhex, FOUND[reader])]:
        handle(data)
        for _ in range(2):
            changed = bytearray(data)
            for _ in range(min(3, len(data))):
                changed[chance.randrange(len(data))] = chance.randrange(256)
            handle(bytes(changed))
