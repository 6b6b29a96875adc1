"""Small mistakes that somebody could make in a file, one at a time."""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Mutant:
    """A file with one mistake in one function."""

    path: Path
    function: str
    """Its name, with that of its class before it."""
    place: int
    """Which node of the function is wrong, in the order of `ast.walk`."""
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path.stem}.{self.function}:{self.line}: {self.before} -> {self.after}"

    def code(self) -> CodeType:
        """Return the code of the function with the mistake."""
        tree = ast.parse(self.path.read_text())
        (function,) = [each for name, each in _functions(tree, "") if name == self.function]
        node = list(ast.walk(function))[self.place]
        change = _change(node)
        assert change is not None
        change(node)
        code = compile(tree, str(self.path), "exec")
        for name in self.function.split("."):
            (code,) = [
                each
                for each in code.co_consts
                if isinstance(each, CodeType) and each.co_name == name
            ]
        return code


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Yield every mutant of the functions of a file, in the order of its lines."""
    for name, function in _functions(ast.parse(path.read_text()), ""):
        for place, node in enumerate(ast.walk(function)):
            change = _change(node)
            if change is not None:
                after = change(copy.deepcopy(node))
                yield Mutant(path, name, place, node.lineno, _short(node), after)


def _functions(tree: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, Function]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")
        if isinstance(node, Function):
            yield f"{prefix}{node.name}", node


Change = Callable[[ast.AST], str]
"""Makes the mistake in a node of a copy, and says how that reads."""


def _change(node: ast.AST) -> Change | None:
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in COMPARISONS:
            return _turn_comparison
        case ast.BoolOp():
            return _turn_and_or
        case ast.UnaryOp(op=ast.Not()):
            return _drop_not
        case ast.BinOp(op=operator) if type(operator) in ARITHMETIC:
            return _turn_arithmetic
        case ast.If(test=test) | ast.While(test=test):
            # Other tests are changed by themselves.
            if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant):
                return _negate_test
        case ast.Raise() | ast.Delete():
            return _replace_by_pass
        case ast.Expr(value=ast.Call() | ast.Await()) if "_log." not in ast.unparse(node):
            return _replace_by_pass
        case ast.Return(value=ast.expr() as value):
            if not (isinstance(value, ast.Constant) and value.value is None):
                return _return_none
        case ast.Constant(value=bool()):
            return _turn_constant
    return None


def _turn_comparison(node: ast.AST) -> str:
    assert isinstance(node, ast.Compare)
    node.ops = [COMPARISONS[type(node.ops[0])]()]
    return _short(node)


def _turn_and_or(node: ast.AST) -> str:
    assert isinstance(node, ast.BoolOp)
    is_and = isinstance(node.op, ast.And)
    node.op = ast.Or() if is_and else ast.And()
    return _short(node)


def _drop_not(node: ast.AST) -> str:
    # `not x` becomes `not not x`: a node cannot take another's place from here.
    assert isinstance(node, ast.UnaryOp)
    node.operand = ast.UnaryOp(ast.Not(), node.operand)
    ast.fix_missing_locations(node)
    return _short(node)


def _turn_arithmetic(node: ast.AST) -> str:
    assert isinstance(node, ast.BinOp)
    node.op = ARITHMETIC[type(node.op)]()
    return _short(node)


def _negate_test(node: ast.AST) -> str:
    assert isinstance(node, ast.If | ast.While)
    node.test = ast.UnaryOp(ast.Not(), node.test)
    ast.fix_missing_locations(node)
    return _short(node)


def _replace_by_pass(node: ast.AST) -> str:
    # Becomes the statement `None`, which does nothing.
    line = ast.Constant(None)
    ast.copy_location(line, node)
    node.__class__ = ast.Expr
    node.value = line  # type: ignore[attr-defined]
    return "pass"


def _return_none(node: ast.AST) -> str:
    assert isinstance(node, ast.Return)
    node.value = None
    return "return None"


def _turn_constant(node: ast.AST) -> str:
    assert isinstance(node, ast.Constant)
    node.value = not node.value
    return _short(node)


def _short(node: ast.AST) -> str:
    return ast.unparse(node).splitlines()[0]
