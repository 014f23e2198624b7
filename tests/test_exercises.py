"""The exercises: what is handed out is what nbgrader would make of the source, a solved file gets all points from
nbgrader's own autograder, and a blank one none, in friendly words."""

import ast
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from traitlets.config import Config
from wrong_answers import read_all

from authoring import build

EXERCISES = build.jobs(build.ROOT, "exercises", [])
IDS = [job.text.stem for job in EXERCISES]


def cells(path) -> list:
    return nbformat.read(path, as_version=4).cells


def kind(cell) -> str:
    """solution, test or manual; nothing for prose and given code."""
    return next((t.split(":")[0] for t in build.tagged(cell.metadata).get("tags", []) if ":" in t), "")


def test_every_exercise_has_its_files_and_a_lesson():
    lessons = {job.text.stem for job in build.jobs(build.ROOT, "lessons", [])}
    for tree in ("solutions", "exercises"):
        found = {p.parent.name for p in (build.ROOT / tree).glob("*/*.ipynb") if p.stem == p.parent.name}
        assert found == set(IDS) <= lessons
    assert {p.stem for p in (build.ROOT / "tests" / "wrong_answers").glob("[0-9]*.py")} == set(IDS)


@pytest.mark.parametrize("job", EXERCISES, ids=IDS)
class TestExercise:
    def test_its_files_are_current(self, job):
        found = build.job_state(job)
        if found == "worked in" and not os.environ.get("CI"):
            pytest.skip(f"somebody works in exercises/{job.text.stem}, as they should")
        assert found == "current", f"run: make exercises NB={job.text.stem[:2]}"

    def test_it_is_clean(self, job):
        """No error, no warning, no path of a machine in the solution; no answer and no output in the student's file."""
        outputs = [o for c in cells(job.notebook) if c.cell_type == "code" for o in c.outputs]
        assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
        assert not re.search(r"/home/\w|/Users/\w|/tmp/\w", str([o.get("text") for o in outputs]))
        blank = build.for_students(nbformat.read(job.notebook, as_version=4))
        assert not [c for c in blank.cells if c.get("outputs") or c.get("execution_count")]
        for word in ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN TESTS", "Rubric"):
            assert not [c for c in blank.cells if word in c.source]

    def test_it_has_four_to_six_tasks_of_four_kinds(self, job):
        found = cells(job.notebook)
        headings = [line for c in found if c.cell_type == "markdown" for line in c.source.splitlines()]
        assert sum(h.startswith("# ") for h in headings) == 1
        assert 4 <= sum(h.startswith("## ") for h in headings) <= 6
        kinds = [kind(c) for c in found]
        assert kinds.count("test") >= 3 and kinds.count("manual") >= 2
        assert kind(found[-1]) == "manual"                                            # the open question ends it
        text = "\n".join(c.source for c in found)
        for words in ("Given", "Asked", "Checked", "find the bug", "measure", "explain"):
            assert re.search(words, text, flags=re.IGNORECASE), words

    def test_points_and_rubrics(self, job):
        for cell in cells(job.notebook):
            if kind(cell) == "manual":
                rubric = re.search(r"\*\*Rubric\.\*\*(.*)", cell.source, flags=re.DOTALL)
                assert rubric, f"no **Rubric.** in {cell.metadata.nbgrader.grade_id}"
                points = re.findall(r"(\d) points?:", rubric[1])
                assert sum(map(int, points)) == cell.metadata.nbgrader.points
            if kind(cell) == "test":
                assert cell.source.startswith("check.") and "### BEGIN HIDDEN TESTS" in cell.source
                hidden = cell.source.split("### BEGIN HIDDEN TESTS")[1]
                assert "check." not in hidden                                         # another way to the answer

    def test_no_cell_changes_torch_for_good(self, job):
        """Cells run in one process with others' tests here, and with the checks in a student's."""
        assert not [c for c in cells(job.notebook) if re.search(r"set_grad_enabled\(|set_default_\w+\(", c.source)]

    def test_hidden_tests_lean_on_no_name_that_an_answer_may_use(self, job):
        """In a measurement students write mu = ... as they like. Of the given variables (functions are safe), hidden
        tests read only those that nobody would use for something else."""
        data = "x_train y_train x_test y_test digits ring alphas_cumprod A judge with_bug alphabet gpt windows".split()
        code = [c for c in cells(job.notebook) if c.cell_type == "code"]
        given = set().union(*[used(parsed(c.source), ast.Store) for c in code if not kind(c)])
        for source in (c.source for c in code if kind(c) == "test"):
            hidden = ast.parse(source.split("### BEGIN HIDDEN TESTS")[1])
            own = used(hidden, ast.Store) | {n.arg for n in ast.walk(hidden) if isinstance(n, ast.arg)}
            assert used(hidden, ast.Load) & given - own <= set(data)


