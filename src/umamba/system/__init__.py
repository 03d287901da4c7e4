"""What the machine and the system let this process have; at the bottom of all rooms."""
