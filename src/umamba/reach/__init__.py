"""How far networks look: the gradient over their input, and tasks that need a long range."""
