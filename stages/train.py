"""Train the network of params.yaml, and go on exactly where an earlier call was stopped."""

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer

from maskdepth.data.arrays.arrays import CARD_FILE, read_arrays, read_cards
from maskdepth.data.batches.batches import Batches
from maskdepth.data.samples import TRAIN, VAL, read_samples
from maskdepth.device import (
    Load,
    choose_device,
    seed_everything,
    set_deterministic,
    set_threads,
    why_no_cuda,
)
from maskdepth.losses.catalogue import build_criterion
from maskdepth.models.catalogue import resolve_inputs
from maskdepth.params import TrainParams, load_params
from maskdepth.process.code import digest_code
from maskdepth.process.command import run
from maskdepth.process.console import progress, say, warn
from maskdepth.process.files import replace_text
from maskdepth.process.launch import end_with_starter, find_attempt, find_rank, launch, patience, wanted_ranks
from maskdepth.process.memory import keep_freed_memory
from maskdepth.process.signals import StopSignals
from maskdepth.process.workspace import require_writable, state_dir
from maskdepth.tracking.journal import FAILED, FINISHED, KILLED, Journal
from maskdepth.tracking.live import start_mirror
from maskdepth.training.fit import Epoch, Pause, Step, TrainState, fit
from maskdepth.training.outputs import flatten_epoch, write_outputs
from maskdepth.training.preparation import choose_val_batch, fit_precision, prepare_network, wants_background_depth
from maskdepth.training.ranks import Ranks, check_shares, join_ranks
from maskdepth.training.states import (
    Dependencies,
    describe_dependencies,
    describe_environment,
    discard_states,
    explain_restart,
    load_state,
    lock_folder,
    not_a_state,
    training_key,
    write_dependencies,
)
from maskdepth.training.writer import writing_states
from stages import ROOT

# How long the end of a training may wait for the tracking store, as a share of the training.
_TRACKING_SHARE = 0.02


def main(
    arrays: Annotated[Path, typer.Option()],
    registered: Annotated[Path, typer.Option()],
    index: Annotated[Path, typer.Option()],
    stats: Annotated[Path, typer.Option()],
    split: Annotated[Path, typer.Option()],
    models: Annotated[Path, typer.Option()],
    metrics: Annotated[Path, typer.Option()],
    plots: Annotated[Path, typer.Option()],
    journal: Annotated[Path, typer.Option()],
) -> None:
    """Write the trained network, its validation metrics and its learning curves."""
    params = load_params()
    inputs, criterion = resolve_inputs(params.model), build_criterion(params.loss)
    require_writable((models, metrics.parent, plots, journal.parent))
    if start_ranks(params.train):
        return
    device = set_up(params.train.seed)
    settings = fit_precision(params.train, device)

    pictures = read_arrays(arrays, registered)
    rows = read_samples(index, split)
    with_depth = wants_background_depth(inputs, rows[TRAIN])
    train, val = (
        Batches(pictures, rows[name], size, device, with_background_depth=with_depth)
        for name, size in (
            (TRAIN, settings.batch_size),
            (VAL, choose_val_batch(settings, pictures.image_size, device)),
        )
    )
    network = prepare_network(params.model.name, inputs, pictures, rows, stats)
    state = TrainState(network.to(device), settings, len(train))

    cards = (shard / CARD_FILE for shard in read_cards(arrays))  # with the checksums of all that is beside them
    data = [index, stats, split, *cards, *(path for path in sorted(registered.rglob("*")) if path.is_file())]
    dependencies = describe_dependencies(
        {"model": params.model, "loss": params.loss, "train": settings}, data, digest_code(ROOT, "train")
    )
    ranks = state.ranks = meet(device, settings)
    counts = {"training samples": str(len(rows[TRAIN])), "validation samples": str(len(rows[VAL]))}
    ranks.require_same(counts | dependencies | describe_environment())
    events = fit(state, train, val, criterion, settings)
    if ranks.rank:
        assist(state, events)
        return
    folder = state_dir() / "train" / training_key(dependencies)
    with lock_folder(folder), StopSignals() as stop:
        ranks.asked = lambda: stop.received
        resume(state, folder, dependencies)
        share_state(state)
        log = Journal(folder / "train.jsonl")  # not among the outputs: DVC deletes those before it starts the stage
        log.start("train")
        log.params(params.model_dump(include={"model", "loss", "train"}))
        mirror = start_mirror(log.path, params)
        status = FAILED
        try:
            left = state.count_events(settings.epochs, math.ceil(len(val) / ranks.size))
            follow(progress(events, "train", left), state, settings, folder, log)
            stopped = ranks.stop
            status = KILLED if stopped else FINISHED
        finally:
            log.end(status)
        if stopped:
            say(f"train: stopped at epoch {state.epoch + 1} step {state.step}; run the same command to go on")
        ranks.leave()
        if stopped:
            sys.exit(128 + stopped)
        numbers = write_outputs(state, settings, models, metrics, plots)
        replace_text(journal, log.path.read_text(encoding="ascii"))
        say(mirror.finish(_TRACKING_SHARE * numbers["seconds"]))
        discard_states(folder)
    say(
        f"train: {params.model.name}, {len(rows[TRAIN]):,} samples, {settings.epochs} epochs in "
        f"{numbers['seconds']:.0f} s; validation mask IoU {numbers['mask_iou']:.3f}, "
        f"depth SSIM {numbers['depth_ssim']:.3f} (epoch {numbers['best_epoch']:.0f})"
    )


