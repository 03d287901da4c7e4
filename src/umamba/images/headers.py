"""Find contradictions in the header of an image, and say which statement is used.

Found by experiment with SimpleITK 2.5 and nibabel 5.4, one header at a time:

- NIfTI holds the voxel size twice, in pixdim and in the lengths of the sform's columns. Both
  libraries, and so all of nnU-Net's readers, take pixdim; viewers mostly show the sform.
- Axes and origin stand in the sform and in the qform. SimpleITK takes the sform where its code
  is 1 (scanner) or the qform has no code, else the qform; nibabel takes the sform where it has a
  code. Without any code both ignore them: SimpleITK puts the origin at the first voxel, nibabel
  in the middle.
- A unit other than the millimetre is converted by SimpleITK and ignored by nibabel.
- MetaImage: ElementSpacing wins over ElementSize, TransformMatrix over Orientation and Rotation,
  Origin over Offset, Offset over Position; lengths in TransformMatrix and DistanceUnits are
  ignored.
- NRRD: units are ignored. What else could contradict `space directions` is refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from umamba.images.contents import Geometry, HeaderConflict, numbers

__all__ = ["nifti_conflicts", "ras_geometry", "text_conflicts"]

Matrix = npt.NDArray[np.float64]

_UNITS = {1: ("metre", 1000.0), 3: ("micrometre", 0.001)}  # by code; others count as millimetres
_LPS = np.diag([-1.0, -1.0, 1.0])  # from nibabel's axes (right, front, up) to those of ITK

# Beyond these two statements differ by more than the rounding of float32 and of quaternions.
_SCALE_TOLERANCE = 1e-3
_AXES_TOLERANCE = 2e-3
_ORIGIN_TOLERANCE = 2e-2  # of a voxel

# Which key of MetaImage is used, and those that say the same.
_META_RIVALS = {
    "ElementSpacing": ("ElementSize",),
    "TransformMatrix": ("Orientation", "Rotation"),
    "Origin": ("Offset", "Position"),
    "Offset": ("Position",),
}
_META_MEANINGS = {
    "ElementSpacing": "voxel size",
    "TransformMatrix": "orientation",
    "Origin": "origin",
    "Offset": "origin",
}


def ras_geometry(affine: Matrix, spacing: Sequence[float]) -> Geometry:
    """Return the geometry that an affine of nibabel describes, with a voxel size of its own."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    axes = _LPS @ (affine[:3, :3] / np.where(lengths > 0, lengths, 1))
    origin = _LPS @ affine[:3, 3]
    return Geometry(
        spacing=tuple(map(float, spacing)),
        origin=tuple(map(float, origin)),
        direction=tuple(map(float, axes.ravel())),
    )


def nifti_conflicts(header: Any, used: Geometry, *, by_itk: bool) -> tuple[HeaderConflict, ...]:
    """Compare pixdim, sform, qform and unit of a NIfTI header.

    Args:
        header: As nibabel reads it.
        used: The geometry that the reader took from it.
        by_itk: Whether the reader was SimpleITK's, or else nibabel's.

    Returns:
        One per kind of contradiction.
    """
    if len(used.spacing) != 3:
        return ()
    unit, factor = _UNITS.get(int(header["xyzt_units"]) & 7, ("", 1.0))
    scale = factor if by_itk else 1.0
    forms = _forms(header)
    conflicts = [_unit_conflict(unit, factor, header, by_itk=by_itk)] if unit else []
    if "sform" in forms:
        lengths = scale * np.linalg.norm(forms["sform"][:3, :3], axis=0)
        if not np.allclose(lengths, used.spacing, rtol=_SCALE_TOLERANCE, atol=0):
            text = (
                f"pixdim gives the voxel size {numbers(used.spacing)}, the sform "
                f"{numbers(lengths.tolist())}; pixdim is used"
            )
            conflicts.append(HeaderConflict("voxel size", text))
    has_codes = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    if len(forms) == 2 and has_codes:
        conflicts += _form_conflicts(forms, used, scale)
    elif forms and not has_codes and not _is_plain(next(iter(forms.values()))):
        text = "sform and qform have no code, so they are not used"
        conflicts.append(HeaderConflict("orientation", text))
    return tuple(conflicts)


def _forms(header: Any) -> dict[str, Matrix]:
    """Return the sform and the qform that have a code, or, if none has, what they hold."""
    from nibabel.spatialimages import HeaderDataError

    forms: dict[str, Matrix] = {}
    codes = {name: int(header[f"{name}_code"]) for name in ("sform", "qform")}
    if codes["sform"] > 0 or not any(codes.values()):
        forms["sform"] = np.asarray(header.get_sform(), float)
    if codes["qform"] > 0:
        try:
            with np.errstate(invalid="ignore"):  # of an infinite voxel size
                forms["qform"] = np.asarray(header.get_qform(), float)
        except (ValueError, HeaderDataError):  # not a rotation
            forms["qform"] = np.full((4, 4), np.nan)
    if not any(codes.values()) and not forms["sform"][:3].any():
        del forms["sform"]
    return forms


