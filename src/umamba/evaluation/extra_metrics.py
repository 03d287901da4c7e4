"""The names of the metrics that are measured on request only; free of numpy, for the help."""

__all__ = ["EXTRA_METRICS"]

# They take longer than all others together, or need more than masks.
EXTRA_METRICS = ("cldice", "boundary_iou", "lesion_dice", "lesion_hd95", "ece")
