"""A cluster that cannot be reached or used is named in one sentence, before anything was done."""

import socket
import sys
import threading
import time
from concurrent.futures import CancelledError, Future

import pytest
from faults.doors import free_port

from maskdepth.process.cluster import Cluster, open_cluster


@pytest.mark.parametrize("name", ["", "processes"])
def test_without_a_cluster_all_work_stays_here(monkeypatch, name):
    monkeypatch.setenv("MASKDEPTH_EXECUTOR", name)
    with open_cluster() as cluster:
        assert cluster is None


@pytest.mark.parametrize(
    "name", ["dask", "dask:host:1", "spark:tcp://host:1", "dask:tcp://ann:secret@host:1", "ray:host"]
)
def test_another_name_is_refused_with_those_that_are_taken(monkeypatch, name):
    monkeypatch.setenv("MASKDEPTH_EXECUTOR", name)
    message = r"MASKDEPTH_EXECUTOR takes processes \(default\), dask:tcp://HOST:PORT or ray:HOST:PORT"
    with pytest.raises(ValueError, match=message) as raised, open_cluster():
        pass
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("name", ["dask:tcp://127.0.0.1:{}", "ray:127.0.0.1:{}", "dask:tcp://127.0.0.1:99{}"])
def test_a_cluster_that_is_away_is_named_at_once(monkeypatch, name):
    name = name.format(free_port())
    monkeypatch.setenv("MASKDEPTH_EXECUTOR", name)
    message = f"the cluster {name} is away .*; start it, or unset MASKDEPTH_EXECUTOR"
    with pytest.raises(ValueError, match=message), open_cluster():
        pass


@pytest.mark.parametrize("name", ["dask:tcp://127.0.0.1:{}", "ray:127.0.0.1:{}"])
def test_what_takes_calls_and_says_nothing_is_named_too(monkeypatch, name):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        name = name.format(mute.getsockname()[1])
        monkeypatch.setenv("MASKDEPTH_EXECUTOR", name)
        began = time.monotonic()
        with pytest.raises(ValueError, match=rf"the cluster {name} is away \(timed out\)"), open_cluster():
            pass
        assert time.monotonic() - began < 15


def test_a_missing_library_is_named(monkeypatch):
    def answer() -> None:
        with server.accept()[0] as asked:
            assert asked.recv(24).startswith(b"PRI * HTTP/2.0")
            asked.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=answer)
        answering.start()
        monkeypatch.setenv("MASKDEPTH_EXECUTOR", f"ray:127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(ValueError, match="and the Python module ray is not installed"), open_cluster():
            pass
        answering.join()


def test_what_the_cluster_has_lost_is_named():
    lost: Future[None] = Future()
    lost.cancel()
    cluster = Cluster("dask:tcp://host:1", None, (CancelledError,))
    with pytest.raises(
        ChildProcessError, match=r"dask:tcp://host:1 did not end its work at batch1\.zip \(CancelledErr"
    ):
        cluster.result(lost, "batch1.zip")
