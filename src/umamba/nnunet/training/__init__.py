"""Training of one fold: trainers, batches, seeds, and resuming after an interruption."""
