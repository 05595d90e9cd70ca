"""Optimiser and schedule of the learning rate, by name."""

import math
from collections.abc import Callable

from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from maskdepth.models.network import Network
from maskdepth.params import TrainParams
from maskdepth.training.muon import SECOND_BETA, Muon


def build_optimizer(network: Network, params: TrainParams) -> Optimizer:
    """Build the optimiser; weight decay pulls on the convolutions and not on scales and biases, which it only harms."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    if params.optimizer == "muon":
        return Muon(weights, others, params.learning_rate, params.momentum, params.weight_decay)
    groups = [{"params": weights, "weight_decay": params.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if params.optimizer == "sgd":
        return SGD(groups, params.learning_rate, momentum=params.momentum, fused=True)
    build = Adam if params.optimizer == "adam" else AdamW
    return build(groups, params.learning_rate, betas=(params.momentum, SECOND_BETA), fused=True)


def build_scheduler(optimizer: Optimizer, params: TrainParams, steps_per_epoch: int) -> LRScheduler:
    """Build the schedule of the learning rate; it moves on with each update, but "plateau" with each validation."""
    total_steps = params.epochs * steps_per_epoch
    if params.schedule == "plateau":
        return ReduceLROnPlateau(optimizer, "max", params.gamma, patience=params.step_epochs)
    if params.schedule == "one_cycle":
        # Warms up over 30 % of the updates and ends near zero; the momentum stays what params.yaml says.
        return OneCycleLR(optimizer, params.learning_rate, total_steps, cycle_momentum=False)
    factors: dict[str, Callable[[int], float]] = {
        "constant": lambda update: 1.0,
        "step": lambda update: params.gamma ** (update // steps_per_epoch // params.step_epochs),
        "cosine": lambda update: (1 + math.cos(math.pi * update / total_steps)) / 2,
    }
    return LambdaLR(optimizer, factors[params.schedule])
