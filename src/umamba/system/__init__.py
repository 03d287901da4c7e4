"""Files, processes, signals and the limits of the machine: the room below all others."""
