"""The page that DVC draws its plots on opens without a network."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIPELINE = """
plots:
  - loss: {x: epoch, y: {epochs.csv: [train_loss, val_loss]}, title: Loss}
  - mask IoU: {x: epoch, y: {epochs.csv: [val_mask_iou]}}
"""


@pytest.fixture
def page(tmp_path):
    """The page of two plots over three epochs."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["dvc", "init", "-q"], cwd=tmp_path, check=True)
    for name in ("config", "plots.html"):
        shutil.copy(ROOT / ".dvc" / name, tmp_path / ".dvc")
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "epochs.csv").write_text("epoch,train_loss,val_loss,val_mask_iou\n1,.9,1,.5\n2,.7,.8,.7\n3,.6,.7,.8\n")
    subprocess.run(["dvc", "plots", "show", "-q"], cwd=tmp_path, check=True)
    return tmp_path / "dvc_plots" / "index.html"


@pytest.mark.slow
def test_plots_load_nothing_and_draw_a_line_for_each_column(page):
    assert not re.search(r"<script[^>]+src=|<link", page.read_text())
    if shutil.which("chromium") is None:
        pytest.skip("needs chromium")
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom"]
        command = ["chromium", *options, page.as_uri()]
        drawn = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert drawn.count("<polyline") == 3
    assert "NaN" not in drawn.partition("<body>")[2]
