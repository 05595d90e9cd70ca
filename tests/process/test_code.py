"""Proves that the code of a stage is what dvc.yaml declares, file by file, and that any change of it is seen."""

import shutil

import pytest
from support.copied import copy_code

from maskdepth.process.code import digest_code, list_code


@pytest.fixture
def copy(tmp_path):
    return copy_code(tmp_path)


def test_every_file_of_the_declared_code_counts(copy):
    files = list_code(copy, "train")
    assert {"fit.py", "states.py", "maps.py", "dsunet.py", "device.py", "colour_maps.csv", "tables.py"} <= {
        file.name for file in files
    }
    before = digest_code(copy, "train")
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content + b"\n")
        assert digest_code(copy, "train") != before, file
        file.write_bytes(content)
    assert digest_code(copy, "train") == before


def test_code_that_a_stage_does_not_declare_does_not_count(copy):
    before = digest_code(copy, "train")
    (copy / "src" / "maskdepth" / "data" / "archives" / "zips.py").write_text("")
    (copy / "src" / "maskdepth" / "models" / "__pycache__").mkdir()
    (copy / "src" / "maskdepth" / "models" / "__pycache__" / "unet.cpython-311.pyc").write_bytes(b"compiled")
    assert digest_code(copy, "train") == before


def test_a_file_that_moved_is_other_code(copy):
    before = digest_code(copy, "unzip")
    known = copy / "src" / "maskdepth" / "data" / "layouts" / "known"
    (known / "mshilpaa.toml").rename(known / "renamed.toml")
    assert digest_code(copy, "unzip") != before


def test_what_is_missing_is_named(copy):
    shutil.rmtree(copy / "src" / "maskdepth" / "losses")
    with pytest.raises(FileNotFoundError, match=r"losses is missing, which .*dvc\.yaml names as a dependency of train"):
        list_code(copy, "train")
    (copy / "dvc.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"dvc\.yaml is missing; the stages run from a clone"):
        list_code(copy, "train")
