"""`umamba doctor`: what runs on this machine, what does not, and what would mend it."""
