"""The contents of `pipeline.json`: all that turns an image into a segmentation, but the weights.

An exported model holds it beside its ONNX files. Everything in it is checked when it is read, so
the rest of this room can rely on it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from umamba.errors import OTHER_COPY, ModelFileError, quoted
from umamba.images.formats import FORMATS, READERS
from umamba.system.archives import check_member_name
from umamba.system.checksums import sha256
from umamba.system.path_names import is_foreign_link, no_plain_file, shown
from umamba.system.terminal import one_line

__all__ = [
    "FORMAT_VERSION",
    "PIPELINE",
    "Channel",
    "ComparedCase",
    "EngineCheck",
    "Fingerprint",
    "NetworkFile",
    "Pipeline",
    "Resampling",
    "describe_network_file",
    "read_pipeline",
    "write_pipeline",
]

PIPELINE = "pipeline.json"
FORMAT_VERSION = 1

_MOST_BYTES = 2**24

Name = Annotated[str, Meta(min_length=1, max_length=500)]
SMALLEST, LARGEST = 1e-12, 1e9  # size of a voxel: far outside, numbers of voxels overflow
VoxelSize = Annotated[float, Meta(ge=SMALLEST, le=LARGEST)]
Size = Annotated[int, Meta(ge=1, le=2**14)]
Axis = Annotated[int, Meta(ge=0, le=2)]
Label = Annotated[int, Meta(ge=0, lt=2**16)]
Text = Annotated[str, Meta(max_length=500)]


class _Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the file: every field is known, and of its type."""


class Fingerprint(_Part, frozen=True, kw_only=True):
    """The intensities of the training cases' foreground.

    Attributes:
        mean: Their mean.
        standard_deviation: Their standard deviation.
        lower: The 0.5th percentile.
        upper: The 99.5th percentile.
    """

    mean: float
    standard_deviation: float
    lower: float
    upper: float


class Channel(_Part, frozen=True, kw_only=True):
    """A channel of the image, and how its intensities are normalised.

    Attributes:
        name: As in `dataset.json`.
        normalization: nnU-Net's scheme: `CTNormalization` clips to the fingerprint's percentiles,
            then subtracts its mean and divides by its standard deviation; `ZScoreNormalization`
            does the latter by the image's own; the next two map to 0 to 1; the last does nothing.
        within_mask: Whether a z-score is that of the voxels that are not zero, holes filled.
        fingerprint: For `CTNormalization`.
    """

    name: Name
    normalization: Literal[
        "CTNormalization",
        "ZScoreNormalization",
        "RescaleTo01Normalization",
        "RGBTo01Normalization",
        "NoNormalization",
    ]
    within_mask: bool = False
    fingerprint: Fingerprint | None = None

    def __post_init__(self) -> None:
        """Check that the fingerprint is there where it is needed."""
        if self.normalization == "CTNormalization" and self.fingerprint is None:
            msg = f"channel {self.name!r} has no fingerprint, which CTNormalization needs"
            raise ValueError(msg)


class Resampling(_Part, frozen=True, kw_only=True):
    """The way from one grid to another.

    Attributes:
        order: Of the spline.
        order_z: That along the axis of thick slices, if each slice is resampled by itself.
        separate_z: Whether that is done; `None` where spacings differ by more than the
            pipeline's `anisotropy_threshold`.
    """

    order: Annotated[int, Meta(ge=0, le=5)]
    order_z: Annotated[int, Meta(ge=0, le=1)] = 0
    separate_z: bool | None = None


class EngineCheck(_Part, frozen=True, kw_only=True):
    """The result of comparing an engine with torch, on the machine that exported the model.

    Attributes:
        largest_difference: Of two logits, relative to the largest one.
        seconds: That a patch took.
        differing_voxels: How many voxels of the network's `case` have other labels than torch
            finds; `None` if that was not compared.
    """

    largest_difference: Annotated[float, Meta(ge=0)]
    seconds: Annotated[float, Meta(gt=0)]
    differing_voxels: Annotated[int, Meta(ge=0)] | None = None


class ComparedCase(_Part, frozen=True, kw_only=True):
    """The whole case whose labels were compared, without overlap of patches and mirroring.

    Attributes:
        origin: What it is.
        voxels: How many labels it has.
    """

    origin: Literal["an image", "a training case", "random numbers"]
    voxels: Annotated[int, Meta(gt=0)]


