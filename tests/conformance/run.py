"""The array-api-tests suite on the differentiable namespace: it must fail nowhere that the library beneath passes.

    python tests/conformance/run.py --suite CLONE [--library array_api_strict] [--examples 20]

CLONE: a clone, with its submodule, of https://github.com/data-apis/array-api-tests at its tag 2026.02.26. --library: numpy,
array_api_strict or array_api_compat.torch. Needs pytest, hypothesis, pytest-json-report and ndindex. Runs the suite on the library
and on its differentiable namespace, and prints what only the second fails, after the library had five more runs with ten times as many
examples of that (special cases of signed zeros fail now and then). The exit status is 1 when a test among it is not in exceptions.txt, beside this file.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def exceptions(library: str) -> dict[str, str]:
    """{test: reason} from the lines "library | test | reason" of exceptions.txt."""
    lines = (HERE / "exceptions.txt").read_text(encoding="utf-8").splitlines()
    rows = [[part.strip() for part in line.split(" | ")] for line in lines if line and not line.startswith("#")]
    return {test: reason for name, test, reason in rows if name == library}


def test_of(case: ElementTree.Element) -> str:
    """array_api_tests/test_set_functions.py::TestIsin::test_isin, from "array_api_tests.test_set_functions.TestIsin" and "test_isin"."""
    folder, file, *classes = case.get("classname", "").split(".")
    return "::".join((f"{folder}/{file}.py", *classes, case.get("name", "")))


def failures(module: str, options: argparse.Namespace, tests: list[str], examples: int) -> tuple[set[str], str]:
    """Those of the tests that fail on a module, and the summary line."""
    environment = {
        **os.environ, "ARRAY_API_TESTS_MODULE": module, "ARRAY_API_TESTS_VERSION": "2025.12", "PYTHONPATH": str(ROOT),
        "ARRAY_API_TESTS_XFAIL_MARK": "skip", "ARRAY_API_TESTS_MAX_ARRAY_SIZE": "256",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable, "-m", "pytest", *tests, "-q", "-p", "no:cacheprovider", "--max-examples", str(examples), "--disable-deadline",
            "--tb=line", f"--junitxml={report}", *options.rest,
        ]  # fmt: skip
        output = subprocess.run(command, cwd=options.suite, env=environment, capture_output=True, text=True).stdout
        if not report.exists():
            sys.exit(output)
        cases = ElementTree.parse(report).iter("testcase")
        failed = {test_of(case) for case in cases if case.find("failure") is not None or case.find("error") is not None}
    return failed, output.strip().splitlines()[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--library", default="array_api_strict")
    parser.add_argument("--examples", type=int, default=20)
    options, options.rest = parser.parse_known_args()
    library = f"exec('import {options.library} as xp')"
    made = f"exec('import {options.library} as beneath; from ann.autodiff import differentiable; xp = differentiable(beneath)')"
    beneath, summary = failures(library, options, ["array_api_tests"], options.examples)
    print(f"{options.library}: {summary}", flush=True)
    above, summary = failures(made, options, ["array_api_tests"], options.examples)
    print(f"differentiable: {summary}")
    only = above - beneath
    for _ in range(5):
        if only:
            only -= failures(library, options, sorted(only), 10 * options.examples)[0]
    known = exceptions(options.library)
    for test in sorted(only):
        print(f"  fails only here: {test}   {known.get(test, '(not in exceptions.txt)')}")
    return int(not only <= known.keys())


if __name__ == "__main__":
    sys.exit(main())
