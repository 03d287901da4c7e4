"""`umamba rank`: the statistics of a comparison, for any table of scores."""
