"""Point `nnUNet_extTrainer` at this folder, and stock nnU-Net finds our trainers by name."""

from umamba.nnunet.training.trainers import (
    nnUNetTrainerUMamba,
    nnUNetTrainerUMambaBot,
    nnUNetTrainerUMambaEnc,
    nnUNetTrainerUMambaEncNoAMP,
)

__all__ = [
    "nnUNetTrainerUMamba",
    "nnUNetTrainerUMambaBot",
    "nnUNetTrainerUMambaEnc",
    "nnUNetTrainerUMambaEncNoAMP",
]
