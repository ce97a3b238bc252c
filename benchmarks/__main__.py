"""`python -m benchmarks [NAME …]`: run all benchmarks, or those named, and write their records."""

from __future__ import annotations

import sys

from benchmarks import endings, import_time, memory, throughput
from benchmarks.record import write

BENCHMARKS = {
    "endings": endings.run,
    "import_time": import_time.run,
    "memory": memory.run,
    "throughput": throughput.run,
}

for name in sys.argv[1:] or BENCHMARKS:
    print(name, flush=True)
    print(f"  {write(name, BENCHMARKS[name]())}", flush=True)
