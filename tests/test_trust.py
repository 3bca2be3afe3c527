"""No file can make the package run code: how files are read, by the text of the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_layers import PACKAGE

FILES = sorted(PACKAGE.rglob("*.py"))
# Modules that run what a file says; with each, where it is imported and why that is safe.
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
SAFE_USES = {
    "sharded.py": {"pickle"},  # an Unpickler that admits descriptions of tensors and nothing else
    "weights.py": {"pickle"},  # the name of an error
    "array_files.py": {"pickle"},  # likewise
}
CALLS = {"eval", "exec", "compile", "__import__"}


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def keyword(call: ast.Call, name: str) -> object:
    return next((k.value.value for k in call.keywords if k.arg == name and isinstance(k.value, ast.Constant)), None)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_read_without_running_them(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for call in calls(tree):
        name = ast.unparse(call.func)
        if name == "torch.load":
            assert keyword(call, "weights_only") is True, f"{path}:{call.lineno}"
        if name in ("np.load", "numpy.load"):
            assert keyword(call, "allow_pickle") is False, f"{path}:{call.lineno}"
        assert not name.startswith(("yaml.load", "yaml.unsafe", "yaml.full")), name
        assert name not in CALLS, f"{path}:{call.lineno} calls {name}"
        assert keyword(call, "allow_pickle") is not True
        assert keyword(call, "shell") is not True
        assert keyword(call, "trust_remote_code") is not True
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found = {name.split(".")[0] for name in names} & UNSAFE
        assert found <= SAFE_USES.get(path.name, set()), f"{path} imports {found}"
