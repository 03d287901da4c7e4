"""Masks for the tests of metrics, and what is measured of them."""

import numpy as np
from scipy import ndimage

from umamba.evaluation.label_masks import LabelMasks
from umamba.evaluation.metrics import measure
from umamba.evaluation.settings import EvaluationSettings


def measured(prediction, reference, spacing, **settings):
    """Return all metrics."""
    settings = EvaluationSettings(metrics=("all",), **settings)
    return measure(LabelMasks.of_booleans(prediction, reference, spacing, settings))


def filled(shape, *boxes):
    """Return a mask of boxes, each given by the slices of its axes."""
    mask = np.zeros(shape, bool)
    for box in boxes:
        mask[tuple(slice(*side) for side in box)] = True
    return mask


def blobs(seed, shape, n_blobs=6):
    """Return two masks of blobs that overlap here and there."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((2, *shape), bool)
    for mask in masks:
        seeds = np.random.default_rng(seed).integers(0, shape, (n_blobs, len(shape)))
        for place in seeds + rng.integers(-2, 3, seeds.shape):
            mask[tuple(np.clip(place, 0, np.array(shape) - 1))] = True
    structure = ndimage.generate_binary_structure(len(shape), 1)
    grown = [ndimage.binary_dilation(mask, structure, 2) for mask in masks]
    return [mask & (rng.random(shape) < 0.95) for mask in grown]


EMPTY = np.zeros((7, 8), bool)
ONE_VOXEL = filled((7, 8), ((3, 4), (2, 3)))