class NetworkFile(_Part, frozen=True, kw_only=True):
    """The network of one fold.

    Attributes:
        fold: Its name.
        file: An ONNX file beside `pipeline.json`.
        sha256: The file's checksum.
        bytes: The file's size.
        weights: The checksum of the weights that it was made of; "" if it is not known.
        checks: The engines that were found to give torch's logits, `torch` itself for its time.
        other_patch: A patch of another size, of which two at once gave torch's logits, too; empty
            if the file takes the pipeline's patch alone.
        case: The case whose labels were compared; `None` if none was.
    """

    fold: Annotated[str, Meta(pattern=r"^(all|[0-9]{1,4})\Z")]
    file: Annotated[str, Meta(pattern=r"^[\w.-]+\.onnx\Z")]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    bytes: Annotated[int, Meta(gt=0)]
    weights: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")] = ""
    checks: dict[str, EngineCheck] = {}
    other_patch: Annotated[tuple[Size, ...], Meta(max_length=3)] = ()
    case: ComparedCase | None = None


class Pipeline(_Part, frozen=True, kw_only=True):
    """All steps from an image to its segmentation, in their order. Axes are those of arrays.

    Attributes:
        format_version: Of this file.
        software: Versions of what wrote it.
        dataset: Name of the data set.
        configuration: `2d`, `3d_fullres`, ...
        file_ending: Of images and segmentations.
        image_reader: nnU-Net's name for the reader of images.
        channels: In the order of the network's input.
        transpose_forward: The image's axes in the order of the network's.
        crop_to_nonzero: Whether the image is cut to the box of voxels where any channel is not
            zero, before it is normalised, then resampled.
        spacing: Of the network's grid, in mm; two values for a network of slices, whose distance
            stays.
        resampling_image: How images get to that grid.
        resampling_logits: How logits get back.
        anisotropy_threshold: Of the largest spacing divided by the smallest.
        patch_size: Of the network, in voxels; smaller images are padded with zeros on both sides.
        step_size: The largest step from patch to patch, as a fraction of the patch.
        gaussian_sigma: Standard deviation of the patches' weights, as a fraction of the patch.
        mirroring_axes: Axes of the patch along which it may be mirrored, to average all results.
        labels: Value of every label, values of every region.
        has_regions: Whether the network's outputs are independent (sigmoid, above one half), and
            not exclusive (the largest one).
        output_labels: The value that is written for each of the network's outputs; of regions a
            later one covers earlier ones.
        keep_largest: The post-processing that nnU-Net chose for these folds together; `None` if it
            chose none. In order, the labels of which only the largest component is to stay. It is
            applied where that is asked for.
        networks: One for each fold; their logits are averaged.
    """

    format_version: Literal[1]
    software: dict[Name, Text] = {}
    dataset: Name
    configuration: Name
    file_ending: Name
    image_reader: Name
    channels: Annotated[tuple[Channel, ...], Meta(min_length=1, max_length=1000)]
    transpose_forward: tuple[Axis, Axis, Axis]
    crop_to_nonzero: Literal[True] = True
    spacing: Annotated[tuple[VoxelSize, ...], Meta(min_length=2, max_length=3)]
    resampling_image: Resampling
    resampling_logits: Resampling
    anisotropy_threshold: Annotated[float, Meta(ge=0)] = 3.0
    patch_size: Annotated[tuple[Size, ...], Meta(min_length=2, max_length=3)]
    step_size: Annotated[float, Meta(ge=0.01, le=1)] = 0.5
    gaussian_sigma: Annotated[float, Meta(gt=0, le=1)] = 0.125
    mirroring_axes: Annotated[tuple[Axis, ...], Meta(max_length=3)] = ()
    labels: Annotated[
        dict[Name, Label | Annotated[tuple[Label, ...], Meta(min_length=1)]],
        Meta(min_length=2, max_length=2**16),
    ]
    has_regions: bool
    output_labels: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=2**16)]
    keep_largest: (
        Annotated[
            tuple[Annotated[tuple[Label, ...], Meta(min_length=1)], ...], Meta(max_length=2**16)
        ]
        | None
    ) = None
    networks: Annotated[tuple[NetworkFile, ...], Meta(max_length=100)] = ()

    def __post_init__(self) -> None:
        """Check what one field says of another."""
        n_axes = len(self.patch_size)
        wrong = {
            "transpose_forward": sorted(self.transpose_forward) != [0, 1, 2],
            "spacing": len(self.spacing) != n_axes,
            "mirroring_axes": len(set(self.mirroring_axes)) < len(self.mirroring_axes)
            or max(self.mirroring_axes, default=0) >= n_axes,
            "file_ending": self.file_ending.lower() not in FORMATS,
            "output_labels": not self.has_regions and len(self.output_labels) < 2,
            "image_reader": self.image_reader not in READERS,
            # Each step labels the components of a whole image; nnU-Net has one for all foreground.
            "keep_largest": len(self.keep_largest or ()) > len(set(self.output_labels)) + 1,
            "networks": len({network.file for network in self.networks}) < len(self.networks)
            or len({network.fold for network in self.networks}) < len(self.networks),
        }
        if any(wrong.values()):
            name = next(name for name, is_wrong in wrong.items() if is_wrong)
            msg = f"{name} cannot be {quoted(getattr(self, name))} here"
            raise ValueError(msg)

    @property
    def transpose_backward(self) -> tuple[int, ...]:
        """Return the network's axes in the order of the image's."""
        return tuple(self.transpose_forward.index(axis) for axis in range(3))


