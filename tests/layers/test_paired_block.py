"""The transformer block of UNETR++ against the authors' code."""

import pytest
import torch
from torch import nn

from reference_cases import golden, golden_loss, relative_max
from umamba.layers.conv_blocks import ConvStyle
from umamba.layers.paired_block import PairedAttentionBlock, SlimResidualBlock


def authors_block() -> PairedAttentionBlock:
    return PairedAttentionBlock(
        ConvStyle(nn.Conv3d, conv_bias=False, norm_op=nn.BatchNorm3d),
        16,
        60,
        (3, 3, 3),
        projection_size=8,
        num_heads=4,
        attention_dropout=0.15,
        channel_dropout=0.1,
        scrambles_tokens=True,
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-7)], ids=str
)
def test_outputs_are_the_authors(dtype: torch.dtype, tolerance: float) -> None:
    stored = golden("unetrpp_block_synapse.pt")
    block = authors_block()
    assert block.state_dict().keys() == stored["key_shapes"].keys()
    block.load_state_dict(stored["state_dict"])
    x = stored["inputs"][0].to(dtype).requires_grad_()
    y = block.to(dtype).eval()(x)
    assert relative_max(y, stored["outputs_f64"][0]) <= tolerance
    if dtype == torch.float64:
        golden_loss([y]).backward()
        assert relative_max(x.grad, stored["grad_inputs_f64"][0]) <= tolerance
        for key, parameter in block.named_parameters():
            assert relative_max(parameter.grad, stored["grad_params_f64"][key]) <= tolerance, key


def test_dropout_acts_in_training_only() -> None:
    block = authors_block()
    with torch.no_grad():
        block.gamma.fill_(1.0)
    x = torch.randn(2, 16, 4, 3, 5)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


@pytest.mark.parametrize("channels", [4, 6])
def test_the_input_is_projected_only_where_channels_change(channels: int) -> None:
    style = ConvStyle(nn.Conv2d, dropout_op=nn.Dropout2d, dropout_op_kwargs={"p": 0.5})
    block = SlimResidualBlock(style, 4, channels, (1, 3))
    assert (block.conv3 is not None) == (channels != 4)
    x = torch.randn(2, 4, 3, 5)
    assert block(x).shape == (2, channels, 3, 5)
    assert not torch.equal(block(x), block(x))  # dropout of the plan
    nn.init.zeros_(block.norm2.weight)
    passed_on = x if block.conv3 is None else block.norm3(block.conv3(x))
    assert torch.equal(block(x), nn.functional.leaky_relu(passed_on, 0.01))
