"""Training as a generator: `fit` trains and yields, and whoever iterates decides what to show, log and save.

No files, no prints, no tracking. Everything that the next step depends on is in `TrainState`; chance is a function of
(seed, epoch, step), so a state that was saved after any step goes on as if nothing had happened.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from maskdepth.data.batches.augmentation import augment
from maskdepth.data.batches.batches import Batch, Batches, mix_seed
from maskdepth.losses.catalogue import Criterion
from maskdepth.metrics.catalogue import image_metrics
from maskdepth.metrics.names import QUICK_METRICS, score
from maskdepth.models.network import Network
from maskdepth.models.prediction import Prediction
from maskdepth.params import TrainParams
from maskdepth.training.judging import Judge, Judging, compile_judge, judge
from maskdepth.training.memory import Cut, Limit, cut_batch, within_memory
from maskdepth.training.optimisation import build_optimizer, build_scheduler
from maskdepth.training.parts import add_up_parts
from maskdepth.training.ranks import Ranks
from maskdepth.training.replay import Replay
from maskdepth.training.stopwatch import Stopwatch

# On CUDA a look at a value waits for all work under way, so NaN is looked for only every so many steps; the weights are
# spared from the first on.
_CUDA_CHECK_STEPS = 50

# Mask probability above which a pixel counts as object in validation; the test's own is an evaluation setting.
_THRESHOLD = 0.5

_CURE = "lower train.learning_rate, or set train.clip_norm"


@dataclass(frozen=True)
class Step:
    """One update is done and the state may be saved; `step` counts the updates of this epoch."""

    epoch: int
    step: int


@dataclass(frozen=True)
class Pause:
    """Between two batches of the validation: the state is that of the last Step, and training may be left here."""

    epoch: int


@dataclass(frozen=True)
class Epoch:
    """One pass over the training samples and its validation.

    Attributes:
        index: 0 for the first.
        train: Mean of `loss` and of every unweighted loss term over the pass, augmented samples, changing weights.
        val: The same terms and the quick metrics on the validation samples, with the weights at the end.
        learning_rate: Of the last update.
        seconds: Time spent in load, forward, backward, validation and other, which is what the caller did between two
            steps, such as saving [s]; on CUDA that of the device, where a step that is replayed is all backward.
        is_best: No epoch before scored as high.
    """

    index: int
    train: dict[str, float]
    val: dict[str, float]
    learning_rate: float
    seconds: dict[str, float]
    is_best: bool


class TrainState:
    """Everything that training changes.

    `micro_batch` is how many samples the network sees at a time: what params.yaml says, until so many did not fit into
    memory. `why_eager` tells why a CUDA device does each step anew, "" as long as it may replay one, `judging` whether
    the network is compiled, and `ranks` who shares the work; none of them is saved.

    Args:
        network: On the device where it is trained.
        params: Section train of params.yaml.
        steps_per_epoch: Updates per epoch, for the schedule.
    """

    def __init__(self, network: Network, params: TrainParams, steps_per_epoch: int) -> None:
        self.network = network
        self.optimizer = build_optimizer(network, params)
        self.scheduler = build_scheduler(self.optimizer, params, steps_per_epoch)
        self.epoch = 0
        self.step = 0  # updates done in this epoch
        self.steps_per_epoch = steps_per_epoch
        self.terms: list[str] = []  # names of the loss terms, known from the first step on
        # Of each over this epoch's samples so far. Always the same memory; in float32 an epoch's sum loses digits.
        self.totals = torch.zeros(0, dtype=torch.float64)
        self.num_samples = 0
        self.epochs: list[Epoch] = []
        self.best_weights: dict[str, Tensor] = {}
        self.ranks = Ranks()
        self.why_eager = "train.compile is off" if params.compile == "off" else ""
        on_cuda = next(network.parameters()).device.type == "cuda"
        self.judging = Judging(self.why_eager if on_cuda else "not a CUDA device")
        self.micro_batch = params.batch_size // params.parts
        if params.parts == 1:
            self.micro_batch += 1  # a last batch of one sample is joined to the one before

    @property
    def sums(self) -> dict[str, Tensor]:
        """The sum of each loss term over this epoch's samples so far."""
        return dict(zip(self.terms, self.totals.unbind(), strict=True))

    @property
    def best(self) -> Epoch | None:
        """The last epoch that scored higher than all before it; None if none scored a number."""
        return next((epoch for epoch in reversed(self.epochs) if epoch.is_best), None)

    @property
    def progress(self) -> int:
        """How many Steps and Epochs `fit` has yielded up to this state."""
        return self.epoch * (self.steps_per_epoch + 1) + self.step

    def count_events(self, epochs: int, val_batches: int) -> int:
        """Count what is left for `fit` to yield: Steps, Pauses between the batches of a validation, Epochs."""
        return (epochs - self.epoch) * (self.steps_per_epoch + val_batches) - self.step

    def state_dict(self) -> dict[str, Any]:
        """Give everything as tensors and plain Python values.

        Raises:
            FloatingPointError: A weight is not finite; such a state is not worth saving.
        """
        weights = self.network.state_dict()
        # One look at all of them: each look waits for the device.
        are_finite = torch.stack([value.isfinite().all() for value in weights.values()]).tolist()
        for name, is_finite in zip(weights, are_finite, strict=True):
            if not is_finite:
                raise FloatingPointError(f"{name} is not finite after step {self.step} of epoch {self.epoch}; {_CURE}")
        return {
            "network": weights,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "sums": self.sums,
            "num_samples": self.num_samples,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "best_weights": self.best_weights,
            "micro_batch": self.micro_batch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` gave."""
        device = next(self.network.parameters()).device
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.terms = list(state["sums"])
        self.totals = torch.tensor([float(value) for value in state["sums"].values()], dtype=torch.float64).to(device)
        self.num_samples = state["num_samples"]
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self.best_weights = state["best_weights"]
        self.micro_batch = state["micro_batch"]


def fit(
    state: TrainState, train: Batches, val: Batches, criterion: Criterion, params: TrainParams
) -> Iterator[Step | Pause | Epoch]:
    """Train from where `state` stands to the last epoch, changing `state`.

    Args:
        state: Fresh, or as loaded.
        train: Training samples.
        val: Validation samples; never augmented.
        criterion: Prediction, mask, depth to the weighed sum `loss` and its unweighted terms by name.
        params: Section train of params.yaml.

    Yields:
        A Step after each update, a Pause between batches of the validation and an Epoch after it; the state may be
        saved at each.

    Raises:
        FloatingPointError: The loss is not finite; names step, terms and, on the CPU, the samples.
        MemoryError: Not even two samples at a time fit into memory.
    """
    lap = Stopwatch(train.device)
    work = partial(take_step, state, criterion, params, lap)
    if state.ranks.size > 1:
        state.why_eager = state.judging.why_plain = "several processes share it"
    # What batches that are larger than those of the training need is no reason to cut those.
    cut: Cut = state if val.batch_size <= params.batch_size else Limit(val.batch_size)
    update: Replay | None = None
    while state.epoch < params.epochs:
        if _reconsider(state, train, criterion, params) or update is None:
            update = Replay(work, state.optimizer, train.device, state.why_eager)
        seconds = yield from _train_epoch(state, train, update, params, lap)
        began = time.perf_counter()
        val_means = yield from validate(state, val, criterion, cut)
        seconds["validation"] = time.perf_counter() - began
        yield _end_epoch(state, val_means, seconds)


def _reconsider(state: TrainState, train: Batches, criterion: Criterion, params: TrainParams) -> bool:
    """Choose how the network is judged in the epoch that begins, by what the last one took; say whether that is new."""
    if not state.epochs:
        return False

    def compile_it() -> Judge:
        state.network.train()
        generator = torch.Generator(train.device).manual_seed(params.seed)
        batch = augment(next(train.in_order()), params.augment, generator)  # laid out in memory as in a step
        return compile_judge(state.network, criterion, params.precision, batch)

    seconds = sum(state.epochs[-1].seconds[part] for part in ("load", "forward", "backward"))
    return state.judging.reconsider(seconds, params.epochs - state.epoch, compile_it)


def _train_epoch(
    state: TrainState, batches: Batches, update: Replay, params: TrainParams, lap: Stopwatch
) -> Generator[Step, None, dict[str, float]]:
    """Train on the batches of this epoch that are left; return the time that each part took [s]."""
    state.network.train()
    check_steps = 1 if batches.device.type == "cpu" else _CUDA_CHECK_STEPS
    lap.start()
    for batch in batches.epoch(params.seed, state.epoch, state.step, params.shuffle_window):
        values = update(batch, mix_seed(params.seed, state.epoch, state.step))
        state.why_eager = update.why_eager
        if state.step % check_steps == 0 or state.step == len(batches) - 1:
            _require_finite(state, values, batch.sample_ids)
        if not isinstance(state.scheduler, ReduceLROnPlateau):
            state.scheduler.step()
        state.num_samples += len(batch.mask)
        state.step += 1
        lap("backward")
        yield Step(state.epoch, state.step)
        lap("other")
    return lap.add_up()


def take_step(
    state: TrainState,
    criterion: Criterion,
    params: TrainParams,
    lap: Callable[[str], None],
    batch: Batch,
    generator: torch.Generator,
) -> Tensor:
    """Do one step, and ask nothing of the device: all that it computes stays there.

    Once a sum is not finite, no weight changes any more, whenever one looks.

    Returns:
        The batch's mean of each of the state's terms.
    """
    batch = augment(batch, params.augment, generator)
    lap("load")
    terms = within_memory(state, partial(_accumulate, state, batch, criterion, params, lap))
    if params.clip_norm:
        # Each part by itself, so that none learns otherwise for what another does.
        parts = state.network.children()
        norms = [torch.nn.utils.clip_grad_norm_(part.parameters(), params.clip_norm) for part in parts]
        terms["gradient_norm"] = torch.linalg.vector_norm(torch.stack(norms))
    values = torch.stack([term.detach() for term in terms.values()])
    if not state.terms:
        state.terms, state.totals = list(terms), torch.zeros_like(values, dtype=torch.float64)
    state.totals.add_(values, alpha=len(batch.mask))
    # The fused optimisers take this as a sign to do nothing.
    state.optimizer.found_inf = state.totals.isfinite().all().logical_not().float()  # type: ignore[attr-defined]
    state.optimizer.step()
    return values


def _accumulate(
    state: TrainState, batch: Batch, criterion: Criterion, params: TrainParams, lap: Callable[[str], None]
) -> dict[str, Tensor]:
    """Leave the gradients of a batch in the network; return its loss terms.

    Gradients of parts, weighed by their shares, add up to those of the whole batch wherever the loss is a mean over
    samples; only batch normalisation sees the parts one by one.
    """

    def work(part: Batch, share: float) -> dict[str, Tensor]:
        # What is compiled is so for one size, which the last batch or a part of one does not have.
        way = state.judging.judge if len(part.mask) == params.batch_size else judge
        told = way(state.network, criterion, params.precision, part)
        lap("forward")
        # Each prediction has weights of its own to teach. The terms of the last are told, as in validation.
        terms, loss = dict(told[-1]), torch.stack([each["loss"] for each in told]).sum()
        if len(told) > 1:
            terms["loss_alone"] = told[0]["loss"]
        (loss * share).backward()  # type: ignore[no-untyped-call]
        lap("backward")
        return {name: term.detach() * share for name, term in terms.items()} if share < 1 else terms

    if state.micro_batch > params.batch_size:
        state.optimizer.zero_grad()
        return work(batch, 1.0)
    return add_up_parts(state.network, state.ranks, list(cut_batch(batch, state.micro_batch)), work)


def validate(
    state: TrainState, batches: Batches, criterion: Criterion, cut: Cut
) -> Generator[Pause, None, dict[str, float]]:
    """Average `loss`, the loss terms and the quick metrics over samples, in full precision, changing no weight.

    A loss that is not a mean over samples depends a little on the batch size; the metrics do not.

    Args:
        state: Whose network is judged.
        batches: The samples.
        criterion: As of `fit`.
        cut: How many samples the network sees at a time.

    Yields:
        A Pause between two batches.

    Returns:
        The means by name.
    """
    state.network.eval()
    kinds: dict[str, torch.dtype] = {}

    def measure(batch: Batch) -> Tensor:
        values = within_memory(cut, partial(_measure, state.network, batch, criterion, cut))
        kinds.update({name: value.dtype for name, value in values.items()})
        return torch.stack([value.double() for value in values.values()])

    sums: dict[str, Tensor] = {}
    waiting = batches.in_order()
    while turn := list(islice(waiting, state.ranks.size)):  # a batch for each rank
        if sums:
            yield Pause(state.epoch)
        for values in state.ranks.in_order(measure, turn):
            named = zip(kinds.items(), values.unbind(), strict=True)
            sums = {name: value.to(kind) + sums.get(name, 0) for (name, kind), value in named}
    return {name: value.item() / len(batches.sample_ids) for name, value in sums.items()}


@torch.inference_mode()
def _measure(network: Network, batch: Batch, criterion: Criterion, cut: Cut) -> dict[str, Tensor]:
    """Sum what `validate` averages over the samples of a batch; only the network sees them part by part."""
    predictions = [network(*part.inputs()) for part in cut_batch(batch, cut.micro_batch)]
    prediction = Prediction(*(torch.cat(maps) for maps in zip(*predictions, strict=True)))
    targets = batch.targets()
    terms = criterion(prediction, *targets)
    values = {name: term.double() * len(batch.mask) for name, term in terms.items()}
    measured = image_metrics(prediction, *targets, _THRESHOLD, QUICK_METRICS)
    return values | {name: each.sum() for name, each in measured.items()}


def _require_finite(state: TrainState, values: Tensor, sample_ids: list[str]) -> None:
    """Stop where a sum met a value that is not finite; it stays so, whenever one looks."""
    totals = state.totals.tolist()
    wrong = [name for name, total in zip(state.terms, totals, strict=True) if not math.isfinite(total)]
    if not wrong:
        return
    told = ", ".join(f"{name} {value:g}" for name, value in zip(state.terms, values.tolist(), strict=True))
    raise FloatingPointError(
        f"{', '.join(wrong)} not finite by step {state.step} of epoch {state.epoch} ({told}); "
        f"samples of this step: {' '.join(map(str, sample_ids[:10]))}; {_CURE}"
    )


def _end_epoch(state: TrainState, val: dict[str, float], seconds: dict[str, float]) -> Epoch:
    """Close the epoch in `state`: keep its weights if they are the best so far, and turn to the next one."""
    train = dict(zip(state.terms, (state.totals / state.num_samples).tolist(), strict=True))
    learning_rate = float(state.optimizer.param_groups[0]["lr"])
    # NaN compares as false and so never wins.
    is_best = score(val) > (score(state.best.val) if state.best else -math.inf)
    epoch = Epoch(state.epoch, train, val, learning_rate, seconds, is_best)
    if is_best:
        state.best_weights = {name: value.detach().cpu().clone() for name, value in state.network.state_dict().items()}
    if isinstance(state.scheduler, ReduceLROnPlateau):
        state.scheduler.step(score(val))
    state.epochs.append(epoch)
    state.epoch, state.step, state.num_samples = state.epoch + 1, 0, 0
    state.totals.zero_()
    return epoch
