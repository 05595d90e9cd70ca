"""Proves that batches of a store are those of the disk: read in long ranges, each once, within a bound, or told why."""

import errno
import io
import json
import math
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from support.object_store import SECRET, bucket, served
from support.toy_shards import MSHILPAA

from maskdepth.data.arrays.arrays import CARD_FILE, CHANNELS, Arrays, read_arrays
from maskdepth.data.arrays.stored import StoredArray
from maskdepth.data.batches import ahead
from maskdepth.data.batches.batches import Batches

CPU = torch.device("cpu")
SIDE, SHARDS, EACH, BACKGROUNDS = 8, 3, 400, 4
COUNTS = {"background": BACKGROUNDS, "composite": EACH, "mask": EACH, "depth": EACH}
NUM_BYTES = SHARDS * sum(count * SIDE**2 * math.prod(CHANNELS[kind]) for kind, count in COUNTS.items())
WINDOW = 0.04


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Shards of noise."""
    random = np.random.default_rng(0)
    for number in range(SHARDS):
        shard = tmp_path / "arrays" / f"batch{number}"
        shard.mkdir(parents=True)
        for kind, count in COUNTS.items():
            pixels = random.integers(0, 2 if kind == "mask" else 256, (count, SIDE, SIDE, *CHANNELS[kind]), np.uint8)
            np.save(shard / f"{kind}.npy", pixels)
        card = {"archive": f"{shard.name}.zip", "layout": "mshilpaa", "definition": MSHILPAA, "image_size": SIDE}
        card |= {"store": "pixels", "depth_near": "dark", "depth_frame": "refuse", "max_pixels": 10_000}
        (shard / CARD_FILE).write_text(json.dumps(card | {"counts": COUNTS, "key": str(number)}))
    return tmp_path / "arrays"


@pytest.fixture
def rows() -> pd.DataFrame:
    """Samples of all shards, without those of one background in ten stretches: what is held out."""
    numbers = np.arange(SHARDS * EACH)
    numbers = numbers[numbers // 10 % 12 > 0]
    table = {f"{kind}_row": numbers for kind in ("composite", "mask", "depth")}
    backgrounds = numbers // EACH * BACKGROUNDS + numbers // 10 % BACKGROUNDS
    return pd.DataFrame({"sample_id": [f"s{number}" for number in numbers], "background_row": backgrounds, **table})


@pytest.fixture(scope="module")
def address():
    with served() as address:
        yield address


@pytest.fixture
def store(address, folder, tmp_path, monkeypatch):
    """A bucket with the arrays; of those on the disk nothing but their cards is left, the others lie beside."""
    shutil.copytree(folder, tmp_path / "local")
    with bucket(address, "arrays", monkeypatch) as client:
        for path in folder.rglob("*.*"):
            client.upload_file(str(path), "arrays", f"some/{path.relative_to(folder).as_posix()}")
        for path in folder.rglob("*.npy"):
            path.unlink()
        monkeypatch.setenv("MASKDEPTH_ARRAYS", "s3://arrays/some/")
        monkeypatch.setenv("MASKDEPTH_CACHE", str(NUM_BYTES / 10 / 1e9))
        yield client


@pytest.fixture
def local(store, tmp_path, monkeypatch) -> Arrays:
    with monkeypatch.context() as patch:
        patch.delenv("MASKDEPTH_ARRAYS")
        return read_arrays(tmp_path / "local")


@pytest.fixture
def watched(monkeypatch):
    """What was read of the store, (array, first row, end), and the most bytes that were held at a time."""
    seen = {"read": [], "most": 0}
    held: dict[tuple[int, int, int], int] = {}
    whole = {name: getattr(StoredArray, name) for name in ("_read", "hold", "drop")}

    def read(array, first, end):
        seen["read"].append((array._path, first, end, (end - first) * array.bytes_each))
        return whole["_read"](array, first, end)

    def hold(array, first, end):
        held[id(array), first, end] = (end - first) * array.bytes_each
        seen["most"] = max(seen["most"], sum(held.values()))
        whole["hold"](array, first, end)

    def drop(array, first, end):
        whole["drop"](array, first, end)
        held.pop((id(array), first, end), None)

    for name, spy in (("_read", read), ("hold", hold), ("drop", drop)):
        monkeypatch.setattr(StoredArray, name, spy)
    yield seen
    assert not held  # nothing is left


def assert_same(here, there) -> None:
    for one, other in zip(here, there, strict=True):
        assert one.sample_ids == other.sample_ids
        assert all(torch.equal(*pair) for pair in zip(one[:4], other[:4], strict=True))


@pytest.mark.parametrize("start", [0, 30])
def test_an_epoch_has_the_same_batches_and_reads_everything_once_within_a_tenth(local, folder, rows, watched, start):
    near, far = Batches(local, rows, 16, CPU), Batches(read_arrays(folder), rows, 16, CPU)
    assert_same(near.epoch(3, 1, start, WINDOW), far.epoch(3, 1, start, WINDOW))
    assert watched["most"] <= NUM_BYTES / 10
    assert sum(size for *_, size in watched["read"]) <= NUM_BYTES * (1 if not start else 0.7)
    for kind in COUNTS:
        read = [(path, row) for path, first, end, _ in watched["read"] if kind in path for row in range(first, end)]
        assert len(read) == len(set(read))
    # One request for each kind and block of neighbours, or two where a block lies in two shards.
    blocks = -(-len(rows) // 5)
    assert len(watched["read"]) <= 3 * (blocks + SHARDS) + SHARDS


@pytest.mark.usefixtures("watched")
def test_samples_in_order_are_the_same(local, folder, rows, monkeypatch):
    monkeypatch.setenv("MASKDEPTH_CACHE", "1")
    some = rows.iloc[100:300]
    assert_same(Batches(local, some, 16, CPU).in_order(), Batches(read_arrays(folder), some, 16, CPU).in_order())


def test_an_epoch_that_is_given_up_leaves_nothing(folder, rows, store, watched):
    batches = Batches(read_arrays(folder), rows, 16, CPU).epoch(0, 0, 0, WINDOW)
    next(batches)
    batches.close()
    assert watched["most"] > 0


def test_what_was_not_fetched_ahead_is_read_all_the_same(local, folder, rows):
    wanted = np.array([1199, 3, 400, 3, 0])
    for kind, count in COUNTS.items():
        chosen = wanted % (SHARDS * count)
        out = np.empty((len(wanted), *getattr(local, kind).shape[1:]), np.uint8)
        getattr(read_arrays(folder), kind).take(chosen, out)
        np.testing.assert_array_equal(out, getattr(local, kind).take(chosen))


def test_rows_are_cut_where_the_way_between_them_is_long():
    array = StoredArray(None, "", (100_000, 1024))
    assert list(array.cut(np.array([5, 3, 3, 1029, 1030 + 1024, 2055 + 1025]))) == [(3, 2055), (3080, 3081)]
    assert list(array.cut(np.array([], int))) == []


def test_what_does_not_fit_is_told_before_anything_is_read(folder, rows, store, watched):
    batches = Batches(read_arrays(folder), rows, 16, CPU)
    with pytest.raises(ValueError, match=r"needed at a time, over the .* GB of MASKDEPTH_CACHE; raise it, or lower"):
        next(batches.epoch(0, 0))
    assert not watched["read"]


def test_more_files_than_may_be_open_are_told(folder, rows, store, watched, monkeypatch):
    monkeypatch.setattr(ahead, "_find_room", lambda: (NUM_BYTES, 10))
    with pytest.raises(
        ValueError, match=r"pieces of the store are needed at a time, and 10 files may be open .*ulimit -n"
    ):
        next(Batches(read_arrays(folder), rows, 16, CPU).epoch(0, 0, 0, WINDOW))


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "10 GB"])
def test_a_wrong_bound_is_refused(folder, rows, store, monkeypatch, text):
    monkeypatch.setenv("MASKDEPTH_CACHE", text)
    with pytest.raises(ValueError, match=f"MASKDEPTH_CACHE={text}: expected how many GB"):
        next(Batches(read_arrays(folder), rows, 16, CPU).epoch(0, 0, 0, WINDOW))


def refusal(folder: Path, rows: pd.DataFrame) -> str:
    with pytest.raises(ValueError) as caught:
        list(Batches(read_arrays(folder), rows, 16, CPU).epoch(0, 0, 0, WINDOW))
    told = str(caught.value)
    assert "\n" not in told
    assert SECRET not in told
    return told


def test_arrays_of_another_run_are_refused(folder, rows, store):
    store.put_object(Bucket="arrays", Key=f"some/batch1/{CARD_FILE}", Body=b"{}")
    assert refusal(folder, rows).startswith("arrays/some/batch1/shard.json: it is not the card that lies at ")


def test_an_object_of_another_size_or_none_is_refused(folder, rows, store):
    body = store.get_object(Bucket="arrays", Key="some/batch1/mask.npy")["Body"].read()
    store.put_object(Bucket="arrays", Key="some/batch1/mask.npy", Body=body[:-1])
    told = "arrays/some/batch1/mask.npy: it has another size than its card says; copy the arrays there again"
    assert refusal(folder, rows) == told
    store.delete_object(Bucket="arrays", Key="some/batch1/mask.npy")
    assert refusal(folder, rows).startswith("arrays/some/batch1/mask.npy: there is no such object; ")


def test_an_object_that_is_replaced_midway_is_refused(folder, rows, store):
    batches = Batches(read_arrays(folder), rows, 16, CPU).epoch(0, 0, 0, WINDOW)
    next(batches)
    for number in range(SHARDS):
        body = store.get_object(Bucket="arrays", Key=f"some/batch{number}/mask.npy")["Body"].read()
        store.put_object(Bucket="arrays", Key=f"some/batch{number}/mask.npy", Body=body[:-1] + b"\7")
    with pytest.raises(ValueError, match=r"some/batch\d/mask\.npy: it was replaced while it was read; "):
        list(batches)


@pytest.mark.timeout(120)
def test_a_store_that_is_away_is_told(folder, rows, store, monkeypatch):
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        told = refusal(folder, rows)
    assert told == "s3://arrays/some/: the store does not answer; check the network, and AWS_ENDPOINT_URL"


def test_without_a_key_one_is_asked_for(folder, rows, store, monkeypatch, tmp_path):
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with monkeypatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name)
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            patch.setenv(name, str(tmp_path / "none"))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        told = refusal(folder, rows)
    assert told.startswith("s3://arrays/some/: the store wants a key; set AWS_PROFILE")


def test_encoded_pictures_are_refused(folder, rows, monkeypatch):
    for path in folder.rglob(CARD_FILE):
        path.write_text(path.read_text().replace('"pixels"', '"encoded"'))
    monkeypatch.setenv("MASKDEPTH_ARRAYS", folder.as_uri())
    assert refusal(folder, rows) == "MASKDEPTH_ARRAYS takes arrays of data.store: pixels alone; these are encoded"


class Short(io.BytesIO):
    """A file that ends before its size."""

    def read(self, size: int = -1) -> bytes:
        return super().read(size - 1)


def test_an_answer_that_was_cut_is_refused():
    class Files:
        def open(self, path, cache_type):
            return Short(bytes(128 + 4))

    with pytest.raises(ValueError, match=r"mask\.npy: it ended before its size; copy the arrays there again"):
        StoredArray(Files(), "mask.npy", (4, 1)).take(np.array([3]))


def test_a_full_disk_is_named(monkeypatch, tmp_path):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    array = StoredArray(LocalFileSystem(), str(tmp_path / "mask.npy"), (4, 1))
    np.save(tmp_path / "mask.npy", np.zeros((4, 1), np.uint8))
    with pytest.raises(OSError, match="No space left on device") as caught:
        array.hold(0, 2)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path))
