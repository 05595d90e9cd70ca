"""Archives decoded by the machines of a cluster give the shards that processes give, also when a machine dies."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.cluster import FOR_RAY, HEAD, dask_cluster, kill_all, ray_cluster
from support.settings import copy_params
from support.toy import write_toy_archive
from support.waiting import wait_until

from maskdepth.process.files import PARTIAL
from stages import unzip as stage

ARCHIVES = 20


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty archives, and their shards as processes of this machine decode them."""
    folder = tmp_path_factory.mktemp("expected")
    copy_params(folder)
    for number in range(ARCHIVES):
        write_toy_archive(folder / "raw", name=f"batch{number}_images.zip", foregrounds=(number + 1,))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        unzip("arrays")
    return folder


def unzip(arrays: str) -> None:
    stage.main(Path("raw"), Path(arrays), Path(f"{arrays}.jsonl"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def workspace(expected: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(expected)
    return expected


@pytest.mark.slow
@pytest.mark.parametrize("kills", [False, True], ids=["whole", "with a machine killed"])
def test_dask_gives_the_same_shards(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: bool
) -> None:
    with dask_cluster(tmp_path) as (address, worker):
        monkeypatch.setenv("MASKDEPTH_EXECUTOR", address)
        assert_same_shards(workspace, tmp_path.name, worker if kills else None)


def assert_same_shards(workspace: Path, name: str, victim) -> None:
    """Decode on the cluster, kill a machine once it is at it, and compare."""
    there = workspace / name
    killed = []

    def kill() -> None:
        wait_until(lambda: [*there.glob(f"{PARTIAL}*")] and len([*there.glob("batch*")]) >= 2)
        killed.append(len([*there.glob("batch*")]))
        kill_all(victim)

    killer = threading.Thread(target=kill)
    if victim:
        killer.start()
    unzip(name)
    if victim:
        killer.join()
        assert killed[0] < ARCHIVES
    assert content(there) == content(workspace / "arrays")


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")  # of Ray's own code
@pytest.mark.parametrize("kills", [False, True], ids=["whole", "with a machine killed"])
def test_ray_gives_the_same_shards(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: bool
) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not among the locked packages: pip install ray")
    for name, value in FOR_RAY.items():
        monkeypatch.setenv(name, value)
    # Two nodes of one machine need addresses of their own, and who asks is on the first.
    monkeypatch.setattr(ray, "init", partial(ray.init, _node_ip_address=HEAD))
    with ray_cluster() as (address, second):
        monkeypatch.setenv("MASKDEPTH_EXECUTOR", address)
        assert_same_shards(workspace, tmp_path.name, second if kills else None)
