"""What a shell offers where a command takes a name. A person waits for it, so it loads next to nothing."""

import re
from collections.abc import Iterable
from importlib.resources import files

from maskdepth.losses.names import Head, known_losses
from maskdepth.process.git import ask_git


def complete_mask_losses(incomplete: str) -> list[str]:
    """Go on with the last loss of several sums."""
    return _complete_sum(incomplete, "mask")


def complete_depth_losses(incomplete: str) -> list[str]:
    """Go on with the last loss of several sums.

    >>> complete_depth_losses("l1,0.5*mid")
    ['l1,0.5*midas']
    """
    return _complete_sum(incomplete, "depth")


def complete_pairs(incomplete: str) -> list[str]:
    """Go on with the last loss of several pairs: of the depth behind a stroke, else of the mask.

    >>> complete_pairs("bce|ssim,dice|mid")
    ['bce|ssim,dice|midas']
    """
    return _complete_sum(incomplete, "depth" if "|" in incomplete.rpartition(",")[2] else "mask")


def complete_layouts(incomplete: str) -> list[str]:
    """Name the layouts that come with the package."""
    return _only(_definitions("maskdepth.data.layouts", "known"), incomplete)


def complete_recipes(incomplete: str) -> list[str]:
    """Name the students' runs."""
    return _only(_definitions("maskdepth.tuning", "known_recipes"), incomplete)


def complete_metrics(incomplete: str) -> list[str]:
    """Name what a promotion can ask to be better."""
    from maskdepth.comparing.promotion import SCORE
    from maskdepth.comparing.results import ENDPOINTS

    return _only([SCORE, *(endpoint.metric for endpoint in ENDPOINTS)], incomplete)


def complete_experiments(incomplete: str) -> list[str]:
    """Name the DVC experiments of this repository."""
    # refs/exps/6e/8c1f.../dice-ssim-s0: behind the commit that it started from
    return _only(ask_git("for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps/??/*/*").split(), incomplete)


def complete_results(incomplete: str) -> list[str]:
    """Name the DVC experiments, branches and tags of this repository."""
    branches = ask_git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads", "refs/tags").split()
    return [*complete_experiments(incomplete), *_only(branches, incomplete)]


def _complete_sum(incomplete: str, head: Head) -> list[str]:
    *_, last = re.split(r"[,+*|]", incomplete)
    before = incomplete.removesuffix(last)
    return [f"{before}{name}" for name in _only(known_losses(head), last)]


def _definitions(package: str, folder: str) -> list[str]:
    names = (file.name for file in (files(package) / folder).iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def _only(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
