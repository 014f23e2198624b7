"""Run the notebook of a submission from top to bottom, and examine what its test cells say.

A test cell shares a process with the student's code, which can deceive it. So around each one: the names that the test
reads are bound to what the given cells say, and then set back; an assertion that must fail shows that the kernel still
tells errors; and where the test is one of course_lib.checks, the answer is called once more, on inputs that the grader
has drawn, and what it gives is compared here, outside the student's process. A test has passed only if all agree.
"""

import ast
import base64
import builtins
import contextlib
import dataclasses
import functools
import importlib
import json
import marshal
import secrets
import threading
from pathlib import Path

import torch
from safetensors.torch import load

from course_lib.checks import Implementation, Measurement, Mistake, Outcome
from course_lib.classroom.sandbox import Kernel, Limits, failure

INSIDE = Path(__file__).with_name("inside.py").read_text(encoding="utf-8")


def ask(kernel: Kernel, function: str, *arguments) -> bytes | None:
    """Call a function of inside.py in the kernel."""
    return kernel.ask(f"(lambda n: exec({INSIDE!r}, n) or n[{function!r}](*{arguments!r}))({{'__name__': 'inside'}})")


def listed(answer: bytes | None):
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        return json.loads(answer)


@dataclasses.dataclass(frozen=True)
class Question:
    """A call `check.name(answer)` or `check.name(answer, given)` in a test cell."""
    module: str
    name: str
    answer: str
    given: str

    @property
    def check(self):
        return getattr(importlib.import_module(self.module), self.name)


