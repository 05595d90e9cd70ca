"""The main job on real photographs, in two of the students' layouts; their folder is named by MASKDEPTH_REAL_DATA."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import maximum_filter
from support.settings import copy_params, write_places

from maskdepth.params import update_params

pytestmark = [pytest.mark.realdata, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parent.parent


class Workspace:
    """A folder in which single stages run on one of the real data sets."""

    def __init__(self, path: Path, raw: Path) -> None:
        self.path = path
        (path / ".dvc").mkdir(parents=True)
        shutil.copytree(raw, path / "raw")
        update_params(copy_params(path), {"train.epochs": 1, "data.image_size": 32})

    def run(self, stage: str, *, fails: bool = False, **paths: str) -> str:
        command = [sys.executable, "-m", f"stages.{stage}", "--journal", f"journals/{stage}.jsonl"]
        command += [part for name, path in paths.items() for part in (f"--{name}", path)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "DVC_ROOT": str(self.path)}
        done = subprocess.run(command, cwd=self.path, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == fails, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def prepare(self) -> tuple[str, str]:
        """Run unzip and index; return what they said."""
        unzip = self.run("unzip", raw="raw", arrays="arrays")
        return unzip, self.run(
            "index", arrays="arrays", index="index.csv", rejected="rejected.csv", registered="registered"
        )


def test_the_first_layout_gives_all_samples(real_data, tmp_path):
    unzip, index = Workspace(tmp_path, real_data / "layout1_sudhakarmlal").prepare()
    assert "layout sudhakarmlal" in unzip
    assert "index: 8,806 samples from 4 archives, 0 rejected; fitting backgrounds 100.0 %, masks " in index


@pytest.mark.nightly
def test_the_second_layout_runs_to_the_end(real_data, tmp_path):
    work = Workspace(tmp_path, real_data / "layout2_mshilpaa")
    _, index = work.prepare()
    assert "index: 1,000 samples from 2 archives, 0 rejected; fitting backgrounds 100.0 %, masks " in index
    tables = {"arrays": "arrays", "index": "index.csv"}
    places = str(write_places(tmp_path))
    work.run(
        "stats",
        **tables,
        registered="registered",
        places=places,
        moments="stats.csv",
        summary="stats.json",
        gallery="gallery.png",
    )
    work.run("split", index="index.csv", places=places, split="split.csv", croissant="croissant.json")
    tables |= {"split": "split.csv", "models": "models"}
    work.run("train", **tables, registered="registered", stats="stats.csv", metrics="metrics/train.json", plots="plots")
    work.run("evaluate", **tables, registered="registered", metrics="metrics/test.json", reports="reports")
    numbers = json.loads((tmp_path / "metrics" / "test.json").read_text())
    assert 0 < numbers["mask_iou"] < 1
    assert numbers["num_samples"] == (pd.read_csv(tmp_path / "split.csv")["split"] == "test").sum()


def test_a_wrong_labels_file_is_found_out(real_data, tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(real_data / "layout2_mshilpaa", raw)
    rows = [line.split("\t") for line in (raw / "labels.txt").read_text().splitlines()]
    backgrounds = [row[0] for row in rows]
    random.Random(0).shuffle(backgrounds)
    (raw / "labels.txt").chmod(0o644)
    (raw / "labels.txt").write_text(
        "".join("\t".join([b, *row[1:]]) + "\n" for b, row in zip(backgrounds, rows, strict=True))
    )
    work = Workspace(tmp_path / "work", raw)
    work.run("unzip", raw="raw", arrays="arrays")
    said = work.run(
        "index", fails=True, arrays="arrays", index="index.csv", rejected="rejected.csv", registered="registered"
    )
    share = re.search(r"by mapping 'labels' (\d+\.\d) %", said)
    assert share, said
    assert float(share[1]) < 30
    assert "at least 90 % must fit" in said


def write_background_depths(raw: Path) -> None:
    """Write the depth of each background of the second layout: what its composites' depth is off their objects."""
    maps: dict[str, list[np.ndarray]] = {}
    with ExitStack() as stack:
        archives = [stack.enter_context(zipfile.ZipFile(path)) for path in sorted((raw / "Dataset").glob("*.zip"))]
        members = {name: archive for archive in archives for name in archive.namelist()}
        for line in (raw / "labels.txt").read_text().splitlines():
            background, _, _, mask, depth = line.split("\t")
            of_background = maps.setdefault(Path(background).stem.removeprefix("bg"), [])
            if len(of_background) == 12:
                continue
            seen = np.asarray(Image.open(members[depth].open(depth)).convert("L")).astype(float)
            seen[maximum_filter(np.asarray(Image.open(members[mask].open(mask)).convert("L")), 15) > 8] = np.nan
            of_background.append(seen)
    raw.chmod(0o755)
    (raw / "Background-Depth").mkdir()
    for number, some in maps.items():
        usual = np.ma.median(np.ma.masked_invalid(some), axis=0)
        levels = usual.filled(usual.mean()).round().astype(np.uint8)
        Image.fromarray(levels).save(raw / "Background-Depth" / f"bg-depth{number}.png")


@pytest.mark.nightly
def test_with_the_depth_of_the_background_depth_on_unseen_places_is_better_than_that_depth(real_data, tmp_path):
    work = Workspace(tmp_path, real_data / "layout2_mshilpaa")
    settings = {"model.inputs": "background+composite+difference+background_depth", "split.test": 0.3}
    update_params(tmp_path / "params.yaml", settings | {"data.image_size": 64, "train.epochs": 5})
    write_background_depths(tmp_path / "raw")
    sources = pd.read_csv(real_data / "provenance.csv", dtype=str)
    places = sources[sources["kind"].eq("bg")].rename(columns={"id": "background", "group": "place"})
    places[["background", "place"]].to_csv(tmp_path / "places.csv", index=False)
    _, index = work.prepare()
    assert re.search(r"background depths (9\d\.\d|100\.0) %", index), index
    tables = {"arrays": "arrays", "index": "index.csv"}
    work.run(
        "stats",
        **tables,
        registered="registered",
        places="places.csv",
        moments="stats.csv",
        summary="stats.json",
        gallery="gallery.png",
    )
    work.run("split", index="index.csv", places="places.csv", split="split.csv", croissant="croissant.json")
    tables |= {"split": "split.csv", "models": "models"}
    work.run("train", **tables, registered="registered", stats="stats.csv", metrics="metrics/train.json", plots="plots")
    work.run("evaluate", **tables, registered="registered", metrics="metrics/test.json", reports="reports")
    details = json.loads((tmp_path / "reports" / "details.json").read_text())
    assert details["given_depth_ssim"] > details["copied_background_depth_ssim"] + 0.02
    assert details["given_depth_mae_foreground"] < details["copied_background_depth_mae_foreground"] / 2
    assert details["absent_depth_ssim"] < details["given_depth_ssim"] - 0.2
