"""Code models: small problems with tests, a sandbox to run what a model wrote, and how much of it passes."""

from workbench.measurement.code.evaluation import Attempt, Evaluation, ProblemResult, check, evaluate
from workbench.measurement.code.problems import Check, Problem, first, problems
from workbench.measurement.code.sandbox import Limits, Outcome, Protections, protections, run

__all__ = [
    "Attempt", "Check", "Evaluation", "Limits", "Outcome", "Problem", "ProblemResult", "Protections", "check",
    "evaluate", "first", "problems", "protections", "run",
]  # fmt: skip
