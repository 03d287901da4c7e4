"""NIfTI headers whose statements are free of each other."""

import nibabel
import numpy as np


def form(scale=1.0, degrees=0.0, origin=(0, 0, 0)):
    angle = np.radians(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, :3] *= scale
    matrix[:3, 3] = origin
    return matrix


def write(path, array, *, sform=None, qform=None, codes=(1, 1), sizes=(1, 1, 1), unit="mm"):
    """Write a header whose statements are free of each other."""
    image = nibabel.Nifti1Image(array, np.eye(4))
    header = image.header
    header.set_qform(np.eye(4) if qform is None else qform, codes[1])
    header.set_sform(np.eye(4) if sform is None else sform, codes[0])
    header["qform_code"], header["sform_code"] = codes[1], codes[0]
    header["pixdim"][1:4] = sizes
    header.set_xyzt_units(unit)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header["scl_slope"], header["scl_inter"] = 1, 0
    path.write_bytes(header.binaryblock + b"\0" * 4 + array.tobytes("F"))
