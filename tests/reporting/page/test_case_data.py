"""Images and masks as bytes: nothing is lost that is not said to be."""

import gzip
import json
from typing import Any

import numpy as np
import pytest

from umamba.reporting.page.case_data import CaseData, Channel, Mask, encode_case, encode_problem


def decoded(data: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Read the format as its description says."""
    raw = gzip.decompress(data)
    length = int.from_bytes(raw[:4], "little")
    header = json.loads(raw[4 : 4 + length])
    starts = [4 + length + offset for _, offset in header.get("arrays", [])]
    assert all(start % 8 == 0 for start in starts)
    ends = [*starts[1:], len(raw)][: len(starts)]
    kinds = [kind for kind, _ in header.get("arrays", [])]
    parts = zip(kinds, starts, ends, strict=True)
    return header, [np.frombuffer(raw[a:b], f"<{kind}") for kind, a, b in parts]


def channel_of(values: np.ndarray, **more: Any) -> tuple[dict[str, Any], np.ndarray]:
    """Encode a channel, and return its description and values."""
    reference = np.zeros(values.shape[:2] if more else values.shape, np.uint8)
    case = CaseData([Channel("CT", values, **more)], reference, [], (1.0,) * reference.ndim)
    header, arrays = decoded(encode_case(case))
    return header, arrays[0][: values.size].reshape(values.shape)


@pytest.mark.parametrize(
    "values",
    [
        np.array([[-1024, 3071], [0, 1]], np.int16),
        np.array([[-32768, 32767], [0, 1]], np.int16),
        np.array([[0, 65535], [7, 1]], np.uint16),
        np.array([[250, 255], [7, 1]], np.uint8),
        np.array([[100_000, 100_003]], np.int32),
        np.array([[-3.0, 17.0]], np.float32),
        np.array([[5.0, 5.0]], np.float64),
        np.array([[0.5, 0.5]], np.float64),
        np.array([[True, False]]),
    ],
)
def test_whole_numbers_are_kept_exactly(values: np.ndarray) -> None:
    header, stored = channel_of(values)
    channel = header["channels"][0]
    np.testing.assert_array_equal(stored * channel["slope"] + channel["intercept"], values)
    assert header["notes"] == []
    assert channel["range"] == [values.min(), values.max()]


def test_fractions_are_rounded_and_it_is_said() -> None:
    values = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    header, stored = channel_of(values)
    channel = header["channels"][0]
    back = stored * channel["slope"] + channel["intercept"]
    np.testing.assert_allclose(back, values, atol=0.51 * channel["slope"])
    assert channel["slope"] == pytest.approx(np.ptp(values) / 65535)
    assert header["notes"] == [f"CT is rounded to steps of {channel['slope']:.3g}."]


def test_values_that_are_not_finite_are_black_and_named() -> None:
    values = np.array([[np.nan, 2.0], [np.inf, 5.0]])
    header, stored = channel_of(values)
    assert stored.tolist() == [[0, 0], [0, 3]]
    assert header["notes"] == ["2 values of CT are not finite; they are shown as black."]
    header, stored = channel_of(np.full((2, 2), np.nan))
    assert stored.tolist() == [[0, 0], [0, 0]]
    assert header["channels"][0]["range"] == [0, 0]


def test_values_that_numbers_cannot_span_are_refused() -> None:
    with pytest.raises(ValueError, match=r"CT has values from -1e\+308 to 1e\+308"):
        channel_of(np.array([[-1e308, 1e308]]))


def test_colours_are_kept() -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    header, stored = channel_of(values, colours=True)
    assert header["channels"] == [{"name": "CT", "colours": True}]
    np.testing.assert_array_equal(stored, values)


def test_masks_are_kept_whatever_their_values() -> None:
    masks = [np.array([[0, most]]) for most in (1, 255, 256, 65535, 70000, -1)]
    case = CaseData(
        channels=[],
        reference=masks[0],
        masks=[Mask(f"m{i}", mask, i, {"": 0.5}) for i, mask in enumerate(masks)],
        spacing=(2.0, 0.5),
        ignore=9,
    )
    header, arrays = decoded(encode_case(case))
    kinds = [kind for kind, _ in header["arrays"]]
    assert kinds == ["u1", "u1", "u1", "u2", "u2", "i4", "i4"]
    for array, mask in zip(arrays[1:], masks, strict=True):
        assert array[:2].tolist() == mask[0].tolist()
    assert header["shape"] == [1, 1, 2]
    assert header["spacing"] == [1.0, 2.0, 0.5]
    assert header["masks"][3] == {"model": "m3", "seed": 3, "dice": {"": 0.5}}
    assert header["ignore"] == 9


def test_a_problem_stands_for_a_case() -> None:
    assert decoded(encode_problem("It is gone."))[0]["problem"] == "It is gone."
