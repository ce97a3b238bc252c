"""Deployments: a model served by a supervised process of its own, which lives as long as somebody uses it.

Names are resolved when asked for: the watchdog lives in this room and must not load the planner to start a server.
"""

from typing import TYPE_CHECKING

from workbench import lazy

if TYPE_CHECKING:
    from workbench.deployment.deployment import Deployment, attach, deploy
    from workbench.deployment.registry import deployments, logs, stop, stop_all

__all__ = ["Deployment", "attach", "deploy", "deployments", "logs", "stop", "stop_all"]

__getattr__ = lazy.attributes(
    __name__,
    {
        "Deployment": "workbench.deployment.deployment:Deployment",
        "attach": "workbench.deployment.deployment:attach",
        "deploy": "workbench.deployment.deployment:deploy",
        "deployments": "workbench.deployment.registry:deployments",
        "logs": "workbench.deployment.registry:logs",
        "stop": "workbench.deployment.registry:stop",
        "stop_all": "workbench.deployment.registry:stop_all",
    },
)
