"""Repositories with and without a store; the store that many tests share is built once."""

import shutil
from pathlib import Path

import pytest
from support.stored import enter
from support.tracked import write_experiment

from maskdepth.tracking.outbox import outbox_dir


@pytest.fixture(scope="session")
def shared_root(tmp_path_factory) -> Path:
    """A repository whose store is built once for many tests."""
    root = tmp_path_factory.mktemp("root")
    (root / ".dvc").mkdir()
    return root


@pytest.fixture
def workspace(shared_root, tmp_path, monkeypatch) -> Path:
    """A workspace of the shared repository; what a test leaves in the outbox goes."""
    enter(monkeypatch, shared_root, tmp_path)
    yield tmp_path
    shutil.rmtree(outbox_dir())


@pytest.fixture
def fresh(tmp_path, monkeypatch) -> Path:
    """A repository without a store."""
    (tmp_path / ".dvc").mkdir()
    enter(monkeypatch, tmp_path, tmp_path)
    return tmp_path


@pytest.fixture
def experiment(workspace) -> Path:
    """A workspace in which the six stages have run."""
    write_experiment(workspace)
    shutil.copy(workspace / "reports" / "pictures" / "best.png", workspace / "curves.png")
    return workspace
