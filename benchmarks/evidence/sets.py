"""The comparisons that are the evidence: data sets, sizes, budgets, and the commands."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["ALL", "EVIDENCE", "LONGER", "PATCHES", "SETS", "UMAMBA", "Comparison"]

EVIDENCE = Path("docs/evidence")  # from the root of the repository
# Options of Python that run `umamba`.
UMAMBA = ("-c", "from umamba.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))")
_MODELS = "nnunet,unetpp,attention_unet,unetrpp,umamba_bot,umamba_enc"
_MEDIUM, _SMALL, _TINY = "16,32,64,128", "8,16,32,64", "4,8,16,32"


@dataclass(frozen=True)
class Comparison:
    """A comparison of the evidence.

    Attributes:
        title: Name of the data set in tables.
        dataset: Name of the data set for nnU-Net.
        iterations: Iterations of each training.
        options: Further options of `umamba compare`, but for the output.
        credit: Origin and licence of the data.
        models: Names of the models.
        deepest: Voxels of the deepest map along each axis: the patch by the strides that nnU-Net
            plans for it. Each is a token of Bot's Mamba.
        planned: Options of `umamba plan`, where the plans are not those of nnU-Net's planner.
        longer_models: Names of the models that are trained again with twice the iterations.
    """

    title: str
    dataset: str
    iterations: int
    options: str
    credit: str
    models: str = _MODELS
    deepest: tuple[int, ...] = ()
    planned: str = ""
    longer_models: str = "nnunet"

    def commands(self, name: str) -> list[list[str]]:
        """Return the commands of the comparison, to be run one after another.

        Args:
            name: Name of the comparison, and of the folder of its results.
        """
        plan = shlex.split(f"umamba plan {self.dataset} {self.planned}")
        return [plan, self.command(name)] if self.planned else [self.command(name)]

    def command(self, name: str) -> list[str]:
        """Return the command that trains and compares, resumes, or does nothing if all is done.

        Args:
            name: Name of the comparison, and of the folder of its results.
        """
        given = f"compare {self.dataset} --models {self.models} {self.options}"
        shared = f"--seeds 2 --validation-tta off -device cpu --credit '{self.credit}' -o {name}"
        return shlex.split(f"umamba {given} --budget iterations:{self.iterations} {shared}")

    def longer(self) -> "Comparison":
        """Return the trainings of the U-Net, and maybe others, with twice the iterations."""
        return replace(
            self,
            models=self.longer_models,
            options=f"--no-controls {self.options}",
            iterations=2 * self.iterations,
        )


_NUCLEI = "Microscopy: BBBC038, Data Science Bowl 2018 (Caicedo et al. 2019), CC0 1.0"
_PET = "PET: Soft-tissue-Sarcoma, TCIA, prepared by IBSI (Vallieres et al. 2015), CC BY 3.0"
_AXONS = "SEM: data_axondeepseg_sem (Zaimi et al. 2018, doi:10.5281/zenodo.5498378), MIT"
_MRI = "MRI: Medical Segmentation Decathlon, Task04 (Antonelli et al. 2022), CC BY-SA 4.0"
_WHOLE = f"--folds 0-2 --features {_SMALL}"
_PLANS = "nnUNet1GiBPlans"

SETS: dict[str, Comparison] = {
    "nuclei": Comparison(
        "Nuclei, 2D",
        "Dataset018_Nuclei",
        300,
        f"{_WHOLE} --patch-size 256 256 --batch-size 1",
        _NUCLEI,
        deepest=(4, 4),
        # The U-Net has not converged here, nor on axons: is Bot still ahead once it has?
        longer_models="nnunet,umamba_bot",
    ),
    "pet": Comparison(
        "Tumours in PET, 3D",
        "Dataset041_TumourPET",
        400,
        f"--folds 0-1 --features {_TINY} --patch-size 32 48 32 --batch-size 2",
        _PET,
        deepest=(4, 6, 4),
    ),
    "axons": Comparison(
        "Axons, 2D",
        "Dataset042_Axons",
        600,
        f"--from {_PLANS} --folds 0-1 --features {_SMALL} --patch-size 128 192"
        " --clusters axons_clusters.csv",
        _AXONS,
        deepest=(4, 6),
        longer_models="nnunet,umamba_bot,umamba_bot_nomamba",
        # nnU-Net plans 896 x 1280 for these, which takes a CPU days.
        planned=f"--model nnunet --gpu-memory 1 --plans-name {_PLANS}",
    ),
    "hippocampus": Comparison(
        "Hippocampus, 3D",
        "Dataset004_Hippocampus",
        800,
        f"--folds 0-2 --features {_MEDIUM} --patch-size 24 32 24 --batch-size 2",
        _MRI,
        deepest=(3, 4, 3),
    ),
}
# What is compared with `nuclei`: half the patch's edge, as many pixels in a step and as many steps.
PATCHES: dict[str, Comparison] = {
    "nuclei-half-patch": Comparison(
        "Nuclei, 2D",
        "Dataset018_Nuclei",
        300,
        f"--no-controls {_WHOLE} --patch-size 128 128 --batch-size 4",
        _NUCLEI,
        "nnunet,umamba_bot",
    )
}
# What is the U-Net with twice the iterations? More accurate, if it has not converged.
LONGER = {f"{name}-longer": comparison.longer() for name, comparison in SETS.items()}
ALL = SETS | PATCHES | LONGER
