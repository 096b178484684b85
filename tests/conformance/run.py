"""The array-api-tests suite on the differentiable namespace: it must fail nowhere that the library beneath passes.

    python tests/conformance/run.py --suite CLONE [--library array_api_strict] [--examples 20]

CLONE: a clone, with its submodule, of https://github.com/data-apis/array-api-tests at commit 55fcc60 (needs pytest,
hypothesis, pytest-json-report, ndindex). Runs the suite on the library and on its differentiable namespace with the same
examples, and prints what only the second fails. The exit status is 1 when that is not in EXCEPTIONS.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
EXCEPTIONS: dict[str, str] = {}  # test: reason


def failures(suite: Path, module: str, options: argparse.Namespace) -> tuple[set[str], str]:
    environment = {
        **os.environ, "ARRAY_API_TESTS_MODULE": module, "ARRAY_API_TESTS_VERSION": "2025.12", "PYTHONPATH": str(ROOT),
        "ARRAY_API_TESTS_XFAIL_MARK": "skip", "ARRAY_API_TESTS_MAX_ARRAY_SIZE": "256",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "pytest", "array_api_tests", "-q", "-p", "no:cacheprovider", "--max-examples", str(options.examples), "--derandomize",
        "--disable-deadline", "--tb=line", *options.rest,
    ]  # fmt: skip
    output = subprocess.run(command, cwd=suite, env=environment, capture_output=True, text=True).stdout
    return set(re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.M)), output.strip().splitlines()[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--library", default="array_api_strict")
    parser.add_argument("--examples", type=int, default=20)
    options, options.rest = parser.parse_known_args()
    beneath, summary = failures(options.suite, f"exec('import {options.library} as xp')", options)
    print(f"{options.library}: {summary}")
    made = f"exec('import {options.library} as beneath; from ann.autodiff import differentiable; xp = differentiable(beneath)')"
    above, summary = failures(options.suite, made, options)
    print(f"differentiable: {summary}")
    only = sorted(above - beneath)
    for test in only:
        print(f"  fails only here: {test}   {EXCEPTIONS.get(test, '')}")
    return int(any(test not in EXCEPTIONS for test in only))


if __name__ == "__main__":
    sys.exit(main())
