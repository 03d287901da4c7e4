"""Damage to valid inputs that keeps most of their structure, drawn by hypothesis."""

import io
import json
import pickletools
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]

NUMBERS = [0, -1, 1, 2, 3, 64, 255, 2**16, 2**31 - 1, 2**31, 2**63, 10**30, -(2**63)]
VALUES: list[Any] = [
    *NUMBERS,
    *(0.0, -0.5, 1e-300, 1e300, float("nan"), float("inf"), float("-inf")),
    *(
        None,
        True,
        False,
        "",
        "x",
        "0",
        "../x",
        "/etc/passwd",
        "a\nb",
        "\x1b[2J",
        "\ud800",
        "é" * 300,
    ),
    *([], {}, [[]], [0], [0] * 40, [1, 2, 3], ["a"], [None], {"a": {}}, [[[[[[1]]]]]]),
    *("torch.nn.Linear", "torch.nn.modules.conv.Conv3d", "os.system", "nnUNetTrainer"),
    *([10**6] * 6, [1] * 5000, [1.5, "a", None], "3d_fullres"),
]
_DAMAGES = ["number", "text", "remove", "repeat", "swap", "insert", "name"]
_TEXTS = ["", "0", "1", "punycode", "latin1", "storage", "f8"]
_INSTRUCTIONS = [b"N", b"]", b"}", b")", b"(", b"t", b"R", b"b", b"0", b"2"]
_FOLDERS = ["../", "/", "a/../", "C:", "x\\", "\x1b", "", "fold_1/"]
SCALARS = [value for value in VALUES if not isinstance(value, (list, dict))]


