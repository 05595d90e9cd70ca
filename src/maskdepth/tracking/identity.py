"""Who a run is: its name and tags from DVC's environment, git, the losses, and the hashes of its data."""

import getpass
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from maskdepth.losses.names import normal_form
from maskdepth.params import LossParams, Params, flatten, load_params
from maskdepth.process.git import ask_git
from maskdepth.tracking.outbox import DataVersion

_SHIPPED = "shipped_params.yaml"
_ALWAYS_SHOWN = frozenset({"loss.mask", "loss.depth", "model.name", "train.epochs", "train.seed"})
# What DVC writes itself, and params.yaml, of which every run has a copy.
_NOT_CODE = ("params.yaml", "dvc.lock", ".dvc", "metrics/")
_MOST_FILES = 10
# Of a data set: the pictures, which of them are a sample, and what each sample is for.
_MAKE_A_DATASET = ("arrays", "index.csv", "split.csv")
_DATASETS = {"train": "train", "val": "validation", "test": "test"}


def experiment_name() -> str:
    """The DVC experiment that runs this process, "" under plain `dvc repro`.

    A name left in the shell is passed on by `dvc repro`; only together with its baseline is it DVC's own.
    """
    return os.environ.get("DVC_EXP_NAME", "") if os.environ.get("DVC_EXP_BASELINE_REV") else ""


def run_name(params: Params) -> str:
    """What was trained, `bce+dice|l1+ssim-s0`: the losses in normal form and the seed."""
    return f"{loss_signature(params.loss)}-s{params.train.seed}"


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
        "git.changed": _changed_files(),
    }


def loss_signature(loss: LossParams) -> str:
    """Both losses in normal form, `bce|l1+ssim`; a weight of the whole is shown when it is not 1."""
    mask, depth = normal_form(loss.mask, "mask"), normal_form(loss.depth, "depth")
    return f"{_weighted(mask, loss.mask_weight)}|{_weighted(depth, loss.depth_weight)}"


def shown_params(params: dict[str, str]) -> tuple[str, ...]:
    """Name the settings that a list of runs shows: what combinations differ in, and what is not as it was shipped.

    What was shipped is a file of this package: the params.yaml of a repository may have been changed and committed.
    """
    shipped = run_params(load_params(Path(__file__).parents[1] / _SHIPPED))
    return tuple(key for key, value in params.items() if key in _ALWAYS_SHOWN or shipped.get(key) != value)


def run_params(params: Params) -> dict[str, str]:
    """All of params.yaml under its dotted keys."""
    return flatten(params.model_dump())


def data_outputs(lock_path: Path, stages: tuple[str, ...]) -> dict[str, str]:
    """Read the hashes of what stages wrote from DVC's lock file, journals left out.

    Args:
        lock_path: dvc.lock; while a stage runs it holds the fresh hashes of the stages before.
        stages: Names of the stages.

    Returns:
        The hash of each file or folder by its path; none when there is no lock file, as outside DVC.
    """
    if not lock_path.is_file():
        return {}
    from dvc.utils.serialize import load_yaml

    known = load_yaml(lock_path).get("stages", {})
    outputs = [out for stage in stages for out in known.get(stage, {}).get("outs", ())]
    return {str(out["path"]): str(out["md5"]) for out in outputs if not out["path"].endswith(".jsonl")}


def datasets(outputs: dict[str, str], counts: Mapping[str, int]) -> tuple[DataVersion, ...]:
    """Name what a training learned from and was measured on, as a reader knows it: three data sets with their sizes.

    Args:
        outputs: As `data_outputs` gives them; without any there are no data sets.
        counts: Number of samples by split.
    """
    if not outputs:
        return ()
    made_of = {path: digest for path, digest in outputs.items() if Path(path).name in _MAKE_A_DATASET}
    source = json.dumps({"made of": made_of, "commit": ask_git("rev-parse", "HEAD")})
    return tuple(
        DataVersion(name, _digest_of(made_of | {"split": split}), source, counts.get(split, 0))
        for split, name in _DATASETS.items()
    )


def _digest_of(values: dict[str, str]) -> str:
    # MLflow takes 36 characters at most.
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _changed_files() -> str:
    """Name the files that are not as in the commit, but for those that say nothing of the code."""
    lines = ask_git("status", "--porcelain", "--untracked-files=no").splitlines()
    names = [line.strip().partition(" ")[2].strip() for line in lines]
    changed = [name for name in names if not (name.endswith(_NOT_CODE) or name.startswith(_NOT_CODE))]
    more = f" and {len(changed) - _MOST_FILES} more" if len(changed) > _MOST_FILES else ""
    return ", ".join(changed[:_MOST_FILES]) + more


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the user of a container may be a bare number; Python 3.13 raises another error
        return str(os.getuid())


def _weighted(terms: str, weight: float) -> str:
    return terms if weight == 1 else f"{weight:g}*({terms})"
