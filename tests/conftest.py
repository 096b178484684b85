"""The `backend` fixture: every test that asks for it runs on each array library that is usable here.

A library that is missing gives a visible skip with its reason; where ANN_REQUIRE names it, a failure.
"""

import os

import pytest

import backends

BACKENDS = ("numpy", "array_api_strict:device1", "torch", "jax", "cupy")
REQUIRED = set(os.environ.get("ANN_REQUIRE", "numpy").split(","))
_ran: dict[str, int] = {}


def usable(name: str) -> backends.Backend:
    try:
        return backends.get(name)
    except backends.BackendUnavailable as error:
        if name.partition(":")[0] in REQUIRED:
            pytest.fail(f"required here: {error}")
        pytest.skip(str(error))


@pytest.fixture(params=BACKENDS, ids=lambda name: name.partition(":")[0])
def backend(request: pytest.FixtureRequest) -> backends.Backend:
    be = usable(request.param)
    _ran[be.name] = _ran.get(be.name, 0) + 1
    return be


def pytest_configure(config: pytest.Config) -> None:
    if "jax" in os.environ.get("ANN_REQUIRE", "jax"):
        os.environ.setdefault("JAX_ENABLE_X64", "1")  # float64 oracles on every backend
        os.environ.setdefault("JAX_PLATFORMS", os.environ.get("ANN_TEST_JAX_PLATFORM", "cpu"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = ", ".join(f"{name} {count}" for name, count in _ran.items())
    terminalreporter.write_line(f"cases by backend: {counts or 'none asked for one'}")
