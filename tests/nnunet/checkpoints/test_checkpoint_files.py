"""Our reader of torch's files: what torch reads, as torch reads it, and nothing that costs more."""

import pickle
import resource
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from umamba.errors import CheckpointError
from umamba.nnunet.checkpoints.files import read_checkpoint

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)
DTYPES = ["bfloat16", "float16", "float32", "float64", "int8", "int64", "uint8", "uint16", "bool"]


def same(got: Any, want: Any) -> bool:
    if isinstance(want, torch.Tensor):
        return got.dtype == want.dtype and torch.equal(
            got.view(torch.uint8), want.view(torch.uint8)
        )
    if isinstance(want, dict):
        return list(got) == list(want) and all(same(got[key], want[key]) for key in want)
    if isinstance(want, (list, tuple)):
        return len(got) == len(want) and all(map(same, got, want))
    return type(got) is type(want) and (got == want or want != want)


def read_back(content: Any, path: Path) -> Any:
    torch.save({"network_weights": {}, "content": content}, path)
    return read_checkpoint(path)["content"]


@settings(max_examples=50)
@given(content=PLAIN)
def test_plain_data_come_back_as_they_were(
    content: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert same(read_back(content, tmp_path_factory.getbasetemp() / "plain.pth"), content)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_all_real_types_come_back(dtype: str, tmp_path: Path) -> None:
    whole = torch.arange(24).reshape(4, 6).to(getattr(torch, dtype))
    views = [whole, whole.T, whole[1:3, ::2], whole[2, 3], whole[:0], torch.nn.Parameter]
    views[-1] = torch.nn.Parameter(whole.clone(), requires_grad=False)
    torch.save({"network_weights": {}, "content": views}, tmp_path / "c.pth")
    theirs = torch.load(tmp_path / "c.pth", weights_only=True)["content"]
    for got, want, made in zip(read_back(views, tmp_path / "c.pth"), theirs, views, strict=True):
        assert got.stride() == want.stride()
        assert torch.equal(got, want)
        assert torch.equal(got, made)
        assert got.dtype == made.dtype


def test_shared_memory_is_shared_again_and_metadata_are_kept(tmp_path: Path) -> None:
    network = torch.nn.BatchNorm2d(3)
    state = network.state_dict() | {"twice": network.state_dict()["weight"]}
    got = read_back(OrderedDict(state), tmp_path / "c.pth")
    assert got["twice"].data_ptr() == got["weight"].data_ptr()
    kept = read_back(network.state_dict(), tmp_path / "d.pth")
    assert kept._metadata == network.state_dict()._metadata


def saved(content: Any, path: Path) -> None:
    torch.save({"network_weights": {}, "content": content}, path)


def rezipped(path: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Write the records of a checkpoint anew; what is changed to `None` is left out."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            changed = change(name.split("/", 1)[1], content)
            if changed is not None:
                archive.writestr(name, changed)


def program(path: Path, pickled: bytes, **records: bytes) -> None:
    """Write a checkpoint with a pickle of our own."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in records.items():
            archive.writestr(f"archive/data/{name}", content)


WEIGHTS = b"\x80\x02}(X\x0f\x00\x00\x00network_weights}X\x01\x00\x00\x00x"
END = b"u."


def text(content: str) -> bytes:
    raw = content.encode()
    return b"X" + len(raw).to_bytes(4, "little") + raw


def number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


FLOATS = b"ctorch\nFloatStorage\n"
REBUILD = b"ctorch._utils\n_rebuild_"


def memory(count: int, kind: bytes = FLOATS, name: bytes = text("0")) -> bytes:
    """The pickle of a reference to a record."""
    return b"(" + text("storage") + kind + name + text("cpu") + number(count) + b"tQ"


def tensor(count: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    """The pickle of a float32 tensor in record 0."""
    parts = [memory(count), number(offset)]
    parts += [b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (shape, strides)]
    return REBUILD + b"tensor_v2\n(" + b"".join(parts) + b"\x89)tR"


def laughs(levels: int) -> bytes:
    """Tuples that hold the one before twice."""
    steps = (f"h{chr(i)}h{chr(i)}\x86q{chr(i + 1)}".encode("latin1") for i in range(levels))
    return b"(]q\x00" + b"".join(steps) + b"t"


def ladder(steps: int) -> bytes:
    """Tuples that hold the one before: none is deep when it is looked at."""
    rungs = (f"h{chr(i)}\x85q{chr(i + 1)}".encode("latin1") for i in range(steps))
    return b"(]q\x00" + b"".join(rungs) + b"t"


def long_number(value: int) -> bytes:
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


CODEC, DTYPE, SET = b"c_codecs\nencode\n", b"cnumpy\ndtype\n", b"c__builtin__\nset\n"
MANY = 20_000
HOSTILE: dict[str, tuple[bytes, str]] = {
    "lists of lists as a codec": (CODEC + text("a") + laughs(60) + b"\x86R", "encodes text as"),
    "lists of lists as a type": (DTYPE + laughs(60) + b"\x85R", "numpy values of type"),
    # A few bytes for each use of something large that was made before.
    "axes by the thousand": (
        b"("
        + long_number(2**2000)
        + b"q\x05"
        + b"h\x05" * 5000
        + b"tq\x06"
        + REBUILD
        + b"tensor_v2\n("
        + memory(1)
        + b"K\x00h\x06h\x06\x89)tR",
        "an impossible shape",
    ),
    "a long key, often": (
        b"(" + b"K\x01" * MANY + b"tq\x05}" + b"h\x05Ns" * MANY,
        "too many of its keys are not texts",
    ),
    "a long set, often": (
        b"(" + text("a") * MANY + b"tq\x05" + (SET + b"h\x05\x85R") * MANY,
        "takes too long to read",
    ),
    "a long text, often": (
        text("a" * MANY) + b"q\x05" + (CODEC + b"h\x05" + text("latin1") + b"\x86R") * MANY,
        "takes too long to read",
    ),
    "keys of the same hash": (
        b"}(" + b"".join(long_number(n * (2**61 - 1)) + b"N" for n in range(MANY)) + b"u",
        "too many of its keys are not texts",
    ),
    "punycode": (
        b"c_codecs\nencode\n" + text("ü" * 100_000) + text("punycode") + b"\x86R",
        "encodes text as 'punycode'",
    ),
    "bytes by the million": (
        b"c__builtin__\nbytearray\n" + number(2**31 - 1) + b"\x85R",
        "unsupported GLOBAL '__builtin__.bytearray'",
    ),
    "a numpy value of gigabytes": (
        b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n" + text("V2000000000") + b"\x85R\x85R",
        "numpy values of type 'V2000000000'",
    ),
    "a tensor that repeats its memory": (
        tensor(1, (2**30, 2**20), (0, 0)),
        "tensors are far larger than the file",
    ),
    "a tensor beyond its memory": (tensor(1, (3,), (1,)), "larger than its memory"),
    "a tensor before its memory": (tensor(1, (1,), (1,), -1), "an impossible shape"),
    "memory that is not there": (tensor(2**30, (1,), (1,)), "claims 1073741824 elements in 4 b"),
    "a reference to something else": (
        b"(" + text("module") + b"tQ",
        "something other than the memory of a tensor",
    ),
    "memory by its number": (memory(1, name=number(0)), "by something other than a name"),
    "memory of no type": (memory(1, text("float32")), "memory of an unknown type"),
    "a tensor without memory": (REBUILD + b"tensor_v2\n(NK\x00))\x89)tR", "tensor without memory"),
    "a tensor without a type": (
        REBUILD + b"tensor_v3\n(" + memory(1) + b"K\x00))\x89)NtR",
        "a tensor without memory or type",
    ),
    "a tensor without a shape": (
        REBUILD + b"tensor_v2\n(" + memory(1) + b"K\x00NN\x89)tR",
        "a tensor without a shape",
    ),
    "a parameter of nothing": (REBUILD + b"parameter\n(N\x88)tR", "parameter that is not a tensor"),
    "a device by its number": (b"ctorch\ndevice\n" + number(3) + b"\x85R", "names a device"),
    "thousands of tensors in one memory": (
        b"(" + tensor(1, (2**17,), (0,)) * 200 + b"t",
        "tensors are far larger than the file",
    ),
    "lists of lists": (laughs(60), "nested too deeply, or too many"),
    "a ladder of tuples": (ladder(105), "nested too deeply, or too many"),
    "a list in itself": (b"]q\x00h\x00a", "nested too deeply, or too many"),
    "deep nesting": (b"]" * 50_000 + b"a" * 49_999, "nested too deeply, or too many"),
    "a deeply nested key": (b"}" + b")" + b"\x85" * 50_000 + b"Ns", "a key that is a tuple"),
    "a memo with gaps": (b"Nr\xff\xff\xff\x7f", "nothing"),
    "state of a tensor": (tensor(1, (1,), (1,)) + b"}b", "changes an object by its state"),
    "a call of data": (b"])R", "calls what is not a function"),
    "an unknown instruction": (b"I7\n", "unsupported instruction INT"),
    "an empty stack": (b"0", "unsupported instruction POP"),
    "a class": (b"ctorch\nTensor\n", "unsupported GLOBAL 'torch.Tensor'"),
    "a name that is data": (b"c_codecs\nencode\n", "it has a Function"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_at_no_cost(name: str, tmp_path: Path) -> None:
    body, message = HOSTILE[name]
    path = tmp_path / "evil.pth"
    program(path, WEIGHTS + body + END, **{"0": np.ones(1, np.float32).tobytes()})
    used, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if message == "nothing":  # torch's own memo is a dictionary, too
        assert read_checkpoint(path)["x"] is None
    else:
        with pytest.raises(CheckpointError, match="was not loaded") as refused:
            read_checkpoint(path)
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)
    assert time.process_time() - used < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 500 * 1024  # KiB


def test_curves_of_many_labels_over_many_epochs_are_read(tmp_path: Path) -> None:
    """As nnU-Net logs them: a numpy scalar for every label and epoch."""
    curves = [[np.float32(n / 120) for n in range(120)] for _ in range(400)]
    assert read_back(curves, tmp_path / "c.pth") == curves


def test_what_many_hold_is_counted_for_each_of_them_and_no_more(tmp_path: Path) -> None:
    program(tmp_path / "a.pth", WEIGHTS + ladder(95) + END)
    assert len(read_checkpoint(tmp_path / "a.pth")["x"]) == 96
    program(tmp_path / "b.pth", WEIGHTS + laughs(15) + END)
    assert len(read_checkpoint(tmp_path / "b.pth")["x"]) == 16


def test_what_is_packed_otherwise_than_by_torch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    saved(torch.zeros(2**20), path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match="compressed inside"):
        read_checkpoint(path)
    saved(torch.zeros(2**20), path)
    rezipped(path, lambda name, content: None if name == "data.pkl" else content)
    with pytest.raises(CheckpointError, match=r"it has no data\.pkl"):
        read_checkpoint(path)
    saved(torch.zeros(2**20), path)
    rezipped(path, lambda name, content: b"big" if name == "byteorder" else content)
    with pytest.raises(CheckpointError, match="another order of bytes"):
        read_checkpoint(path)


def test_two_records_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.pth"
    saved(torch.zeros(2), path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(next(n for n in archive.namelist() if n.endswith("data/0")), b"\0" * 8)
    with pytest.raises(CheckpointError, match="two records of the same name"):
        read_checkpoint(path)


def test_records_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", WEIGHTS + b"N" + END)
        archive.writestr("archive/data/0", b"\0" * 2**20)
        first = archive.infolist()[1]
        for i in range(1, 5000):
            again = zipfile.ZipInfo(f"archive/data/{i}")
            again.header_offset, again.CRC = first.header_offset, first.CRC
            again.file_size = again.compress_size = first.file_size
            archive.filelist.append(again)
    used = time.process_time()
    with pytest.raises(CheckpointError, match="its records overlap"):
        read_checkpoint(path)
    assert time.process_time() - used < 5


@pytest.mark.parametrize("path", ["old", "bare", "text"])
def test_what_is_not_a_zip_file_is_refused(path: str, tmp_path: Path) -> None:
    file = tmp_path / "c.pth"
    if path == "old":
        content = {"network_weights": {"a": torch.ones(3)}}
        torch.save(content, file, _use_new_zipfile_serialization=False)
    else:
        file.write_bytes(pickle.dumps({"network_weights": {}}) if path == "bare" else b"hello")
    with pytest.raises(CheckpointError, match=r"not a file of `torch\.save` .* was not loaded"):
        read_checkpoint(file)
