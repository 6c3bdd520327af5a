"""The project's own modules that a release carries: those its Python models import, and the modules these import."""

import ast
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_PROJECT = _ROOT.name


def module_tree(*roots: str) -> dict[str, Path]:
    """Project modules that `roots` import, directly or not, also inside functions; themselves and packages included.

    Returns:
        dotted name -> source file.
    """
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found or not (path := _source(name)):
            continue
        found[name] = path
        waiting += [name.rpartition(".")[0], *_imports(path)]
    return found


def copy_modules(target: Path, *roots: str) -> None:
    """Copy `module_tree` of the roots below `target`, so that they are imported with it on the path."""
    for name, path in sorted(module_tree(*roots).items()):
        parts = name.split(".")
        folder = target.joinpath(*(parts if path.name == "__init__.py" else parts[:-1]))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())


def _source(name: str) -> Path | None:
    """A project module's file; None for what is no module of the project. Found on disk: nothing is imported."""
    first, *parts = name.split(".")
    if first != _PROJECT:
        return None
    path = _ROOT.joinpath(*parts)
    sources = (path / "__init__.py", path.with_suffix(".py"))
    return next((source for source in sources if source.is_file()), None)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
