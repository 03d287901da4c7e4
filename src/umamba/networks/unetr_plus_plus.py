"""UNETR++: a hierarchical encoder and decoder of paired attention, with a convolutional branch.

Source: Shaker et al. 2024, arXiv:2212.04497.
"""

import warnings
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from umamba.errors import CheckpointError, PlansError, unknown_name
from umamba.layers.activation_checkpointing import apply_blocks, check_activation_checkpointing
from umamba.layers.conv_blocks import ConvStyle
from umamba.layers.paired_block import wrapped
from umamba.layers.recomputation import recomputing
from umamba.networks.contract import (
    PlannedNetwork,
    Topology,
    check_counts,
    check_module_classes,
)
from umamba.networks.paired_parts import PairedEncoder, PairedParts, PairedUpBlock, Supervision

__all__ = ["UMambaUNETRPlusPlus"]

VARIANTS = ("paper", "synapse")
_N_OUTPUTS = 3


class UMambaUNETRPlusPlus(PlannedNetwork):
    """UNETR++ in nnU-Net's plan, for 2D and 3D.

    The first stage of the plan is the convolutional branch at full resolution. Every further
    stage has transformer blocks with efficient paired attention, in encoder and decoder; the
    stride of the second is the size of an embedded patch (4 in the authors' networks). The
    decoder adds its skips. With deep supervision there are logits at the first three stages.

    Weights belong to `input_size`: positions are embedded, and attention projects tokens.

    Two variants:

    - `paper` lays the tokens of spatial attention out as the paper describes.
    - `synapse` has the authors' layout, which mixes up tokens and channels; with it, weights of
      their Synapse network load key for key. `UMambaUNETRPlusPlus.synapse()` is that network.

    Where `norm_op` is `None`, normalisation is the authors': instance normalisation without
    affine at full resolution, GroupNorm after every downsampling, BatchNorm in the transformer
    blocks. Where plans name a normalisation, it is used everywhere.

    Arguments that are not here are documented in `PLAN_KEYWORDS`.

    Args:
        strides: Stride per stage and axis, the first one 1; the product must divide the patch.
        input_size: Patch size, which the weights depend on.
        n_conv_per_stage: Residual blocks of the first stage, transformer blocks of the others.
        n_conv_per_stage_decoder: Blocks of the decoder's stages of the same kinds, deepest first.
        norm_op: Normalisation; `None` means the authors' choice.
        dropout_op: Dropout after a residual block's first convolution; `None` means no dropout.
        deep_supervision: Whether `forward` returns logits at the first three stages.
        variant: `paper` or `synapse`.
        num_heads: Attention heads; in a stage whose channels they do not divide, the greatest
            common divisor.
        projection_sizes: Projected tokens of every encoder stage but the first; `None` is 64, and
            32 in the deepest.
        decoder_projection_size: Projected tokens of the decoder stages.
        attention_dropout: Dropout rate of the attention maps.
        channel_dropout: Rate at which transformer blocks drop whole channels.
        activation_checkpointing: `none`; `norms`, where there are convolutions; or `blocks`, which
            keeps only the inputs of the blocks.

    Raises:
        PlansError: If the keywords do not fit together.

    Source:
        Shaker et al. 2024, arXiv:2212.04497, section 3; `synapse` after
        Amshaker/unetr_plus_plus at dcba1c6.
    """

    def __init__(
        self,
        *,
        input_channels: int,
        num_classes: int,
        n_stages: int,
        features_per_stage: int | Sequence[int],
        conv_op: type[nn.Module],
        kernel_sizes: int | Sequence[int] | Sequence[Sequence[int]],
        strides: int | Sequence[int] | Sequence[Sequence[int]],
        input_size: Sequence[int] | None = None,
        n_conv_per_stage: int | Sequence[int] = 3,
        n_conv_per_stage_decoder: int | Sequence[int] = 3,
        conv_bias: bool = False,
        norm_op: type[nn.Module] | None = None,
        norm_op_kwargs: dict[str, Any] | None = None,
        dropout_op: type[nn.Module] | None = None,
        dropout_op_kwargs: dict[str, Any] | None = None,
        nonlin: type[nn.Module] | None = None,
        nonlin_kwargs: dict[str, Any] | None = None,
        deep_supervision: bool = False,
        variant: str = "paper",
        num_heads: int = 4,
        projection_sizes: Sequence[int] | None = None,
        decoder_projection_size: int = 64,
        attention_dropout: float = 0.15,
        channel_dropout: float = 0.1,
        activation_checkpointing: str = "none",
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            msg = unknown_name("variant", variant, VARIANTS)
            raise PlansError(msg)
        check_counts(
            input_channels=input_channels,
            num_classes=num_classes,
            num_heads=num_heads,
            decoder_projection_size=decoder_projection_size,
        )
        _check_rates(attention_dropout=attention_dropout, channel_dropout=channel_dropout)
        check_module_classes(norm_op=norm_op, dropout_op=dropout_op, nonlin=nonlin)
        norms = nn.BatchNorm1d if norm_op is None else norm_op  # see PairedParts
        check_activation_checkpointing(
            activation_checkpointing, self, norms, norm_op_kwargs, nonlin
        )
        self.topology = topology = Topology.from_plan(
            n_stages=n_stages,
            features_per_stage=features_per_stage,
            conv_op=conv_op,
            kernel_sizes=kernel_sizes,
            strides=strides,
            n_conv_per_stage=n_conv_per_stage,
            n_conv_per_stage_decoder=n_conv_per_stage_decoder,
        )
        style = ConvStyle(
            conv_op,
            conv_bias,
            norm_op,
            dict(norm_op_kwargs or {}),
            dropout_op,
            dict(dropout_op_kwargs or {}),
            nonlin,
            dict(nonlin_kwargs or {}),
        )
        self.input_channels = input_channels
        self.normalises_instances = norm_op is not None and issubclass(norm_op, _InstanceNorm)
        self.patch_size = self._checked_patch(input_size)
        self.checkpointed = checkpointed = activation_checkpointing == "blocks"
        self.recomputes_norms = activation_checkpointing == "norms"
        parts = PairedParts(
            topology,
            style,
            self.patch_size,
            num_heads,
            attention_dropout,
            channel_dropout,
            scrambles_tokens=variant == "synapse",
        )
        self._build_encoder(parts, projection_sizes, checkpointed=checkpointed)
        self._build_decoder(parts, num_classes, decoder_projection_size, checkpointed=checkpointed)
        self.decoder = Supervision(deep_supervision=deep_supervision)

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Leave a module as it was built, as the authors do.

        There is no normalisation after the residual sums, so nnU-Net's larger weights would start
        with logits of a standard deviation of 30 and more.
        """

    @classmethod
    def synapse(
        cls, *, input_channels: int = 1, num_classes: int = 14, deep_supervision: bool = True
    ) -> "UMambaUNETRPlusPlus":
        """Build the authors' network for Synapse: 42,952,850 parameters, patches of 64x128x128.

        Args:
            input_channels: Channels of the image.
            num_classes: Classes with background.
            deep_supervision: Whether `forward` returns logits at the first three stages.

        Returns:
            The network, initialised at random.
        """
        return cls(
            input_channels=input_channels,
            num_classes=num_classes,
            n_stages=5,
            features_per_stage=(16, 32, 64, 128, 256),
            conv_op=nn.Conv3d,
            kernel_sizes=3,
            strides=((1, 1, 1), (2, 4, 4), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
            input_size=(64, 128, 128),
            n_conv_per_stage=(1, 3, 3, 3, 3),
            n_conv_per_stage_decoder=(3, 3, 3, 1),
            deep_supervision=deep_supervision,
            variant="synapse",
        )

    def _checked_patch(self, input_size: Sequence[int] | None) -> tuple[int, ...]:
        if input_size is None:
            msg = (
                "UNETR++ needs input_size, the patch size, as its attention and its "
                "position embedding have weights for every token; `umamba plan` "
                "writes it into plans; otherwise give input_size=(64, 128, 128)"
            )
            raise PlansError(msg)
        self.topology.check_patch(input_size, normalises_instances=self.normalises_instances)
        if any(step != 1 for step in self.topology.strides[0]):
            msg = (
                "UNETR++ has its first stage at full resolution; got strides "
                f"{list(self.topology.strides[0])} there. Set them to 1."
            )
            raise PlansError(msg)
        return tuple(input_size)

    def _build_encoder(
        self, parts: PairedParts, projection_sizes: Sequence[int] | None, *, checkpointed: bool
    ) -> None:
        n_levels = self.topology.n_stages - 1
        sizes = tuple(projection_sizes or (64,) * (n_levels - 1) + (32,))
        if len(sizes) != n_levels or min(sizes) < 1:
            msg = (
                f"projection_sizes needs {n_levels} positive numbers, one for every stage but the "
                f"first; got {projection_sizes}"
            )
            raise PlansError(msg)
        self.unetr_pp_encoder = PairedEncoder(
            parts, self.input_channels, sizes, checkpointed=checkpointed
        )
        first, *rest = parts.convolutions(self.topology.n_conv[0], self.input_channels)
        self.encoder1 = first
        self.encoder1_rest = nn.Sequential(*rest)

    def _build_decoder(
        self, parts: PairedParts, num_classes: int, projection_size: int, *, checkpointed: bool
    ) -> None:
        topology = self.topology
        for level in reversed(range(topology.n_stages - 1)):
            below, features = topology.features[level + 1], topology.features[level]
            upsampling = parts.style.upsampling(below, features, topology.strides[level + 1])
            n_blocks = topology.n_conv_decoder[-1 - level]
            blocks = (
                parts.attention_blocks(level, n_blocks, projection_size)
                if level > 0
                else nn.Sequential(*parts.convolutions(n_blocks, features))
            )
            up_block = PairedUpBlock(
                upsampling, blocks, nested=level > 0, checkpointed=checkpointed
            )
            self.add_module(f"decoder{level + 2}", up_block)
        for level in range(min(_N_OUTPUTS, topology.n_stages - 1)):
            head = parts.style.pointwise(topology.features[level], num_classes)
            self.add_module(f"out{level + 1}", wrapped(wrapped(head)))

    def forward(
        self, x: Float[Tensor, "batch channels *spatial"]
    ) -> list[Float[Tensor, "batch classes *_"]] | Float[Tensor, "batch classes *spatial"]:
        """Segment a batch of patches.

        Args:
            x: Images of the spatial shape `input_size`.

        Returns:
            Logits; with deep supervision a list of those of the first three stages.

        Raises:
            PlansError: If the patch does not fit.
        """
        self._check_input(x)
        with recomputing(self, enabled=self.recomputes_norms):
            return self._segment(x)

    def _segment(self, x: Tensor) -> list[Tensor] | Tensor:
        convolutions = [self.encoder1, *self.encoder1_rest]
        full_resolution = apply_blocks(convolutions, x, checkpointed=self.checkpointed)
        skips = [full_resolution, *self.unetr_pp_encoder(x)]
        y = skips.pop()
        deep = self.decoder.deep_supervision
        logits = []
        for level, skip in reversed(list(enumerate(skips))):
            y = getattr(self, f"decoder{level + 2}")(y, skip)
            if level == 0 or (deep and level < _N_OUTPUTS):
                logits.append(getattr(self, f"out{level + 1}")(y))
        return logits[::-1] if deep else logits[0]

    def _check_input(self, x: Float[Tensor, "batch channels *spatial"]) -> None:
        super()._check_input(x)
        if tuple(x.shape[2:]) != self.patch_size:
            msg = (
                f"the weights of this network fit patch_size {list(self.patch_size)} only "
                f"(paired attention); got a patch of {list(x.shape[2:])}. Use that patch_size, or "
                "plan and train for another one."
            )
            raise PlansError(msg)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name, parameter in self.named_parameters():
            given = state_dict.get(prefix + name)
            if name.endswith("pos_embed") and given is not None:
                n_tokens, theirs = parameter.shape[1], given.shape[1]
                if n_tokens != theirs:
                    msg = (
                        f"these weights were made for another patch_size: {name} has {theirs} "
                        f"tokens, but {list(self.patch_size)} gives {n_tokens}. Build the network "
                        "with the patch_size that they were trained with."
                    )
                    raise CheckpointError(msg)
        self._fill_in_auxiliary_heads(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _fill_in_auxiliary_heads(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Keep our own heads where weights have none: the authors' without deep supervision."""
        heads = tuple(f"out{n}." for n in range(2, _N_OUTPUTS + 1))
        own = {prefix + k: v for k, v in self.state_dict().items() if k.startswith(heads)}
        if own.keys() & state_dict.keys():
            return
        state_dict.update(own)
        if self.decoder.deep_supervision:
            warnings.warn(
                f"these weights were trained without deep supervision: {', '.join(heads)} keep "
                "their present values, so only the first output is meaningful without training",
                stacklevel=2,
            )


def _check_rates(**rates: float) -> None:
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            msg = f"{name} must be at least 0 and below 1; got {rate}"
            raise PlansError(msg)
