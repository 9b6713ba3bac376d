"""Who may know whom (design.md): read from the syntax trees, nothing imported."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "covjax"

# room: what its modules must never import, anywhere in a file
FORBIDDEN = {
    "blocks": ("covjax.models", "covjax.systems", "covjax.config", "covjax.data",
               "covjax.training", "covjax.evaluation", "covjax.interop"),
    "models": ("covjax.systems", "covjax.config", "covjax.data", "covjax.training",
               "covjax.evaluation", "covjax.interop"),
    "data": ("jax", "flax", "optax", "covjax.blocks", "covjax.models",
             "covjax.systems", "covjax.training", "covjax.evaluation"),
    "training": ("covjax.systems", "covjax.interop"),
    "systems": ("covjax.interop",),
    "evaluation": ("covjax.training", "covjax.systems", "covjax.interop"),
}  # fmt: skip
COMMANDS = ("train", "search", "evaluate", "predict", "audit", "report", "cli")
HEAVY = ("jax", "flax", "optax", "orbax", "numpy", "tensorflow_datasets", "grain",
         "matplotlib", "sklearn", "scipy", "PIL", "pydicom", "nibabel")  # fmt: skip


def imports(tree: ast.AST) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


@pytest.mark.parametrize("room", FORBIDDEN)
def test_arrows_point_downwards(room):
    for path in modules():
        if path.relative_to(PACKAGE).parts[0] != room:
            continue
        for name in imports(ast.parse(path.read_text())):
            for module in FORBIDDEN[room]:
                assert not within(name, module), f"{path.name} imports {name}"


def test_nothing_imports_a_command():
    commands = [f"covjax.{c}" for c in COMMANDS if c != "cli"]
    for path in modules():
        if name_of(path) in commands or path.name == "__main__.py":
            continue
        for name in imports(ast.parse(path.read_text())):
            assert not any(within(name, c) for c in commands), f"{path}: {name}"


def test_config_and_errors_need_the_standard_library_alone():
    for file in ("config.py", "errors.py", "__init__.py"):
        for name in imports(ast.parse((PACKAGE / file).read_text())):
            assert not any(within(name, h) for h in HEAVY), f"{file}: {name}"
            assert not within(name, "covjax") or within(name, "covjax.errors")


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_defer_heavy_imports(command):
    """What stands at the top of a command file delays ``--help``."""
    path = PACKAGE / f"{command}.py"
    for node in ast.parse(path.read_text()).body:
        for name in (
            imports(node) if isinstance(node, ast.Import | ast.ImportFrom) else ()
        ):
            light = ("covjax.cli", "covjax.config", "covjax.errors", "covjax.files")
            assert not any(within(name, h) for h in HEAVY), f"{command}: {name}"
            assert not within(name, "covjax") or any(
                within(name, m) or within(m, name) for m in light
            ), f"{command}: {name}"


def test_no_circle():
    """Imports between the package's own modules, at any depth, form no circle."""
    names = {name_of(p) for p in modules()}
    graph = {}
    for path in modules():
        wanted = set()
        for name in imports(ast.parse(path.read_text())):
            target = name if name in names else name.rpartition(".")[0]
            if target in names and target != name_of(path):
                wanted.add(target)
        graph[name_of(path)] = wanted

    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"circle: {' -> '.join((*trail, name))}"
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())
