"""The index stage writes samples and rejected members, journals what it saw, and stops with a line when it must."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from support.toy import draw_background, encode_png, write_toy_archive, write_zip

from maskdepth.data.samples import read_index
from maskdepth.params import update_params
from maskdepth.tracking.journal import read_journal
from stages import index, unzip

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder with params.yaml, to be in."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_stage():
    unzip.main(Path("raw"), Path("arrays"), Path("journals/unzip.jsonl"))
    index.main(Path("arrays"), Path("index.csv"), Path("rejected.csv"), Path("journals/index.jsonl"))


def test_the_last_line_and_the_journal_say_what_was_joined(workspace, capsys):
    world = write_toy_archive(workspace / "raw")
    run_stage()
    last_line = capsys.readouterr().out.splitlines()[-1]
    assert last_line == "index: 24 samples from 1 archives, 0 rejected; pairing fits 100.0 % (explicit ids)"
    assert set(read_index(Path("index.csv"))["sample_id"]) == {sample.sample_id for sample in world.samples}
    journal = read_journal(Path("journals/index.jsonl"))
    values = {point.name: point.value for point in journal.points}
    assert (journal.status, values["samples"], values["rejected"], values["pairing_fits"]) == ("FINISHED", 24, 0, 1)
    assert journal.tags["samples_per_archive"] == '{"batch1_images.zip": 24}'
    assert [Path(artifact.path).name for artifact in journal.artifacts] == ["rejected.csv"]


def test_labels_that_the_pixels_contradict_are_warned_of(workspace, capsys):
    write_toy_archive(workspace / "raw", "mshilpaa")
    labels = workspace / "raw" / "labels.txt"
    turned = {"1": "2", "2": "3", "3": "1"}
    labels.write_text(
        re.sub(r"Background/bg(\d)", lambda found: f"Background/bg{turned[found[1]]}", labels.read_text())
    )
    run_stage()
    told = capsys.readouterr()
    assert "by mapping 'labels' 0.0 %" in told.err
    assert "by mapping 'generated' 100.0 %: the last one is used" in told.err
    assert told.out.splitlines()[-1].endswith("pairing fits 100.0 % (generated ids)")


def test_too_many_rejected_end_in_one_line_and_leave_the_list(workspace):
    write_toy_archive(workspace / "raw")
    (workspace / "raw" / "extra").mkdir()
    for number in range(20):
        (workspace / "raw" / "extra" / f"notes{number}.txt").write_text("not a picture")
    unzip.main(Path("raw"), Path("arrays"), Path("journals/unzip.jsonl"))
    paths = {"arrays": "arrays", "index": "index.csv", "rejected": "rejected.csv", "journal": "journals/index.jsonl"}
    options = [f"--{name}={path}" for name, path in paths.items()]
    command = [sys.executable, "-m", "stages.index", *options]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert re.match(r"error: .* members are rejected; data.max_rejected allows 5.0%; extra", line)
    assert not Path("index.csv").exists()
    assert len(Path("rejected.csv").read_text().splitlines()) == 21
    assert read_journal(Path("journals/index.jsonl")).status == "FAILED"


def test_an_archive_whose_name_cannot_be_shown_is_refused_and_harms_no_other(workspace, capsys):
    update_params(Path("params.yaml"), {"data.max_rejected": 0.9})
    write_toy_archive(workspace / "raw")
    for name in (b"a\xff.zip", b"b\n\x1b[31m.zip"):
        shutil.copy(workspace / "raw" / "batch1_images.zip", workspace / "raw" / os.fsdecode(name))
    run_stage()
    told = capsys.readouterr()
    assert told.out.splitlines()[-1].startswith("index: 24 samples from 1 archives, 2 rejected")
    assert told.err.count("\n") == told.err.count("warning: left out: ") == 2
    reason = "it has unprintable characters in its name,rename it"
    assert Path("rejected.csv").read_text() == (
        "archive,member,reason,cure\n" rf"a\udcff.zip,,{reason}" "\n" rf"b\n\x1b[31m.zip,,{reason}" "\n"
    )


def test_archives_that_were_cut_stop_the_index_though_the_others_are_whole(workspace):
    for number in (1, 2, 3, 4):
        path = workspace / "raw" / f"batch{number}_images.zip"
        write_toy_archive(path.parent, name=path.name, foregrounds=(number,))
        if number > 1:
            path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(
        ValueError, match=r"^75\.0% of 4 archives are refused; data\.max_rejected allows 5\.0%; batch2_i"
    ):
        run_stage()


@pytest.mark.parametrize("layout", ["sudhakarmlal", "deepjyotisaha85"])
def test_a_number_in_digits_of_another_script_is_a_rejected_file_and_harms_no_other(workspace, layout):
    update_params(Path("params.yaml"), {"data.max_rejected": 0.5})
    world = write_toy_archive(workspace / "raw", layout)
    names = {"sudhakarmlal": "fg_bg_jpg/fg_bg_\u0663_1_0_1.jpg", "deepjyotisaha85": "image/fg_bg_\u0661\u06629.jpg"}
    write_zip(workspace / "raw" / "odd.zip", [(names[layout], encode_png(draw_background(1)))])
    run_stage()
    assert set(read_index(Path("index.csv"))["sample_id"]) == {sample.sample_id for sample in world.samples}
    (row,) = pd.read_csv("rejected.csv").to_dict("records")
    assert (row["archive"], row["reason"]) == ("odd.zip", f"its name fits no pattern of layout {layout}")
