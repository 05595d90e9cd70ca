"""The results of one run, of the workspace or of any experiment that git knows; the list of all of them fits."""

import json
import os
import shlex
import subprocess

import pytest

from maskdepth.results import LIST_EXPERIMENTS, read_results, tell_next_steps

NAME = "dice-densedepth-s0"


def git(folder, *arguments):
    login = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", *login, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with a committed result, another one in an experiment, and none in the workspace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    git(tmp_path, "init", "-q")
    (tmp_path / "metrics").mkdir()
    path = tmp_path / "metrics" / "test.json"
    for score in (0.8, 0.9):
        path.write_text(json.dumps({"score": score}))
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", f"score {score}")
    git(tmp_path, "update-ref", f"refs/exps/ab/{'c' * 38}/{NAME}", "HEAD")
    git(tmp_path, "reset", "-q", "--hard", "HEAD~1")
    path.unlink()
    return tmp_path


@pytest.mark.parametrize(("experiment", "score"), [(NAME, 0.9), ("HEAD", 0.8)])
def test_results_of_an_experiment_or_a_commit_are_read_whatever_lies_here(repository, experiment, score):
    folder = repository.relative_to(repository)
    assert read_results(experiment, folder / "metrics", folder / "reports") == {"score": score}


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        ("dice-densdepth-s0", f"no experiment, .* 'dice-densdepth-s0'; did you mean {NAME}?"),
        ("--help", "no experiment, branch, tag or commit '--help'"),
    ],
)
def test_an_unknown_experiment_is_refused_and_the_nearest_named(repository, experiment, message):
    with pytest.raises(ValueError, match=message):
        read_results(experiment, repository / "metrics", repository / "reports")


def test_an_experiment_that_failed_says_so(repository):
    git(repository, "rm", "-q", "--cached", "-r", "metrics")
    git(repository, "commit", "-qm", "none")
    with pytest.raises(FileNotFoundError, match=r"HEAD has no .*test\.json; it failed"):
        read_results("HEAD", (repository / "metrics").relative_to(repository), repository)


def test_numbers_of_a_damaged_file_are_refused(repository):
    (repository / "metrics" / "test.json").write_text("[1]")
    with pytest.raises(ValueError, match="expected a JSON object"):
        read_results(None, repository / "metrics", repository / "reports")


def test_the_next_steps_name_the_experiment_to_keep(repository):
    assert f"choose one and keep it:         dvc exp apply {NAME}" in tell_next_steps(NAME)


@pytest.mark.slow
def test_the_list_of_experiments_fits_100_columns_with_the_score_first(tmp_path):
    git(tmp_path, "init", "-q")
    subprocess.run(["dvc", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "params.yaml").write_text("loss: {mask: bce+dice, depth: densedepth}\ntrain: {seed: 0}\n")
    (tmp_path / "dvc.yaml").write_text("metrics: [metrics/test.json, metrics/train.json]\n")
    (tmp_path / "metrics").mkdir()
    test = {"score": 0.87654, "mask_iou": 0.9, "mask_iou_low": 0.8, "depth_ssim": 0.85123, "num_samples": 100}
    (tmp_path / "metrics" / "test.json").write_text(json.dumps(test))
    (tmp_path / "metrics" / "train.json").write_text(json.dumps({"val_mask_iou": 0.9, "seconds": 12.5}))
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "result")
    git(tmp_path, "commit", "-qm", "experiment", "--allow-empty")
    (parent,) = git(tmp_path, "rev-parse", "HEAD~1").split()
    git(tmp_path, "update-ref", f"refs/exps/{parent[:2]}/{parent[2:]}/{NAME}", "HEAD")
    git(tmp_path, "reset", "-q", "--hard", "HEAD~1")
    command = [*shlex.split(LIST_EXPERIMENTS), "--no-pager"]
    shown = subprocess.run(
        command, cwd=tmp_path, check=True, capture_output=True, text=True, env=os.environ | {"COLUMNS": "100"}
    ).stdout
    titles = next(line for line in shown.splitlines() if "Experiment" in line).split()
    assert titles[:2] == ["Experiment", "score"]
    assert {"mask_iou", "depth_ssim", "loss.mask", "loss.depth"} <= set(titles)
    assert max(map(len, shown.splitlines())) <= 100
