"""The `backend` fixture: every test that asks for it runs on each array library that is usable here.

A library that is missing gives a visible skip with its reason; where ANN_REQUIRE names it, a failure.
"""

import importlib.util
import os
import re
import signal

import pytest

import backends

BACKENDS = ("numpy", "array_api_strict:device1", "torch", "jax", "cupy")
REQUIRED = set(os.environ.get("ANN_REQUIRE", "numpy").split(","))


def usable(name: str) -> backends.Backend:
    try:
        return backends.get(name)
    except backends.BackendUnavailable as error:
        if name.partition(":")[0] in REQUIRED:
            pytest.fail(f"required here: {error}")
        pytest.skip(str(error))


@pytest.fixture(params=BACKENDS, ids=lambda name: name.partition(":")[0])
def backend(request: pytest.FixtureRequest) -> backends.Backend:
    return usable(request.param)


@pytest.fixture(params=[name for name in BACKENDS if name != "jax"], ids=lambda name: name.partition(":")[0])
def eager_backend(request: pytest.FixtureRequest) -> backends.Backend:
    """All but jax, which compiles each operation anew for each shape: there one jitted program is compared with jax.vjp."""
    return usable(request.param)


@pytest.fixture(params=["jax"])
def jax_backend(request: pytest.FixtureRequest) -> backends.Backend:
    return usable(request.param)


@pytest.fixture(params=("native", "numpy"))
def lowering(request: pytest.FixtureRequest) -> str:
    """Each lowering of programs for NumPy arrays: a visible skip where it cannot be had, a failure where ANN_REQUIRE names it."""
    if request.param == "native" and importlib.util.find_spec("llvmlite") is None:
        (pytest.fail if "native" in REQUIRED else pytest.skip)("llvmlite is not installed; the extra `native` brings it")
    return str(request.param)


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it for what runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("JAX_ENABLE_X64", "1")  # float64 oracles on every backend
    os.environ.setdefault("JAX_PLATFORMS", "cpu")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many cases ran, and were skipped, on which backend."""
    for outcome in ("passed", "skipped"):
        nodes = [report.nodeid for report in terminalreporter.stats.get(outcome, [])]
        counts = {name.partition(":")[0]: 0 for name in BACKENDS}
        for name in counts:
            counts[name] = sum(re.search(rf"[\[-]{name}[\]-]", node) is not None for node in nodes)
        terminalreporter.write_line(f"{outcome} by backend: {', '.join(f'{name} {count}' for name, count in counts.items())}")
