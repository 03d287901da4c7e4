"""From voxels to tokens and back: a sequence mixer as a layer of a convolutional network."""

from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn

from umamba.errors import PlansError
from umamba.layers.attention_block import SelfAttention
from umamba.layers.lti_block import LTI
from umamba.layers.mamba2_block import Mamba2
from umamba.layers.mamba_block import Mamba
from umamba.ops.precision import full_precision, product_dtype

__all__ = ["MIXERS", "SCANS", "MixerLayer"]

MIXERS = ("mamba", "mamba2", "attention", "lti")
SCANS = ("forward", "bidirectional", "axes")
_MAMBA2_STATES = 64  # the smaller size of its paper, which has language models of far more channels


class MixerLayer(nn.Module):
    """Let the voxels of a feature map see each other through one mixer of token sequences.

    The tokens are the voxels, in one or several orders:

    - `forward`: the last axis varies fastest. Mamba then shows every voxel the earlier ones.
    - `bidirectional`: that order, and from its end to its start.
    - `axes`: both ways along every axis, 2 * dim orders. The axis varies fastest and the others
      keep their places, so that each order is the whole map in one sequence: lines that are
      sequences of their own would show a voxel nothing but its line, and deep maps have lines of
      a few voxels. In 2D these are the four orders of VMamba.

    One mixer does all orders, and their results are averaged: a layer has the same parameters
    whatever the order, so that networks differ in nothing else. (Vision Mamba and VMamba have a
    state space for each direction, and add up.) Every order takes the time of one, and keeps as
    much for the backward.

    All but self-attention compute in float32 outside autocast: in float16 the recurrence of U-Mamba
    overflows in training (state-spaces/mamba issue 72, by U-Mamba's author). Of Mamba and Mamba-2,
    the matrix products are in bfloat16 where autocast is, as in mamba_ssm's blocks; bfloat16 has
    the range of float32. Where torch.compile takes the backward's products in float16, they are in
    float16, too, but for Mamba's after the recurrence and Mamba-2's within it. Norm, convolution,
    recurrence and results stay in float32.
    Self-attention follows autocast, since torch's fastest kernels take half precision only.

    Args:
        d_model: Token width: the channels, or with `channel_tokens` the voxels of the map.
        mixer: `mamba`, `mamba2`, `attention` or `lti`; the module has that name.
        scan: Order of the tokens, for mixers that depend on it.
        channel_tokens: Whether the tokens are the channels, each as wide as the feature map. The
            weights then fit one spatial size only. Only with `forward`.
        residual: Whether the input is added to the mixed tokens.
        backend: Backend of `umamba.selective_scan`, for `mamba`.

    Source:
        Ma et al. 2024, arXiv:2401.04722, figure 1b. In the authors' code there is no residual
        connection around the mixer, and deep stages use channel tokens. Orders: Zhu et al. 2024,
        arXiv:2401.09417 (Vision Mamba), section 3.3; Liu et al. 2024, arXiv:2401.10166 (VMamba),
        section 4.2.
    """

    def __init__(
        self,
        d_model: int,
        *,
        mixer: str = "mamba",
        scan: str = "forward",
        channel_tokens: bool = False,
        residual: bool = False,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.mixer = mixer
        self.leaves_autocast = mixer != "attention"
        self.scan = scan
        self.channel_tokens = channel_tokens
        self.residual = residual
        self.norm = nn.LayerNorm(d_model)
        self.add_module(mixer, _build_mixer(mixer, d_model, backend))

    def forward(
        self, x: Float[Tensor, "batch channels *spatial"]
    ) -> Float[Tensor, "batch channels *spatial"]:
        """Flatten, normalise, mix, restore; average over the orders."""
        products = product_dtype(x.device.type)
        with full_precision(x.device.type) if self.leaves_autocast else nullcontext():
            voxels = x.to(self.norm.weight.dtype)
            (axis, backward), *further = self._orders(x.dim() - 2)
            mixed = self._mix(voxels, axis, products, backward=backward)
            for axis, backward in further:
                mixed = mixed + self._mix(voxels, axis, products, backward=backward)
            if further:
                mixed = mixed / (1 + len(further))
            # Transposed tokens look like channels-last maps to the next convolution: slower beside
            # contiguous skips, and oneDNN of torch 2.14.1 corrupts the heap there on AVX-512.
            # What takes them under autocast casts them anyway; in half they need half the memory.
            return mixed.contiguous().to(x.dtype)

    def _orders(self, dim: int) -> list[tuple[int, bool]]:
        """Return the axis that varies fastest, and whether the end comes first, of every order."""
        axes = range(dim) if self.scan == "axes" else range(dim - 1, dim)
        ways = (False,) if self.scan == "forward" else (False, True)
        return [(axis, backward) for axis in axes for backward in ways]

    def _mix(
        self,
        x: Float[Tensor, "batch channels *spatial"],
        axis: int,
        products: torch.dtype | None,
        *,
        backward: bool,
    ) -> Float[Tensor, "batch channels *spatial"]:
        """Mix the tokens in one order."""
        moved = x.movedim(2 + axis, -1)
        voxels = moved.flatten(start_dim=2)
        tokens = voxels if self.channel_tokens else voxels.transpose(1, 2)
        (d_model,) = self.norm.normalized_shape
        if tokens.shape[-1] != d_model:
            msg = (
                f"this {self.mixer} layer mixes tokens of width {d_model}, but a feature "
                f"map of shape {list(x.shape)} gives tokens of width {tokens.shape[-1]}; give "
                "the network the patch_size that its weights were made for"
            )
            raise PlansError(msg)
        tokens = tokens.flip(1) if backward else tokens
        mixer = getattr(self, self.mixer)
        # Weights in double precision are there to be exact.
        lower = self.mixer in ("mamba", "mamba2") and tokens.dtype == torch.float32
        kwargs = {"products": products} if lower else {}
        mixed: Tensor = mixer(tokens, norm=self.norm, residual=self.residual, **kwargs)
        mixed = mixed.flip(1) if backward else mixed
        mixed = mixed if self.channel_tokens else mixed.transpose(1, 2)
        return mixed.reshape(moved.shape).movedim(-1, 2 + axis)


def _build_mixer(mixer: str, d_model: int, backend: str | None) -> nn.Module:
    if mixer == "mamba":
        return Mamba(d_model, backend=backend)
    if mixer == "mamba2":
        return Mamba2(d_model, _MAMBA2_STATES)
    return SelfAttention(d_model) if mixer == "attention" else LTI(d_model)
