"""Deployments: a model served by a supervised process of its own, which lives as long as somebody uses it.

Names are resolved when asked for: the watchdog lives in this room and must not load the planner to start a server.
"""

from typing import TYPE_CHECKING

from workbench import lazy

if TYPE_CHECKING:
    from workbench.deployment.deploying import deploy, is_running
    from workbench.deployment.deployment import Deployment, attach
    from workbench.deployment.registry import deployments, logs, stop, stop_all
    from workbench.deployment.room import check_room

__all__ = [
    "Deployment", "attach", "check_room", "deploy", "deployments", "is_running", "logs", "stop", "stop_all",
]  # fmt: skip

__getattr__ = lazy.attributes(
    __name__,
    {
        "Deployment": "workbench.deployment.deployment:Deployment",
        "attach": "workbench.deployment.deployment:attach",
        "check_room": "workbench.deployment.room:check_room",
        "deploy": "workbench.deployment.deploying:deploy",
        "deployments": "workbench.deployment.registry:deployments",
        "is_running": "workbench.deployment.deploying:is_running",
        "logs": "workbench.deployment.registry:logs",
        "stop": "workbench.deployment.registry:stop",
        "stop_all": "workbench.deployment.registry:stop_all",
    },
)
