"""The reference of each task with one operation changed: sum for mean, another axis, no root, no clamp, another sign,
one off. A check must reject each of these, or it stands in tests/wrong_answers as `equivalent`, with a reason.

    python tests/mutants.py [TASK ...]             prints those that are accepted and stand nowhere

What is changed is the source of the task's `right` and of the functions of its module that it calls, syntax and all: no
wrong answer needs to be written for it. A mutant that is accepted shows a hole in the cases of the task. One that is
never reached (a knob that only slips turn) says nothing and is not counted.
"""

import ast
import copy
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType

import torch

from course_lib.checks import Implementation, Mistake, Outcome

OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
             ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
             ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}
NAMES = {"sum": "mean", "mean": "sum", "min": "max", "max": "min", "amax": "amin", "amin": "amax", "argmax": "argmin",
         "tril": "triu", "triu": "tril", "maximum": "minimum", "minimum": "maximum", "ones_like": "zeros_like",
         "zeros_like": "ones_like", "ones": "zeros", "zeros": "ones", "cumsum": "cumprod", "cumprod": "cumsum",
         "sin": "cos", "cos": "sin"}
REDUCED = {"sum", "mean", "amax", "amin", "prod", "var", "std"}
DROPPED = {*REDUCED, "sqrt", "rsqrt", "square", "exp", "log", "abs", "clamp", "relu", "sigmoid", "softmax", "tanh",
           "norm", "log_softmax", "softplus", "flip", "transpose", "permute", "masked_fill", "cumsum", "cumprod",
           "detach", "roll", "round", "logsumexp", "log1p", "expm1", "one_hot", "clone", "where", "normalize"}


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What an expression may be by one slip of the pen."""
    def put(**fields) -> ast.AST:
        new = copy.copy(node)
        for name, value in fields.items():
            setattr(new, name, value)
        return new

    match node:
        case ast.BinOp(op=ast.Pow()):
            yield node.left
        case ast.BinOp(op=ast.MatMult()):
            yield put(left=node.right, right=node.left)
        case ast.BinOp() if type(node.op) in OPERATORS:
            yield put(op=OPERATORS[type(node.op)]())
        case ast.UnaryOp(op=ast.USub() | ast.Invert() | ast.Not()):
            yield node.operand
        case ast.Compare() if type(node.ops[0]) in OPERATORS:
            yield put(ops=[OPERATORS[type(node.ops[0])](), *node.ops[1:]])
        case ast.Constant(value=bool(b)):
            yield put(value=not b)
        case ast.Constant(value=int(n)):
            yield put(value=n + 1)
        case ast.Constant(value=float(x)):
            yield put(value=2 * x if x else 1.0)
        case ast.Attribute(attr="T" | "mT" | "H"):
            yield node.value
        case ast.Call(func=ast.Attribute(value=owner, attr=name)):
            library = isinstance(owner, ast.Name) and owner.id in ("torch", "F", "math", "special", "linalg")
            if name in NAMES:
                yield put(func=ast.Attribute(owner, NAMES[name], ast.Load()))
            if name in DROPPED and (node.args or not library):
                yield node.args[0] if library else owner
            if name in REDUCED and node.args and not library:                         # over everything
                yield put(args=[], keywords=[])
            if not library and isinstance(owner, ast.Call) and isinstance(owner.func, ast.Attribute):  # another order
                inner = put(func=ast.Attribute(owner.func.value, name, ast.Load()))
                yield ast.Call(ast.Attribute(inner, owner.func.attr, ast.Load()), owner.args, owner.keywords)
    if isinstance(node, ast.Call):
        if len(node.args) > 1 and not any(isinstance(a, ast.Starred | ast.Constant) for a in node.args[:2]):
            yield put(args=[node.args[1], node.args[0], *node.args[2:]])
        if names := [word.arg for word in node.keywords if word.arg in NAMES]:
            yield put(keywords=[ast.keyword(NAMES.get(w.arg, w.arg) if w.arg in names else w.arg, w.value)
                                for w in node.keywords])


class Change(ast.NodeTransformer):
    """Puts the i-th of all changes into a tree, with a mark that tells whether it was reached."""

    def __init__(self, wanted: int):
        self.wanted, self.seen, self.around, self.mark = wanted, 0, [], ("", "")

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.JoinedStr | ast.Raise | ast.Assert) or getattr(node, "arg", "") in ("keepdim", "dtype"):
            return node
        if isinstance(node, ast.expr) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            for new in (new for new in changes(node) if ast.unparse(new) != ast.unparse(node)):
                self.seen += 1
                if self.seen - 1 == self.wanted:
                    small = isinstance(node, ast.Constant | ast.UnaryOp) and self.around
                    self.outer = self.around[-1] if small else ast.Expr(node)
                    self.before, self.mark = ast.unparse(self.outer), (
                        f"(_reached.append(1), {ast.unparse(new)})[1]", ast.unparse(new))
                    marked = ast.parse(self.mark[0], mode="eval").body
                    self.outer = self.outer if small else ast.Expr(marked)
                    return marked
        outer = isinstance(node, ast.Call | ast.Subscript | ast.BinOp | ast.Compare)
        self.around += [node] * outer
        node = self.generic_visit(node)
        del self.around[len(self.around) - outer:]
        return node

    @property
    def words(self) -> str:
        return f"{self.before} -> {ast.unparse(self.outer).replace(*self.mark)}"


@cache
def source(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def home(task: Implementation) -> ModuleType:
    return sys.modules[task.cases.__module__]


def parts(task: Implementation) -> tuple[ast.expr, dict[str, ast.FunctionDef]]:
    """The expression that is the task's `right`, and the functions of its module that it calls, however deep."""
    module = home(task)
    found = next(node.value for node in source(module).body if isinstance(node, ast.Assign)
                 and vars(module).get(getattr(node.targets[0], "id", "")) is task)
    right = next(word.value for word in found.keywords if word.arg == "right")
    functions = {node.name: node for node in source(module).body if isinstance(node, ast.FunctionDef)}
    reached, todo = {}, [right]
    while todo:
        for name in {n.id for n in ast.walk(todo.pop()) if isinstance(n, ast.Name)} & functions.keys() - reached.keys():
            reached[name] = functions[name]
            todo.append(functions[name])
    return right, {name: f for name, f in functions.items() if name in reached}       # what is a default comes first


