"""What the tests must not inherit (several threads, ignored signals, the time of others), and the toy data set."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# On a small, busy machine several threads in each process only wait for each other.
os.environ.setdefault("MASKDEPTH_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")


# An example takes as long as the machine is busy.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure():
    """Undo `nohup`, and the SIGINT that background jobs ignore: the stages under test would inherit both."""
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGHUP else signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_store_of_another_test():
    """Undo `mlflow.set_tracking_uri`, which holds for the process and all its children."""
    yield
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None:
        mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def one_thread():
    """Let torch use one thread: networks this small only wait for one another's threads."""
    import torch  # after the environment above, which it reads once

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The members and the arrays of a toy data set."""
    from support.toy_arrays import make_toy_arrays  # after the environment above, which torch reads once

    return make_toy_arrays(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def arrays(toy):
    return toy[1]


@pytest.fixture
def real_data() -> Path:
    """The folder of real photographs; a test that wants them is skipped without."""
    folder = os.environ.get("MASKDEPTH_REAL_DATA", "")
    if not folder:
        pytest.skip("MASKDEPTH_REAL_DATA is not set: it names the folder with the real photographs")
    assert Path(folder).is_dir(), f"MASKDEPTH_REAL_DATA={folder} is no folder"
    return Path(folder)
