"""On real images the runtime's labels are stock nnU-Net's but for near-ties."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from exported_models import Exported
from umamba.runtime import Predictor

IMAGES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "hippocampus": ("hippocampus_msd/images/hippocampus_190.nii.gz", 1, {}),
    "tumour PET": (
        "sts_tumour_pet/STS_001/PET_image.nii.gz",
        1,
        {"of_configuration": {"spacing": [4.0, 4.0, 4.0]}},
    ),
    "CT of thick slices": (
        "totalsegmentator_singles/example_ct_sm.nii.gz",
        4,
        {"channels": ["CTNormalization"], "of_configuration": {"spacing": [5.0, 4.0, 4.0]}},
    ),
}


@pytest.mark.parametrize("name", IMAGES)
def test_labels_are_those_of_stock_nnunet(tmp_path: Path, shared_data: Path, name: str) -> None:
    file, every, options = IMAGES[name]
    image = SimpleITK.ReadImage(str(shared_data / file))
    voxels = SimpleITK.GetArrayFromImage(image)[None, ::every].astype(np.float32)
    z, y, x = image.GetSpacing()[::-1]
    spacing = (z * every, y, x)
    exported = Exported(tmp_path / "model", patch_size=(16, 40, 40), **options)
    labels = Predictor(exported.folder)(voxels, spacing)
    want = exported.stock_labels(voxels, spacing)
    assert len(np.unique(want)) == 3
    assert (labels != want).mean() < 1e-4
