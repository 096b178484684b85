"""The time of a first training step in a fresh process: tracing, planning and compiling. Modules are imported before and timed apart.

    python tests/benchmarks/first_step.py [--rounds 9] [--only 5] [--threads 1]

Of each workload (workloads.py), median over fresh processes, in ms: the first call of the compiled step, its CPU time, and of it the trace, the
lowering (passes, plan, machine code) and the rest, which is a step; with machine code in the cache on disk, without a cache (cold), and with the
NumPy lowering. "fit": Model.fit for one step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def measure(number, lowering):
    """In a fresh process: {what: seconds}."""
    passed = {}

    def timed(name, f):
        def call(*args, **kwargs):
            started = time.perf_counter()
            try:
                return f(*args, **kwargs)
            finally:
                passed[name] = passed.get(name, 0) + time.perf_counter() - started

        return call

    def imports(*names):
        for name in names:
            __import__(name)

    timed("import numpy", imports)("numpy")
    timed("import ann", imports)("ann", "backends")
    import workloads

    if lowering == "fit":
        fit = workloads.Fit(number)
        x, y = fit.x[: fit.batch], fit.y[: fit.batch]
        step = lambda: fit.model.fit(x, y, epochs=1, batch_size=fit.batch, verbose=0)
    else:
        step = workloads.Ours(number, lowering).step
    lowered = ("backends.numpy.lower",) if lowering == "numpy" else ("llvmlite.binding", "backends.native.run")
    timed("import lowering", imports)("ann.losses", *lowered)
    from backends.compile import Jitted
    from backends.library import Library

    Jitted._trace, Library.lower = timed("trace", Jitted._trace), timed("lower", Library.lower)
    cpu = time.process_time()
    timed("first", step)()
    passed["cpu"] = time.process_time() - cpu
    passed["rest"] = passed["first"] - passed["trace"] - passed["lower"]
    print(json.dumps(passed))


def child(number, lowering, threads, cache):
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    env = {**os.environ, **dict.fromkeys(names, str(threads)), "PYTHONPATH": ROOT, "ANN_NATIVE_CACHE": cache}
    done = subprocess.run([sys.executable, "-W", "ignore", __file__, "--child", str(number), lowering], env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", type=int, nargs="*", default=(1, 4, 5, 7))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return measure(int(options.child[0]), options.child[1])
    keys = ("first", "cpu", "trace", "lower", "rest", "import numpy", "import ann", "import lowering")
    print(f"{'ms':<22}", *(f"{key:>15}" for key in keys))
    with tempfile.TemporaryDirectory() as cache:
        for number in options.only:
            for name, lowering, place in (("native, cached", "native", cache), ("native, cold", "native", "off"), ("numpy", "numpy", "off"), ("fit, cached", "fit", cache)):
                child(number, lowering, options.threads, place)  # fills the cache, and those of Python and the system
                found = [child(number, lowering, options.threads, place) for _ in range(options.rounds)]
                print(f"{f'{number}  {name}':<22}", *(f"{statistics.median(one[key] for one in found) * 1e3:15.1f}" for key in keys), flush=True)


if __name__ == "__main__":
    main()
