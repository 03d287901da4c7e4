"""Count what the Triton kernels take of a GPU that is not there: `python -m benchmarks.registers`.

Every kernel of the scan and its backward is compiled ahead of time as a launch would compile it,
for each architecture, type and shape; the assembler then says how many registers it takes, and how
many bytes it spills.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.environment import environment
from benchmarks.shapes import D_STATE, SHAPES, Shape
from umamba.ops.scan_backend import ScanTensors
from umamba.ops.triton import triton_scan, triton_scan_backward
from umamba.reporting.tables import markdown_table

Row = dict[str, Any]

_POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}
_TARGETS = {80: "sm_80", 90: "sm_90a"}  # as Triton names them
_VERSIONS = ("date", "python", "torch", "triton")


def main(argv: Sequence[str] | None = None) -> int:
    """Compile, and write what the assembler said."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.registers", description=__doc__)
    parser.add_argument("--arch", type=int, nargs="+", default=list(_TARGETS), choices=_TARGETS)
    parser.add_argument("--shapes", type=Shape.parse, nargs="+", default=SHAPES, metavar="B,D,L")
    parser.add_argument("--output", type=Path, metavar="FILE.jsonl", help="a table goes beside it")
    args = parser.parse_args(argv)
    versions = {name: environment()[name] for name in _VERSIONS}
    rows = list(measure(args.shapes, args.arch))
    text = _to_markdown(rows, versions)
    sys.stdout.write(text)
    if args.output is not None:
        lines = (json.dumps(row | versions) + "\n" for row in rows)
        args.output.write_text("".join(lines), encoding="utf-8")
        args.output.with_suffix(".md").write_text(text, encoding="utf-8")
    return 0


def measure(shapes: Sequence[Shape], archs: Sequence[int]) -> Iterator[Row]:
    """Yield one row per kernel, with the shapes that take it."""
    for products in _POINTERS:
        variants: dict[str, tuple[Any, list[Shape]]] = {}
        for shape in shapes:
            for name, launch in launches_of(shape, products).items():
                key = f"{name}|{signature(*launch)} {launch[0].constants} {launch[0].options}"
                variants.setdefault(key, (launch, []))[1].append(shape)
        for key, (launch, taken_by) in variants.items():
            for arch in archs:
                yield {
                    "kernel": key.partition("|")[0],
                    "products": str(products).removeprefix("torch."),
                    "arch": arch,
                    **usage(launch, arch),
                    "shapes": [list(shape) for shape in taken_by],
                }


def launches_of(shape: Shape, products: torch.dtype) -> dict[str, tuple[Any, ...]]:
    """Return the launches of a scan and its backward, with their tensors, as our layers make them.

    Args:
        shape: Sizes.
        products: Type of what matrix products give: of `dt`, `B`, `C` and `z`.
    """
    batch, d_inner, length = shape
    rank = -(-d_inner // 32)

    def sequence(width: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(batch, length, width, dtype=dtype, device="meta").transpose(1, 2)

    u = sequence(d_inner, torch.float32)
    _, z = sequence(2 * d_inner, products).chunk(2, dim=1)
    _, B, C = sequence(rank + 2 * D_STATE, products).split([rank, D_STATE, D_STATE], dim=1)
    A, D = (torch.empty(d_inner, *sizes, device="meta") for sizes in ((D_STATE,), ()))
    given = ScanTensors(u, sequence(d_inner, products), A, B, C, D, z, D, None)
    found: dict[str, tuple[Any, ...]] = {}

    def note(launch: Any, *tensors: Tensor | None) -> None:
        role = ", outputs" if launch.constants.get("OUTPUTS") else ""
        found[launch.kernel.fn.__name__ + role] = (launch, tensors)

    with mock.patch("umamba.ops.triton.launches.Launch.__call__", note):
        y, _, states = triton_scan(given, softplus=True, keep_states=True)
        triton_scan_backward(y, None, given, states, softplus=True, with_first=False)
    return found


def signature(launch: Any, tensors: tuple[Tensor | None, ...]) -> tuple[Row, Row, Row]:
    """Return what Triton specialises a launch for: types, constants and divisibility."""
    kernel, constants = launch.kernel, launch.constants
    types, values, attributes = {}, {}, {}
    given = (*tensors, *launch.numbers, *constants.values())
    for i, (parameter, x) in enumerate(zip(kernel.params, given, strict=True)):
        name, general = parameter.name, parameter.do_not_specialize
        if isinstance(x, Tensor):
            types[name] = _POINTERS[x.dtype]
            aligned = not parameter.do_not_specialize_on_alignment
        elif name in constants or x is None or (x == 1 and not general):
            types[name], values[(i,)] = "constexpr", constants.get(name, x)
            continue
        else:
            types[name] = "i32"
            aligned = x % 16 == 0 and not general
        if aligned:
            attributes[(i,)] = [["tt.divisibility", 16]]
    return types, values, attributes


def usage(launch: tuple[Any, ...], arch: int) -> Row:
    """Compile as a launch would, and return registers, and bytes of stack and spills."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    source = ASTSource(launch[0].kernel, *signature(*launch))
    target = GPUTarget("cuda", arch, 32)
    compiled = triton.compile(source, target=target, options=launch[0].options)
    with tempfile.TemporaryDirectory() as folder:
        ptx = Path(folder) / "kernel.ptx"
        ptx.write_text(compiled.asm["ptx"], encoding="utf-8")
        command = [triton.knobs.nvidia.ptxas.path, "-v", f"--gpu-name={_TARGETS[arch]}"]
        command += [str(ptx), "-o", str(ptx.with_suffix(".cubin"))]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    wanted = {
        "registers": r"Used (\d+) registers",
        "stack_bytes": r"(\d+) bytes stack",
        "spill_store_bytes": r"(\d+) bytes spill stores",
        "spill_load_bytes": r"(\d+) bytes spill loads",
    }
    found = {name: re.search(pattern, said) for name, pattern in wanted.items()}
    return {name: int(match[1]) if match else None for name, match in found.items()}


def _to_markdown(rows: list[Row], versions: Row) -> str:
    about = "; ".join(f"{name} {version}" for name, version in versions.items())
    columns = ("kernel", "products", "arch", "registers", "spill_store_bytes", "spill_load_bytes")
    header = ["kernel", "products", "sm_", "registers", "bytes spilled", "read again", "shapes"]
    cells = [
        [*(str(row[name]) for name in columns), ", ".join(str(Shape(*s)) for s in row["shapes"])]
        for row in rows
    ]
    return (
        "# Registers of the Triton kernels\n\n"
        f"{about}. Compiled ahead of time: no time on a GPU is measured here. `u` and outputs are "
        "float32, what matrix products give has the type of the second column. Bytes are those of "
        "instructions, per thread, whether in a loop or not. Shapes are (batch, d_inner, length).\n"
        "\n" + "\n".join(markdown_table([header, *cells], texts=(0, 1, 6))) + "\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())
