"""`umamba doctor`: a report of what runs on this machine, what does not, and how to fix it."""
