"""Who may import whom: ann → backends → the array library; and nothing heavy comes in unasked."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARIES = {"numpy", "cupy", "cupyx", "torch", "jax", "jaxlib", "scipy", "array_api_compat", "array_api_strict", "array_api_extra"}
EXTRAS = {*((f"ann.plot.{name}", "matplotlib") for name in ("figure", "curves", "network")), ("ann.callbacks.writers", "tensorboardX"), ("ann.estimators", "sklearn")}
# inside ann: a module may import those of its own level and below
LEVELS = [
    ("ann.autodiff", "ann.names"),
    ("ann.functions",),
    ("ann.losses", "ann.metrics", "ann.initializers", "ann.schedules", "ann.regularizers", "ann.constraints"),
    ("ann.layers", "ann.optimizers"),
    ("ann.markup", "ann.callbacks", "ann.training", "ann.registry", "ann.files"),
    ("ann.model", "ann.optimization"),
    ("ann.estimators",),
    ("ann.plot", "ann.datasets"),
]


def modules(package):
    paths = sorted((ROOT / package).rglob("*.py"))
    return [(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path) for path in paths]


def imports(path, everywhere=True):
    """(module, line) of each import; with everywhere=False only those that run when the module is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full.startswith(("ann.", "backends.")) else node.module), node.lineno


@pytest.mark.parametrize(("name", "path"), modules("ann"), ids=lambda v: v if isinstance(v, str) else "")
def test_ann_names_no_array_library(name, path):
    for module, line in imports(path):
        root = module.partition(".")[0]
        assert root not in LIBRARIES, f"{name}:{line} imports {module}"
        allowed = root in ("ann", "backends") or root in sys.stdlib_module_names or (name, root) in EXTRAS
        assert allowed, f"{name}:{line} imports {module}"


def level(module):
    return next((i for i, names in enumerate(LEVELS) if any(module == n or module.startswith(n + ".") for n in names)), None)


@pytest.mark.parametrize(("name", "path"), modules("ann"), ids=lambda v: v if isinstance(v, str) else "")
def test_arrows_inside_ann_point_down(name, path):
    own = level(name)
    if own is None:
        pytest.skip("the package itself") if name in ("ann", "ann._shadow") else pytest.fail(f"{name} has no level")
    for module, line in imports(path, everywhere=False):
        if module.startswith("ann.") and (other := level(module)) is not None:
            assert other <= own, f"{name}:{line} imports {module}"


@pytest.mark.parametrize(("name", "path"), modules("backends"), ids=lambda v: v if isinstance(v, str) else "")
def test_neutral_parts_of_backends_know_no_library(name, path):
    named = [module for module, _ in imports(path) if module.partition(".")[0] in LIBRARIES]
    home = name.split(".")[1] if "." in name else ""
    if home not in ("numpy", "native", "cupy", "torch", "jax", "strict", "_torch_gaps", "_jax_gaps"):
        assert not named, f"{name} imports {named}"
    assert not any(module.partition(".")[0] == "ann" for module, _ in imports(path)), f"{name} imports ann"


def test_importing_brings_in_nothing_of_size_beyond_numpy():
    code = "import ann, backends, sys; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split())
    heavy = {"torch", "jax", "jaxlib", "scipy", "matplotlib", "cupy", "array_api_strict", "pandas", "sklearn", "array_api_compat", "hypothesis", "llvmlite"}
    assert not loaded & heavy


@pytest.mark.parametrize("package", ["ann", "backends"])
def test_every_everyday_name_is_imported_when_it_is_asked_for(package):
    """What type checkers read under TYPE_CHECKING is what there is."""
    module = importlib.import_module(package)
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    listed = set()
    for line in block.body:
        home = importlib.import_module(line.module)
        names = home.__all__ if line.names[0].name == "*" else [alias.name for alias in line.names]
        assert all(getattr(module, name) is getattr(home, name) for name in names), line.module
        listed |= set(names)
    modules = {path.stem for path in (ROOT / package).iterdir()}
    here = {alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names} | {"host"}
    assert set(dir(module)) <= listed | modules | here
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Densee'" + ("; did you mean 'Dense'" if package == "ann" else "")):
        module.Densee


def test_a_star_brings_names_and_no_modules():
    """`model`, `names` and `files` of a script stay the script's; dir() and type checkers show the modules that a user is to find."""
    here = {}
    exec("from ann import *", here)
    import ann

    modules = {name for name in dir(ann) if name not in here}
    assert {"callbacks", "datasets", "estimators", "losses", "metrics", "plot", "schedules"} <= modules
    assert {"Dense", "Model", "grad", "softmax", "Stream", "namespace", "tree"} <= set(here)
    assert not {"model", "names", "files", "training", "TYPE_CHECKING", "lazily"} & (set(here) | set(dir(ann)))


def test_importing_ann_is_importing_backends():
    """Each part comes in when it is used: import time is checked by tests/benchmarks/imports.py."""
    code = "import sys, ann, backends; print(*sorted(m for m in sys.modules if m.startswith(('ann.', 'backends.program'))))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == ["ann._shadow"]
    code = "import sys, ann; ann.grad; print(any(m.startswith('ann.layers') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip() == "False"


def test_a_foreign_backends_module_is_explained(tmp_path):
    (tmp_path / "backends.py").write_text("x = 1\n")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import ann"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Python found another one" in run.stderr and str(tmp_path) in run.stderr


FORBIDDEN = {"clip", "sign", "nonzero"}


@pytest.mark.parametrize(("name", "path"), [m for m in modules("ann") if m[0].startswith(("ann.functions", "ann.losses", "ann.metrics", "ann.optimizers"))], ids=str)
def test_formulas_call_nothing_that_waits_for_a_gpu(name, path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "xp":
            assert node.func.attr not in FORBIDDEN, f"{name}:{node.lineno} calls xp.{node.func.attr}"
            if node.func.attr in ("zeros", "ones", "full", "arange", "eye", "empty", "linspace"):
                given = {keyword.arg for keyword in node.keywords}
                wanted = {"device"} if node.func.attr == "arange" else {"dtype", "device"}
                assert wanted <= given, f"{name}:{node.lineno}: xp.{node.func.attr} without dtype= and device="
