"""From a folder of images to a folder of segmentations with a trained model."""
