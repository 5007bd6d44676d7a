"""Fixtures that more than one package's tests need."""

import os

# Before torch or Ray is imported: results of CPU tests are compared bit for bit, at one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from hypothesis import settings

# The same examples everywhere and every time, however slow the machine; what a run found does not change the next one.
settings.register_profile("house", derandomize=True, deadline=None, database=None)
settings.load_profile("house")
