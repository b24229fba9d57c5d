"""Writes out what `@dataclass` and `@frozen` leave to run time: the constructors.

mypyc makes a class of C of a dataclass, but leaves its `__init__` to Python, which then sets the fields of that class
one by one, from outside. Written out, a constructor is compiled like every other method. All else that a dataclass has
(equality, hash, repr, its fields) is still made by `dataclass`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

MAKERS: Final = ("dataclass", "frozen")
_EMPTY: Final = {"dict": "{}", "list": "[]", "set": "set()"}


class Refused(Exception):
    """A dataclass that this can't write out: which, and why."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    annotation: str
    """Empty for a field of a base, whose module has the imports for it."""
    default: str | None
    """An expression; None where the caller must give a value."""
    made: bool
    """Whether the default is made anew for each object."""
    keyword: bool

    @property
    def parameter(self) -> str:
        annotation = f": {self.annotation}" if self.annotation else ""
        if self.made:
            return f"{self.name}{annotation and annotation + ' | None'} = None"
        return f"{self.name}{annotation}" + (f" = {self.default}" if self.default is not None else "")

    @property
    def assignment(self) -> str:
        if self.made:
            return f"self.{self.name} = {self.default} if {self.name} is None else {self.name}"
        return f"self.{self.name} = {self.name}"


def classes(source: str) -> list[ast.ClassDef]:
    """All that a module defines."""
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]


def base_names(node: ast.ClassDef) -> set[str]:
    """What a class derives from, without where that comes from and what it is told in brackets."""
    found = set()
    for base in node.bases:
        name = base.value if isinstance(base, ast.Subscript) else base
        found.add(name.attr if isinstance(name, ast.Attribute) else name.id if isinstance(name, ast.Name) else "")
    return found


def known(sources: Iterable[str]) -> dict[str, ast.ClassDef]:
    """The dataclasses of all modules, by name, for those that are derived from them."""
    found = {}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and _maker(node) is not None:
                found[node.name] = node
    return found


def expand(source: str, bases: Mapping[str, ast.ClassDef]) -> str:
    """A module with its constructors written out. Raises Refused.

    Lines stay where they were up to the end of each class, so that a traceback is not far off.
    """
    lines = source.splitlines()
    classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    for node in sorted(classes, key=lambda node: -node.lineno):
        indent = " " * (node.col_offset + 4)
        maker = _maker(node)
        if maker is not None and not _has(node, "__init__"):
            lines[node.end_lineno or 0 : node.end_lineno or 0] = [indent + line for line in _constructor(node, bases)]
            lines[maker.lineno - 1 : maker.end_lineno] = [indent[4:] + _decorator(maker)]
        if deleted := _deleted(node):
            first = node.body[0]
            at = first.lineno - 1 if ast.get_docstring(node) is None else first.end_lineno or 0
            lines.insert(at, f"{indent}__deletable__ = {deleted!r}")
    text = "\n".join(lines) + "\n"
    return text.replace("from libs.workflow.frozen import frozen\n", "from dataclasses import dataclass\n")


def _maker(node: ast.ClassDef) -> ast.expr | None:
    for decorator in node.decorator_list:
        name = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(name, ast.Name) and name.id in MAKERS:
            return decorator
    return None


def _options(maker: ast.expr) -> dict[str, bool]:
    if isinstance(maker, ast.Name) and maker.id == "frozen":
        return {"frozen": True}
    given = maker.keywords if isinstance(maker, ast.Call) else []
    return {word.arg: bool(word.value.value) for word in given if word.arg and isinstance(word.value, ast.Constant)}


def _decorator(maker: ast.expr) -> str:
    """Without `slots`, which a class of C has in any case, and `frozen`, which mypy has checked."""
    options = _options(maker)
    options.pop("slots", None)
    if options.pop("frozen", False) and options.get("eq", True):
        options["unsafe_hash"] = True
    return f"@dataclass({', '.join(f'{name}={value}' for name, value in ({'init': False} | options).items())})"


def _constructor(node: ast.ClassDef, bases: Mapping[str, ast.ClassDef]) -> list[str]:
    fields = _fields(node, bases)
    plain = [field for field in fields if not field.keyword]
    words = [field for field in fields if field.keyword]
    parameters = ["self", *(field.parameter for field in plain)]
    if words:
        parameters += ["*", *(field.parameter for field in words)]
    body = [f"    {field.assignment}" for field in fields]
    if _has(node, "__post_init__"):
        body.append("    self.__post_init__()")
    return [f"def __init__({', '.join(parameters)}) -> None:", *(body or ["    pass"])]


def _fields(node: ast.ClassDef, bases: Mapping[str, ast.ClassDef]) -> list[_Field]:
    """Those of its bases first."""
    found: dict[str, _Field] = {}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in bases:
            found |= {field.name: replace(field, annotation="") for field in _fields(bases[base.id], bases)}
    maker = _maker(node)
    keyword = maker is not None and _options(maker).get("kw_only", False)
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            annotation = ast.unparse(statement.annotation)
            if annotation.startswith(("ClassVar", "InitVar", "KW_ONLY")):
                raise Refused(f"{node.name}.{statement.target.id}: {annotation}")
            default, made = _default(node, statement)
            found[statement.target.id] = _Field(statement.target.id, annotation, default, made, keyword)
    return list(found.values())


def _default(node: ast.ClassDef, statement: ast.AnnAssign) -> tuple[str | None, bool]:
    value = statement.value
    if value is None:
        return None, False
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "field"):
        return ast.unparse(value), False
    if [word.arg for word in value.keywords] != ["default_factory"]:
        raise Refused(f"{node.name}: {ast.unparse(statement)}")
    factory = value.keywords[0].value
    if isinstance(factory, ast.Lambda):
        return ast.unparse(factory.body), True
    name = ast.unparse(factory)
    return _EMPTY.get(name, f"{name}()"), True


def _has(node: ast.ClassDef, method: str) -> bool:
    return any(isinstance(statement, ast.FunctionDef) and statement.name == method for statement in node.body)


def _deleted(node: ast.ClassDef) -> Sequence[str]:
    """The attributes that a method deletes, which a class of C must know."""
    return sorted(
        {
            target.attr
            for statement in ast.walk(node)
            if isinstance(statement, ast.Delete)
            for target in statement.targets
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self"
        }
    )
