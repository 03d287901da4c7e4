"""`umamba benchmark`: what the layers cost on the machine at hand."""
