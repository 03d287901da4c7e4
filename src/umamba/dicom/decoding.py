"""Decode slices, in a process apart where the decoder may end it at a damaged file.

Run as a module, it is that process: it reads lines of JSON, each a path and frames, and answers
each frame with a size and as many bytes of an array in NumPy's format, or ends where that fails.
"""

import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from umamba.dicom.library import quiet_pydicom
from umamba.dicom.series import Plane, SeriesError

__all__ = ["MOST_SECONDS", "decoded"]

Array = npt.NDArray[Any]

log = logging.getLogger(__name__)

_SIZE_BYTES = 8
MOST_SECONDS = 60.0  # for a slice, and for starting the process

# One decoder for each transfer syntax: pydicom would try all that are installed, of which gdcm, and
# for RLE pylibjpeg's, end the process at damage. Lossless JPEG is read by gdcm alone.
_SYNTAX = "1.2.840.10008.1.2"
_DECODERS = {
    f"{_SYNTAX}.5": "pydicom",
    f"{_SYNTAX}.4.50": "pillow",
    **{f"{_SYNTAX}.4.{number}": "gdcm" for number in (51, 57, 70)},
    **{f"{_SYNTAX}.4.{number}": "pyjpegls" for number in (80, 81)},
    **{f"{_SYNTAX}.4.{number}": "pylibjpeg" for number in (90, 91, 201, 202, 203)},
}


class _Apart(NamedTuple):
    """The process apart, and the pipes to and from it."""

    process: "subprocess.Popen[bytes]"
    requests: IO[bytes]
    answers: IO[bytes]


def decoded(planes: Sequence[Plane]) -> Generator[Array, None, None]:
    """Decode slices in their order; close it unless it was read to its end.

    Raises:
        SeriesError: If a slice cannot be decoded.
    """
    apart: _Apart | None = None
    with ExitStack() as stack:
        for (path, syntax), its in groupby(planes, _file_and_syntax):
            frames = [plane.frame for plane in its]
            plugin = _DECODERS.get(syntax, "")
            if plugin != "gdcm":
                yield from _decoded_here(path, frames, plugin)
                continue
            apart = apart or stack.enter_context(_process_apart())
            yield from _decoded_apart(path, frames, apart)


def _file_and_syntax(plane: Plane) -> tuple[Path, str]:
    return plane.path, plane.transfer_syntax


@contextmanager
def _process_apart() -> Iterator[_Apart]:
    with subprocess.Popen(
        [sys.executable, "-m", "umamba.dicom.decoding"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise _torn()
        try:
            yield _Apart(process, process.stdin, process.stdout)
        finally:
            process.kill()
            with suppress(OSError):  # what it was not able to take
                process.stdin.close()


def _decoded_here(path: Path, frames: Sequence[int], plugin: str) -> Iterator[Array]:
    with closing(_decoded(path, frames, plugin)) as slices:
        for _ in frames:
            try:
                with quiet_pydicom():
                    values = next(slices)
            except MemoryError:
                raise
            except Exception as error:
                log.debug("cannot decode a slice: %s", type(error).__name__)  # its text may quote
                raise _torn() from error
            yield values


def _decoded_apart(path: Path, frames: Sequence[int], apart: _Apart) -> Iterator[Array]:
    try:
        line = json.dumps([os.fspath(path), list(frames)])
        apart.requests.write(line.encode() + b"\n")
        apart.requests.flush()
        for _ in frames:
            yield _answer(apart)
    except (OSError, ValueError, EOFError) as error:  # it has ended
        raise _torn() from error


def _answer(apart: _Apart) -> Array:
    """Wait for a slice, and end the process if it takes too long."""
    watchdog = threading.Timer(MOST_SECONDS, apart.process.kill)
    watchdog.start()
    try:
        size = int.from_bytes(apart.answers.read(_SIZE_BYTES), "little")
        answer = io.BytesIO(apart.answers.read(size))
    finally:
        watchdog.cancel()
    return np.asarray(np.load(answer, allow_pickle=False))


def _torn() -> SeriesError:
    problem = "the pixels of a slice are torn, or cannot be decoded"
    return SeriesError(problem, "export the series again, uncompressed")


def _decoded(path: Path, frames: Sequence[int], plugin: str) -> Generator[Array, None, None]:
    from pydicom.pixels import iter_pixels

    yield from iter_pixels(path, indices=frames, decoding_plugin=plugin)


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Decode by gdcm until there are no more requests; whatever fails ends the process."""
    for line in requests:
        path, frames = json.loads(line)
        for values in _decoded(Path(path), frames, "gdcm"):
            answer = io.BytesIO()
            np.save(answer, values, allow_pickle=False)
            content = answer.getvalue()
            answers.write(len(content).to_bytes(_SIZE_BYTES, "little") + content)
            answers.flush()


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    _serve(sys.stdin.buffer, answers)
