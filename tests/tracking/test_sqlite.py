"""A store of files goes with its repository: moved or copied, nothing is sent to where it was."""

import shutil
from pathlib import Path

import pytest
from support.stored import MLFLOW_WARNINGS, enter, put_row, send
from support.tracked import write_experiment

from maskdepth.tracking import repair
from maskdepth.tracking.address import locate_store
from maskdepth.tracking.mirror import mirror_row, mirror_rows
from maskdepth.tracking.runs import put_data_row
from maskdepth.tracking.sqlite import find_moved_root, relocate
from maskdepth.tracking.store import connect

pytestmark = MLFLOW_WARNINGS


def test_a_moved_repository_is_noticed_and_mended(experiment, shared_root, monkeypatch, tmp_path_factory):
    run = send(put_row(experiment))
    moved = tmp_path_factory.mktemp("moved") / "repository"
    shutil.copytree(shared_root, moved)
    enter(monkeypatch, moved, moved)
    assert find_moved_root() == shared_root
    (finding,) = repair.check_store()
    assert finding == f"{moved}/mlflow.db was made in {shared_root}; `maskdepth relocate` mends its paths"
    assert relocate(shared_root, moved) >= 3
    stored = connect(locate_store()).client.get_run(run.info.run_id).info.artifact_uri
    assert Path(stored).is_relative_to(moved)
    assert (Path(stored) / "pictures" / "best.png").is_file()
    assert (moved / "mlflow.db.before-relocate").is_file()
    assert find_moved_root() is None
    assert repair.check_store() == []


def test_a_copy_of_a_repository_sends_nothing_into_the_original(fresh, monkeypatch, tmp_path_factory):
    write_experiment(fresh)
    send(put_data_row(fresh / "journals" / "index.jsonl", "index"))
    copy = tmp_path_factory.mktemp("copies") / "copy"
    shutil.copytree(fresh, copy)
    before = sorted(fresh.rglob("*"))
    enter(monkeypatch, copy, copy)
    shutil.copy(copy / "reports" / "pictures" / "best.png", copy / "curves.png")
    folder = put_row(copy)
    reason = f"{copy}/mlflow.db was made in {fresh}; `maskdepth relocate` mends its paths"
    for sent in (mirror_row(folder, 60), *dict(mirror_rows(60)).values()):
        assert (sent.is_complete, sent.reason) == (False, reason)
    assert sorted(fresh.rglob("*")) == before
    relocate(fresh, copy)
    run = send(folder)
    assert Path(run.info.artifact_uri, "pictures", "best.png").is_relative_to(copy)
    assert Path(run.info.artifact_uri, "pictures", "best.png").is_file()
    assert sorted(fresh.rglob("*")) == before


def test_a_store_of_several_repositories_belongs_to_the_first(fresh, monkeypatch, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / ".dvc").mkdir()
    connect(locate_store())
    enter(monkeypatch, other, other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{fresh}/mlflow.db")
    assert connect(locate_store()).experiments.keys() == {"maskdepth", "maskdepth-data"}
    assert find_moved_root() is None
    assert repair.check_store() == []


def test_a_repository_that_is_moved_while_it_sends_loses_nothing(fresh, monkeypatch, tmp_path_factory):
    write_experiment(fresh)
    shutil.copy(fresh / "reports" / "pictures" / "best.png", fresh / "curves.png")
    names = [put_data_row(fresh / "journals" / "index.jsonl", "index").name, put_row(fresh).name]
    rows = mirror_rows(60)
    assert next(rows)[1].is_complete
    moved = fresh.rename(tmp_path_factory.mktemp("moved") / "repository")
    enter(monkeypatch, moved, moved)
    name, sent = next(rows)
    assert (name, sent.is_complete) == (names[1], False)
    assert sent.reason == "the repository was moved away meanwhile; run again where it is now"
    assert not fresh.exists()
    assert "`maskdepth relocate`" in dict(mirror_rows(60))[name].reason
    relocate(fresh, moved)
    run = send(moved / ".dvc" / "tmp" / "maskdepth" / "outbox" / name)
    assert Path(run.info.artifact_uri, "pictures", "best.png").is_relative_to(moved)
    assert Path(run.info.artifact_uri, "pictures", "best.png").is_file()


def test_relocate_wants_a_store_of_files(fresh, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"mlflow\.db: no store here"):
        relocate(fresh, fresh)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    with pytest.raises(ValueError, match="only a SQLite store holds absolute paths"):
        relocate(fresh, fresh)
