"""One training step and one inference of seven networks (workloads.py): ann's lowerings against PyTorch, JAX, scikit-learn.

    python tests/benchmarks/train_step.py [--threads 1] [--rounds 9] [--only 1 2 3] [--compile] [--eager] [--fit] [--seconds 0.15]

Same weights, batches and optimizer; the loss after 50 steps must agree to rtol 1e-3 before a time counts. Rounds are
interleaved; printed are the least and the median time of a step, and the median over rounds of its ratio to the reference:
ann's fastest lowering. "2.00 ×" means twice as slow as that. --compile adds torch.compile, where a C++ compiler is present.
A first step is timed without the import of modules (first_step.py: in fresh processes, by its parts).
OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are unset first: they would slow NumPy's products alone.
"""

import argparse
import gc
import importlib.util
import os
import statistics
import subprocess
import sys
import time

SETTLE = 0.25  # seconds in which the threads of OpenBLAS, OpenMP and XLA go to sleep
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
if any(name in os.environ for name in SLOWING):
    os.execve(sys.executable, [sys.executable, *sys.argv], {k: v for k, v in os.environ.items() if k not in SLOWING})

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=9)
parser.add_argument("--seconds", type=float, default=0.15, help="of each contender in each round")
parser.add_argument("--only", type=int, nargs="*", default=range(1, 8))
parser.add_argument("--compile", action="store_true", help="torch.compile, too (half a minute each)")
parser.add_argument("--eager", action="store_true", help="ann without jit, too")
parser.add_argument("--fit", action="store_true", help="Model.fit, too")
parser.add_argument("--no-inference", action="store_true")
parser.add_argument("--memory", choices=("native", "numpy", "torch", "jax"), help="the peak memory of workload 4 in one library, in a process of its own")
OPTIONS = parser.parse_args()
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(OPTIONS.threads)
if OPTIONS.threads == 1:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
if hasattr(os, "sched_setaffinity"):  # XLA takes as many threads as it sees cores
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: OPTIONS.threads])
os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

import warnings  # noqa: E402

import numpy as np  # noqa: E402
import workloads  # noqa: E402

import backends  # noqa: E402
from backends.__main__ import blas  # noqa: E402

if importlib.util.find_spec("llvmlite") and not OPTIONS.memory:
    import llvmlite.binding  # noqa: F401

    import backends.native.run


def attempt(what, make, *args, **kwargs):
    try:
        return [make(*args, **kwargs)]
    except ImportError as error:
        print(f"  {what}: {error}")
        return []


def contenders(number):
    found = []
    without = {"replay"} if importlib.util.find_spec("llvmlite") else {"replay", "native"}
    for lowering in [name for name in backends.get("numpy").library.lowerings if name not in without]:
        found += attempt(lowering, workloads.Ours, number, lowering)
    ours = found[0]
    if OPTIONS.eager:
        found += attempt("eager", workloads.Ours, number, None)
    found += attempt("PyTorch", workloads.Torch, number, ours, OPTIONS.threads)
    if number in (5, 6):
        found += attempt("PyTorch", workloads.Torch, number, ours, OPTIONS.threads, channels_last=True)
    if OPTIONS.compile:
        found += attempt("torch.compile", workloads.Torch, number, ours, OPTIONS.threads, compiled=True)
    found += attempt("JAX", workloads.Jax, number, ours)
    if number in workloads.MLPS:
        found += attempt("scikit-learn", workloads.Sklearn, number, ours)
        found.append(workloads.Floor(number))
    return found


def measure(calls):
    """{contender: [seconds a call, for each round]}, interleaved; each begins when the threads of the one before, which spin a while, are asleep."""
    times = {c: [] for c in calls}
    gc.disable()
    for _ in range(OPTIONS.rounds):
        for c, call in calls.items():
            time.sleep(SETTLE)
            call()
            n, started = 0, time.perf_counter()
            while (passed := time.perf_counter() - started) < OPTIONS.seconds or n < 3:
                call()
                n += 1
            times[c].append(passed / n)
    gc.enable()
    return times


def report(found, times, notes):
    for c in found:
        ratio = statistics.median(t / own for t, own in zip(times[c], times[found[0]], strict=True))
        print(f"    {c.name:<28} least {min(times[c]) * 1e6:9.1f} µs   median {statistics.median(times[c]) * 1e6:9.1f} µs   {ratio:6.2f} ×{notes.get(c, '')}")


def run(number):
    title = workloads.network(number)[0]
    print(f"{number}  {title}")
    found = contenders(number)
    notes, counting, reference = {}, [], None
    for c in found:
        started = time.perf_counter()
        loss = c.step()
        first = time.perf_counter() - started
        for _ in range(49):
            loss = c.step()
        if loss is None:
            counting.append(c)
            continue
        loss = float(np.asarray(loss))
        reference = loss if reference is None else reference
        agrees = abs(loss - reference) <= 1e-3 * abs(reference)
        notes[c] = f"   loss {loss:.6f}   first step {first:.2f} s" + ("" if agrees else "   DOES NOT COUNT: another loss")
        counting.append(c)
    print("  training step")
    report(counting, measure({c: c.step for c in counting}), notes)
    if not OPTIONS.no_inference:
        print("  inference")
        for c in counting:
            c.infer()
        report(counting, measure({c: c.infer for c in counting}), {})
    if OPTIONS.fit:
        fit = workloads.Fit(number)
        fit.epoch()
        started = time.perf_counter()
        fit.epoch()
        print(f"  Model.fit, a step of an epoch of 64 with shuffling and accuracy: {(time.perf_counter() - started) / 64 * 1e6:.1f} µs")
    sys.stdout.flush()


def peak():
    """The most memory this process has held, in MB; getrusage would count what its parent had before it began."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def memory():
    before = 0
    if OPTIONS.memory in ("native", "numpy"):
        ours = workloads.Ours(4, OPTIONS.memory)
    else:  # the start comes from ann
        seed = workloads.Ours(4, "numpy")
        before = peak()
        ours = workloads.Torch(4, seed, OPTIONS.threads) if OPTIONS.memory == "torch" else workloads.Jax(4, seed)
        del seed
    for _ in range(5):
        ours.step()
    print(f"{OPTIONS.memory}: peak {peak():.0f} MB" + (f" ({before:.0f} MB when ann had made the start)" if before else ""))


def main():
    if OPTIONS.memory:
        return memory()
    library, kernel, threads = blas()
    with open("/proc/cpuinfo") as file:
        info = file.read()
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), "?")
    print(f"{model}; NumPy {np.__version__}, {library}, kernel {kernel}, {threads} thread(s); AVX-512 {'avx512f' in info}; load {os.getloadavg()[0]:.1f}")
    for number in OPTIONS.only:
        run(number)
    if 4 in OPTIONS.only:
        for which in ("native", "numpy", "torch", "jax"):
            done = subprocess.run([sys.executable, __file__, "--memory", which, "--threads", str(OPTIONS.threads)], capture_output=True, text=True)
            print("  peak memory of workload 4,", done.stdout.strip() or f"{which}: {done.stderr.strip().splitlines()[-1] if done.stderr else 'failed'}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
