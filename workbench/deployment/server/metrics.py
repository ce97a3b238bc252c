"""What the server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from workbench.deployment.server.scheduler import Scheduler

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_TTFT_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120)
_TOKEN_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)


class Metrics:
    """Requests by outcome (completed, cancelled, failed, refused, rejected, unauthorized), tokens, and times (s)."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("workbench_requests", "Requests by outcome", ["outcome"], registry=registry)
        self.prompt_tokens = Counter("workbench_prompt_tokens", "Tokens of prompts taken in", registry=registry)
        self.generated_tokens = Counter("workbench_generated_tokens", "Tokens generated", registry=registry)
        self.ttft = Histogram(
            "workbench_time_to_first_token_seconds", "From the request to its first token", buckets=_TTFT_S,
            registry=registry,
        )  # fmt: skip
        self.per_token = Histogram(
            "workbench_time_per_output_token_seconds", "From one token to the next", buckets=_TOKEN_S, registry=registry
        )
        running = Gauge("workbench_requests_running", "Requests being worked on", registry=registry)
        waiting = Gauge("workbench_requests_waiting", "Requests in line", registry=registry)
        running.set_function(lambda: scheduler.running)
        waiting.set_function(lambda: scheduler.waiting)

    def ended(self, outcome: str) -> None:
        """Count one request."""
        self.requests.labels(outcome).inc()

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
