"""The page of Prometheus metrics."""

from __future__ import annotations

from prometheus_client.metrics import MetricWrapperBase

from fedbus import metrics
from text import code, heading, item, page, paragraph, sentence

_ABOUT = (
    "Each process serves its metrics at `/metrics` for Prometheus, at the address that its file names under"
    f" `metrics.address`; by default that is {metrics.HOST}:{metrics.PORT} or, where the port is taken, the next one"
    f" that is free. It serves {metrics.MAX_CONNECTIONS} connections at a time, each for"
    f" {metrics.REQUEST_SECONDS:g} seconds at most. The line that a process prints when it serves has the address, and"
    " so has the report of each job, as it was at the job's end."
    " What to watch of them is in [operate a federation](../howto/operate.md#watch)."
)


def render() -> str:
    """The page."""
    found = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    return page(
        "Metrics",
        paragraph(_ABOUT),
        heading(2, "Names"),
        "\n".join(map(_metric, found)),
        heading(2, "Labels"),
        "\n".join(item(f"{code(name)}: {sentence(text)}") for name, text in metrics.LABELS.items()),
    )


def _metric(metric: MetricWrapperBase) -> str:
    (family,) = metric.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = f", by {', '.join(map(code, metric._labelnames))}" if metric._labelnames else ""
    return item(f"**{code(name)}** ({family.type}{labels}). {sentence(family.documentation)}")
