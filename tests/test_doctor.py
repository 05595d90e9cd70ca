"""The doctor finds what would go wrong later, names the cure, and changes nothing."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.settings import copy_params
from support.toy import write_toy_archive

from maskdepth.doctor import (
    check_arrays,
    check_cache,
    check_data,
    check_dvc,
    check_git,
    check_settings,
    describe_machine,
)
from maskdepth.process.workers import usable_cores
from stages import unzip


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path) -> Path:
    """A git repository with a commit, tracked raw data, and a DVC folder that links."""
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[cache]\n    type = hardlink\n")
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / "a.zip").touch()
    (tmp_path / "data" / "raw.dvc").touch()
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "start")
    return tmp_path


def test_a_sound_repository_has_no_findings(repository):
    assert check_data(repository) + check_git(repository) + check_dvc(repository) == []


def test_processes_that_cannot_share_a_batch_are_found(tmp_path, monkeypatch):
    copy_params(tmp_path)
    monkeypatch.setenv("MASKDEPTH_RANKS", "2")
    (found,) = check_settings(tmp_path)
    assert found.startswith("train.micro_batch: auto cuts a batch of 16 into 1, which 2 processes cannot share evenly")


def test_the_machine_is_told_with_the_threads_of_each_of_two_trainings():
    share = max(1, usable_cores() // 2)
    assert describe_machine()[-1].endswith(f"MASKDEPTH_THREADS={share}")


@pytest.mark.parametrize(
    ("shipped", "changed", "found"),
    [
        ("depth: l1+ssim ", "depth: smim ", "did you mean"),
        ("name: dsunet", "name: mshilpa", "mshilpaa"),
        ("image_size: 64", "image_size: 12", "the networks need 16 px or more"),
        ("epochs: 4", "epochs: 0", "train.epochs"),
    ],
)
def test_settings_that_training_would_refuse_are_found(tmp_path, shipped, changed, found):
    params = copy_params(tmp_path)
    text = params.read_text()
    assert shipped in text
    assert check_settings(tmp_path) == []
    params.write_text(text.replace(shipped, changed))
    (line,) = check_settings(tmp_path)
    assert found in line


def test_missing_data_is_named_with_the_cure(repository):
    (repository / "data" / "raw" / "a.zip").unlink()
    assert "maskdepth sample data/raw" in check_data(repository)[0]


def test_untracked_data_is_found(repository):
    (repository / "data" / "raw.dvc").unlink()
    assert "`dvc add data/raw`" in check_data(repository)[0]


def test_data_that_git_does_not_know_is_found(repository):
    git(repository, "rm", "-q", "--cached", "data/raw.dvc")
    assert "`git add data/raw.dvc`" in check_data(repository)[0]


def test_an_archive_of_which_some_files_could_not_be_read_is_found(tmp_path, monkeypatch):
    copy_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = write_toy_archive(tmp_path / "data" / "raw").path
    whole = path.read_bytes()
    for content, count in ((whole[:9000] + bytes(500) + whole[9500:], 1), (whole, 0)):
        path.write_bytes(content)
        unzip.main(Path("data/raw"), Path("data/arrays"), Path("journals/unzip.jsonl"))
        found = check_arrays(tmp_path)
        assert len(found) == count
        assert all(
            re.match(r"batch1_images\.zip: \d files .* or cannot be read: copy it again, then", line) for line in found
        )


def test_a_damaged_card_is_found(tmp_path):
    (tmp_path / "data" / "arrays" / "a").mkdir(parents=True)
    (tmp_path / "data" / "arrays" / "a" / "shard.json").write_text("{")
    (line,) = check_arrays(tmp_path)
    assert "shard.json is damaged" in line


def test_a_detached_head_is_found(repository):
    git(repository, "checkout", "-q", "--detach")
    assert "git switch" in check_git(repository)[0]


def test_a_repository_without_a_commit_is_found(tmp_path):
    git(tmp_path, "init", "-q")
    assert "no commit" in check_git(tmp_path)[0]


def test_what_a_killed_dvc_leaves_is_found(repository):
    (repository / ".dvc" / "tmp" / "exps" / "tmpabc").mkdir(parents=True)
    (repository / ".dvc" / "tmp" / "rwlock").touch()
    findings = check_dvc(repository)
    assert "rwlock is damaged" in findings[0]
    assert "1 workspaces" in findings[1]


@pytest.mark.slow
def test_experiments_that_wait_for_a_worker_that_died_are_found(repository):
    def dvc(*arguments):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=repository, check=True, capture_output=True)

    (repository / "params.yaml").write_text("a: 1\n")
    (repository / "dvc.yaml").write_text("stages:\n  one:\n    cmd: 'true'\n    params: [a]\n")
    (repository / "data" / "raw.dvc").unlink()
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "a stage")
    dvc("exp", "run", "--queue", "-S", "a=2")
    (line,) = check_dvc(repository)
    assert line == "1 experiments wait in DVC's queue for no worker: `dvc queue start`"
    log = repository / ".dvc" / "tmp" / "exps" / "celery" / "dvc-exp-worker-1.out"
    log.write_text("Traceback\njson.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)\n")
    (line,) = check_dvc(repository)
    assert f"race in DVC itself (JSONDecodeError in {log}): `dvc queue start`" in line
    dvc("queue", "remove", "--all")
    assert check_dvc(repository) == []


@pytest.mark.parametrize("text", ["[]", "{", '{"write": {"data": 7}}', '{"read": {"data": [{"cmd": "x"}]}}'])
def test_a_damaged_lock_is_found(repository, text):
    (repository / ".dvc" / "tmp").mkdir()
    (repository / ".dvc" / "tmp" / "rwlock").write_text(text)
    (line,) = check_dvc(repository)
    assert "rwlock is damaged" in line


def test_a_process_number_in_the_lock_that_is_used_again_is_found(repository):
    lock = repository / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir()
    command = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen([*command, "/usr/bin/dvc", "repro"], stdin=subprocess.PIPE) as dvc,
        subprocess.Popen([*command, "an editor of dvc.yaml"], stdin=subprocess.PIPE) as other,
        subprocess.Popen(["true"]) as gone,
    ):
        gone.wait()
        writing, reading, ended = ({"pid": process.pid, "cmd": "dvc repro"} for process in (dvc, other, gone))
        lock.write_text(json.dumps({"write": {"a": writing}, "read": {"b": [ended]}}))
        assert check_dvc(repository) == []
        lock.write_text(json.dumps({"write": {"a": writing}, "read": {"b": [ended, reading]}}))
        (line,) = check_dvc(repository)
        assert line.startswith(f"{lock} names process {other.pid}, which is no dvc command")


def test_a_half_merged_lock_file_is_found_and_taking_one_side_mends_it(repository):
    lock = repository / "dvc.lock"
    for branch, text in (("main", "common"), ("theirs", "their"), ("main", "our")):
        git(repository, "checkout", "-q", "-B", branch, *(["HEAD~"] if text == "our" else []))
        lock.write_text(f"schema: '2.0'\n# {text}\n")
        git(repository, "add", "dvc.lock")
        git(repository, "commit", "-qm", text)
    assert check_dvc(repository) == []
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "merge", "theirs")
    (line,) = check_dvc(repository)
    assert line.startswith(f"{lock} holds the two sides of a merge")
    git(repository, "checkout", "--theirs", "dvc.lock")
    assert check_dvc(repository) == []


def test_a_damaged_file_in_a_cache_elsewhere_is_found(repository, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    subprocess.run([sys.executable, "-m", "dvc", "cache", "dir", str(cache)], cwd=repository, check=True)
    damaged = cache / "files" / "md5" / "ab" / ("c" * 30)
    damaged.parent.mkdir(parents=True)
    damaged.touch()
    (line,) = check_cache(repository)
    assert line.startswith(f"{damaged} is damaged: delete it")


def test_a_damaged_file_in_the_cache_is_found(repository):
    folder = repository / ".dvc" / "cache" / "files" / "md5"
    for content, name in (
        (b"whole", hashlib.md5(b"whole").hexdigest()),
        (b"[]", hashlib.md5(b"[]").hexdigest() + ".dir"),
    ):
        path = folder / name[:2] / name[2:]
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    assert check_cache(repository) == []
    path.write_bytes(b"[}")
    (line,) = check_cache(repository)
    assert line.startswith(f"{path} is damaged: delete it")


def test_copying_is_found(repository):
    (repository / ".dvc" / "config").write_text("")
    assert "hardlink,symlink,copy" in check_dvc(repository)[0]


def test_the_machine_is_described():
    assert "torch 2" in describe_machine()[1]
