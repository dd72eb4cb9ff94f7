"""What every test starts from: neither the terminal nor the shell of whoever runs them is part of it."""

from __future__ import annotations

import os
import signal

for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "BENCH_DB", "BENCH_MACHINE"):
    os.environ.pop(name, None)

# under nohup SIGHUP is ignored, and so would the commands under test, rightly
signal.signal(signal.SIGHUP, signal.SIG_DFL)
