"""Proves with MLCommons' own library that the description of a data set is one, and leads to every sample."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from maskdepth.data.croissant import write_croissant
from maskdepth.data.samples import INDEX_COLUMNS, ROWS, read_index, read_split, write_index, write_split

SPLITS = ["train", "val", "test", "mixed", "unused"]


@pytest.fixture
def described(tmp_path):
    """A data set with a sample of every split."""
    ids = pd.DataFrame({"foreground": ["o7", "p1", "q5", "r0", "x"], "background": list("12345")})
    samples = ids.assign(sample_id="s" + ids["background"], flip="0", placement="1", archive="a, b.zip")
    samples["background_digest"] = "b" * 31 + samples["background"]
    samples[ROWS] = 0
    write_index(tmp_path / "index.csv", samples[INDEX_COLUMNS])
    table = samples[["sample_id"]].assign(split=SPLITS, place="p" + ids["background"])
    write_split(tmp_path / "split.csv", table)
    write_croissant(tmp_path / "croissant.json", tmp_path / "index.csv", tmp_path / "split.csv")
    return tmp_path


def ask_mlcroissant(path: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines with the library in a process of its own: importing it warns of much."""
    code = f"import json, sys, mlcroissant\nfound = mlcroissant.Dataset(jsonld=sys.argv[1])\n{script}"
    return subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)


def read_records(path: Path, name: str) -> list[dict[str, str]]:
    done = ask_mlcroissant(path, f"print(json.dumps(list(found.records({name!r})), default=bytes.decode))")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_all_that_is_missing_is_what_only_the_owner_of_the_pictures_knows(described):
    done = ask_mlcroissant(
        described / "croissant.json", "print(*sorted(found.metadata.ctx.issues.warnings), sep='\\n')"
    )
    assert done.returncode == 0, done.stderr
    missing = [line.split('"')[1].rsplit("/", 1)[-1] for line in done.stdout.splitlines()]
    assert missing == ["citeAs", "datePublished", "license", "version"]


def test_every_sample_is_read_by_its_description_as_it_is_written(described):
    samples = read_index(described / "index.csv")
    columns = ["sample_id", "foreground", "background", "archive", "background_digest"]
    found = pd.DataFrame(read_records(described / "croissant.json", "samples"))
    for column in columns:
        assert found[f"samples/{column}"].tolist() == samples[column].astype(str).tolist()


def test_every_sample_has_its_split_and_every_split_its_meaning(described):
    splits = read_split(described / "split.csv").set_index("sample_id")
    found = pd.DataFrame(read_records(described / "croissant.json", "splits")).set_index("splits/sample_id")
    assert found["splits/split"].to_dict() == splits["split"].to_dict()
    assert found["splits/place"].to_dict() == splits["place"].to_dict()
    uses = {record["uses/name"]: record["uses/url"] for record in read_records(described / "croissant.json", "uses")}
    assert set(uses) == set(SPLITS)
    assert uses["train"] == "cr:TrainingSplit"


def test_a_table_that_was_changed_is_not_read(described):
    with (described / "split.csv").open("a") as file:
        file.write("s6,train,p6\n")
    done = ask_mlcroissant(described / "croissant.json", "list(found.records('splits'))")
    assert done.returncode == 1
    assert "split.csv" in done.stderr


def test_the_same_tables_give_the_same_bytes(described):
    before = (described / "croissant.json").read_bytes()
    write_croissant(described / "croissant.json", described / "index.csv", described / "split.csv")
    assert (described / "croissant.json").read_bytes() == before
