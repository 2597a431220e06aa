"""Print figures of a checkout's structure, to set two checkouts side by side: ``python tools/figures.py [PATH …]``.

Counted from the source alone; nothing is imported, so that any checkout will do.

- *entries* of a package: its files and sub-packages, ``__init__.py`` among them; *arrows*: pairs of entries of which
  one imports the other; *levels*: entries on the longest chain of imports.
- *lines of a function*: of its body, without signature and docstring.
- *repeated passages*: runs of at least six lines (blank lines, comments, imports and docstrings left out, indentation
  ignored) that stand in two places or more; a run counts once for each further place.
"""

import argparse
import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

LONG = 40  # lines of a function
RUN = 6  # lines of a repeated passage
PACKAGES = ("calibrators", "data", "metrics", "models", "training", "samplers", "report")


def figures(root: Path) -> dict[str, int]:
    """Return the figures of the checkout in a folder, by what they count."""
    source = root / "src" / "calibrant"
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted(source.rglob("*.py"))}
    lines = [len(path.read_text("utf-8").splitlines()) for path in trees]
    found = {
        "files in src": len(trees),
        "lines in src": sum(lines),
        "median lines of a file": round(median(lines)),
        "longest file": max(lines),
        "files over 300 lines": sum(count > 300 for count in lines),
        f"functions over {LONG} lines": sum(
            body_lines(node) > LONG for tree in trees.values() for node in functions(tree)
        ),
    }
    for name in PACKAGES:
        if (source / name).is_dir():
            arrows = imports_within(source / name, trees)
            found[f"{name}: entries"] = len(arrows)
            found[f"{name}: levels"] = levels(arrows)
            found[f"{name}: arrows"] = sum(map(len, arrows.values()))
    public = [each for path, tree in trees.items() if is_public(path.relative_to(source)) for each in callables(tree)]
    found["public functions and classes"] = len(public)
    found["… without a docstring"] = sum(not doc for doc, _ in public)
    found["… with a parameter that is not documented"] = sum(
        any(f":param {name}:" not in doc for name in names) for doc, names in public
    )
    found["parameters that are not documented"] = sum(
        f":param {name}:" not in doc for doc, names in public for name in names
    )
    found["repeated passages in src"] = repeated(trees)
    tests = sorted((root / "tests").rglob("*.py"))
    found["lines in tests"] = sum(len(path.read_text("utf-8").splitlines()) for path in tests)
    return found


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Yield every function in a tree, methods and nested ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def body_lines(node: ast.FunctionDef) -> int:
    """Return the number of lines of a function's body, without its docstring."""
    body = node.body[ast.get_docstring(node) is not None :]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def imports_within(package: Path, trees: Mapping[Path, ast.Module]) -> dict[str, set[str]]:
    """Return, for each entry of a package, the other entries that it imports."""
    entries = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    arrows: dict[str, set[str]] = {entry: set() for entry in entries}
    prefix = f"calibrant.{package.name}."
    for path, tree in trees.items():
        if not path.is_relative_to(package):
            continue
        here = path.relative_to(package).parts[0].removesuffix(".py")
        for module in imported(tree):
            there = module.removeprefix(prefix).partition(".")[0]
            if module.startswith(prefix) and there in arrows and there != here:
                arrows[here].add(there)
    return arrows


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield every module that is imported, ``package.name`` for ``from package import name`` too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def levels(arrows: Mapping[str, set[str]]) -> int:
    """Return the number of entries on the longest chain; a circle raises.

    >>> levels({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    3
    """
    height: dict[str, int] = {}

    def climb(entry: str, chain: tuple[str, ...]) -> int:
        if entry in chain:
            raise ValueError(f"a circle of imports: {' → '.join((*chain, entry))}")
        if entry not in height:
            height[entry] = 1 + max((climb(other, (*chain, entry)) for other in arrows[entry]), default=0)
        return height[entry]

    return max((climb(entry, ()) for entry in arrows), default=0)


def is_public(path: Path) -> bool:
    """Return whether a file's path has no part that starts with an underscore, and is not the command line's."""
    return path.parts[0] != "cli" and not any(p.startswith("_") and p != "__init__.py" for p in path.parts)


def callables(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Yield the docstring and the parameters of each public function, class and method of a file."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield ast.get_docstring(node) or "", parameters(node)
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield ast.get_docstring(node) or "", constructor(node)
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    yield ast.get_docstring(method) or "", parameters(method)[not is_static(method) :]


def constructor(node: ast.ClassDef) -> list[str]:
    """Return the parameters of a class: of its ``__init__``, or the fields of a dataclass."""
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            return parameters(method)[1:]
    if any("dataclass" in ast.unparse(each) for each in node.decorator_list):
        fields = (each.target.id for each in node.body if isinstance(each, ast.AnnAssign))
        return [name for name in fields if not name.startswith("_")]
    return []


def parameters(node: ast.FunctionDef) -> list[str]:
    """Return the names of a function's parameters, ``*args`` and ``**kwargs`` left out."""
    return [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]


def is_static(node: ast.FunctionDef) -> bool:
    """Return whether a method takes neither ``self`` nor ``cls``."""
    return any(ast.unparse(each) == "staticmethod" for each in node.decorator_list)


def repeated(trees: Mapping[Path, ast.Module]) -> int:
    """Return the number of further places at which a run of ``RUN`` lines stands again."""
    places: dict[tuple[str, ...], list[tuple[Path, int]]] = defaultdict(list)
    for path, tree in trees.items():
        lines = code_lines(path, tree)
        for start in range(len(lines) - RUN + 1):
            places[tuple(lines[start : start + RUN])].append((path, start))
    again = {place for found in places.values() for place in found[1:]}
    return sum((path, start - 1) not in again for path, start in again)  # windows that overlap are one passage


def code_lines(path: Path, tree: ast.Module) -> list[str]:
    """Return a file's lines of code, without indentation."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        is_text = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        if is_text or isinstance(node, ast.Import | ast.ImportFrom):
            skipped |= set(range(node.lineno, node.end_lineno + 1))
    numbered = enumerate(map(str.strip, path.read_text("utf-8").splitlines()), 1)
    return [line for number, line in numbered if number not in skipped and line.strip("()[]{},:") and line[0] != "#"]


def main() -> None:
    """Print a column for each checkout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path, default=[Path(__file__).parent.parent])
    columns = [figures(path) for path in parser.parse_args().paths]
    for name in dict.fromkeys(name for column in columns for name in column):
        print(f"{name:<44}", *(f"{column.get(name, '–'):>8}" for column in columns))


if __name__ == "__main__":
    main()
