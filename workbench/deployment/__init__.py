"""Deployments: a model served by a supervised process of its own, which lives as long as somebody uses it."""

from workbench.deployment.deployment import Deployment, attach, deploy
from workbench.deployment.registry import deployments, logs, stop

__all__ = ["Deployment", "attach", "deploy", "deployments", "logs", "stop"]
