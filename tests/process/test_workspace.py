"""Proves that the repository is found, also from within DVC's temporary workspaces."""

import pytest

from maskdepth.process.workspace import repository_root, state_dir


@pytest.fixture
def outside(monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)


def test_the_repository_is_the_nearest_folder_with_dvc(outside, monkeypatch, tmp_path):
    (tmp_path / ".dvc").mkdir()
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert repository_root() == tmp_path
    assert state_dir() == tmp_path / ".dvc" / "tmp" / "maskdepth"


def test_a_temporary_workspace_belongs_to_the_main_repository(outside, monkeypatch, tmp_path):
    workspace = tmp_path / ".dvc" / "tmp" / "exps" / "one"
    (workspace / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(workspace)
    assert repository_root() == tmp_path


def test_dvc_root_wins_where_it_is_a_repository(monkeypatch, tmp_path):
    for name in ("here", "there"):
        (tmp_path / name / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "there"))
    assert repository_root() == tmp_path / "there"
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "nowhere"))
    assert repository_root() == tmp_path / "here"


def test_no_repository_is_an_error_with_its_cure(outside, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no \.dvc folder in .* or above; .*`dvc init`"):
        repository_root()
