"""The division of a scan's work.

One warp has 64 channels, two per lane, which halves the work of summing over channels for the
gradients of `B` and `C`. Sixteen states of each stay in registers; the gradients take one state
after another instead, and keep a tile of steps. States are kept every 64 steps, a quarter of a
float32 sequence at 16 states. Lanes lie along the channels, so that loads are whole lines where
sequences are channels-last, as our layers make them; where time is contiguous each lane reads its
own line, step by step, through the L1 cache.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

__all__ = [
    "BACKWARD_WARPS",
    "CHUNK",
    "FORWARD_WARPS",
    "GRADIENT_TILE",
    "LEAST_SPAN",
    "PART",
    "STATES",
    "TILE",
    "Tiling",
    "chunks",
    "states_together",
]

# Steps: from one restart state to the next, from one that the backward finds again to the next,
# that the backward unrolls, and that the forward does; each divides the one before. Spans are
# multiples of a part: below the least, they cost more than they bring.
CHUNK, PART, GRADIENT_TILE, TILE = 64, 16, 8, 4
LEAST_SPAN = 32
STATES = 16  # in registers at most
_BLOCKS = (32, 64)  # channels of a program
FORWARD_WARPS, BACKWARD_WARPS = 12, 8  # on a multiprocessor, which their registers fill


@dataclass(frozen=True)
class Tiling:
    """The division of work: a grid of the spans of all images, and blocks of channels.

    Args:
        parts: Parts of the channels that share their group of `B` and that of `C`.
        channels: Channels of a part.
        block: Channels of a program.
        blocks: Programs of a part.
        span: Steps of a program, a multiple of `PART`.
        spans: Programs along the sequence.
    """

    parts: int
    channels: int
    block: int
    blocks: int
    span: int
    spans: int

    @classmethod
    def of(
        cls, u: Sequence[int], B: Sequence[int], C: Sequence[int], device: torch.device, warps: int
    ) -> "Tiling":
        """Divide the work of a scan.

        Args:
            u: Shape of the sequence.
            B: Shape of `B`.
            C: Shape of `C`.
            device: The device it runs on.
            warps: Programs that one multiprocessor holds.
        """
        batch, d_inner, length = u
        parts = math.lcm(*(shape[1] if len(shape) == 4 else 1 for shape in (B, C)))
        channels = d_inner // parts
        block = _BLOCKS[channels > _BLOCKS[0]]
        blocks = -(-channels // block)
        programs = warps * _multiprocessors(device)
        most = max(1, programs // max(1, batch * parts * blocks))  # one more would wait for all
        span = max(LEAST_SPAN, PART * -(-length // (PART * most)))
        return cls(parts, channels, block, blocks, span, -(-length // span))


@cache
def _multiprocessors(device: torch.device) -> int:
    """Return the number of multiprocessors of a GPU; without one, that of a large GPU."""
    if device.type != "cuda":
        return 128
    return torch.cuda.get_device_properties(device).multi_processor_count


def chunks(length: int) -> int:
    """Return how many restart states there are."""
    return -(-length // CHUNK)


def states_together(d_state: int) -> int:
    """Return how many states a program has in registers: all, or as many as divide them."""
    if d_state <= STATES:
        return d_state
    # The outputs of several rounds need registers, too: sixteen states would spill.
    return max(n for n in range(1, STATES // 2 + 1) if d_state % n == 0)
