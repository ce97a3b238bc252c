"""The open model workbench: find out, with numbers measured on your machine, whether an open model would do.

    import workbench

    with workbench.deploy("smollm2-135m-instruct") as d:
        for piece in d.chat("Why is the sky blue?"):
            print(piece, end="")
        print(workbench.measure(d).values["decode"])

Importing this package loads no numerical or machine-learning library and touches no device, network or environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench import lazy

if TYPE_CHECKING:
    from workbench.costs import compare as cost
    from workbench.deployment import attach, deploy, deployments, stop
    from workbench.evidence.ledger import Ledger
    from workbench.machine import calibrate, describe, probe
    from workbench.measurement import measure
    from workbench.measurement.code import evaluate
    from workbench.planning import choices, estimate, plan
    from workbench.report import tour, write_report

__all__ = [
    "Ledger", "attach", "calibrate", "choices", "cost", "deploy", "deployments", "describe", "estimate", "evaluate",
    "measure", "plan", "probe", "stop", "tour", "write_report",
]  # fmt: skip


__getattr__ = lazy.attributes(
    __name__,
    {
        "Ledger": "workbench.evidence.ledger:Ledger",
        "attach": "workbench.deployment:attach",
        "calibrate": "workbench.machine:calibrate",
        "choices": "workbench.planning:choices",
        "cost": "workbench.costs:compare",
        "deploy": "workbench.deployment:deploy",
        "deployments": "workbench.deployment:deployments",
        "describe": "workbench.machine:describe",
        "estimate": "workbench.planning:estimate",
        "evaluate": "workbench.measurement.code:evaluate",
        "measure": "workbench.measurement:measure",
        "plan": "workbench.planning:plan",
        "probe": "workbench.machine:probe",
        "stop": "workbench.deployment:stop",
        "tour": "workbench.report:tour",
        "write_report": "workbench.report:write_report",
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
