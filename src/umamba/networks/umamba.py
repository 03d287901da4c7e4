"""U-Mamba: a residual U-Net with Mamba in the bottleneck or in every encoder stage.

Source: Ma, Li and Wang 2024, arXiv:2401.04722.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from umamba.errors import PlansError, unknown_name
from umamba.layers.activation_checkpointing import (
    ACTIVATION_CHECKPOINTING,
    apply_blocks,
    check_activation_checkpointing,
)
from umamba.layers.conv_blocks import ConvStyle
from umamba.layers.mixer_layer import MIXERS, SCANS, MixerLayer
from umamba.layers.recomputation import recomputing
from umamba.networks.contract import (
    PlannedNetwork,
    Topology,
    check_counts,
    check_module_classes,
)
from umamba.networks.residual_unet import ResidualDecoder, ResidualEncoder
from umamba.networks.umamba_official import (
    feature_map_sizes,
    official_block_counts,
    official_mamba_layers,
)

__all__ = ["UMambaBot", "UMambaEnc"]

VARIANTS = ("official", "paper")


class _UMamba(PlannedNetwork):
    """The base of `UMambaBot` and `UMambaEnc`, which differ only in the places of Mamba.

    Arguments that are not here are documented in `PLAN_KEYWORDS`.

    Args:
        n_conv_per_stage: Residual blocks per encoder stage.
        n_conv_per_stage_decoder: Residual blocks per decoder stage, deepest first.
        input_size: Patch size, where the weights depend on it: `official` `UMambaEnc`.
        dropout_op: Dropout after the first convolution of a block; `None` means no dropout.
        variant: `paper` or `official`.
        mixer: The layer in Mamba's place: `mamba`, `mamba2`, `attention` (multi-head
            self-attention) or `lti` (a linear time-invariant state-space layer); `none` is the
            same network without those layers.
        scan: Order of the tokens: `forward`, `bidirectional`, or both ways along all `axes`; see
            `MixerLayer`. Only for mixers that depend on it, not for `attention`.
        mixer_from_stage: First encoder stage with a mixer; for `paper` `UMambaEnc`.
        backend: Backend of `umamba.selective_scan`.
        activation_checkpointing: `none`, `norms`, `mamba` (or what stands there), or `blocks`, the
            residual ones and those layers. What lies outside these keeps its norms: computed
            again, they would lessen what is kept, but not the peak of the `paper` networks.

    Raises:
        PlansError: If the keywords do not fit together.
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
        n_conv_per_stage: int | Sequence[int] = 2,
        n_conv_per_stage_decoder: int | Sequence[int] = 2,
        input_size: Sequence[int] | None = None,
        conv_bias: bool = True,
        norm_op: type[nn.Module] | None = None,
        norm_op_kwargs: dict[str, Any] | None = None,
        dropout_op: type[nn.Module] | None = None,
        dropout_op_kwargs: dict[str, Any] | None = None,
        nonlin: type[nn.Module] | None = None,
        nonlin_kwargs: dict[str, Any] | None = None,
        deep_supervision: bool = False,
        variant: str = "paper",
        mixer: str = "mamba",
        scan: str = "forward",
        mixer_from_stage: int = 0,
        backend: str | None = None,
        activation_checkpointing: str = "none",
    ) -> None:
        super().__init__()
        _check_mixer(variant, mixer, scan, backend, activation_checkpointing)
        check_counts(input_channels=input_channels, num_classes=num_classes)
        check_module_classes(norm_op=norm_op, dropout_op=dropout_op, nonlin=nonlin)
        check_activation_checkpointing(
            activation_checkpointing,
            self,
            norm_op,
            norm_op_kwargs,
            nonlin,
            ACTIVATION_CHECKPOINTING,
        )
        topology = Topology.from_plan(
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
        official = variant == "official"
        n_blocks, n_blocks_decoder = topology.n_conv, topology.n_conv_decoder
        if official:
            n_blocks, n_blocks_decoder = official_block_counts(n_blocks, n_blocks_decoder)
        self.topology = topology
        self.input_channels = input_channels
        self.variant = variant
        self.mixer_from_stage = mixer_from_stage
        self.checkpoint_mamba = activation_checkpointing != "none"
        self.recomputes_norms = activation_checkpointing == "norms"
        build = None
        if mixer != "none":
            build = partial(MixerLayer, mixer=mixer, scan=scan, backend=backend)
        encoder_layers = self._place_mixers(input_size, build)
        self.encoder = ResidualEncoder(
            topology,
            style,
            input_channels,
            n_blocks,
            encoder_layers,
            official=official,
            activation_checkpointing=activation_checkpointing,
        )
        self.decoder = ResidualDecoder(
            topology,
            style,
            num_classes,
            n_blocks_decoder,
            official=official,
            deep_supervision=deep_supervision,
            activation_checkpointing=activation_checkpointing,
        )
        self.normalises_instances = isinstance(style.norm(1), _InstanceNorm)

    def _place_mixers(
        self, input_size: Sequence[int] | None, build: Callable[..., MixerLayer] | None
    ) -> list[nn.Module] | None:
        """Build the Mamba layers, or their replacement, of the right widths, if there are any.

        Returns:
            Those that follow the encoder stages; `None` if none do.
        """
        raise NotImplementedError

    def _bottleneck(self, x: Float[Tensor, "batch _ *_"]) -> Float[Tensor, "batch _ *_"]:
        """Return the feature map that the decoder starts from."""
        return x

    def forward(
        self, x: Float[Tensor, "batch channels *spatial"]
    ) -> list[Float[Tensor, "batch classes *_"]] | Float[Tensor, "batch classes *spatial"]:
        """Segment a batch of patches.

        Args:
            x: Images; the spatial shape must be divisible by the total stride, and be
                `input_size` where the weights depend on it.

        Returns:
            Logits; with deep supervision a list of them, full resolution first.

        Raises:
            PlansError: If the patch does not fit.
        """
        self._check_input(x)
        with recomputing(self, enabled=self.recomputes_norms):
            skips = self.encoder(x)
            skips[-1] = self._bottleneck(skips[-1])
            logits: list[Tensor] | Tensor = self.decoder(skips)
        return logits

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # The authors' files hold many weights twice: the encoder again below the decoder, and
        # every convolution again as part of a sequential. Those copies are dropped.
        for key in list(state_dict):
            own = key.removeprefix(prefix)
            if own.startswith("decoder.encoder.") or ".all_modules." in own:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class UMambaBot(_UMamba):
    """U-Mamba with one Mamba layer in the bottleneck, for 2D and 3D.

    Keywords are those of nnU-Net's plans. Two variants:

    - `official` is the authors' released code, number for number, so that their checkpoints
      load: full resolution is processed by a stem and a stage, deep stages and the upper
      decoder have one block, upsampling is nearest plus a 1x1 convolution, the 2D decoder does
      not use the top skip, nothing is added around Mamba.
    - `paper` is the network of the paper's text and figure 1 inside nnU-Net's plan: one stage
      per resolution, transposed convolutions, all skips. Where the paper is silent: every stage
      has as many residual blocks as the plan says (`umamba plan` writes two, as figure 1b has
      in a U-Mamba block); the first block of a stage carries its stride, as in nnU-Net; and the
      tokens are added to what Mamba makes of them, as Gu and Dao do around every Mamba block,
      so that gradients reach the convolutions unhindered.

    `input_size` is refused: no weight depends on the patch.

    Controls, which show what Mamba contributes: with `mixer` something else, or nothing, stands
    in its place, with the same normalisation and residual connection; `scan` changes nothing but
    the order of the tokens. The weights keep their names. `official` takes no other mixer than
    `mamba` and `none`; `none` is what nnU-Net Revisited (Isensee et al. 2024, arXiv:2404.09556)
    calls 'No-Mamba Base'.

    Source:
        Ma et al. 2024, arXiv:2401.04722, section 2 and figure 1; `official` after
        bowang-lab/U-Mamba at 28459e3.
    """

    def _place_mixers(
        self, input_size: Sequence[int] | None, build: Callable[..., MixerLayer] | None
    ) -> list[nn.Module] | None:
        if input_size is not None:
            msg = "UMambaBot takes no input_size: its weights fit every patch. Leave it out."
            raise PlansError(msg)
        if self.mixer_from_stage:
            msg = "UMambaBot takes no mixer_from_stage: it has a mixer in the last stage only"
            raise PlansError(msg)
        self.mamba_layer = None
        if build is not None:
            features = self.topology.features[-1]
            self.mamba_layer = build(features, residual=self.variant == "paper")
        return None

    def _bottleneck(self, x: Float[Tensor, "batch _ *_"]) -> Float[Tensor, "batch _ *_"]:
        if self.mamba_layer is None:
            return x
        return apply_blocks([self.mamba_layer], x, checkpointed=self.checkpoint_mamba)


class UMambaEnc(_UMamba):
    """U-Mamba with a Mamba layer after every encoder stage, for 2D and 3D.

    Variants and decisions are those of `UMambaBot`; every Mamba output is both skip and input
    of the next stage. In `official`, besides:

    - the 2D network has Mamba in every second stage only, the deepest being one of them;
    - where a feature map has at most as many voxels as channels, the tokens are the channels.
      Those weights fit one patch size only, so `input_size` must be given.

    `paper` refuses `input_size`: no weight depends on the patch. With `mixer_from_stage` it has no
    mixer in the stages before, whose feature maps have the most tokens.

    Source:
        Ma et al. 2024, arXiv:2401.04722, section 2 and figure 1; `official` after
        bowang-lab/U-Mamba at 28459e3.
    """

    fixed_patch: tuple[int, ...] | None = None
    enlarges_rounding = False  # so that engines must compute norms more exactly than they do

    def _place_mixers(
        self, input_size: Sequence[int] | None, build: Callable[..., MixerLayer] | None
    ) -> list[nn.Module] | None:
        self._check_mixer_from_stage()
        if self.variant == "official" and build is not None:
            sizes = feature_map_sizes(self.topology, input_size)
            layers = official_mamba_layers(self.topology, sizes, build)
            # No residual connection is around Mamba, whose outputs are about 0.04 before training:
            # the next norm enlarges them to 1, and their rounding with them.
            self.enlarges_rounding = True
            if any(isinstance(layer, MixerLayer) and layer.channel_tokens for layer in layers):
                self.fixed_patch = tuple(input_size or ())
            return layers
        if input_size is not None:
            msg = (
                "input_size is for variant 'official' only, with Mamba: no other weights depend "
                "on the patch. Leave it out."
            )
            raise PlansError(msg)
        if build is None:
            return None
        without, features = self.mixer_from_stage, self.topology.features
        built = [build(channels, residual=True) for channels in features[without:]]
        return [*(nn.Identity() for _ in range(without)), *built]

    def _check_mixer_from_stage(self) -> None:
        given, last = self.mixer_from_stage, self.topology.n_stages - 1
        if self.variant == "official" and given:
            msg = "mixer_from_stage is for variant 'paper' only; leave it out"
            raise PlansError(msg)
        if not 0 <= given <= last:
            msg = f"mixer_from_stage must be one of the stages 0 to {last}; got {given}"
            raise PlansError(msg)

    def _check_input(self, x: Float[Tensor, "batch channels *spatial"]) -> None:
        super()._check_input(x)
        if self.fixed_patch is not None and tuple(x.shape[2:]) != self.fixed_patch:
            msg = (
                f"the weights of this network fit patch_size {list(self.fixed_patch)} only "
                f"(channel tokens of variant 'official'); got a patch of {list(x.shape[2:])}. "
                "Use that patch_size, or variant 'paper'."
            )
            raise PlansError(msg)


def _check_mixer(
    variant: str, mixer: str, scan: str, backend: str | None, activation_checkpointing: str
) -> None:
    """Check that the keywords about Mamba, or its replacement, are known and fit together."""
    choices = {
        "variant": (variant, VARIANTS),
        "mixer": (mixer, (*MIXERS, "none")),
        "scan": (scan, SCANS),
    }
    for keyword, (value, known) in choices.items():
        if value not in known:
            msg = unknown_name(keyword, value, known)
            raise PlansError(msg)
    if scan != "forward" and mixer in ("none", "attention"):
        msg = (
            f"scan {scan!r} is not for mixer {mixer!r}, which has no order of tokens; choose scan "
            "forward, or mixer mamba, mamba2 or lti"
        )
        raise PlansError(msg)
    if variant == "official" and (mixer not in ("mamba", "none") or scan != "forward"):
        msg = (
            "variant 'official' is the authors' code, with mixer mamba or none and scan forward; "
            f"choose variant paper for mixer {mixer!r} and scan {scan!r}"
        )
        raise PlansError(msg)
    if backend is not None and mixer != "mamba":
        msg = f"backend {backend!r} is for mixer mamba, not for {mixer!r}; leave it out"
        raise PlansError(msg)
    if activation_checkpointing == "mamba" and mixer == "none":
        msg = (
            "activation_checkpointing 'mamba' is not for mixer 'none', which has no Mamba layers; "
            "choose none, norms or blocks"
        )
        raise PlansError(msg)
