"""Trained models as folders or zip files: export, installation, model card."""
