"""Decode slices, in a process apart where the decoder may end it at a damaged file.

Run as a module, it is that process: it reads lines of JSON, each a path and a frame, and answers
each with a size and as many bytes of an array in NumPy's format, or ends where that fails.
"""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from umamba.dicom.library import quiet_pydicom
from umamba.dicom.series import Plane, Series, SeriesError
from umamba.images.volumes import silent_libraries

__all__ = ["decoder"]

Array = npt.NDArray[Any]

log = logging.getLogger(__name__)

_SIZE_BYTES = 8

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


class _Channel(NamedTuple):
    """The pipes to and from the process apart."""

    requests: IO[bytes]
    answers: IO[bytes]


@contextmanager
def decoder(series: Series) -> Iterator[Callable[[Plane], Array]]:
    """Give a function that decodes the slices of a series.

    It raises a `SeriesError` where a slice cannot be decoded.
    """
    if all(_DECODERS.get(plane.transfer_syntax) != "gdcm" for plane in series.planes):
        yield _decoded_here
        return
    with subprocess.Popen(
        [sys.executable, "-m", "umamba.dicom.decoding"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise _torn()
        channel = _Channel(process.stdin, process.stdout)
        try:
            yield lambda plane: _decoded_apart(plane, channel)
        finally:
            process.kill()
            with suppress(OSError):  # what it was not able to take
                process.stdin.close()


def _decoded_here(plane: Plane) -> Array:
    try:
        with quiet_pydicom(), silent_libraries():
            return _decoded(plane.path, plane.frame, _DECODERS.get(plane.transfer_syntax, ""))
    except MemoryError:
        raise
    except Exception as error:
        log.debug("cannot decode a slice: %s", type(error).__name__)  # its text may quote
        raise _torn() from error


def _decoded_apart(plane: Plane, channel: _Channel) -> Array:
    if _DECODERS.get(plane.transfer_syntax) != "gdcm":
        return _decoded_here(plane)
    try:
        line = json.dumps([os.fspath(plane.path), plane.frame])
        channel.requests.write(line.encode() + b"\n")
        channel.requests.flush()
        size = int.from_bytes(channel.answers.read(_SIZE_BYTES), "little")
        answer = io.BytesIO(channel.answers.read(size))
        return np.asarray(np.load(answer, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:  # it has ended
        raise _torn() from error


def _torn() -> SeriesError:
    problem = "the pixels of a slice are torn, or cannot be decoded"
    return SeriesError(problem, "export the series again, uncompressed")


def _decoded(path: Path, frame: int, plugin: str) -> Array:
    from pydicom.pixels import pixel_array

    return np.asarray(pixel_array(path, index=frame, decoding_plugin=plugin))


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Decode by gdcm until there are no more requests; whatever fails ends the process."""
    for line in requests:
        path, frame = json.loads(line)
        answer = io.BytesIO()
        np.save(answer, _decoded(Path(path), frame, "gdcm"), allow_pickle=False)
        content = answer.getvalue()
        answers.write(len(content).to_bytes(_SIZE_BYTES, "little") + content)
        answers.flush()


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    _serve(sys.stdin.buffer, answers)
