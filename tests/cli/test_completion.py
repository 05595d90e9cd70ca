"""A shell offers the names that a command takes, and loads next to nothing for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maskdepth.cli.completion import (
    complete_experiments,
    complete_layouts,
    complete_metrics,
    complete_pairs,
    complete_recipes,
    complete_results,
)
from maskdepth.comparing.promotion import choose_metrics
from maskdepth.data.layouts.layout import read_layouts
from maskdepth.tuning.recipes import read_recipes

BIN = Path(sys.executable).parent


def press_tab(*words: str, folder: Path) -> list[str]:
    """Give what bash offers behind the last word, by the script that `maskdepth --install-completion` installs."""
    script = f"""
        eval "$(_MASKDEPTH_COMPLETE=source_bash maskdepth)"
        COMP_WORDS=(maskdepth {" ".join(f"'{word}'" for word in words)}); COMP_CWORD={len(words)}
        _maskdepth_completion maskdepth
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "-c", script]
    asked = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return asked.stdout.split()


def git(*arguments: str, folder: Path) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with a branch, a tag and two experiments, as DVC keeps them."""
    git("init", "--quiet", "--initial-branch=main", folder=tmp_path)
    git("commit", "--quiet", "--allow-empty", "--message=first", folder=tmp_path)
    git("tag", "first", folder=tmp_path)
    commit = git("rev-parse", "HEAD", folder=tmp_path)
    for name in (
        "exec/EXEC_HEAD",
        "celery/stash",
        *(f"{commit[:2]}/{commit[2:]}/dice-ssim-s{seed}" for seed in (0, 1)),
    ):
        git("update-ref", f"refs/exps/{name}", commit, folder=tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_bash_goes_on_with_the_last_loss_of_a_list(tmp_path):
    assert press_tab("sweep", "--mask", "bce,0.5*di", folder=tmp_path) == ["bce,0.5*dice"]


def test_bash_offers_the_experiments_of_the_repository(repository):
    assert press_tab("promote", "dice", folder=repository) == ["dice-ssim-s0", "dice-ssim-s1"]


def test_results_are_those_of_experiments_branches_and_tags(repository):
    assert complete_results("") == ["dice-ssim-s0", "dice-ssim-s1", "main", "first"]
    assert complete_results("m") == ["main"]


def test_outside_a_repository_no_experiment_is_offered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert complete_experiments("") == []


def test_behind_a_stroke_it_is_the_depth():
    assert complete_pairs("dice|tvers") == []
    assert complete_pairs("dice|ber") == ["dice|berhu"]
    assert complete_pairs("dice|l1,tvers") == ["dice|l1,tversky"]


def test_what_is_offered_is_known():
    assert complete_layouts("") == sorted(read_layouts())
    assert complete_recipes("") == sorted(read_recipes())
    assert len([choose_metrics(metric) for metric in complete_metrics("")]) == 7


def test_nothing_heavy_is_loaded_before_a_name_is_offered():
    code = (
        "import sys, maskdepth.cli.program; from maskdepth.cli.completion import *; complete_pairs('b');"
        "complete_layouts(''); complete_recipes(''); complete_results('');"
        "print({'torch', 'pandas', 'numpy', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
