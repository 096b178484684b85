"""The examples run on every backend, and print the numbers that their texts promise."""

import ast
import re
import runpy
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
NAMES = sorted(path.name for path in FOLDER.glob("*.py") if path.name != "course.py")
EXACT = {"01_layer.py", "02_activations.py", "03_gradient_descent.py", "04_backpropagation.py"}  # arithmetic; --quick leaves the numbers as they are
PROMISE = "It prints, among other things:"
NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
EXTRAS = {"matplotlib", "sklearn", "scipy", "pandas"}
PUBLIC = {"ann", "backends", "course", "numpy", *EXTRAS}


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """run(name, *args) → what the example prints; its pictures go to a temporary folder."""

    def run(name, *args):
        for module in imports(name) & (EXTRAS - {"matplotlib"}):
            pytest.importorskip(module, reason=f"{module} is not installed")
        monkeypatch.setattr(sys, "argv", [name, *args, "--out", str(tmp_path)])
        monkeypatch.syspath_prepend(str(FOLDER))
        try:
            runpy.run_path(str(FOLDER / name), run_name="__main__")
        except SystemExit as stop:
            assert not stop.code, capsys.readouterr().out
        return capsys.readouterr().out

    return run


def source(name):
    return (FOLDER / name).read_text(encoding="utf-8")


def text_of(name):
    return ast.get_docstring(ast.parse(source(name))) or ""


def imports(name):
    """The names of the modules that an example imports, before the first dot."""
    nodes = [node for node in ast.walk(ast.parse(source(name))) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [[alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module] for node in nodes]
    return {module.partition(".")[0] for listed in modules for module in listed}


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
    assert list(tmp_path.glob("*.png")) or "picture" not in source(name), "no picture"
    if name in EXACT:
        assert_kept(name, printed, near=2e-3)


def test_an_example_runs_without_matplotlib(tmp_path):
    code = f"import runpy, sys; sys.modules['matplotlib'] = None; sys.path.insert(0, {str(FOLDER)!r}); runpy.run_path(sys.argv[0], run_name='__main__')"
    code = f"import sys; sys.argv = [{str(FOLDER / '06_xor.py')!r}, '--quick', '--backend', 'numpy', '--out', {str(tmp_path)!r}]; {code}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=FOLDER.parent)
    assert run.returncode == 0 and "no picture 06_xor: it needs matplotlib, pip install 'ann-array-api[plot]'" in run.stdout, run.stderr


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
    assert len(text.partition("\n")[0]) < 90 and text.partition("\n")[2].startswith("\n"), "the first line is a title, the second is empty"
    assert f"python examples/{name} --backend numpy" in text, "the text says how to run it, on NumPy"
    assert promised(name), f"the text states the numbers that it prints, in indented lines after {PROMISE!r}"


@pytest.mark.parametrize("name", [*NAMES, "course.py"])
def test_an_example_uses_the_public_api(name):
    assert imports(name) <= PUBLIC | sys.stdlib_module_names
    for node in ast.walk(ast.parse(source(name))):
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_") or node.attr.startswith("__"), f"line {node.lineno} uses .{node.attr}"


def test_the_course_lists_every_example_in_its_order():
    listed = re.findall(r"^\| \d+ \| `(.*?)` \|", source("README.md"), re.M)
    assert set(NAMES) <= set(listed)
    numbered = [name for name in listed if name[0].isdigit()]
    assert numbered == sorted(numbered)


def test_texts_have_no_odd_characters():
    for name in [*NAMES, "course.py", "README.md"]:
        for character in set(source(name)):
            assert unicodedata.category(character) not in ("Cc", "Cf", "Co", "Cn") or character == "\n", f"{name}: {character!r}"
