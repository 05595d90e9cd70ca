"""Who a run is: its name and tags from DVC's environment, git, the losses, and the hashes of its data."""

import getpass
import json
import os
from pathlib import Path

from maskdepth.params import LossParams, Params, flatten
from maskdepth.process.git import ask_git
from maskdepth.tracking.outbox import DataVersion


def experiment_name() -> str:
    """The DVC experiment that runs this process, "" under plain `dvc repro`.

    A name left in the shell is passed on by `dvc repro`; only together with its baseline is it DVC's own.
    """
    return os.environ.get("DVC_EXP_NAME", "") if os.environ.get("DVC_EXP_BASELINE_REV") else ""


def run_name(params: Params) -> str:
    """The DVC experiment's name; else branch, commit and losses."""
    if experiment_name():
        return experiment_name()
    branch = ask_git("rev-parse", "--abbrev-ref", "HEAD") or "no-branch"
    dirty = "-dirty" if ask_git("status", "--porcelain", "--untracked-files=no") else ""
    return f"{branch}-{ask_git('rev-parse', '--short=7', 'HEAD') or 'no-commit'}{dirty}-{loss_signature(params.loss)}"


def run_tags(params: Params) -> dict[str, str]:
    """Where the run comes from, and its losses in normal form."""
    return workspace_tags() | {"loss.signature": loss_signature(params.loss)}


def workspace_tags() -> dict[str, str]:
    """Commit, DVC experiment and kind of workspace of this process."""
    here = Path.cwd().as_posix()
    kind = "temp" if "/.dvc/tmp/exps/standalone/" in here else "queue" if "/.dvc/tmp/exps/" in here else "workspace"
    return {
        "mlflow.source.name": "dvc exp run" if experiment_name() else "dvc repro",
        "mlflow.source.type": "PROJECT",
        "mlflow.source.git.commit": ask_git("rev-parse", "HEAD"),
        "mlflow.user": _user_name(),
        "dvc.exp.name": experiment_name(),
        "dvc.exp.baseline": os.environ.get("DVC_EXP_BASELINE_REV", ""),
        "dvc.workspace": kind,
    }


def loss_signature(loss: LossParams) -> str:
    """Both losses in normal form, `bce|l1+ssim`; a weight of the whole is shown when it is not 1."""
    from maskdepth.losses.catalogue import normal_form

    mask, depth = normal_form(loss.mask, "mask"), normal_form(loss.depth, "depth")
    return f"{_weighted(mask, loss.mask_weight)}|{_weighted(depth, loss.depth_weight)}"


def run_params(params: Params) -> dict[str, str]:
    """All of params.yaml under its dotted keys."""
    return flatten(params.model_dump())


def data_versions(lock_path: Path, stages: tuple[str, ...]) -> tuple[DataVersion, ...]:
    """Read the hashes of what stages wrote from DVC's lock file, journals left out.

    Args:
        lock_path: dvc.lock; while a stage runs it holds the fresh hashes of the stages before.
        stages: Names of the stages.

    Returns:
        One entry per output; none when there is no lock file, as outside DVC.
    """
    if not lock_path.is_file():
        return ()
    from dvc.utils.serialize import load_yaml

    known = load_yaml(lock_path).get("stages", {})
    outputs = [(stage, out) for stage in stages for out in known.get(stage, {}).get("outs", ())]
    commit = ask_git("rev-parse", "HEAD")
    return tuple(
        DataVersion(
            name=Path(out["path"]).name,
            digest=out["md5"],
            source=json.dumps({"path": out["path"], "md5": out["md5"], "stage": stage, "commit": commit}),
            rows=_count_rows(lock_path.parent / out["path"]),
        )
        for stage, out in outputs
        if not out["path"].endswith(".jsonl")
    )


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the user of a container may be a bare number; Python 3.13 raises another error
        return str(os.getuid())


def _weighted(terms: str, weight: float) -> str:
    return terms if weight == 1 else f"{weight:g}*({terms})"


def _count_rows(path: Path) -> int:
    return path.read_bytes().count(b"\n") - 1 if path.suffix == ".csv" and path.is_file() else 0
