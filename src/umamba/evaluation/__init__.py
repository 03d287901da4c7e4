"""Agreement of masks: overlap, surfaces and single objects, per case and label."""
