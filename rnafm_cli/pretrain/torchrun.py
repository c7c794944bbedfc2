"""torchrun, ``python -m rnafm_cli.pretrain.torchrun``: as PyTorch's, but a stop signal is no reason for a traceback."""

from __future__ import annotations

import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.run import main

__all__: list[str] = []

if __name__ == "__main__":
    try:
        main()
    except SignalException as stop:
        # The workers have saved and said so.
        sys.exit(128 + stop.sigval)
