"""A sweep from the first check to the last run: DVC experiments, gone on with where they were stopped."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from maskdepth.answer import Answer, answer, file
from maskdepth.data.archives.planning import decoding_settings
from maskdepth.doctor import check_data, check_git, check_settings
from maskdepth.params import Params, check_params, flatten, load_params, override, parse_yaml
from maskdepth.process.console import count, progress, say, warn
from maskdepth.process.files import parse_json
from maskdepth.process.git import ask_git
from maskdepth.process.signals import StopSignals
from maskdepth.process.workspace import repository_root
from maskdepth.sweeping.experiments import Outcome, finished_experiments, logs_dir, only_sweep, run_experiments
from maskdepth.sweeping.forecast import count_test_places, expected_seconds, tell_visible
from maskdepth.sweeping.grid import Experiment, Grid, plan
from maskdepth.sweeping.racing import Standing
from maskdepth.sweeping.racing import judge as judge_race
from maskdepth.sweeping.sharing import choose_jobs, sharing
from maskdepth.tracking.address import EXPERIMENT

# Seeds that every combination of a race has before any is stopped.
FIRST_SEEDS = 3
_MOST_SHOWN = 12
# The stage whose result DVC never takes over from another run: its output persists, so that unchanged archives are not
# decoded again.
_DECODING = "unzip"
_DIGITS = 16
SCORE = ("val_mask_iou", "val_depth_ssim")


@dataclass(frozen=True)
class Sweep:
    """A sweep whose every part was checked.

    Attributes:
        root: The repository.
        params: The settings here.
        experiments: All of them.
        done: Names of those that are there already.
        jobs: How many run at a time.
    """

    root: Path
    params: Params
    experiments: tuple[Experiment, ...]
    done: frozenset[str]
    jobs: int

    def settings_of(self, experiment: Experiment) -> Params:
        """Give all settings of one of its experiments."""
        return override(self.params, experiment.settings, experiment.name)


@dataclass
class _Runner:
    """Runs parts of a sweep.

    Attributes:
        sweep: Which.
        places: As `sharing` gives them.
        lock: As `only_sweep` gives it.
        stop: Heeded between two looks.
        done: Names of the experiments that are there.
        failed: Those that failed.
    """

    sweep: Sweep
    places: Sequence[Mapping[str, str]]
    lock: IO[str]
    stop: StopSignals
    done: set[str]
    failed: list[Outcome] = field(default_factory=list)

    def run(self, experiments: Sequence[Experiment]) -> None:
        """Run those that are not there yet."""
        missing = [each for each in experiments if each.name not in self.done]
        outcomes = run_experiments(missing, self.sweep.root, self.places, self.lock, self.stop)
        for outcome in progress(outcomes, "sweep", len(missing)):
            if outcome.failure:
                self.failed.append(outcome)
                warn(f"{outcome.experiment.name} failed: {outcome.failure}")
            else:
                self.done.add(outcome.experiment.name)
        if self.stop.received:
            say("sweep: stopped; the same command goes on, each training where it was")
            sys.exit(self.stop.exit_code)


def prepare(grid: Grid, name: str, jobs: int | None) -> Sweep:
    """Check everything that a sweep needs, before anything is run.

    Args:
        grid: What is to be run.
        name: What the names of all experiments begin with, "" for nothing.
        jobs: How many at a time; None takes as many as this machine bears.

    Raises:
        ValueError: A loss, a setting, the data or the repository is not as experiments need it, or experiments of
            these names are there with other settings.
    """
    root = repository_root()
    params = load_params(root / "params.yaml")
    experiments = plan(grid, params, name)
    _require_ready(root)
    _warn_of_decoding(experiments, params)
    jobs = jobs or choose_jobs()
    sweep = Sweep(root, params, experiments, frozenset(), jobs)
    return replace(sweep, done=frozenset(_find_done(sweep)))


def run(sweep: Sweep, *, races: bool) -> bool:
    """Run what is missing of a sweep.

    Args:
        sweep: What is to be run.
        races: Whether combinations stop that have lost on the validation split, and all when more seeds would change
            nothing.

    Returns:
        Whether none failed.

    Raises:
        ConflictError: Another sweep runs here.
        ValueError: It cannot be a race.
    """
    with only_sweep() as lock, StopSignals() as stop, sharing(sweep.jobs) as places:
        runner = _Runner(sweep, places, lock, stop, set(sweep.done))
        if races:
            _race(runner)
        else:
            runner.run(sweep.experiments)
    for outcome in runner.failed[:_MOST_SHOWN]:
        say(f"failed: {outcome.experiment.name}: {outcome.failure} ({logs_dir() / outcome.experiment.name}.log)")
    if runner.failed:
        say(f"{count(len(runner.failed), 'experiments')} failed; the same command tries again")
    return not runner.failed


def judge(sweep: Sweep) -> Answer:
    """Compare the runs of a sweep, and no others that are in the store.

    Raises:
        ValueError: There is nothing to compare.
    """
    return answer(EXPERIMENT, None, [flatten(sweep.settings_of(each).model_dump()) for each in sweep.experiments])


def file_answer(sweep: Sweep, found: Answer) -> str:
    """Put the answer into the store as a row of its own, one for each sweep; say so in a line."""
    names = "\n".join(sorted({each.name.rpartition("-s")[0] for each in sweep.experiments}))
    commit = ask_git("rev-parse", "HEAD", folder=sweep.root)
    key = hashlib.sha256(f"{commit}\n{names}".encode()).hexdigest()[:_DIGITS]
    combinations = len({each.signature for each in sweep.experiments})
    return file(found, key, f"answer: {count(combinations, 'combinations')} of losses")


def tell(sweep: Sweep) -> list[str]:
    """Say how many runs there are, how long they take and what they will show."""
    signatures, seeds = ({getattr(each, name) for each in sweep.experiments} for name in ("signature", "seed"))
    there = f", {len(sweep.done)} of them there already" if sweep.done else ""
    lines = [
        f"{count(len(sweep.experiments), 'runs')}: {count(len(signatures), 'combinations')} with "
        f"{count(len(seeds), 'seeds')} each{there}; {sweep.jobs} at a time"
    ]
    left = len(sweep.experiments) - len(sweep.done)
    seconds = expected_seconds(sweep.root, sweep.params, sweep.settings_of(sweep.experiments[0]))
    if left and seconds is not None:
        whole = tell_time(seconds * left / sweep.jobs)
        lines.append(f"{count(left, 'experiments')} of {tell_time(seconds)}, by the last `dvc repro`: {whole}")
    elif left:
        lines.append("how long that takes shows when the first have ended, or after a `dvc repro`")
    return [*lines, tell_visible(len(seeds), count_test_places(sweep.root / "data" / "split.csv"), len(signatures))]


def tell_time(seconds: float) -> str:
    """Say a time as a person would.

    >>> tell_time(59), tell_time(600), tell_time(7200)
    ('59 s', '10 min', '2.0 h')
    """
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if seconds < 100 else f"{minutes:.0f} min" if minutes < 100 else f"{hours:.1f} h"


def _require_ready(root: Path) -> None:
    """Refuse what would make every experiment fail, or be of something else than is here."""
    findings = [*check_settings(root), *check_data(root), *check_git(root)]
    if findings:
        raise ValueError(findings[0])
    if changed := ask_git("status", "--porcelain", "--untracked-files=no", folder=root):
        names = ", ".join(line.split(maxsplit=1)[-1] for line in changed.splitlines()[:_MOST_SHOWN])
        raise ValueError(
            f"not committed: {names}; experiments start from a commit: `git commit -am 'Before the sweep'`"
        )
    command = [sys.executable, "-m", "dvc", "status", "--json", "data/raw.dvc", _DECODING]
    asked = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise ValueError(f"dvc status: {(asked.stderr.strip().splitlines() or ['no answer'])[-1]}")
    stale = parse_json(asked.stdout)
    if "data/raw.dvc" in stale:
        raise ValueError(
            "data/raw is not as data/raw.dvc says: `dvc add data/raw`, then commit, so that experiments see it"
        )
    if _DECODING in stale or not ask_git("ls-files", "dvc.lock", folder=root):
        raise ValueError(
            "no commit says that the archives are decoded as params.yaml wants, so every run would see to that itself: "
            f"`dvc repro {_DECODING}`, `git add dvc.lock`, then commit"
        )


def _warn_of_decoding(experiments: Sequence[Experiment], params: Params) -> None:
    """Tell of settings that make other arrays: no run can take over what another has decoded."""
    here = flatten(params.model_dump())
    decoding = {f"data.{name}" for name in (*decoding_settings(params.data), "layout")}
    asked = {key: value for each in experiments for key, value in each.settings.items() if key in decoding}
    for key, value in asked.items():
        if value != here[key]:
            warn(f"every run decodes the archives: {key} is {here[key]} in params.yaml and {value} in the sweep")


def _find_done(sweep: Sweep) -> Iterator[str]:
    """Name the experiments that are there already.

    Raises:
        ValueError: One of that name is there, with other settings.
    """
    there = finished_experiments(sweep.root)
    for each in sweep.experiments:
        if each.name not in there:
            continue
        text = ask_git("show", f"{there[each.name]}:params.yaml", folder=sweep.root)
        theirs = flatten(check_params(parse_yaml(text), each.name).model_dump())
        ours = flatten(sweep.settings_of(each).model_dump())
        if other := [f"{key} {theirs[key]} there, {ours[key]} here" for key in ours if theirs.get(key) != ours[key]]:
            raise ValueError(
                f"there is an experiment {each.name} with other settings ({'; '.join(other)}): name this sweep with "
                "--name, or `dvc exp remove` the other"
            )
        yield each.name


def _race(runner: _Runner) -> None:
    """Give seeds to the combinations that may still be the best, until that is decided or the seeds are used up."""
    experiments, root = runner.sweep.experiments, runner.sweep.root
    seeds = list(dict.fromkeys(each.seed for each in experiments))
    still = list(dict.fromkeys(each.signature for each in experiments))
    runners, rounds = len(still), [seeds[:FIRST_SEEDS], *([seed] for seed in seeds[FIRST_SEEDS:])]
    if len(seeds) < FIRST_SEEDS or runners < 2:
        raise ValueError(f"--until-decided needs {FIRST_SEEDS} seeds and two combinations at least")
    for part in rounds:
        runner.run([each for each in experiments if each.seed in part and each.signature in still])
        scores = _read_scores([each for each in experiments if each.signature in still], root)
        still = [name for name in still if len(scores[name]) >= 2]  # what fails each time is out
        if not still:
            return
        standing = judge_race({name: scores[name] for name in still}, len(rounds), runners)
        still = [name for name in still if name not in standing.lost]
        for line in _tell_standing(standing):
            say(line)
        if standing.is_decided:
            return


def _read_scores(experiments: Sequence[Experiment], root: Path) -> dict[str, dict[int, float]]:
    """Read the validation score of each run, by combination and seed; the test split is for the comparison."""
    there = finished_experiments(root)
    scores: dict[str, dict[int, float]] = {each.signature: {} for each in experiments}
    for each in experiments:
        if each.name in there:
            numbers = parse_json(ask_git("show", f"{there[each.name]}:metrics/train.json", folder=root))
            scores[each.signature][each.seed] = sum(numbers[name] for name in SCORE) / len(SCORE)
    return scores


def _tell_standing(standing: Standing) -> list[str]:
    """Say who leads, who was stopped, and who is still in the race."""
    lines = [f"race: {standing.leader} leads on the validation split"]
    if standing.lost:
        behind = ", ".join(f"{name} ({100 * by:.1f} points behind)" for name, by in standing.lost.items())
        lines.append(f"race: stopped: {behind}")
    if standing.equal:
        lines.append(f"race: as good within half a point: {', '.join(standing.equal)}")
    if standing.open:
        lines.append(f"race: not decided: {', '.join(standing.open)}")
    return lines
