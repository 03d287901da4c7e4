"""Point `nnUNet_extTrainer` at this folder, and stock nnU-Net finds our trainers by name."""

from umamba.nnunet.training.trainers import (
    nnUNetTrainerUMamba,
    nnUNetTrainerUMambaAdamW,
    nnUNetTrainerUMambaBot,
    nnUNetTrainerUMambaEnc,
    nnUNetTrainerUMambaEncNoAMP,
    nnUNetTrainerUMambaMedNeXt,
)

__all__ = [
    "nnUNetTrainerUMamba",
    "nnUNetTrainerUMambaAdamW",
    "nnUNetTrainerUMambaBot",
    "nnUNetTrainerUMambaEnc",
    "nnUNetTrainerUMambaEncNoAMP",
    "nnUNetTrainerUMambaMedNeXt",
]
