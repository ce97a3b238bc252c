"""From a model, an engine and a machine to a plan: settings, predictions and reasons."""

from workbench.engines.workload import CHAT, Workload
from workbench.planning.planner import plan
from workbench.planning.plans import Fit, Plan, Refusal

__all__ = ["CHAT", "Fit", "Plan", "Refusal", "Workload", "plan"]
