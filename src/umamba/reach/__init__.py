"""The range of networks: their gradient over the input, and tasks that need a long range."""
