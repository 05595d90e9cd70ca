"""Repositories to be harmed: copies of one in which all stages but the training have run."""

import shutil

import pytest
from support.trained import make_repository, run_stage


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Give a repository in which all stages but the training have run; to be copied, not changed."""
    return make_repository(tmp_path_factory.mktemp("prepared") / "repository")


@pytest.fixture
def repository(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "repository")


@pytest.fixture(scope="session")
def uninterrupted(prepared, tmp_path_factory):
    """Give a repository in which nothing has disturbed the training."""
    repository = shutil.copytree(prepared, tmp_path_factory.mktemp("uninterrupted") / "repository")
    run_stage(repository, "train")
    return repository
