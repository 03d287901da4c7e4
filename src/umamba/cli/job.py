"""`umamba` as the job of another process: it stops, as on SIGTERM, when that process is gone.

A module, so that the pools of nnU-Net find it: their workers import the program of their parent.
"""

import sys

from umamba.cli.main import COMMANDS, main
from umamba.system.processes import stop_with_parent

if __name__ == "__main__":
    stop_with_parent()
    sys.exit(main(commands=(*COMMANDS, "_cell", "_fold", "_part", "_train_rank")))