def mutants(task: Implementation) -> Iterator[tuple[str, Callable, list]]:
    """What was changed, the mutant, and a list that is no longer empty once the change was reached."""
    right, functions = parts(task)
    tree = ast.Module([*functions.values(), ast.Assign([ast.Name("_right", ast.Store())], right)], [])
    i = 0
    while True:
        change = Change(i)
        mutant = ast.fix_missing_locations(change.visit(copy.deepcopy(tree)))
        if change.seen <= i:
            return
        reached: list = []
        names = vars(home(task)) | {"_reached": reached}
        try:
            exec(compile(mutant, f"<mutant of {task.name}>", "exec"), names)
        except Exception:                          # it cannot even be made: nobody would hand it in
            pass
        else:
            yield change.words, names["_right"], reached
        i += 1


def accepted(task: Implementation, fn: Callable, cases: list, wanted: list[Outcome]) -> bool:
    for case, want in zip(cases, wanted):
        try:
            got = task.outcome(fn, case, want)
        except Mistake:
            return False
        if not task.same(got, want) or got.changed - want.changed:
            return False
    return True


def survivors(task: Implementation) -> tuple[list[str], int]:
    """The mutants that the check accepts, in its order, and how many there are in all."""
    cases = task.cases(torch.Generator().manual_seed(0))
    wanted = [task.outcome(task.right, case) for case in cases]
    alive, number = [], 0
    for words, fn, reached in mutants(task):
        passes = accepted(task, fn, cases, wanted)
        number += bool(reached)
        if passes and reached:
            alive.append(words)
    return alive, number


def main(*names: str) -> None:
    from test_checks import TASKS
    from wrong_answers import EQUIVALENT, read_all
    torch.set_num_threads(1)
    read_all()
    total = 0
    for task in (task for task in TASKS if not names or task.name in names):
        alive, number = survivors(task)
        total += number
        new = [words for words in alive if (id(task), words) not in EQUIVALENT]
        print(f"{task.name}: {number} mutants, {len(alive)} accepted", *new, sep="\n    ", flush=True)
    print(total, "in all")


if __name__ == "__main__":
    main(*sys.argv[1:])
