"""Which runs can be compared: those of one data set, split, size and budget, grouped by everything but the seed.

Pure: a list of runs in, a family of them out, and one line for every run that was left out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from maskdepth.process.console import suggest

SEED = "train.seed"

# What all compared runs have in common, and what a reader calls it.
_CONDITIONS = {
    "data": "data",
    "split": "split",
    "data.image_size": "image size",
    "train.epochs": "epochs",
    "train.batch_size": "batch size",
    "evaluate.threshold": "threshold of the mask",
}
# Hashes say nothing to a reader but that they differ.
_HASHES = ("data", "split")
# What a combination does not consist of: the signature has the losses in normal form, the hashes have data and split,
# and the last two sections change what is drawn and how soon, but no result.
_NOT_OF_A_COMBINATION = (SEED, "train.checkpoint_seconds", "train.compile", "loss.", "data.", "split.", "evaluate.")


@dataclass(frozen=True)
class Run:
    """One finished or unfinished training, as a store of runs knows it.

    Attributes:
        run_id: The store's key.
        name: What people call it.
        signature: Both losses in normal form, `bce|l1+ssim`.
        params: All of params.yaml under dotted keys.
        data: Hash of the arrays that it was trained and tested on, "" where none is known.
        split: Hash of the split, likewise.
        version: Of this project.
        table: Where the per-sample table is, None where there is none.
        ended: When it ended [s since 1970], 0 where it has not.
        status: FINISHED, or in what other state it is.
    """

    run_id: str
    name: str
    signature: str
    params: Mapping[str, str]
    data: str
    split: str
    version: str
    table: str | None
    ended: float
    status: str

    @property
    def seed(self) -> int | None:
        """The seed of the training, None where none is known."""
        text = self.params.get(SEED, "")
        return int(text) if text.isdecimal() else None


@dataclass(frozen=True)
class LeftOut:
    """A run that takes no part, and why; `is_superseded` where a newer run stands for it."""

    run: Run
    reason: str
    is_superseded: bool = False

    def __str__(self) -> str:
        return f"{self.run.name} ({self.run.run_id[:8]}): {self.reason}"


@dataclass(frozen=True)
class Family:
    """Runs that can be compared.

    Attributes:
        conditions: What all of them share, by what a reader calls it.
        combinations: The runs of each combination by seed, in alphabetical order.
        left_out: The other runs.
        versions: Versions of this project that the runs were made with; more than one is worth a word.
    """

    conditions: dict[str, str]
    combinations: dict[str, dict[int, Run]]
    left_out: tuple[LeftOut, ...]
    versions: tuple[str, ...]


def choose_family(runs: Iterable[Run], control: str | None) -> Family:
    """Take the largest family of comparable runs, or that of a named control.

    A combination is named by its losses, and by whatever else is not as in most runs of the family: then it is not the
    losses alone that are compared. Of two runs of one combination and seed the newest counts.

    Args:
        runs: All runs of a store.
        control: A signature, or a combination's whole name; its largest family is taken. None takes the largest of all.

    Raises:
        ValueError: There are no runs, none of which anything can be told, or none of the control.
    """
    runs = list(runs)
    if not runs:
        raise ValueError("the store has no runs; `dvc repro` or `dvc exp run` makes them")
    usable, left_out = _set_aside(runs)
    if not usable:
        raise ValueError(f"none of {len(runs)} runs can be compared; the first: {left_out[0]}")
    families: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in usable:
        families[_conditions(run)].append(run)
    ordered = sorted(families.items(), key=lambda family: _size(family[1]), reverse=True)
    named = [(conditions, _name_combinations(members)) for conditions, members in ordered]
    conditions, chosen = _find_control(named, control)
    combinations, superseded = _take_newest(chosen)
    left_out += superseded
    for other, members in families.items():
        if other != conditions:
            reason = f"it cannot be compared with the others: {_tell_difference(other, conditions)}"
            left_out += [LeftOut(run, reason) for run in members]
    compared = [run for by_seed in combinations.values() for run in by_seed.values()]
    return Family(
        conditions={title: value for title, value in zip(_CONDITIONS.values(), conditions, strict=True) if value},
        combinations=combinations,
        left_out=tuple(left_out),
        versions=tuple(sorted({run.version for run in compared})),
    )


def choose_pair(runs: Iterable[Run], run: Run, other: Run) -> tuple[Family, str, str]:
    """Take the runs of two combinations alone: those that two given runs are of.

    Returns:
        The family, and what the combinations of `run` and of `other` are called in it.

    Raises:
        ValueError: Nothing can be told of one of them, they cannot be compared or are of one combination, or there is a
            newer run with the settings and seed of `run`.
    """
    for each in (run, other):
        if fault := _find_fault(each):
            raise ValueError(f"{LeftOut(each, fault)}")
    if _conditions(run) != _conditions(other):
        difference = _tell_difference(_conditions(run), _conditions(other))
        raise ValueError(f"{run.name} cannot be compared with {other.name}: {difference}")
    settings = [_settings(each) for each in (run, other)]
    if settings[0] == settings[1]:
        raise ValueError(f"{run.name} and {other.name} differ in their seed alone, which is luck and no reason")
    alike = [each for each in runs if not _find_fault(each) and _conditions(each) == _conditions(run)]
    family = choose_family([each for each in alike if _settings(each) in settings], None)
    newer = next((left_out for left_out in family.left_out if left_out.run.run_id == run.run_id), None)
    if newer is not None:
        raise ValueError(f"{newer}: promote that one")
    names = {_settings(next(iter(by_seed.values()))): name for name, by_seed in family.combinations.items()}
    return family, names[settings[0]], names[settings[1]]


def _set_aside(runs: Sequence[Run]) -> tuple[list[Run], list[LeftOut]]:
    """Part the runs of which nothing can be told from the others."""
    usable, left_out = [], []
    for run in runs:
        if reason := _find_fault(run):
            left_out.append(LeftOut(run, reason))
        else:
            usable.append(run)
    return usable, left_out


def _find_fault(run: Run) -> str:
    """Say what a run lacks, "" when it lacks nothing."""
    if run.status != "FINISHED":
        return f"it is {run.status.lower()}, not finished"
    if run.table is None:
        return "it has no table of its samples, perhaps of an older version; run it again"
    if run.seed is None:
        return f"it has no {SEED}, perhaps of an older version; run it again"
    if not run.signature:
        return "it does not say which losses it was trained with; run it again"
    if not (run.data and run.split):
        return "it does not say which data and split it is of; run it again with `dvc repro`"
    return ""


def _conditions(run: Run) -> tuple[str, ...]:
    """Give what all compared runs have to share, in the order of `_CONDITIONS`."""
    known = {**run.params, "data": run.data, "split": run.split}
    return tuple(known.get(key, "") for key in _CONDITIONS)


def _size(members: list[Run]) -> tuple[int, float]:
    """Count combinations times seeds; of equal families the one with the newest run is the larger."""
    return len({(_settings(run), run.seed) for run in members}), max(run.ended for run in members)


def _settings(run: Run) -> tuple[tuple[str, str], ...]:
    """Give what makes a combination one of its own: its losses, and every setting that can change a result."""
    own = [(key, value) for key, value in run.params.items() if not key.startswith(_NOT_OF_A_COMBINATION)]
    # Losses and conditions are told apart elsewhere.
    return (("", run.signature), *sorted((key, value) for key, value in own if key not in _CONDITIONS))


def _name_combinations(members: list[Run]) -> dict[str, list[Run]]:
    """Group runs by everything but the seed, and name the groups by what sets them apart."""
    groups: dict[tuple[tuple[str, str], ...], list[Run]] = defaultdict(list)
    for run in members:
        groups[_settings(run)].append(run)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    keys = {key for settings in groups for key, _ in settings if key}
    for settings in groups:
        values = dict(settings)
        for key in keys:
            counts[key][values.get(key, "")] += 1
    usual = {key: min(counter, key=lambda value: (-counter[value], value)) for key, counter in counts.items()}
    return {_name(dict(settings), usual): runs for settings, runs in sorted(groups.items())}


def _name(settings: dict[str, str], usual: dict[str, str]) -> str:
    unusual = [f"{key}={settings.get(key, '')}" for key in sorted(usual) if settings.get(key, "") != usual[key]]
    return ", ".join([settings[""], *unusual])


def _find_control(
    families: list[tuple[tuple[str, ...], dict[str, list[Run]]]], control: str | None
) -> tuple[tuple[str, ...], dict[str, list[Run]]]:
    """Take the first family that has the control."""
    if control is None:
        return families[0]
    for conditions, combinations in families:
        if control in combinations:
            return conditions, combinations
    known = sorted({name for _, combinations in families for name in combinations})
    raise ValueError(f"no run has the combination {control!r}; {suggest(control, known)}")


def _take_newest(combinations: dict[str, list[Run]]) -> tuple[dict[str, dict[int, Run]], list[LeftOut]]:
    """Keep one run for each combination and seed."""
    chosen: dict[str, dict[int, Run]] = {}
    left_out = []
    for name, runs in combinations.items():
        by_seed: dict[int, Run] = {}
        for run in sorted(runs, key=lambda run: (run.ended, run.run_id), reverse=True):
            assert run.seed is not None  # or it was set aside
            newest = by_seed.setdefault(run.seed, run)
            if newest is not run:
                reason = f"{newest.name} ({newest.run_id[:8]}) is a newer run of {name} with seed {run.seed}"
                left_out.append(LeftOut(run, reason, is_superseded=True))
        chosen[name] = dict(sorted(by_seed.items()))
    return dict(sorted(chosen.items())), left_out


def _tell_difference(conditions: tuple[str, ...], chosen: tuple[str, ...]) -> str:
    """Say in what a run is unlike those that are compared."""
    told = []
    for (key, title), value, wanted in zip(_CONDITIONS.items(), conditions, chosen, strict=True):
        if value != wanted:
            told.append(
                f"other {title}" if key in _HASHES else f"{title} {value or 'unknown'}, not {wanted or 'unknown'}"
            )
    return "; ".join(told)
