"""One thread per test process: on a small, busy machine more of them only wait for each other."""

import os

os.environ.setdefault("MASKDEPTH_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
