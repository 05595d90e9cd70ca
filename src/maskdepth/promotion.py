"""From a run to the model that people use: registered, compared with the present champion, and crowned if it is better.

What was decided, by which numbers and over whom, is written on the model's version.
"""

from collections.abc import Iterator

from filelock import Timeout

from maskdepth.comparing.grouping import Run, choose_pair
from maskdepth.comparing.promotion import Ruling, choose_metrics, describe, number, rule
from maskdepth.comparing.statistics import compare
from maskdepth.process.alone import ConflictError
from maskdepth.tracking.address import EXPERIMENT, locate_store
from maskdepth.tracking.history import History, open_history, read_samples
from maskdepth.tracking.registry import (
    CHAMPION,
    MODEL,
    Version,
    crown,
    find_model,
    find_run,
    note,
    only_promotion,
    read_champion,
    register_model,
)
from maskdepth.tracking.store import explain, trouble


def promote(name: str, metric: str, anyway: str | None) -> Iterator[str]:
    """Register the model of a run, and make it the champion if it is better than the present one.

    Args:
        name: Of the run or its DVC experiment, or the run's id.
        metric: By which it has to be better; "score" for one of those that the score consists of.
        anyway: Why it shall be champion whatever the comparison says; None lets the comparison decide.

    Yields:
        What was done, in lines.

    Raises:
        ConflictError: Another promotion does not end.
        ValueError: There is no such run or model, the store cannot be reached, or the model is not to be champion.
    """
    choose_metrics(metric)  # before anything is registered
    if anyway is not None and not anyway.strip():
        raise ValueError("--anyway wants a reason, which is written on the model")
    address = locate_store().address
    try:
        with only_promotion(open_history(EXPERIMENT).client):
            # Read once more: who was waited for may have added to it.
            yield from _promote(open_history(EXPERIMENT), name, metric, anyway)
    except (ConflictError, Timeout, FileNotFoundError):
        raise
    except trouble() as error:
        if type(error) is ValueError:  # our own, which say what they are about
            raise
        raise ValueError(f"{address}: {explain(error)}") from error


def _promote(history: History, name: str, metric: str, anyway: str | None) -> Iterator[str]:
    client = history.client
    run = find_run(history, name)
    model_id = find_model(client, run)
    champion = read_champion(client)
    if champion is not None and champion.model_id == model_id:
        yield f"{run.name} is the champion already: version {champion.number} of {MODEL}"
        return
    version = register_model(client, run, model_id)
    yield f"{run.name} ({run.run_id[:8]}) is version {version.number} of {MODEL}"
    if champion is None:
        reason = "there was no champion to compare it with"
        note(client, version, {"decision": "first", "reason": reason}, f"First champion: {reason}.")
        crown(client, version)
        yield f"it is {CHAMPION}; {reason}"
        return
    ruling, reason = _compare(history, run, champion, metric)
    over = f"version {champion.number}, {_name(history, champion)}"
    decision = "better" if ruling and ruling.is_better else "not better"
    if anyway is not None:
        decision, reason = "anyway", f"promoted anyway, because {anyway.strip()}; the comparison says: {reason}"
    tags = {"decision": decision, "reason": reason, "metric": metric, "compared_with": over}
    parts = [f"{reason}.", f"Compared with {over}.", *([describe(ruling)] if ruling else [])]
    note(client, version, tags | (number(ruling) if ruling else {}), "\n\n".join(parts))
    if decision == "not better":
        raise ValueError(f"{CHAMPION} stays {over}: {reason}")
    note(client, champion, {"beaten_by": f"version {version.number}, {run.name}"})
    crown(client, version)
    yield f"it is {CHAMPION} in place of {over}: {reason}"


def _compare(history: History, run: Run, champion: Version, metric: str) -> tuple[Ruling | None, str]:
    """Compare the combination of a run with that of the champion, by all seeds that both have; say what came out."""
    beaten = next((each for each in history.runs if each.run_id == champion.run_id), None)
    if beaten is None:
        return None, f"the run of the champion ({champion.run_id[:8]}) is gone, so that nothing can be compared with it"
    try:
        family, name, control = choose_pair(history.runs, run, beaten)
    except ValueError as error:
        return None, str(error)
    samples, unreadable = read_samples(history, family)
    for wanted in (name, control):
        if samples.empty or wanted not in set(samples["combination"]):
            return None, f"no table of {wanted} can be read; the first: {unreadable[0]}"
    ruling = rule(compare(samples, control), samples, metric)
    return ruling, ruling.sentence


def _name(history: History, version: Version) -> str:
    return next((run.name for run in history.runs if run.run_id == version.run_id), version.run_id[:8])
