"""CuPy's host code on a machine without a GPU:

    PYTHONPATH=<folder of cupy_stub> python -m pytest -p cupy_stub tests/cupy_host

`cupy_stub` stands under the real CuPy wheel: it compiles every kernel with NVRTC and counts launches, allocations, copies and waits;
kernels compute nothing. It must be imported before CuPy, and then stays for the process: without it these tests are skipped.
"""

import sys

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "cupy_stub" not in sys.modules:
        for item in items:
            if "cupy_host" in item.nodeid:
                item.add_marker(pytest.mark.skip(reason="needs CuPy on the stub: python -m pytest -p cupy_stub tests/cupy_host"))


@pytest.fixture
def be():
    """The CuPy backend; `backends.get` would refuse it, for its first kernel gives no 2."""
    import cupy

    import backends

    return backends.of(cupy.zeros(1, "float32"))


@pytest.fixture
def counted():
    """f ↦ what a second call of f does: {"launches": …, "cublas…": …}; zeros are left out."""
    import cupy_stub

    def count(f):
        f()  # compiles kernels, makes handles
        with cupy_stub.record() as log:
            f()
        return {key: n for key, n in log.calls.items() if key not in ("mallocs", "cublasSetStream_v2")}

    return count
