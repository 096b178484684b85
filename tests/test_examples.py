"""The examples run on every backend, and print the numbers that their texts promise."""

import ast
import re
import runpy
import sys
import unicodedata
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
NAMES = sorted(path.name for path in FOLDER.glob("*.py") if path.name != "course.py")
EXACT = {"01_layer.py", "02_activations.py", "03_gradient_descent.py", "04_backpropagation.py"}  # arithmetic; --quick leaves the numbers as they are
PROMISE = "It prints, among other things:"
NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
PUBLIC = {"ann", "backends", "course", "numpy", "matplotlib", "sklearn"}


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """run(name, *args) → what the example prints; its pictures go to a temporary folder."""

    def run(name, *args):
        monkeypatch.setattr(sys, "argv", [name, *args, "--out", str(tmp_path)])
        monkeypatch.syspath_prepend(str(FOLDER))
        try:
            runpy.run_path(str(FOLDER / name), run_name="__main__")
        except SystemExit as stop:
            assert not stop.code, capsys.readouterr().out
        return capsys.readouterr().out

    return run


def text_of(name):
    return ast.get_docstring(ast.parse((FOLDER / name).read_text(encoding="utf-8")))


def promised(name):
    """The indented lines after the promise."""
    lines = []
    for line in text_of(name).partition(PROMISE)[2].splitlines():
        if line.startswith("    "):
            lines.append(line.strip())
        elif line:
            break
    return lines


def words(line):
    return " ".join(NUMBER.sub("#", line).split())


def numbers(line):
    return [float(number.replace("−", "-")) for number in NUMBER.findall(line)]


def assert_kept(name, printed, *, near):
    """Each promised line was printed, with numbers that differ by at most near·(0.1 + |number|)."""
    for line in promised(name):
        alike = [other for other in printed.splitlines() if words(other) == words(line)]
        assert alike, f"{name} does not print a line like {line!r}"
        assert any(
            all(abs(a - b) <= near * (0.1 + abs(a)) for a, b in zip(numbers(line), numbers(other), strict=True)) for other in alike
        ), f"{name} promises {line!r}, and prints {alike[:3]}"


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs(name, run, tmp_path):
    printed = run(name, "--quick", "--backend", "numpy")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra `plot`")
    assert list(tmp_path.glob("*.png")), "no picture"
    if name in EXACT:
        assert_kept(name, printed, near=2e-3)


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_an_example_keeps_its_promises_on_every_backend(name, backend, run):
    long = name == "digits.py" and backend.name != "numpy"  # minutes: once is enough
    printed = run(name, "--backend", backend.name, *(["--quick"] if long else []))
    if not long:
        assert_kept(name, printed, near=2e-3 if name in EXACT else 0.15)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_a_title_a_text_and_a_promise(name):
    text = text_of(name)
    assert len(text.splitlines()[0]) < 90 and text.splitlines()[1] == ""
    assert f"python examples/{name} --backend numpy" in text and promised(name)


@pytest.mark.parametrize("name", [*NAMES, "course.py"])
def test_an_example_uses_the_public_api(name):
    tree = ast.parse((FOLDER / name).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.names[0].name if isinstance(node, ast.Import) else node.module
            assert module.partition(".")[0] in PUBLIC | sys.stdlib_module_names, f"line {node.lineno} imports {module}"
            assert not module.startswith("ann.") and not module.startswith("backends."), f"line {node.lineno}: {module} is not the door"
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_") or node.attr.startswith("__"), f"line {node.lineno} uses .{node.attr}"


def test_the_course_lists_every_example_in_its_order():
    listed = re.findall(r"^\| \d+ \| `(.*?)` \|", (FOLDER / "README.md").read_text(encoding="utf-8"), re.M)
    assert set(NAMES) <= set(listed)
    numbered = [name for name in listed if name[0].isdigit()]
    assert numbered == sorted(numbered)


def test_texts_have_no_odd_characters():
    for name in [*NAMES, "course.py", "README.md"]:
        for character in set((FOLDER / name).read_text(encoding="utf-8")):
            assert unicodedata.category(character) not in ("Cc", "Cf", "Co", "Cn") or character == "\n", f"{name}: {character!r}"
