"""What stands in for training while bench itself is tested: a backend that only plays, and the actions of fault points.

`benchmark/__init__.py` imports this in every process while `BENCH_TESTING=1`; importing it registers both.
"""

from benchmark import faults
from benchmark.catalog import backends
from benchmark.testing import fault_actions

backends.register(
    backends.Backend("fake", "fake", (), "", entry="benchmark.testing.fake_worker", trains=False, start_seconds=0.3)
)
faults.register(fault_actions.act)
