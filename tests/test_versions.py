"""Of the tests with other versions: what is not there is named, and what fails is told at the end."""

import pytest

from tools import versions

STUB = """#!/bin/sh
# Finds a Python or none, and can install nothing.
if [ "$1" = python ]; then echo "{found}"; else exit 1; fi
"""


@pytest.fixture
def uv(tmp_path, monkeypatch):
    """What stands in the place of uv; give a function that says which Python it finds."""
    path = tmp_path / "uv"
    monkeypatch.setattr(versions, "_install_uv", lambda folder: path)

    def finds(found: str) -> None:
        path.write_text(STUB.format(found=found))
        path.chmod(0o755)

    return finds


def test_a_python_that_is_not_found_is_named_and_is_no_failure(uv, capsys):
    uv("")
    assert versions.main([]) == 0
    *_, first, second, third, oldest = capsys.readouterr().out.splitlines()
    assert first == "Python 3.11, locked packages: not found here"
    assert (second[:11], third[:11]) == ("Python 3.12", "Python 3.13")
    assert oldest == "Python 3.11, oldest packages: not found here"


def test_packages_that_cannot_be_installed_are_a_failure(uv, capsys):
    uv("true")
    assert versions.main([]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "Python 3.11, oldest packages: failed"