class _Version(Struct):
    """The part of the file that is read first, as all versions have it."""

    format_version: int


def describe_network_file(
    path: Path,
    fold: str,
    checks: dict[str, EngineCheck] | None = None,
    weights: str = "",
    other_patch: tuple[int, ...] = (),
    case: ComparedCase | None = None,
) -> NetworkFile:
    """Return the record of a finished ONNX file.

    Args:
        path: The file, which lies beside `pipeline.json`.
        fold: The fold that it is of.
        checks: By engine, the result of comparing it with torch.
        weights: The checksum of the weights that it was made of.
        other_patch: The other patch that was compared, if it takes any.
        case: The case whose labels were compared, if one was.
    """
    return NetworkFile(
        fold=fold,
        file=path.name,
        sha256=sha256(path),
        bytes=path.stat().st_size,
        weights=weights,
        checks=checks or {},
        other_patch=other_patch,
        case=case,
    )


def write_pipeline(folder: Path, pipeline: Pipeline) -> None:
    """Write `pipeline.json` into a folder, as people can read it.

    Raises:
        OSError: If it cannot be written.
    """
    content = msgspec.json.format(msgspec.json.encode(pipeline), indent=2)
    (folder / PIPELINE).write_bytes(content + b"\n")


def read_pipeline(folder: Path, folds: Sequence[str] = ()) -> Pipeline:
    """Read and check `pipeline.json`, and that the files of its networks are those it names.

    Args:
        folder: The exported model.
        folds: The folds to use; empty means all.

    Returns:
        The pipeline, with the networks of these folds only, and with the post-processing only if
        these are all of them.

    Raises:
        ModelFileError: If it is of another version, says something that is not known, lacks a
            fold, or a file is missing or damaged.
    """
    if folder.is_file():
        msg = f"{shown(folder)} is a file; unpack it if it is a zip file, and give the folder"
        raise ModelFileError(msg)
    pipeline = _decode(folder / PIPELINE)
    there = {network.fold: network for network in pipeline.networks}
    unknown = sorted(set(folds) - set(there))
    if unknown or not there:
        which = f"no fold {', '.join(unknown)}" if unknown else "no fold"
        msg = f"{shown(folder / PIPELINE)} has {which}; it has {', '.join(there) or 'none'}"
        raise ModelFileError(msg)
    networks = tuple(there[fold] for fold in dict.fromkeys(folds) or there)
    for network in networks:
        _verify(folder, network)
    chosen = pipeline.keep_largest if len(networks) == len(there) else None
    return msgspec.structs.replace(pipeline, networks=networks, keep_largest=chosen)


def _decode(path: Path) -> Pipeline:
    try:
        if reason := no_plain_file(path):
            msg = f"{shown(path)} cannot be read: {reason}; {OTHER_COPY}"
            raise ModelFileError(msg)
        if path.stat().st_size > _MOST_BYTES:
            msg = f"{shown(path)} is too large for a description; {OTHER_COPY}"
            raise ModelFileError(msg)
        content = path.read_bytes()
        version = msgspec.json.decode(content, type=_Version).format_version
        if version != FORMAT_VERSION:
            msg = (
                f"{shown(path)} has format version {version}, but this umamba reads version "
                f"{FORMAT_VERSION}; install the umamba that wrote it, or export the model again"
            )
            raise ModelFileError(msg)
        return msgspec.json.decode(content, type=Pipeline)
    except FileNotFoundError:
        msg = f"{shown(path)} does not exist; give a folder that `umamba export --onnx` wrote"
        raise ModelFileError(msg) from None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"{shown(path)} is not a pipeline of umamba: {one_line(error)}; {OTHER_COPY}"
        raise ModelFileError(msg) from None


def _verify(folder: Path, network: NetworkFile) -> None:
    check_member_name(network.file, folder)
    path = folder / network.file
    if is_foreign_link(path, folder) or not path.is_file():
        msg = f"{shown(path)}, which {PIPELINE} names, is missing or a link; {OTHER_COPY}"
        raise ModelFileError(msg)
    if path.stat().st_size != network.bytes or sha256(path) != network.sha256:
        msg = f"{shown(path)} is not what was exported: its checksum differs; {OTHER_COPY}"
        raise ModelFileError(msg)
