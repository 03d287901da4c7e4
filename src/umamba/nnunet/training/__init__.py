"""Training of one fold: trainers, batches, seeds, and going on after an interruption."""
