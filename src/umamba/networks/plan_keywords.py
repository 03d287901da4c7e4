"""The keywords that plans give to networks, each with its meaning: documented here and only here.

The docstrings of networks name only further keywords, and differences.
"""

__all__ = ["PLAN_KEYWORDS", "keywords_as_markdown"]

PLAN_KEYWORDS = {
    "input_channels": "Channels of the image; nnU-Net passes it.",
    "num_classes": "Segmentation heads: classes with background, or regions; nnU-Net passes it.",
    "deep_supervision": (
        "Whether `forward` returns a list of logits, full resolution first; nnU-Net passes it."
    ),
    "n_stages": "Number of resolutions.",
    "features_per_stage": "Channels at every resolution.",
    "conv_op": "`torch.nn.Conv2d` or `Conv3d`; decides the number of image axes.",
    "kernel_sizes": "Kernel size per stage and axis; odd.",
    "strides": "Stride per stage and axis; the product must divide the patch.",
    "n_conv_per_stage": "Convolutions, or blocks, per encoder stage.",
    "n_conv_per_stage_decoder": "Convolutions, or blocks, per decoder stage, deepest first.",
    "conv_bias": "Whether convolutions have a bias.",
    "norm_op": "Normalisation; `None` means affine instance normalisation.",
    "norm_op_kwargs": "Keywords of the normalisation.",
    "dropout_op": "Dropout after convolutions; `None` means no dropout.",
    "dropout_op_kwargs": "Keywords of the dropout.",
    "nonlin": "Nonlinearity; `None` means a leaky ReLU of slope 0.01.",
    "nonlin_kwargs": "Keywords of the nonlinearity.",
    "input_size": "Patch size, where the weights depend on it.",
    "activation_checkpointing": (
        "Activations that the backward computes again: `none`; `norms`, the results of norms, "
        "activations and sums, and the layers that mix tokens; `blocks`, all those of the stages "
        "whose feature maps are at least an eighth of the first stage's; or `mamba`, only the "
        "layers that mix tokens, where there are any. Numbers stay the same. Under "
        "`torch.compile` the compiler may keep more."
    ),
}


def keywords_as_markdown() -> str:
    """Return the page of the documentation."""
    rows = [f"| `{name}` | {meaning} |" for name, meaning in PLAN_KEYWORDS.items()]
    lines = [
        "# Keywords of networks in plans",
        "",
        "`arch_kwargs` of a configuration in `plans.json` holds these keywords. One number stands",
        "for every stage or axis. A network's docstring says what it takes besides, and where it",
        "differs.",
        "",
        "| keyword | meaning |",
        "|---|---|",
        *rows,
        "",
    ]
    return "\n".join(lines)
