"""The import table of docs/architecture.md, held against the code."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "exporter"
ROW = re.compile(r"^\| `(?P<module>[a-z_/]+)` \| (?P<imports>.*?) \| (?P<job>.+) \|$", re.MULTILINE)
ROWS = {row["module"]: row for row in ROW.finditer((ROOT / "docs/architecture.md").read_text())}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def imported_by(path: Path) -> set[str]:
    """The modules of the package that a file imports, those of the simulator as `simulator`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name} imports relatively"
            inner = {f"exporter.{alias.name}" for alias in node.names} if node.module == "exporter" else set()
            names |= inner or {node.module or ""}
    inside = {name.removeprefix("exporter.").split(".")[0] for name in names if name.startswith("exporter.")}
    return inside - {"__version__"}


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_every_module_imports_only_what_the_table_allows(path: Path) -> None:
    module = module_of(path)
    if module.startswith("simulator/"):
        assert imported_by(path) <= {"simulator"}
        return
    allowed = set(re.findall(r"[a-z_]+", ROWS[module]["imports"])) - {"nothing"}
    assert imported_by(path) <= allowed


def test_the_table_names_every_file_and_no_other() -> None:
    assert set(ROWS) == {module_of(path) for path in FILES}


def test_the_table_has_no_circle() -> None:
    imports = {module_of(path): imported_by(path) - {"simulator"} for path in FILES}
    placed: set[str] = set()
    while len(placed) < len(imports):
        ready = {module for module, needs in imports.items() if needs <= placed} - placed
        assert ready, f"a circle among {sorted(set(imports) - placed)}"
        placed |= ready


@pytest.mark.parametrize("path", [PACKAGE / "__init__.py", PACKAGE / "simulator/__init__.py"])
def test_a_package_re_exports_nothing(path: Path) -> None:
    assert not [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]


def test_only_the_command_line_prints_or_exits() -> None:
    for path in FILES:
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        printing = [call for call in calls if ast.unparse(call.func) in ("print", "sys.exit", "exit")]
        assert not printing or path.name == "__main__.py"
