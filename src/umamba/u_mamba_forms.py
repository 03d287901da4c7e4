"""Forms of U-Mamba in the registry: the paper's network, variants and controls, by suffix."""

from typing import NamedTuple

__all__ = ["U_MAMBA_FORMS", "Form"]

_U_MAMBA = "Ma, Li and Wang 2024, arXiv:2401.04722"
_NO_MAMBA = "Isensee et al. 2024, arXiv:2404.09556"
_MAMBA2 = "Dao and Gu 2024, arXiv:2405.21060"
_S4 = "Gu et al. 2021, arXiv:2110.13985"


class Form(NamedTuple):
    """A variant or control: its difference to the paper's network, its source and its purpose."""

    keywords: dict[str, str]
    paper: str
    purpose: str
    control_of: str | None = None  # the suffix of this form
    matched: bool = False  # whether it is widened to the parameters of that form
    lean: bool = False


# By the suffix that is added to the name of the network.
U_MAMBA_FORMS = {
    "": Form({}, _U_MAMBA, "long range {place}, as the paper draws it"),
    "_official": Form(
        {"variant": "official"}, _U_MAMBA, "long range {place}, as the authors' code has it"
    ),
    "_official_nomamba": Form(
        {"variant": "official", "mixer": "none"},
        _NO_MAMBA,
        "control: the authors' code without Mamba",
        control_of="_official",
    ),
    "_nomamba": Form(
        {"mixer": "none"}, _NO_MAMBA, "control: the same network without Mamba", control_of=""
    ),
    "_matched": Form(
        {"mixer": "none"},
        _NO_MAMBA,
        "control: without Mamba, widened to the same number of parameters",
        control_of="",
        matched=True,
    ),
    "_attention": Form(
        {"mixer": "attention"},
        "Vaswani et al. 2017, arXiv:1706.03762",
        "control: self-attention {place}",
    ),
    "_lti": Form({"mixer": "lti"}, _S4, "control: a state-space model without selection, {place}"),
    "_bidirectional": Form(
        {"scan": "bidirectional"},
        "Zhu et al. 2024, arXiv:2401.09417",
        "scans forward and backward",
    ),
    "_axes": Form(
        {"scan": "axes"},
        "Liu et al. 2024, arXiv:2401.10166",
        "scans along every axis, in both directions",
    ),
    "_mamba2": Form({"mixer": "mamba2"}, _MAMBA2, "Mamba-2 {place}"),
    "_lti_bidirectional": Form(
        {"mixer": "lti", "scan": "bidirectional"},
        _S4,
        "control: as `_lti`, forward and backward",
    ),
    "_lti_axes": Form(
        {"mixer": "lti", "scan": "axes"},
        _S4,
        "control: as `_lti`, along every axis in both directions",
    ),
    "_lean": Form({}, _U_MAMBA, "long range {place}, with fewer residual blocks", lean=True),
    "_lean_nomamba": Form(
        {"mixer": "none"},
        _NO_MAMBA,
        "control: the lean network without Mamba",
        control_of="_lean",
        lean=True,
    ),
    "_lean_matched": Form(
        {"mixer": "none"},
        _NO_MAMBA,
        "control: the lean network without Mamba, widened to the same number of parameters",
        control_of="_lean",
        matched=True,
        lean=True,
    ),
    "_lean_mamba2": Form(
        {"mixer": "mamba2"}, _MAMBA2, "Mamba-2 {place}, in the lean network", lean=True
    ),
}