class Examiner:
    """What is done around the test cells of one assignment. One examiner serves a class, and its draws are the same for
    everybody: what is right is computed once."""

    def __init__(self, given: list[str], tests: dict[str, str], truths: dict[str, float] | None = None):
        """given: the sources of the given cells; tests: name of a test cell -> its source; truths: what measurements
        should have given, found in the solved notebook"""
        self.truths, self.known, self.lock = dict(truths or {}), {}, threading.Lock()
        self.seeds = secrets.randbits(62), secrets.randbits(62)
        self.imports, self.definitions, checks = {}, {}, {}
        for source in given:
            for node in parsed(source).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    self.definitions[node.name] = node
                for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
                    name = alias.asname or alias.name.split(".")[0]
                    self.imports[name] = ast.unparse(type(node)(**vars(node) | {"names": [alias]}))
                    if isinstance(node, ast.ImportFrom) and node.module == "course_lib.checks":
                        checks[name] = f"{node.module}.{alias.name}"
        self.variables = {n.id for source in given for n in ast.walk(parsed(source))
                          if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        self.tests = {name: parsed(source) for name, source in tests.items()}
        self.questions = {name: [q for node in tree.body if (q := question(node, checks))]
                          for name, tree in self.tests.items()}

    def reads(self, name: str) -> tuple[list[str], str, str]:
        """What a test cell reads, directly or through what is given: names that are imported, defined or built in; the
        imports; the definitions."""
        todo, found = [self.tests[name]], set()
        while todo:
            new = {n.id for n in ast.walk(todo.pop()) if isinstance(n, ast.Name)} - found
            found |= new
            todo += [self.definitions[n] for n in new if n in self.definitions]
        known = self.imports.keys() | self.definitions.keys() | set(dir(builtins)) - self.variables
        return (sorted(found & known), "\n".join(text for n, text in self.imports.items() if n in found),
                "\n".join(ast.unparse(node) for n, node in self.definitions.items() if n in found))

    def before(self, kernel: Kernel, name: str) -> tuple[list[str], str | None]:
        """-> (what looks like deception, why the test cell cannot be believed whatever it says)"""
        other = listed(ask(kernel, "set_aside", *self.reads(name)))
        secret = secrets.token_hex(8)
        outputs, _ = kernel.run(f"assert not {secret!r}, {secret!r}", store_history=False)
        if kernel.dead:
            return [], None
        if not any(o.output_type == "error" and secret in o.evalue for o in outputs):
            return [f"{name}: an assertion that must fail did not"], "this kernel no longer tells errors"
        if not isinstance(other, list):
            return [f"{name}: what it reads could not be set right"], None
        names = ", ".join(ascii(n)[1:-1] for n in other)
        return [f"{name}: bound to something else, so that the test ran without it: {names:.80}"] * bool(other), None

    def asks(self, name: str) -> bool:
        """Is everything that this test cell calls compared outside?"""
        return bool(self.questions[name]) and all(isinstance(q.check, Implementation) or q.name in self.truths
                                                  for q in self.questions[name])

    def doubts(self, kernel: Kernel, name: str) -> str | None:
        """Ask for the answers once more. -> what is wrong with them"""
        for q in self.questions.get(name, ()):
            if wrong := self.doubt(kernel, q):
                return wrong

    def doubt(self, kernel: Kernel, q: Question) -> str | None:
        for seed in self.seeds:                      # a rare draw must not cost an honest answer its points
            if isinstance(q.check, Implementation):
                wrong = self.compare(q, seed, ask(kernel, "tensors", q.module, q.name, q.answer, seed))
            elif q.name in self.truths:
                wrong = self.measure(q, listed(ask(kernel, "number", q.module, q.name, q.answer)))
            else:
                return None
            if not wrong or kernel.dead:
                return None
        return wrong

    def compare(self, q: Question, seed: int, answer: bytes | None) -> str | None:
        try:
            got = load(answer)
            for i, want in enumerate(self.right(q, seed)):
                found = Outcome({key: got[f"{i} {key}"] for key in want if f"{i} {key}" in got}, {}, set())
                if not q.check.same(found, want):
                    return f"{q.name} passed in the notebook, and gave wrong results when asked once more"
        except Exception as e:                       # hostile or none
            return f"{q.name} passed in the notebook, and gave no results when asked once more ({type(e).__name__})"
        return None

    def measure(self, q: Question, value) -> str | None:
        known = dataclasses.replace(q.check, truth=lambda *given: self.truths[q.name], slips=[])
        try:
            known.compare(value)
        except Mistake:
            return f"{q.name} passed in the notebook, and is another number when asked for once more"
        return None

    def right(self, q: Question, seed: int) -> list[Outcome]:
        with self.lock:
            if (q, seed) not in self.known:
                threads = torch.get_num_threads()
                torch.set_num_threads(1)             # as in the sandbox
                with torch.random.fork_rng(devices=[]):
                    self.known[q, seed] = [q.check.outcome(q.check.right, case)
                                           for case in q.check.cases(torch.Generator().manual_seed(seed))]
                torch.set_num_threads(threads)
            return self.known[q, seed]

    @functools.cached_property
    def checks(self) -> dict[str, str]:
        """Each module of the checks that tests use, and its compiled code."""
        names = {"course_lib.checks"} | {q.module for found in self.questions.values() for q in found}
        files = {name: importlib.import_module(name).__file__ for name in names}
        return {name: base64.b64encode(marshal.dumps(compile(Path(file).read_bytes(), file, "exec"))).decode()
                for name, file in files.items()}

    def changed(self, kernel: Kernel) -> list[str]:
        """What the submission has changed in IPython or in a library, as far as it can be seen from inside."""
        found = listed(ask(kernel, "changed", self.checks))
        if kernel.dead:                              # its death is told elsewhere
            return []
        if not isinstance(found, list):
            return ["the look for changed hooks gave no answer"]
        return [f"changed: {ascii(name)[1:-1]:.80}" for name in found[:20]]

    def learn(self, kernel: Kernel) -> None:
        """Measure what measurements should give; only where the solved notebook has run."""
        for q in (q for found in self.questions.values() for q in found if isinstance(q.check, Measurement)):
            if isinstance(value := listed(ask(kernel, "truth", q.module, q.name, q.given)), float):
                self.truths[q.name] = value


def parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:                              # a magic of IPython
        return ast.Module([], [])


def question(node: ast.stmt, checks: dict[str, str]) -> Question | None:
    match node:
        case ast.Expr(ast.Call(ast.Attribute(ast.Name(alias), name), [ast.Name(answer), *given])) if alias in checks:
            q = Question(checks[alias], name, answer, f"({''.join(ast.unparse(g) + ', ' for g in given)})")
            return q if isinstance(q.check, Implementation | Measurement) else None
    return None


def execute(nb, limits: Limits, files: list[Path] = (), trusted: bool = False, examiner: Examiner | None = None,
            solved: bool = False) -> tuple[list[str], list[str]]:
    """Run every code cell of a notebook in place.  -> (what went wrong, for the student; what looks like deception, for
    the teacher).  Whatever happens, a cell that did not finish has an error among its outputs."""
    remarks, look, found, passed = [], [], [], False
    examiner = examiner or Examiner([], {})
    with Kernel(limits, files, trusted) as kernel:
        for number, cell in enumerate((c for c in nb.cells if c.cell_type == "code"), start=1):
            cell.outputs, cell.execution_count = [], number
            if not cell.source.strip():
                continue
            gone, name, untold = kernel.dead, cell.metadata.get("nbgrader", {}).get("grade_id"), None
            test = name in examiner.tests and not gone
            if test:
                seen, untold = examiner.before(kernel, name)
                look += seen
            cell.outputs, wrong = kernel.run(cell.source)
            if test and not kernel.dead:
                ask(kernel, "set_back")
            if wrong not in (None, "an error") and not gone:
                remarks.append(f"code cell {number}: {wrong}" + ("; later cells were not run" if kernel.dead else ""))
            if test and not wrong:
                doubt = untold or examiner.doubts(kernel, name)
                if kernel.dead:
                    doubt = f"it passed, and could not be asked once more: {kernel.dead}"
                    remarks.append(f"code cell {number}: {kernel.dead}; later cells were not run")
                elif doubt:
                    look.append(f"{name}: {doubt}")
                if doubt:
                    cell.outputs.append(failure("NotConfirmed", doubt))
            passed |= test and not wrong
            if test and not wrong and not found and not examiner.asks(name):
                found = examiner.changed(kernel)
        if passed and not found:
            found = examiner.changed(kernel)
        if solved and not kernel.dead:
            examiner.learn(kernel)
        if kernel.dead and not remarks:
            remarks.append(kernel.dead)
    return remarks, look + found
