"""How well masks agree: overlap, surfaces and single objects, per case and label."""