def damage_bytes(draw: Draw, content: bytes) -> bytes:
    """Flip, overwrite, cut, repeat or insert bytes, most often near the beginning."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        most = max(len(data) - 1, 0)
        start = draw(st.one_of(st.integers(0, min(most, 400)), st.integers(0, most)))
        kind = draw(st.sampled_from(["flip", "write", "cut", "repeat", "insert"]))
        if kind == "flip" and data:
            data[start] ^= 1 << draw(st.integers(0, 7))
        elif kind == "write":
            size = draw(st.sampled_from([1, 2, 4, 8]))
            fill = draw(st.sampled_from([b"\0", b"\xff", b"\x7f", b"\x80"])) * size
            data[start : start + size] = fill
        elif kind == "cut":
            del data[start : start + draw(st.integers(1, 1 + most))]
        elif kind == "repeat":
            data[start:start] = data[start : start + draw(st.integers(1, 200))]
        else:
            data[start:start] = draw(st.binary(min_size=1, max_size=9))
    return bytes(data)


def damage_plain(draw: Draw, content: Any, values: list[Any] | None = None) -> Any:
    """Replace, remove, rename, repeat or wrap some values anywhere inside plain data."""
    content = deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        container = content
        while True:
            keys = list(container) if isinstance(container, dict) else range(len(container))
            if not keys:
                break
            key = draw(st.sampled_from(list(keys)))
            inner = container[key]
            if isinstance(inner, (dict, list)) and inner and draw(st.integers(0, 4)):
                container = inner
                continue
            _damage_entry(draw, container, key, values or VALUES)
            break
    return content


def _damage_entry(draw: Draw, container: Any, key: Any, values: list[Any]) -> None:
    kind = draw(st.sampled_from(["replace", "replace", "replace", "remove", "wrap", "add", "many"]))
    if kind == "replace":
        container[key] = deepcopy(draw(st.sampled_from(values)))
    elif kind == "remove":
        del container[key]
    elif kind == "wrap":
        container[key] = [container[key]]
    elif isinstance(container, dict):
        count = 300 if kind == "many" else 1
        for i in range(count):
            name = str(draw(st.sampled_from(["", "x", "0", "99", "inherits_from", "../x"])))
            container[f"{name}{i or ''}"] = deepcopy(container[key])
    else:
        container[:] = (container * 300 if kind == "many" else [*container, container[key]])[:9000]


def to_json(draw: Draw, content: Any) -> bytes:
    """Write JSON, at times damaged as text, too."""
    text = json.dumps(content).encode()
    return text if draw(st.integers(0, 5)) else damage_bytes(draw, text)


def damage_pickle(draw: Draw, program: bytes) -> bytes:
    """Remove, repeat, exchange and replace instructions, which stay whole."""
    ends = [position for _, _, position in pickletools.genops(program)]
    parts = [program[a:b] for a, b in zip(ends, [*ends[1:], len(program)], strict=True)]
    for _ in range(draw(st.integers(1, 4))):
        i, j = (draw(st.integers(0, len(parts) - 1)) for _ in range(2))
        kind = draw(st.sampled_from(_DAMAGES))
        if kind == "number":
            numbers = [k for k, part in enumerate(parts) if part[:1] in b"KMJ"]
            value = draw(st.sampled_from(NUMBERS))
            parts[draw(st.sampled_from(numbers or [0]))] = _long(value)
        elif kind == "text":
            texts = [k for k, part in enumerate(parts) if part[:1] == b"X"]
            value = str(draw(st.sampled_from(_TEXTS)))
            parts[draw(st.sampled_from(texts or [0]))] = _text(value)
        elif kind == "name":
            parts[i] = draw(st.sampled_from([part for part in parts if part[:1] == b"c"] or [b"N"]))
        elif kind == "remove":
            del parts[i]
        elif kind == "repeat":
            parts[i:i] = parts[min(i, j) : max(i, j)][:200] * draw(st.sampled_from([1, 2, 50]))
        elif kind == "swap":
            parts[i], parts[j] = parts[j], parts[i]
        else:
            parts.insert(
                i,
                draw(st.sampled_from(_INSTRUCTIONS)),
            )
        if not parts:
            break
    return b"".join(parts)


def _long(value: int) -> bytes:
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def _text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def records_of(content: bytes) -> dict[str, bytes]:
    """Return the files of a zip file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(records: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip file with right checksums."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in records.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return target.getvalue()


def damage_zip(draw: Draw, content: bytes) -> bytes:
    """Rename, remove, repeat and damage files, or the zip file's own structure."""
    records = records_of(content)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(records)))
        kind = draw(st.sampled_from(["rename", "remove", "damage", "json", "add", "structure"]))
        if kind == "rename":
            prefix = draw(st.sampled_from(_FOLDERS))
            records[f"{prefix}{name}"] = records.pop(name)
        elif kind == "remove" and len(records) > 1:
            del records[name]
        elif kind == "damage":
            records[name] = damage_bytes(draw, records[name])
        elif kind == "json" and name.endswith(".json"):
            with suppress(ValueError):  # it is damaged already
                records[name] = to_json(draw, damage_plain(draw, json.loads(records[name])))
        elif kind == "add":
            extra = draw(st.sampled_from(["evil.py", "fold_9/weights.safetensors", "a" * 300]))
            records[extra] = b"\0" * draw(st.sampled_from([0, 10, 2**21]))
        elif kind == "structure":
            method = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
            return _damage_structure(draw, packed(records, method))
    return packed(records, draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])))


def _damage_structure(draw: Draw, content: bytes) -> bytes:
    """Damage the directory at the end of a zip file, or anything."""
    start = content.rfind(b"PK\x01\x02") if draw(st.booleans()) else 0
    return content[:start] + damage_bytes(draw, content[start:])


def damage_png(draw: Draw, content: bytes) -> bytes:
    """Damage a PNG; at times its header passes its checksum."""
    data = damage_bytes(draw, content)
    if draw(st.booleans()) and len(data) > 33:
        data = data[:29] + zlib.crc32(data[12:29]).to_bytes(4, "big") + data[33:]
    return data
