"""What one run measured: of the last `dvc repro`, or of any DVC experiment, branch, tag or commit."""

import difflib
import re
from pathlib import Path

from maskdepth.process.git import ask_git
from maskdepth.tracking.address import locate_store
from maskdepth.tracking.card import headline_rows, read_numbers
from maskdepth.tracking.pages import tell_pages

TITLES = ["test metric", "network", "95 % interval", "learned nothing", ""]

_EXPERIMENT_REF = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(?P<name>.+)")
_TEST = "test.json"
# The columns that tell combinations apart, the score first: with all of them `dvc exp show` prints dots.
LIST_EXPERIMENTS = (
    "dvc exp show --hide-workspace --sort-by metrics/test.json:score --sort-order desc --drop '.*' "
    "--keep 'Experiment|(^|:)(score|mask_iou|depth_ssim)$|loss.(mask|depth)$'"
)


def read_results(experiment: str | None, metrics: Path, reports: Path) -> dict[str, float]:
    """Read the numbers of the test split, those that are no metric of DVC's too where they lie here.

    Args:
        experiment: Name of a DVC experiment, or whatever git takes for a commit; None reads what lies here.
        metrics: Folder of test.json.
        reports: Folder of details.json.

    Raises:
        FileNotFoundError: There are no numbers; says what makes them.
        ValueError: There is no such experiment, or no number in its file.
    """
    path = metrics / _TEST
    if experiment is not None:
        return read_numbers(_show(experiment, path))
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; `dvc repro` writes it")
    details = reports / "details.json"
    more = read_numbers(details.read_text(encoding="utf-8")) if details.is_file() else {}
    return more | read_numbers(path.read_text(encoding="utf-8"))


def tabulate(numbers: dict[str, float]) -> list[list[str]]:
    """Give the rows of a table: the score, then each metric with its interval and the best that learned nothing."""
    score = [["score \u2191", f"{numbers['score']:.3f}", "", "", ""]] if "score" in numbers else []
    return score + headline_rows(numbers)


def tell_next_steps(experiment: str | None) -> list[str]:
    """Say what to do with a result: look, compare, go on, keep."""
    try:
        pages = tell_pages(locate_store())
    except (FileNotFoundError, ValueError):  # outside a repository, or an address that we refuse
        pages = []
    pictures = Path("reports", "pictures", "median.png")
    keep = f"dvc exp apply {experiment}" if experiment else "dvc exp apply NAME"
    return [
        *([f"look at what it predicts:       {pictures}"] if experiment is None and pictures.is_file() else []),
        *pages,
        "which combination is best:      maskdepth compare",
        "one more combination of losses: dvc exp run -S loss.depth=ssim",
        f"choose one and keep it:         {keep}",
        f"all experiments in 100 columns: {LIST_EXPERIMENTS}",
    ]


def _show(experiment: str, path: Path) -> str:
    """Read a file of an experiment or a commit from git, whatever lies here."""
    refs = ask_git("for-each-ref", "--format=%(refname)", "refs/exps").splitlines()
    named = {found["name"]: ref for ref in refs if (found := _EXPERIMENT_REF.fullmatch(ref))}
    revision = named.get(experiment) or ask_git(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"{experiment}^{{commit}}"
    )
    if not revision:
        near = difflib.get_close_matches(experiment, named, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(
            f"no experiment, branch, tag or commit {experiment!r}; {hint}`dvc exp list` lists the experiments"
        )
    text = ask_git("show", f"{revision}:{path.as_posix()}")
    if not text:
        raise FileNotFoundError(f"{experiment} has no {path.as_posix()}; it failed, or `dvc repro` did not run there")
    return text
