"""Planning, running and collecting the trainings of a comparison."""
