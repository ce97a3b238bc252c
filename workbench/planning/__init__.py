"""From a model, an engine and a machine to a plan: settings, predictions and reasons."""

from workbench.planning.planner import Plan, Refusal, plan
from workbench.planning.workload import CHAT, Workload

__all__ = ["CHAT", "Plan", "Refusal", "Workload", "plan"]
