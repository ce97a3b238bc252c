"""What one request should have taken, predicted for its own tokens.

A plan predicts a usual request (`Plan.workload`); a conversation has others. What was asked decides how long it should
take to the first token and how fast the answer should come.
"""

from __future__ import annotations

from collections.abc import Mapping

from workbench.engines import Workload
from workbench.evidence import Estimate
from workbench.planning.plans import Plan


def of_request(plan: Plan, prompt_tokens: int, answer_tokens: int, cached_tokens: int = 0) -> Mapping[str, Estimate]:
    """decode (tok/s) and ttft (s) of one request alone.

    prompt_tokens: of the whole conversation so far, of which the server still had cached_tokens of an earlier request.
    """
    whole = Workload(max(1, prompt_tokens), max(1, answer_tokens))
    fresh = Workload(max(1, prompt_tokens - cached_tokens), whole.answer_tokens)
    speed, start = (plan.engine.speed(plan.model, plan.settings, plan.machine, one) for one in (whole, fresh))
    return {"decode": speed["decode"], "ttft": start["ttft"]}
