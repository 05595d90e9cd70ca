"""Who a run is, where the system does not say."""

import os

from support.stored import MLFLOW_WARNINGS

import maskdepth.process.git
import maskdepth.tracking.store
from maskdepth.process.git import ask_git
from maskdepth.tracking.identity import workspace_tags

pytestmark = MLFLOW_WARNINGS


def test_a_user_without_a_name_is_named_by_its_number(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4123456)
    assert workspace_tags()["mlflow.user"] == "4123456"


def test_a_git_that_takes_too_long_gives_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(maskdepth.process.git, "_GIT_SECONDS", 0.2)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nexec sleep 5\n")
    git.chmod(0o755)
    assert ask_git("status") == ""
