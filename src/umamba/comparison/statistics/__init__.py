"""Statistics of models' scores; this room knows nothing of trainings, files or figures."""