# --- hidden tests

def parsed(source: str) -> ast.Module:
    return ast.parse(source.replace("%", "#%") if source.startswith("%") else source)


def used(tree: ast.AST, how: type[ast.expr_context]) -> set[str]:
    """The variables that code reads (ast.Load) or assigns to (ast.Store)."""
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, how)}


def defined(source: str) -> set[str]:
    """The names that code gives a value to: variables, functions, classes and imports."""
    tree = parsed(source)
    named = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    imported = {a.asname or a.name for a in ast.walk(tree) if isinstance(a, ast.alias)}
    return used(tree, ast.Store) | named | imported


def run_with(names: dict, source: str, given: list) -> None:
    """Execute a cell; where it lacks a name, execute the given cell that defines it first, and so on."""
    for _ in range(20):
        try:
            return exec(compile(source, "<cell>", "exec"), names)
        except NameError as e:
            cell = next((source for source in given if e.name in defined(source)), None)
            if cell is None:
                raise
            run_with(names, cell, given)
    raise RuntimeError("the cells depend on each other")


def hidden_tests(job) -> list[tuple]:
    """(job, right answer, the name it goes by, source of the hidden tests) for each check of an exercise."""
    tests = [c.source for c in cells(job.notebook) if kind(c) == "test"]
    found = [(re.match(r"check\.(\w+)\((\w+)", source), source.split("### BEGIN HIDDEN TESTS")[1]) for source in tests]
    return [(job, a, match[2], hidden) for match, hidden in found for a in read_all()
            if a.check.name == match[1] and not a.words and callable(a.answer)]


HIDDEN = [case for job in EXERCISES for case in hidden_tests(job)]


@pytest.fixture(scope="module")
def kernels():
    """The names that the given cells of each exercise define, as far as they were needed."""
    return {job.text.stem: {"__name__": "cell"} for job in EXERCISES}


@pytest.mark.parametrize("job, answer, name, hidden", HIDDEN, ids=[f"{job.text.stem}-{a}" for job, a, *_ in HIDDEN])
def test_a_right_answer_passes_the_hidden_tests_too(job, answer, name, hidden, kernels):
    names = kernels[job.text.stem]
    names[name] = answer.answer
    try:
        run_with(names, hidden, [c.source for c in cells(job.notebook) if c.cell_type == "code" and kind(c) != "test"])
    finally:
        names.pop(name, None)


# --- in nbgrader's hands

