"""The problems themselves: each can be solved, and its tests tell a plausible mistake from a solution."""

from __future__ import annotations

import ast

import pytest

from workbench import catalog
from workbench.errors import UsageError
from workbench.measurement.code import Check, Limits, Problem, first, problems, run
from workbench.measurement.code.problems import DIFFICULTIES

BY_NAME = {problem.name: problem for problem in problems()}


def test_there_are_enough_of_each_kind() -> None:
    assert len(BY_NAME) >= 30
    counts = [sum(problem.difficulty == kind for problem in problems()) for kind in DIFFICULTIES]
    assert min(counts) >= 8
    assert {problem.difficulty for problem in first(6)} >= {"easy", "medium"}


@pytest.mark.parametrize("name", BY_NAME)
def test_its_tests_tell_right_from_wrong(name: str) -> None:
    problem = BY_NAME[name]
    assert run(problem.solution, problem.checks).kind == "passed"
    assert run(problem.wrong, problem.checks, Limits(cpu_s=1)).kind in ("failed", "timeout")
    assert not run(problem.prompt, problem.checks).passed


@pytest.mark.parametrize("name", BY_NAME)
def test_it_is_well_formed(name: str) -> None:
    problem = BY_NAME[name]
    (function,) = [one for one in ast.parse(problem.prompt).body if isinstance(one, ast.FunctionDef)]
    assert function.name == problem.entry_point
    assert ast.get_docstring(function)
    assert len(problem.checks) >= 4
    assert all(problem.entry_point in check.call for check in problem.checks)
    assert len({check.call for check in problem.checks}) == len(problem.checks)


@pytest.mark.parametrize(
    "line", ["f(1)", "f(1) == x", "f(1) < 2", "f(1) == 2 == 3", "f( == 2", "f( raises ValueError", ""]
)
def test_a_line_that_is_no_test_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        Check.parse(line)


def test_a_test_reads_as_it_was_written() -> None:
    for line in ("f([1]) == {'a': (1, 2)}", "f('x raises y') raises KeyError"):
        assert Check.parse(line).text == line


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"difficulty": "tricky"}, "difficulty is 'tricky'"),
        ({"entry_point": "g"}, "does not begin the function 'g'"),
        ({"tests": "\n"}, "no test"),
        ({"tests": "f(1) > 2"}, "neither"),
        ({"tests": "f(1 == 2"}, "neither"),
        ({"extra": 1}, "unknown key 'extra'"),
    ],
)
def test_a_damaged_record_is_named(tmp_path: object, change: dict[str, object], match: str) -> None:
    import yaml

    record = {
        "prompt": "def f(x):\n    '''One more.'''\n", "entry_point": "f", "tests": "f(1) == 2",
        "solution": "def f(x): return x + 1", "wrong": "def f(x): return x", "difficulty": "easy", "tags": ["numbers"],
        "source": "test", "checked": catalog.models()["smollm2-135m-instruct"].checked,
    }  # fmt: skip
    path = tmp_path / "problems.yaml"  # type: ignore[operator]
    path.write_text(yaml.safe_dump({"one": record}))
    assert [*catalog.load(path, Problem)] == ["one"]
    path.write_text(yaml.safe_dump({"one": record | change}))
    with pytest.raises(UsageError, match=match):
        catalog.load(path, Problem)


@pytest.mark.parametrize("count", [0, -1, 1000])
def test_only_as_many_as_there_are(count: int) -> None:
    with pytest.raises(UsageError, match=f"{count} problems"):
        first(count)
    assert first(None) == problems()
    assert first(2) == problems()[:2]
