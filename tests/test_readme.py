"""The README's Python blocks run, in order, as one session."""

import re
from pathlib import Path

import pytest

import backends

README = Path(__file__).parent.parent / "README.md"


def test_every_block_of_the_readme_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert len(blocks) >= 8
    names = {"__name__": "readme"}
    for number, block in enumerate(blocks):
        if "import cupy" in block and not backends.available()["cupy"].usable:
            continue
        exec(compile(block, f"README block {number}", "exec"), names)
    assert names["accuracy"] > 0.8 and float(names["loss"]) < 3.5
    assert names["decay"] and abs(float(names["z"][0, 0]) - 1) < 1e-2


def test_commands_of_the_readme_are_one_line_each():
    commands = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert len(commands) == 2 and all(c.count("\n") == 1 and c.startswith("python3 -m venv .venv && ") for c in commands)


def test_cupy_block_is_there():
    if not backends.available()["cupy"].usable:
        pytest.skip(backends.available()["cupy"].reason)
