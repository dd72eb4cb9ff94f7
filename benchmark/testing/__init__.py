"""What stands in for training while bench itself is tested: a backend that only plays, nodes that are none, fault actions.

`benchmark/__init__.py` imports this in every process while `BENCH_TESTING=1`; importing it registers all of them.
"""

from benchmark import faults
from benchmark.catalog import backends
from benchmark.scheduling.executors import own_engines
from benchmark.testing import fault_actions

backends.register(
    backends.Backend("fake", "fake", (), "", entry="benchmark.testing.fake_worker", trains=False, start_seconds=0.3)
)
faults.register(fault_actions.act)
own_engines.register(
    "simulated", own_engines.Engine("benchmark.testing.simulated_nodes:SimulatedExecutor", is_offered=False)
)
