"""The shapes that are measured, and inputs of a shape."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["D_STATE", "GPU_SHAPES", "SHAPES", "Shape", "draw_inputs"]

D_STATE = 16


class Shape(NamedTuple):
    """Sizes of a scan; the state size is `D_STATE`."""

    batch: int
    d_inner: int
    length: int

    @property
    def states(self) -> int:
        """Return the number of values in the states of all steps, channels and sequences."""
        return self.batch * self.d_inner * self.length * D_STATE

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """Read `batch,d_inner,length`."""
        return cls(*(int(part) for part in text.split(",")))

    def __str__(self) -> str:
        return f"({self.batch}, {self.d_inner}, {self.length})"


# What U-Mamba meets: bottlenecks in 2D and 3D, channels as tokens, encoder stages in 2D and 3D.
SHAPES = (
    Shape(12, 1024, 64),
    Shape(2, 640, 210),
    Shape(2, 128, 512),
    Shape(2, 256, 4096),
    Shape(2, 128, 16384),
    Shape(2, 128, 32768),
    Shape(2, 64, 65536),
    Shape(1, 64, 262144),
)
# The last as in a language model: images and channels alone are 8192 sequences, enough for a
# kernel that gives each a block of threads.
GPU_SHAPES = (*SHAPES, Shape(8, 1024, 2048))


def draw_inputs(shape: Shape, seed: int = 0) -> tuple[dict[str, Tensor], Tensor]:
    """Return arguments distributed as in a new Mamba block, and a gradient of the outputs.

    Sequences are channels-last, as our block's projections make them. Step sizes are those of
    Mamba's initialisation, log-uniform in [0.001, 0.1] per channel, varied along the sequence.

    Args:
        shape: Sizes.
        seed: Of the random numbers.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator)

    batch, d_inner, length = shape
    start = torch.rand(d_inner, generator=generator)
    center = 10 ** (2 * start - 3)
    bias = center + torch.log(-torch.expm1(-center))
    inputs = {
        "u": normal(batch, length, d_inner).transpose(1, 2),
        "dt": F.softplus(normal(batch, length, d_inner).mul_(0.5).add_(bias)).transpose(1, 2),
        "A": -torch.arange(1.0, D_STATE + 1).repeat(d_inner, 1),
        "B": normal(batch, length, D_STATE).transpose(1, 2),
        "C": normal(batch, length, D_STATE).transpose(1, 2),
        "D": normal(d_inner),
    }
    return inputs, normal(batch, length, d_inner).transpose(1, 2)
