"""The layers: who may import whom, and how little is loaded before cargo starts."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE_STANDARD = {
    "binascii", "bisect", "collections", "dataclasses", "enum", "graphlib", "hashlib", "heapq",
    "itertools", "json", "math", "os", "re", "shlex", "statistics", "struct", "types", "typing",
}  # fmt: skip
MAY_IMPORT = {
    "core": {"core"},
    "host": {"core", "host", "errors", "paths"},
    "daemon": {"core", "host", "daemon", "errors", "paths", "config", ""},
    "client": {"core", "host", "client", "errors", "paths", "config", ""},
    "serve": {"core", "host", "client", "serve", "errors", "paths", "config", ""},
    "cli": {"core", "client", "serve", "cli", "errors", "paths", "config", ""},
    "": {"core", "errors", "paths", ""},  # forge/config.py and its neighbours
}


def modules():
    for path in sorted((ROOT / "forge").rglob("*.py")):
        if "_hooks" not in path.parts:
            yield path


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((name.name, node) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "forge":
                yield from ((f"forge.{name.name}", node) for name in node.names)
            else:
                yield node.module or "", node


def layer(module):
    parts = module.split(".")
    if len(parts) < 2:
        return ""
    return parts[1] if parts[1] in {*MAY_IMPORT, "errors", "paths", "config"} else ""


@pytest.mark.parametrize("path", list(modules()), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_the_layers(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    own = layer(module) if layer(module) in MAY_IMPORT else ""
    for name, node in imports(path):
        if name.startswith("forge"):
            assert layer(name) in MAY_IMPORT[own], f"{path}:{node.lineno} imports {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "forge/core").glob("*.py")), ids=lambda p: p.name)
def test_the_core_imports_nothing_that_could_act(path):
    for name, node in imports(path):
        top = name.split(".")[0]
        assert top == "forge" or top in CORE_STANDARD, f"{path}:{node.lineno} imports {name}"
    text = path.read_text()
    for forbidden in ("os.environ", "os.stat", "os.open", "open("):
        assert forbidden not in text, f"{path.name} uses {forbidden}"


def test_nothing_slow_is_loaded_before_cargo_starts():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, forge.client.build; print(*sys.modules)"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stdout.split()  # fmt: skip
    slow = {"click", "rich", "asyncio", "psutil", "watchdog", "dataclasses", "tomllib", "sqlite3"}
    assert not slow & set(loaded)


def test_no_file_of_the_product_grows_beyond_one_idea():
    long = {
        str(p.relative_to(ROOT)): n
        for p in modules()
        if (n := len(p.read_text().splitlines())) > 400
    }
    assert not long