@pytest.fixture(scope="module")
def course(tmp_path_factory, quick_gradebooks):
    """A course of nbgrader with all exercises, and the solution of each handed in by `solved`."""
    root = tmp_path_factory.mktemp("course")
    config = Config()
    config.CourseDirectory.root = str(root)
    config.CourseDirectory.db_url = f"sqlite:///{root}/gradebook.db"
    config.NbGrader.logfile = str(root / "log")
    config.Exchange.root = str(root / "exchange")
    config.Execute.timeout, config.Execute.iopub_timeout = 300, 60                    # a machine may be busy
    (root / "exchange").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (build.KERNEL_ENV | {"IPYTHONDIR": str(root / "profile")}).items():
            patch.setenv(name, value)
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)    # nbgrader calls alembic by name
        api = NbGraderAPI(config=config)
        api.root = root
        for job in EXERCISES:
            for step in ("source/.", "submitted/solved"):
                copied = root / step / job.text.stem / job.notebook.name
                copied.parent.mkdir(parents=True)
                copied.write_text(job.notebook.read_text(encoding="utf-8"), encoding="utf-8")
        yield api
        api.gradebook.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function that executes a notebook. One kernel serves all: what one has defined is gone before the next."""
    client = NotebookClient(new_notebook(), timeout=300, allow_errors=True, kernel_name="python3",
                            extra_arguments=["--IPKernelApp.log_level=ERROR"])

    def execute(nb):
        for client.nb in (new_notebook(cells=[new_code_cell("%reset -f")]), nb):
            client.reset_execution_trackers()
            for i, cell in enumerate(client.nb.cells):
                client.execute_cell(cell, i)

    profile = tmp_path_factory.mktemp("profile")
    with client.setup_kernel(env=os.environ | build.KERNEL_ENV | {"IPYTHONDIR": str(profile)}):
        yield execute


@pytest.mark.filterwarnings("ignore")              # nbgrader and what it stands on warn of their own past
@pytest.mark.parametrize("job", EXERCISES, ids=IDS)
class TestInNbgrader:
    """Nbgrader itself executes two: the solution of the first and the blank file of the last. The others are given to
    it executed, and it scores what they store: a solution is compared with what it gives when `solutions/` is tested,
    and the blank files are run here in one kernel."""

    def released(self, job, course) -> Path:
        """The student's file by nbgrader's own hand, made once."""
        released = course.root / "release" / job.text.stem / job.notebook.name
        if not released.exists():
            course.config.ClearOutput.enabled = True              # another test may have switched it off
            assert course.generate_assignment(job.text.stem, force=True)["success"]
        return released

    def test_the_students_file_is_what_nbgrader_would_make(self, job, course):
        released = nbformat.read(self.released(job, course), as_version=4)
        assert released == build.for_students(nbformat.read(job.notebook, as_version=4))

    def graded(self, job, course, student, execute) -> tuple[dict, list]:
        """{grade_id: (automatic score, points, needs a person)} and the cells of the autograded notebook."""
        name = self.released(job, course).stem
        course.config.Execute.enabled = course.config.ClearOutput.enabled = execute
        answer = course.autograde(name, student, force=True)
        assert answer["success"], answer
        with Gradebook(course.config.CourseDirectory.db_url) as book:
            notebook = book.find_submission_notebook(name, name, student)
            scores = {g.cell.name: (g.auto_score, g.max_score, g.needs_manual_grade) for g in notebook.grades}
        return scores, cells(course.root / "autograded" / student / name / f"{name}.ipynb")

    def test_the_solution_earns_full_marks(self, job, course):
        scores, _ = self.graded(job, course, "solved", execute=job is EXERCISES[0])
        automatic = {k for c in cells(job.notebook) if kind(c) == "test" for k in [c.metadata.nbgrader.grade_id]}
        assert {k for k, (score, points, _) in scores.items() if score == points} == automatic
        assert {k for k, (*_, person) in scores.items() if person} == set(scores) - automatic

    def test_the_blank_file_earns_nothing_and_hears_friendly_words(self, job, course, run):
        nb = nbformat.read(self.released(job, course), as_version=4)
        if job is not EXERCISES[-1]:
            run(nb)
        submitted = course.root / "submitted" / "blank" / job.text.stem / job.notebook.name
        submitted.parent.mkdir(parents=True)
        nbformat.write(nb, submitted)
        scores, found = self.graded(job, course, "blank", execute=job is EXERCISES[-1])
        assert scores and all(score == 0 for score, *_ in scores.values())
        for cell in found:
            errors = [o for o in cell.get("outputs", []) if o.output_type == "error"]
            if kind(cell) == "test":
                error, = errors
                assert error.ename == "Mistake" and len(error.traceback) == 1 and "course_lib" not in error.traceback[0]
                assert re.search("is not written yet|has no value yet", error.evalue)
            elif errors:                           # nothing that is given breaks because answers are missing
                assert kind(cell) == "solution" and errors[0].ename == "NotImplementedError"


# --- the builder's part of it, on a tiny exercise and without a kernel

DEMO = '''# %% [markdown]
# # Square

# %% tags=["solution:sq", "nbval-ignore-figure"]
def sq(x):
    ### BEGIN SOLUTION
    return x * x
    ### END SOLUTION

# %% tags=["test:check_sq:2"]
assert sq(3) == 9
### BEGIN HIDDEN TESTS
assert sq(-2) == 4
### END HIDDEN TESTS

# %% [markdown] tags=["manual:why:3"]
# Because.
'''


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """An empty course with one exercise, where cells are not run but numbered."""
    def numbered(cells, folder, timeout=300):
        nb = nbformat.v4.new_notebook(cells=cells, metadata={"course": {"fingerprint": build.fingerprint(cells)}})
        for n, cell in enumerate([c for c in nb.cells if c.cell_type == "code"], start=1):
            cell.execution_count, cell.outputs = n, [nbformat.v4.new_output("stream", text="secret")]
        return nb, [0.0]

    monkeypatch.setattr(build, "execute", numbered)
    for folder in ("authoring/lessons", "authoring/exercises", "notebooks"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "authoring/lessons/07_square.py").write_text("# %%\nx = 1\n")
    (tmp_path / "authoring/exercises/07_square.py").write_text(DEMO)
    job, = build.jobs(tmp_path, "exercises", [])
    return job, lambda *arguments: build.main(["--root", str(tmp_path), *arguments])


def test_tags_become_nbgraders_metadata_and_back():
    cells_of_demo = build.cells_of(DEMO)
    wanted = build.fingerprint(cells_of_demo)
    build.expand(cells_of_demo)
    _, solution, test, manual = (c.metadata for c in cells_of_demo)
    assert solution == {"tags": ["nbval-ignore-figure"], "nbgrader": {
        "schema_version": 3, "grade_id": "sq", "task": False, "grade": False, "solution": True, "locked": False}}
    assert test["nbgrader"] | {"grade": True, "solution": False, "locked": True, "points": 2} == test["nbgrader"]
    assert manual["nbgrader"] | {"grade": True, "solution": True, "points": 3} == manual["nbgrader"]
    assert build.fingerprint(cells_of_demo) == wanted and build.text_of(build.clean(cells_of_demo)) == DEMO


@pytest.mark.parametrize("old, new", [("test:check_sq:2", "test:check_sq"), ("test:check_sq:2", "test:sq:2"),
                                      ("manual:why:3", "manual:why:many"), ("solution:sq", "solution:sq:2"),
                                      ('"manual:why:3"', '"manual:why:3", "solution:why2"')])
def test_a_wrong_tag_is_refused_before_anything_runs(demo, capsys, old, new):
    job, main = demo
    job.text.write_text(DEMO.replace(old, new))
    assert main("--exercises") == 1 and not job.notebook.exists()
    assert new.split('"')[-2 if '"' in new else 0] in capsys.readouterr().err


def test_an_exercise_is_built_and_checked(demo, capsys):
    job, main = demo
    assert main("--check") == 1 and "07_square: stale\nexercises/07_square: stale" in capsys.readouterr().out
    assert main("--exercises", "07") == 0 and main("--exercises", "08") == 1
    assert "no exercise 08: there are 07_square" in capsys.readouterr().err
    student = job.student.read_text()
    assert "raise NotImplementedError()" in student and "sq(3) == 9" in student and "YOUR ANSWER HERE" in student
    assert not re.search("x \\* x|-2|Because|secret", student)
    assert build.job_state(job) == "current" and main("--exercises") == 0
    job.student.write_text(student.replace("sq(3) == 9", "True"))
    assert build.job_state(job) == "worked in"


def test_somebodys_work_is_not_overwritten(demo, capsys):
    job, main = demo
    main("--exercises")
    nb = nbformat.read(job.student, as_version=4)
    nb.cells[1].source = "def sq(x):\n    return x ** 2"
    nbformat.write(nb, job.student)
    work = job.student.read_text()
    job.text.write_text(DEMO.replace("Because.", "Since."))
    assert main("--exercises") == 1 and "somebody has worked in exercises/07_square" in capsys.readouterr().err
    assert job.student.read_text() == work and build.state(*job[:2]) == "current"
    assert main("--exercises", "--force") == 0 and build.job_state(job) == "current"


def test_running_a_blank_file_is_no_work(demo):
    job, main = demo
    main("--exercises")
    nb = nbformat.read(job.student, as_version=4)
    nb.cells[1].execution_count = 1
    nbformat.write(nb, job.student)
    assert build.job_state(job) == "stale" and main("--exercises") == 0 and build.job_state(job) == "current"


def test_a_solution_edited_in_jupyterlab_is_adopted(demo):
    job, main = demo
    main("--exercises")
    nb = nbformat.read(job.notebook, as_version=4)
    nb.cells[1].source = nb.cells[1].source.replace("x * x", "x ** 2")
    nb.cells[2].metadata.nbgrader.points = 5
    nbformat.write(nb, job.notebook)
    assert main("--exercises") == 1 and main("--adopt", "07") == 0
    assert job.text.read_text() == DEMO.replace("x * x", "x ** 2").replace("check_sq:2", "check_sq:5")
    assert main("--exercises") == 0 and build.job_state(job) == "current"
