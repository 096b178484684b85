"""Import time of ann and backends against NumPy's, in fresh processes, interleaved: at most 1.5 times.

    python tests/benchmarks/imports.py [--rounds 15]
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def seconds(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    ours, numpy, bare = [], [], []
    for _ in range(rounds + 1):
        ours.append(seconds("import ann, backends"))
        numpy.append(seconds("import numpy"))
        bare.append(seconds("pass"))
    ratios = [a / b for a, b in zip(ours[1:], numpy[1:], strict=True)]
    for name, times in (("import ann, backends", ours), ("import numpy", numpy), ("nothing", bare)):
        print(f"{name:<22} median {statistics.median(times[1:]) * 1e3:6.0f} ms   least {min(times[1:]) * 1e3:6.0f} ms")
    print(f"median of per-round ratios to numpy: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
