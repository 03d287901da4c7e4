"""The charts of comparisons and rankings, each a function of their records."""