def _is_plain(form: Matrix) -> bool:
    """Return whether a form says nothing but a voxel size."""
    turned = form[:3, :3] - np.diag(np.diag(form[:3, :3]))
    return not turned.any() and not form[:3, 3].any() and bool((np.diag(form)[:3] > 0).all())


def _form_conflicts(
    forms: Mapping[str, Matrix], used: Geometry, scale: float
) -> Iterator[HeaderConflict]:
    stated = {}
    for name, form in forms.items():
        scaled = form.copy()
        scaled[:3] *= scale
        stated[name] = ras_geometry(scaled, used.spacing)
    sform, qform = stated["sform"], stated["qform"]
    for about, values, tolerance in (
        ("orientation", "direction", _AXES_TOLERANCE),
        ("origin", "origin", _ORIGIN_TOLERANCE * min(used.spacing)),
    ):
        first, second, taken = (getattr(g, values) for g in (sform, qform, used))
        no_rotation = np.isnan(second).any()
        if np.allclose(first, second, rtol=0, atol=tolerance) or (
            no_rotation and values == "origin"
        ):
            continue
        which = "sform" if np.allclose(first, taken, rtol=0, atol=tolerance) else "qform"
        noun = "axes" if about == "orientation" else "origin"
        shown = "no rotation" if no_rotation else numbers(second)
        text = f"the sform gives the {noun} {numbers(first)}, the qform {shown}; the {which} is"
        yield HeaderConflict(about, f"{text} used")


def _unit_conflict(unit: str, factor: float, header: Any, *, by_itk: bool) -> HeaderConflict:
    plain = np.asarray(header["pixdim"][1:4], float)
    text = (
        f"the unit is the {unit}: SimpleITK takes the voxel size "
        f"{numbers((plain * factor).tolist())} mm, nibabel {numbers(plain.tolist())} mm; "
        f"the {'first' if by_itk else 'second'} is used"
    )
    return HeaderConflict("unit", text)


def text_conflicts(head: bytes, ending: str) -> tuple[HeaderConflict, ...]:
    """Compare the statements of a MetaImage or NRRD header.

    Args:
        head: The first bytes of the file.
        ending: `.mha` or `.nrrd`.

    Returns:
        One per kind of contradiction.
    """
    lines = head.split(b"\n\n" if ending == ".nrrd" else b"ElementDataFile", 1)[0]
    text = lines.decode("latin-1").replace("\r", "")
    sign = ":" if ending == ".nrrd" else "="
    fields = {
        key.strip(): value.strip()
        for key, _, value in (line.partition(sign) for line in text.splitlines())
    }
    return tuple(_nrrd_conflicts(fields) if ending == ".nrrd" else _meta_conflicts(fields))


def _nrrd_conflicts(fields: Mapping[str, str]) -> Iterator[HeaderConflict]:
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) - {"", "mm", "???"}
    if units:
        text = f"the unit is {', '.join(sorted(units))}, which is ignored: numbers are taken as mm"
        yield HeaderConflict("unit", text)


def _meta_conflicts(fields: Mapping[str, str]) -> Iterator[HeaderConflict]:
    for key, rivals in _META_RIVALS.items():
        first = _floats(fields.get(key, ""))
        for rival in rivals:
            second = _floats(fields.get(rival, ""))
            same = len(first) == len(second) and np.allclose(first, second, rtol=1e-4, atol=1e-4)
            if first and second and not same:
                text = f"{key} is {numbers(first)}, {rival} {numbers(second)}; {key} is used"
                yield HeaderConflict(_META_MEANINGS[key], text)
    matrix = _floats(fields.get("TransformMatrix", ""))
    size = round(len(matrix) ** 0.5)
    if matrix and size * size == len(matrix):
        lengths = np.linalg.norm(np.reshape(matrix, (size, size)), axis=1)
        if not np.allclose(lengths, 1, rtol=0, atol=_SCALE_TOLERANCE):
            text = (
                f"TransformMatrix holds the lengths {numbers(lengths.tolist())}, ElementSpacing is "
                f"{fields.get('ElementSpacing', 'missing')}; ElementSpacing is used"
            )
            yield HeaderConflict("voxel size", text)
    unit = fields.get("DistanceUnits", "")
    if unit not in ("", "?", "mm"):
        text = f"the unit is {unit}, which is ignored: numbers are taken as mm"
        yield HeaderConflict("unit", text)


def _floats(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split()]
    except ValueError:
        return []
