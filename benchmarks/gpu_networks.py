"""Networks on a GPU: U-Mamba's compiled training step, kernel by kernel, and its memory."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from operator import mul
from typing import Any

import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch.profiler import ProfilerActivity, profile

from umamba.nnunet.plans.derivation import PlanOptions, Plans, derive_plans
from umamba.nnunet.plans.example import EXAMPLE_DATASET
from umamba.nnunet.plans.networks import build_network
from umamba.ops.backends import resolve_backend
from umamba.profiling import peak_memory, time_interleaved
from umamba.registry import find_architecture

__all__ = ["measure_networks"]

log = logging.getLogger(__name__)

Row = dict[str, Any]

_CONFIGURATION = "3d_fullres"
_LONGEST = 20  # kernels that are named
# The first that fits the name of a kernel, or on a CPU of an operator. Inductor names its kernels
# `triton_` and what they fuse, convolutions' biases among it.
_GROUPS = {
    "scan": r"^(forward|adjoint|gradient|carry)_kernel|selective_scan",
    "norms": r"(batch|instance|layer)_norm|var_mean",
    "fused by inductor": r"^triton_",
    "convolutions": r"conv|cudnn|fprop|dgrad|wgrad|nchwToNhwc|nhwcToNchw",
    "matrix products": r"gemm|gemv|nvjet|cutlass|cublas|::(add|b)?mm$",
    "other": "",
}


def measure_networks(
    plans: Plans, device: str = "cuda", backend: str | None = "inductor", rounds: int = 10
) -> Iterator[Row]:
    """Yield a row per target; one that cannot be measured says why.

    Args:
        plans: Stock plans, that those of the networks derive from.
        device: `cuda`, or `cpu` to try the code.
        backend: Of torch.compile; `None` compiles nothing.
        rounds: How often each step is timed.
    """
    targets = (
        (
            "UMambaEnc paper, compiled in one graph: training step / its twin without Mamba",
            1.3,
            lambda: _beside_twin(plans, device, backend, rounds),
        ),
        *(
            (
                f"{network} paper, {setting}: peak memory of a training step / PlainConvUNet",
                1.1,
                partial(_beside_plain_network, plans, device, model, setting),
            )
            for network, model in (("UMambaBot", "umamba_bot"), ("UMambaEnc", "umamba_enc"))
            for setting in ("norms", "blocks")
        ),
    )
    for what, most, measure in targets:
        row = {"what": what, "at_most": most, "scan_backend": resolve_backend(None, device)}
        try:
            row |= measure()
        except Exception as error:  # compilers and drivers raise anything; the rest still counts
            log.exception("%s", what)
            row["skipped"] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        yield row


def _beside_twin(plans: Plans, device: str, backend: str | None, rounds: int) -> Row:
    """Compare times of compiled steps, and say where they go."""
    models = {"with Mamba": "umamba_enc", "without": "umamba_enc_nomamba"}
    steps = {key: _training_step(plans, model, device, backend) for key, model in models.items()}
    timings = time_interleaved(steps, rounds)
    return {
        "measured": timings["with Mamba"].median / timings["without"].median,
        "seconds": {key: timing.seconds for key, timing in timings.items()},
        "kernels": {key: _kernels(step, device) for key, step in steps.items()},
    }


def _beside_plain_network(plans: Plans, device: str, model: str, setting: str) -> Row:
    """Compare what eager steps need above weights and momentum, in bytes."""
    peaks = {}
    for name, recomputed in ((model, setting), ("nnunet", None)):
        step = _training_step(plans, name, device, recomputed=recomputed)
        step()  # compiles kernels, chooses algorithms, and makes the momentum
        peaks[name] = peak_memory(step, device)
        del step  # and with it the network
    return {"measured": peaks[model] / peaks["nnunet"], "bytes": peaks}


def _training_step(
    plans: Plans,
    model: str,
    device: str,
    backend: str | None = None,
    recomputed: str | None = None,
) -> Callable[[], None]:
    """Return a step as nnU-Net's trainer takes it, on random images and labels.

    Mixed precision, Dice and cross-entropy at every resolution, clipped gradients, SGD. With a
    `backend`, network and loss are one compiled graph, as a graph break raises an error.
    """
    options = PlanOptions("networks", activation_checkpointing=recomputed)
    derived = derive_plans(plans, find_architecture(model), options)
    built = build_network(derived, EXAMPLE_DATASET, _CONFIGURATION, device)
    network, channels, patch, batch = built
    strides = derived["configurations"][_CONFIGURATION]["architecture"]["arch_kwargs"]["strides"]
    totals = accumulate(strides[:-1], lambda one, other: list(map(mul, one, other)))
    sizes = [[size // total for size, total in zip(patch, by, strict=True)] for by in totals]
    images = torch.randn(batch, channels, *patch, device=device)
    labels = [torch.randint(2, (batch, 1, *size), device=device).float() for size in sizes]
    weights = [0.5**level for level in range(len(sizes) - 1)] + [0.0]
    dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
    loss = DeepSupervisionWrapper(
        DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss),
        [weight / sum(weights) for weight in weights],
    )
    parameters = list(network.parameters())
    optimizer = torch.optim.SGD(parameters, 1e-2, 0.99, weight_decay=3e-5, nesterov=True)
    scaler = torch.amp.GradScaler(device, init_scale=1024)  # small, so that no step is left out

    def forward() -> torch.Tensor:
        with torch.autocast(device):  # float16 on CUDA, bfloat16 on a CPU
            found: torch.Tensor = loss(network(images), labels)
        return found

    run = forward if backend is None else torch.compile(forward, backend=backend, fullgraph=True)

    def step() -> None:
        scaler.scale(run()).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(parameters, 12)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return step


def _kernels(step: Callable[[], None], device: str) -> Row:
    """Return milliseconds of one step, its groups of kernels and its longest kernels."""
    on_gpu = device == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as found:
        step()
    milliseconds: Counter[str] = Counter()
    for event in found.key_averages():
        if event.device_type.name == device.upper() and not event.is_user_annotation:
            spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            milliseconds[event.key] += spent / 1e3
    groups = dict.fromkeys(_GROUPS, 0.0)
    for name, spent in milliseconds.items():
        groups[_group(name)] += spent
    longest = dict(milliseconds.most_common(_LONGEST))
    return {"total": sum(groups.values()), "groups": groups, "longest": longest}


def _group(kernel: str) -> str:
    return next(group for group, pattern in _GROUPS.items() if re.search(pattern, kernel))
