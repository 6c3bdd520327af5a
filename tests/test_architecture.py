"""The floors: who may import whom, and what stays out of which module."""

import ast
import sys
from collections import Counter
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for package in ("components", "pipelines", "serving", "feature_repo")
    for path in (ROOT / package).rglob("*.py")
    if "triton" not in path.relative_to(ROOT).parts[1]
)


def imports(path: Path) -> set[str]:
    """Dotted names of everything a module imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def allowed(path: Path) -> tuple[str, ...]:
    """Project packages that a module may import, by the floor it stands on."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    ground = ("components.contracts",)
    if parts[0] == "feature_repo":
        return (*ground, "feature_repo")
    if parts[0] == "serving":
        return (*ground, "feature_repo", "serving")
    if parts[0] == "pipelines":
        return ("components", "feature_repo", "pipelines", "serving")
    stage = parts[1]
    if stage == "contracts":
        return ground
    if stage == "release":
        return ("components", "feature_repo")
    if stage == "features":
        return (*ground, "components.features", "components.marketplace", "feature_repo")
    return (*ground, f"components.{stage}", "components.marketplace")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_flow_down_the_floors(path: Path) -> None:
    project = {
        name for name in imports(path) if name.split(".")[0] in ("components", "pipelines", "serving", "feature_repo")
    }
    floors = allowed(path)
    wrong = {
        n
        for n in project
        if n not in ("components", "serving", "pipelines") and not any(n == f or n.startswith(f"{f}.") for f in floors)
    }
    assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def room(module: str) -> str:
    """The sub-package that a module lies in, or the module itself where it lies beside the rooms."""
    depth = 3 if module.startswith("components.") else 2
    return ".".join(module.split(".")[:depth])


def test_rooms_of_a_stage_form_no_circle() -> None:
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in SOURCES if p.name != "__init__.py"}
    arrows: dict[str, set[str]] = {}
    for module, path in modules.items():
        used = {room(name) for name in imports(path) & modules.keys()}
        arrows.setdefault(room(module), set()).update(used - {room(module)})
    TopologicalSorter(arrows).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_kfp_is_imported_by_components_and_pipelines_alone(path: Path) -> None:
    if path.name == "component.py" or path.relative_to(ROOT).parts[0] == "pipelines":
        return
    assert not any(name.split(".")[0] == "kfp" for name in imports(path))


@pytest.mark.parametrize("path", [p for p in SOURCES if "model" in p.parts], ids=lambda p: str(p.relative_to(ROOT)))
def test_model_code_goes_without_the_platforms_packages(path: Path) -> None:
    heavy = {name.split(".")[0] for name in imports(path)} & {"pydantic", "kfp", "feast", "pandas", "pyarrow", "plotly"}
    assert not heavy


def test_package_init_files_are_empty() -> None:
    assert [str(p) for p in SOURCES if p.name == "__init__.py" and p.read_text().strip()] == []


def test_nothing_is_read_as_a_pickle() -> None:
    """A pickle runs code when it is read; weights are safetensors, models ONNX."""
    readers = {"pickle", "joblib", "cloudpickle", "dill", "torch.load"}
    for path in SOURCES:
        calls = {ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)}
        assert not readers & (imports(path) | calls), path


def test_test_modules_have_names_of_their_own() -> None:
    """pytest imports a test module by its base name: a second one of that name ends the whole collection."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_no_file_of_the_tests_hides_an_installed_package() -> None:
    """pytest puts a test module's folder first on the path: a `kserve.py` there would be imported for KServe."""
    installed = packages_distributions().keys() | sys.stdlib_module_names
    files = [path for path in (ROOT / "tests").rglob("*.py") if path.stem != "__init__"]
    assert sorted(str(path.relative_to(ROOT)) for path in files if path.stem in installed) == []


def test_component_bodies_are_thin() -> None:
    for path in (p for p in SOURCES if p.name == "component.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.decorator_list:
                body = [n for n in node.body if not isinstance(n, ast.ImportFrom | ast.Import | ast.Expr)]
                assert len(body) <= 8, f"{path}: {node.name} has a body of {len(body)} statements"
