"""Where the store is: one file at the root from everywhere, and no address or path that cannot work."""

import shutil

import pytest
from support.stored import MLFLOW_WARNINGS, enter, put_row, send
from support.tracked import write_experiment

from maskdepth.tracking import repair
from maskdepth.tracking.address import locate_store

pytestmark = MLFLOW_WARNINGS


def test_the_store_is_one_file_at_the_root_from_every_folder(fresh, monkeypatch):
    (fresh / "deep" / "down").mkdir(parents=True)
    monkeypatch.delenv("DVC_ROOT")
    monkeypatch.chdir(fresh / "deep" / "down")
    assert locate_store().uri == f"sqlite:///{fresh}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///kept/../other.db")
    assert locate_store().database == fresh / "other.db"


def test_a_temporary_workspace_uses_the_store_of_the_main_repository(fresh, monkeypatch):
    copy = fresh / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1"
    (copy / ".dvc").mkdir(parents=True)
    monkeypatch.delenv("DVC_ROOT")
    monkeypatch.chdir(copy)
    assert locate_store().database == fresh / "mlflow.db"


@pytest.mark.parametrize(
    ("uri", "retries", "message"),
    [
        ("http://ann:CANARY@host:5000", "2", r"http://\*\*\*@host:5000 .*MLFLOW_TRACKING_PASSWORD"),
        ("postgresql://ann:CANARY@host/db", "2", "holds a login"),
        ("./mlruns", "2", r"\./mlruns is a folder, .*write sqlite:///mlflow.db"),
        ("file:///srv/mlruns", "2", "is a folder"),
        ("http://host:5000", "20", "'20'; MLflow takes 0 to 10"),
        ("http://host:5000", "many", "'many'; MLflow takes 0 to 10"),
    ],
)
def test_an_address_that_cannot_work_is_refused_before_any_work(fresh, monkeypatch, uri, retries, message):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
    with pytest.raises(ValueError, match=message) as refused:
        locate_store()
    assert "CANARY" not in str(refused.value)


@pytest.mark.parametrize("name", ["a?b", "a%41b", "100%", "a#b", "a'b\"c", "a@:b", ":b", "\udcff"])
def test_a_path_that_would_be_misread_is_refused_and_no_store_is_made_elsewhere(tmp_path, monkeypatch, name):
    root = tmp_path / name
    (root / ".dvc").mkdir(parents=True)
    enter(monkeypatch, root, root)
    with pytest.raises(ValueError, match=r"no store can be in a path with .*; rename its folder") as refused:
        locate_store()
    assert str(refused.value).isprintable()
    assert "rename its folder" in repair.check_store()[0]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert locate_store().database is None


@pytest.mark.parametrize("name", ["a b", "a'b", 'a"b', "a&b=c;d", "ü", "a@b:c", "a\\b", "a[b]{c}"])
def test_any_other_path_holds_the_store_and_its_pictures(tmp_path, monkeypatch, name):
    root = tmp_path / name
    (root / ".dvc").mkdir(parents=True)
    enter(monkeypatch, root, root)
    write_experiment(root)
    shutil.copy(root / "reports" / "pictures" / "best.png", root / "curves.png")
    run = send(put_row(root))
    assert (root / "mlflow.db").stat().st_size > 0
    assert len([*(root / "mlartifacts" / "maskdepth" / run.info.run_id).rglob("best.png")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]
