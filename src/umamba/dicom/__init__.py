"""DICOM series as volumes, and segmentations as DICOM; needs the extra `dicom`."""
