"""From a model, an engine and a machine to a plan: settings, predictions and reasons.

plan(…) is what can be started here and now, pick(…) the best of that for a use; estimate(…) is one configuration
anywhere, choices(…) all of them, ranked.
"""

from workbench.engines.workload import CHAT, Workload
from workbench.planning.bound import beside_bound, decode_bound, share_in_words
from workbench.planning.configuration import estimate
from workbench.planning.correction import calibrated
from workbench.planning.picking import USES, Pick, Use, pick
from workbench.planning.planner import plan
from workbench.planning.plans import Fit, Plan, Refusal
from workbench.planning.ranking import Choices, choices
from workbench.planning.request import of_request

__all__ = [
    "CHAT", "USES", "Choices", "Fit", "Pick", "Plan", "Refusal", "Use", "Workload", "beside_bound", "calibrated",
    "choices", "decode_bound", "estimate", "of_request", "pick", "plan", "share_in_words",
]  # fmt: skip
