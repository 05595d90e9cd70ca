"""What DVC remembers of runs reaches the remote with all that they made; a remote that takes none is named."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.trained import small_disk

from maskdepth.tracking.sharing import share_runs

# What DVC and its libraries leave open, and what they still ask of aiohttp, Python 3.13 warns of.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:enable_cleanup_closed ignored:DeprecationWarning"),
]

PIPELINE = "stages:\n  make:\n    cmd: python make.py\n    params: [number]\n    deps: [make.py]\n    outs: [made]\n"
MAKE = (
    "from pathlib import Path\n"
    "number = Path('params.yaml').read_text().removeprefix('number: ')\n"
    "Path('made').write_text(number * 100_000)\n"
)


def run(folder: Path, *command: str) -> str:
    done = subprocess.run([sys.executable, "-m", *command], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A repository in which a stage has run with two settings."""
    folder = tmp_path_factory.mktemp("made")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    run(folder, "dvc", "init", "--quiet")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "make.py").write_text(MAKE)
    for number in (1, 2):
        (folder / "params.yaml").write_text(f"number: {number}\n")
        run(folder, "dvc", "repro", "--quiet")
    return folder


@pytest.fixture
def repository(made, tmp_path) -> Path:
    """Such a repository, whose remote is a folder."""
    shutil.copytree(made, tmp_path / "repository")
    set_remote(tmp_path / "repository", str(tmp_path / "store"))
    return tmp_path / "repository"


def set_remote(folder: Path, url: str) -> None:
    (folder / ".dvc" / "config").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {url}\n")


def test_runs_that_left_the_workspace_are_restored_where_they_never_ran(repository, tmp_path):
    assert share_runs(repository) == (2, 2, "store")
    other = tmp_path / "other"
    shutil.copytree(repository, other, ignore=shutil.ignore_patterns("cache", "tmp", "made"))
    (other / "params.yaml").write_text("number: 1\n")
    assert "Stage 'make' is cached" in run(other, "dvc", "repro", "--pull")
    assert (other / "made").read_text().startswith("1\n")


def test_a_full_remote_is_named_and_knows_of_no_run_that_it_lacks(repository, tmp_path):
    with small_disk(tmp_path / "store", 100_000):
        with pytest.raises(ValueError, match=r"No space left on device.*; mend that, and the same command goes on"):
            share_runs(repository)
        assert not list((tmp_path / "store").glob("runs/*/*/*"))
    assert share_runs(repository) == (2, 2, "store")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://ann:secret@127.0.0.1:9/x", r"Cannot connect to host 127\.0\.0\.1:9"),
        ("/proc/nothing/x", "No such file or directory: '/proc/nothing'"),
        ("", "no remote specified"),
    ],
)
def test_a_remote_that_is_away_is_named_without_its_password(repository, url, message):
    set_remote(repository, url)
    if not url:
        (repository / ".dvc" / "config").unlink()
    with pytest.raises(ValueError, match=message) as raised:
        share_runs(repository)
    assert "secret" not in str(raised.value)
