"""What can be said of models from their scores; knows nothing of trainings, files or figures."""
