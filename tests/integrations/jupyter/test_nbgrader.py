"""nbgrader's sample course, graded in jails: with its own two submissions, and some that want to harm."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from pathlib import Path

import nbformat
import nbgrader.api
import pytest
from nbgrader.api import Gradebook
from nbgrader.apps.api import NbGraderAPI
from traitlets.config import Config

from tests.conftest import SLOW
from tests.integrations.jupyter.conftest import NAME

GUIDE = Path(nbgrader.__file__).parent / "docs/source/user_guide"
RIGHT = """
def squares(n):
    if n < 1: raise ValueError("n")
    return [i ** 2 for i in range(1, n + 1)]
"""
LOOPS = "def squares(n):\n    while True: pass"
PRINTS = "def squares(n):\n    while True: print('x' * 1000)"
FORKS = """
import os, time
def squares(n):
    while True:
        try:
            if os.fork() == 0: time.sleep(1000)
        except OSError: time.sleep(0.01)
"""
READS = """
import os
root = {root!r}
names = [root, '..', '../..', '/box', '/run/jupyter', '/tmp']
print('FOUND', [n for n in names if os.path.exists(n + '/gradebook.db')], os.path.exists(root), os.listdir('/box'))
for path in (root + '/gradebook.db', root + '/source/ps1/problem1.ipynb', '/run/jupyter/gradebook.db'):
    try: open(path, 'r+b' if os.path.exists(path) else 'wb').write(b'all mine')
    except OSError as e: print('REFUSED', type(e).__name__)
"""


@pytest.fixture(scope="module", autouse=True)
def path():
    """nbgrader starts alembic by its name, whenever it opens a gradebook; once is enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nbgrader.api, "get_alembic_version", functools.cache(nbgrader.api.get_alembic_version))
        patch.setenv("PATH", f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
        yield


@pytest.fixture(scope="module")
def course(tmp_path_factory, jupyter):
    """The course with more students, as it is before it is graded."""
    root = tmp_path_factory.mktemp("course")
    for name in ("source/ps1", "submitted"):
        shutil.copytree(GUIDE / name, root / name)
    shutil.copy(GUIDE / "source/header.ipynb", root / "source")
    reads = RIGHT + READS.replace("{root!r}", repr(str(root)))
    for student, code in (("honest", RIGHT), ("loops", LOOPS), ("prints", PRINTS), ("forks", FORKS), ("reads", reads)):
        shutil.copytree(root / "submitted/hacker", root / "submitted" / student)
        path = root / "submitted" / student / "ps1/problem1.ipynb"
        made = nbformat.read(path, 4)
        for cell in made.cells:
            if cell.metadata.get("nbgrader", {}).get("grade_id") == "squares":
                cell.source = code
        nbformat.write(made, path)
    return root


def grade(root, kernel, *students, timeout=5 * SLOW):
    """Grade them: {student: {cell: points}} of the first problem, and what nbgrader said."""
    for name in ("autograded", "release", "gradebook.db"):
        if (root / name).is_dir():
            shutil.rmtree(root / name)
        else:
            (root / name).unlink(missing_ok=True)
    config = Config()
    config.CourseDirectory.course_id = "example_course"
    config.CourseDirectory.root = str(root)
    config.CourseDirectory.db_url = f"sqlite:///{root}/gradebook.db"
    config.IncludeHeaderFooter.header = f"{root}/source/header.ipynb"
    config.Execute.kernel_name = kernel
    config.Execute.timeout = timeout
    api = NbGraderAPI(config=config)
    made = api.generate_assignment("ps1")
    assert made["success"], made
    said = {student: api.autograde("ps1", student) for student in students}
    with Gradebook(f"sqlite:///{root}/gradebook.db", "example_course") as book:
        rows = {
            s.student.id: {g.name: g.auto_score for n in s.notebooks if n.name == "problem1" for g in n.grades}
            for s in book.assignment_submissions("ps1")
        }
    return rows, said


def test_the_sample_course_has_the_grades_that_it_has_without_jails(course):
    jailed, _ = grade(course, NAME, "bitdiddle", "hacker")
    plain, _ = grade(course, "python3", "bitdiddle", "hacker")
    assert jailed == plain
    assert [sum(filter(None, jailed[s].values())) for s in ("bitdiddle", "hacker")] == [1.5, 3.0]


@pytest.mark.timeout(300)
def test_hostile_submissions_fail_by_themselves(course):
    students = ("loops", "prints", "forks", "reads", "honest")
    rows, said = grade(course, NAME, *students)
    assert {student for student in students if said[student]["success"]} >= {"loops", "reads", "honest"}
    points = {student: sum(filter(None, cells.values())) for student, cells in rows.items()}
    assert points["honest"] == points["reads"] == 3.0  # it could read nothing, and is right
    failed = {"correct_squares": 0.0, "squares_invalid_input": 0.0, "correct_sum_of_squares": 0.0}
    for student in ("loops", "prints", "forks"):
        cells = rows.get(student, {})
        if said[student]["success"]:
            assert {name: cells[name] for name in failed} == failed, student
        else:  # of a kernel that has no process left to answer with nbgrader keeps nothing
            assert "CellTimeoutError" in said[student]["log"] or "DeadKernelError" in said[student]["log"]
            assert not any(cells.values())
            assert not (course / "autograded" / student / "ps1").exists()
    made = nbformat.read(course / "autograded/reads/ps1/problem1.ipynb", 4)
    text = "".join(out.get("text", "") for cell in made.cells for out in cell.get("outputs", ()))
    assert "FOUND [] False []" in text
    assert text.count("REFUSED") == 3
