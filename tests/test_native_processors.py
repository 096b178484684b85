"""The native lowering compiled for processors that have less than this one: AVX2 without AVX-512, SSE 4.2 alone."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra: native)")

# a processor → the beginnings of the names of what it lacks
LACKS = {
    "haswell": "avx512 avx10 avx_vnni avxvnni amx gfni vaes vpclmul",
    "nehalem": "avx fma f16c amx gfni vaes vpclmul bmi xop fma4 xsave",
}

RUN = """
import sys
import pytest
from llvmlite import binding

name, *lacks = sys.argv[1].split()
class Features(dict):
    def flatten(self):
        return ",".join(("+" if has else "-") + feature for feature, has in sorted(self.items()))
features = Features({feature: has and not feature.startswith(tuple(lacks)) for feature, has in binding.get_host_cpu_features().items()})
binding.get_host_cpu_features, binding.get_host_cpu_name = lambda: features, lambda: name
from backends.native.compile import lanes
assert lanes() == {"haswell": 8, "nehalem": 4}[name]
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""


@pytest.mark.full
@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="these processors are of the x86 family")
@pytest.mark.parametrize("name", LACKS)
def test_the_native_lowering_is_right_on_a_lesser_processor(name):
    folder = Path(__file__).parent
    files = [str(folder / f"test_{what}.py") for what in ("native", "native_convolution", "lowerings")]
    environment = {**os.environ, "ANN_NATIVE_CACHE": "off", "ANN_REQUIRE": "numpy,native"}
    run = subprocess.run([sys.executable, "-c", RUN, f"{name} {LACKS[name]}", *files], capture_output=True, text=True, env=environment, cwd=folder.parent)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
