"""The networks of the benchmark on a GPU: a tiny plan on the CPU, and what kernels count as."""

import re
from typing import Any

import pytest

from benchmarks import gpu_networks
from benchmarks.gpu_report import to_markdown
from plans_factory import configuration, stock_plans


def tiny_plans() -> dict[str, Any]:
    plans = stock_plans()
    tiny = configuration(3, "3d_fullres", 3, patch_size=[16, 16, 16])
    tiny["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 4, 4]
    return plans | {"configurations": {"3d_fullres": tiny}}


@pytest.mark.parametrize("backend", [None, pytest.param("aot_eager", marks=pytest.mark.slow)])
def test_every_target_gets_a_measurement(backend: str | None, unchecked: None) -> None:
    rows = list(gpu_networks.measure_networks(tiny_plans(), "cpu", backend, rounds=1))
    assert [row["at_most"] for row in rows] == [1.3, 1.1, 1.1, 1.1, 1.1]
    assert all("skipped" not in row for row in rows), rows
    times = rows[0]
    assert times["measured"] > 0
    with_mamba, without = times["kernels"]["with Mamba"], times["kernels"]["without"]
    assert with_mamba["groups"]["scan"] > 0 == without["groups"]["scan"]
    assert min(with_mamba["groups"]["convolutions"], without["groups"]["norms"]) > 0
    assert sum(with_mamba["groups"].values()) == pytest.approx(with_mamba["total"])
    peaks = {row["what"].partition(":")[0]: set(row["bytes"]) for row in rows[1:]}
    assert peaks == {
        f"{network} paper, {setting}": {model, "nnunet"}
        for network, model in (("UMambaBot", "umamba_bot"), ("UMambaEnc", "umamba_enc"))
        for setting in ("norms", "blocks")
    }
    said = to_markdown(
        {"machine": {"gpu": "none", "driver": "1.2"}, "results": [], "networks": rows}
    )
    assert "gpu none; driver 1.2" in said
    assert said.count("| convolutions") == 2


def test_what_fails_says_why_and_the_rest_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        msg = "CUDA out of memory\nmore"
        raise RuntimeError(msg)

    peaks = iter([12, 10] * 4)
    monkeypatch.setattr(gpu_networks, "time_interleaved", fail)
    monkeypatch.setattr(gpu_networks, "peak_memory", lambda *_: next(peaks))
    rows = list(gpu_networks.measure_networks(tiny_plans(), "cpu", None))
    assert rows[0]["skipped"] == "RuntimeError: CUDA out of memory"
    said = to_markdown({"machine": {}, "results": [], "networks": rows})
    said = re.sub(" +", " ", said)  # cells without padding
    assert "| RuntimeError: CUDA out of memory | - |" in said
    assert "| 1.20 | **no** |" in said


@pytest.mark.parametrize(
    ("kernel", "group"),
    [
        ("forward_kernel", "scan"),
        ("gradient_kernel", "scan"),
        ("triton_red_fused__native_batch_norm_legit_leaky_relu_3", "norms"),
        ("triton_poi_fused_add_convolution_7", "fused by inductor"),
        (
            "sm90_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc_tilesize128",
            "convolutions",
        ),
        ("void cudnn::ops::nchwToNhwcKernel<__half, __half, float, false>", "convolutions"),
        ("conv_depthwise2d_backward_kernel", "convolutions"),
        ("nvjet_sm90_sss_128x64_64x6_1x2_h_bz_TNT", "matrix products"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor>", "other"),
        ("Memcpy DtoD (Device -> Device)", "other"),
    ],
)
def test_kernels_are_grouped_by_their_names(kernel: str, group: str) -> None:
    assert gpu_networks._group(kernel) == group
