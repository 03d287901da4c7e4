"""Standardised uptake values of PET by body weight."""

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from umamba.dicom.library import quiet_pydicom
from umamba.dicom.series import Series, SeriesError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["suv_factor"]

_FIX = "export the original series, or leave --suv out"


def suv_factor(series: Series) -> float:
    """Return the factor from the values of a PET series, in Bq/ml, to SUV by body weight, in g/ml.

        SUV = activity concentration * body weight / (injected dose * 2^(-t / half-life))

    where t is the time from injection to that to which the scanner has corrected the decay: the
    start of the series (DecayCorrection START), or the injection itself (ADMIN). Values that are
    SUV by body weight already (units GML) have the factor 1. Attenuation must have been corrected.

    Raises:
        SeriesError: If the header does not state what is needed.

    Source:
        QIBA, "SUV vendor-neutral pseudo-code", happy path; DICOM PS3.3, C.8.9.
    """
    from pydicom import dcmread

    try:
        with quiet_pydicom():
            header = dcmread(series.planes[0].path, stop_before_pixels=True)
            return _factor(header)
    except SeriesError:
        raise
    except (OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        problem = "its header does not state dose, half-life, times and weight for SUV"
        raise SeriesError(problem, _FIX) from error


def _factor(header: "Dataset") -> float:
    units = str(header.get("Units") or "")
    if units == "GML" and header.get("SUVType") in (None, "", "BW"):
        return 1.0
    if units != "BQML":
        problem = f"its values have the units {units or 'of nothing'}, not BQML, which SUV needs"
        raise SeriesError(problem, _FIX)
    corrected = header.get("CorrectedImage") or ()
    if not {"ATTN", "DECY"} <= set([corrected] if isinstance(corrected, str) else corrected):
        problem = "its CorrectedImage does not say that attenuation and decay were corrected"
        raise SeriesError(problem, _FIX)
    drug = header.RadiopharmaceuticalInformationSequence[0]
    dose, half_life = float(drug.RadionuclideTotalDose), float(drug.RadionuclideHalfLife)
    weight_kg = float(header.PatientWeight)
    correction = str(header.DecayCorrection)
    if min(dose, half_life, weight_kg) <= 0 or correction not in ("START", "ADMIN"):
        problem = (
            f"dose {dose:g} Bq, half-life {half_life:g} s, weight and decay correction "
            f"{correction} do not give SUV"
        )
        raise SeriesError(problem, _FIX)
    if correction == "START":
        dose *= 2 ** (-_seconds_since_injection(header, drug) / half_life)
    return weight_kg * 1000 / dose


def _seconds_since_injection(header: "Dataset", drug: "Dataset") -> float:
    start = _moment(header.SeriesDate, header.SeriesTime)
    acquired = _moment(header.AcquisitionDate, header.AcquisitionTime)
    if start > acquired:  # a series that was derived later has the time of that
        problem = "its series began after it was acquired, so that the decay is unknown"
        raise SeriesError(problem, _FIX)
    stated = str(drug.get("RadiopharmaceuticalStartDateTime") or "")
    if stated:
        injected = _moment(stated[:8], re.split("[+-]", stated[8:])[0])
    else:
        injected = _moment(header.SeriesDate, drug.RadiopharmaceuticalStartTime)
        if injected > start:
            injected -= timedelta(days=1)  # before midnight
    seconds = (start - injected).total_seconds()
    if not 0 <= seconds < 24 * 3600:
        problem = "by its header the injection was not within 24 hours before the scan"
        raise SeriesError(problem, _FIX)
    return seconds


def _moment(date: Any, time: Any) -> datetime:
    minute = datetime.strptime(f"{date}{str(time)[:4]}", "%Y%m%d%H%M")
    return minute + timedelta(seconds=float(str(time)[4:] or 0))