def start_ranks(settings: TrainParams) -> bool:
    """Do the whole training in as many processes as MASKDEPTH_RANKS says; False where this one does it."""
    count = wanted_ranks()
    check_shares(count, settings)
    if count > 1:
        launch(count, "stages.train")
    return count > 1


def set_up(seed: int) -> torch.device:
    """Prepare this process for a training that can be repeated; return where to compute."""
    device = choose_device()
    if reason := why_no_cuda():
        warn(f"training on the CPU, as torch cannot use the CUDA device here: {reason}")
    set_threads()
    keep_freed_memory()
    set_deterministic(device)
    seed_everything(seed)
    return device


def meet(device: torch.device, settings: TrainParams) -> Ranks:
    """Join the ranks that a launcher started together with this process, if any did."""
    rank, size = find_rank()
    check_shares(size, settings)
    end_with_starter()
    return join_ranks(rank, size, find_attempt(), device, patience())


def share_state(state: TrainState) -> None:
    """Let all ranks begin where the first does."""
    if state.ranks.size > 1:
        first = state.ranks.of_first(state.state_dict())
        if state.ranks.rank:
            state.load_state_dict(first)


def assist(state: TrainState, events: Iterator[Step | Pause | Epoch]) -> None:
    """Train as a rank that is not the first: it goes on from the state of that one, and leaves no trace."""
    ranks = state.ranks
    with StopSignals() as stop:
        ranks.asked = lambda: stop.received
        share_state(state)
        for _ in events:
            if ranks.stop:
                break
        ranks.leave()
    if ranks.stop:
        sys.exit(128 + ranks.stop)


def resume(state: TrainState, folder: Path, dependencies: Dependencies) -> None:
    """Load the newest state of this very training, if there is one; say what is another about one that was left."""
    write_dependencies(folder, dependencies)
    resumed = load_state(folder)
    if resumed is None:
        for line in explain_restart(folder.parent, dependencies):
            say(f"train: {line}")
        return
    for notice in resumed.notices:
        warn(notice)
    try:
        state.load_state_dict(resumed.state)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise not_a_state(folder / "state") from error
    say(f"train: going on at epoch {state.epoch + 1} step {state.step}")


def follow(
    events: Iterator[Step | Pause | Epoch],
    state: TrainState,
    settings: TrainParams,
    folder: Path,
    log: Journal,
) -> None:
    """Watch a training to its end or a stop signal: log and show each epoch, save the state now and then."""
    saved = time.monotonic()
    micro_batch, device = state.micro_batch, next(state.network.parameters()).device
    why_eager = state.why_eager if device.type == "cuda" else "not a CUDA device"
    judging, way = state.judging, state.judging.judge
    why_plain = judging.why_plain
    load = Load(device)
    with writing_states(folder) as write:
        for event in events:
            if state.micro_batch < micro_batch:
                micro_batch = state.micro_batch
                warn(
                    f"out of memory at epoch {state.epoch + 1} step {state.step}; going on with {micro_batch} samples "
                    "at a time, gradients summed up to the same batches; only batch normalisation sees smaller ones"
                )
            if state.why_eager not in ("", why_eager):
                why_eager = state.why_eager
                warn(f"no step of this training could be recorded ({why_eager}); going on one by one, which is slower")
            if judging.why_plain != why_plain:
                why_plain = judging.why_plain
                warn(f"the network is not compiled ({why_plain}); going on as it is")
            elif judging.judge is not way:
                say(f"train: from epoch {state.epoch + 1} on the network is compiled, as much is left to train")
            way = judging.judge
            if isinstance(event, Epoch):
                log.metrics(flatten_epoch(event, "/") | load.measure(), step=event.index + 1)
                say(
                    f"epoch {event.index + 1}/{settings.epochs}: loss {event.train['loss']:.4f}, "
                    f"validation loss {event.val['loss']:.4f}, mask IoU {event.val['mask_iou']:.3f}, "
                    f"depth SSIM {event.val['depth_ssim']:.3f}, {sum(event.seconds.values()):.1f} s"
                )
            is_due = time.monotonic() - saved > settings.checkpoint_seconds
            if isinstance(event, Epoch) or state.ranks.stop or is_due:
                write(state.state_dict(), state.progress)
                saved = time.monotonic()
            if state.ranks.stop:
                return


if __name__ == "__main__":
    run(main)
