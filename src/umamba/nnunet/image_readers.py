"""Find the reader that nnU-Net will use: it decides what can be read, and how."""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umamba.images.file_names import split_ending
from umamba.images.nifti import has_false_claim
from umamba.images.volumes import silent_libraries
from umamba.system.path_names import shown

__all__ = ["nnunet_reader"]


def nnunet_reader(description: Mapping[str, Any], example: Path | None) -> str | None:
    """Return the name of the reader that nnU-Net uses for a data set.

    That is `overwrite_image_reader_writer` of dataset.json, if nnU-Net has it, or else the first
    reader for the ending that can open the first image of the first case. If none can, the
    image is at fault, and the first reader's report on it is useful.

    Args:
        description: The content of dataset.json.
        example: That image, if there is one.

    Returns:
        The name, or `None` if nnU-Net finds no reader.
    """
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

    is_usable = (
        example is not None
        and example.is_file()
        and shown(example) == str(example)
        and not (split_ending(example)[1] in (".nii", ".nii.gz") and has_false_claim(example))
    )
    # nnU-Net prints the traceback of every reader that fails.
    with contextlib.redirect_stderr(io.StringIO()), silent_libraries():
        for file in (str(example) if is_usable else None, None):
            with contextlib.suppress(RuntimeError, TypeError):
                found = determine_reader_writer_from_dataset_json(
                    dict(description), file, verbose=False
                )
                return str(found.__name__)
    return None
