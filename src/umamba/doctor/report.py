"""The report of `umamba doctor`: a new section needs one file, and one line here."""

from umamba.doctor.compilation import examine_compilation
from umamba.doctor.folders import examine_folders
from umamba.doctor.nnunet import examine_nnunet
from umamba.doctor.plans import examine_plans
from umamba.doctor.scan import device_names, examine_scan
from umamba.doctor.section import Section
from umamba.doctor.versions import examine_versions
from umamba.doctor.workers import examine_workers
from umamba.nnunet.paths import Paths

__all__ = ["examine"]


def examine(paths: Paths) -> list[Section]:
    """Examine everything, in the order in which it is shown.

    Args:
        paths: nnU-Net's folders.

    Raises:
        UMambaError: If a setting cannot be understood at all.
    """
    device = "cuda" if "cuda" in device_names() else "cpu"
    return [
        examine_versions(),
        examine_scan(),
        examine_compilation(device),
        examine_nnunet(),
        examine_folders(paths),
        examine_plans(paths),
        examine_workers(device),
    ]
