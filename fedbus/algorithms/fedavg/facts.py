"""What is shown of a report and of a plan of federated averaging."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedbus.algorithms.facts import Fact, Told, known, of_bytes, of_job, of_pages, of_rows
from fedbus.algorithms.fedavg.report import AverageReport
from fedbus.report import Scores


def of_report(report: AverageReport) -> Told:
    """See base.Facts."""
    overhead, latency = report.round_overhead_seconds, report.round_latency_seconds
    facts = [
        of_job(report),
        Fact("rows", of_rows(report)),
        Fact("training", f"{report.rounds} rounds; {report.ended}"),
    ]
    for name, course in (("loss", report.loss), ("loss, test", report.test_loss)):
        if losses := known(course):
            facts.append(Fact(name, f"{losses[0]:.6g} at first, {losses[-1]:.6g} at the end", losses))
    if report.epsilon:
        facts.append(Fact("privacy", f"epsilon {report.epsilon[-1]:.4g} spent"))
    facts += _scores(report)
    if report.max_weight_difference is not None:
        difference = f"{report.max_weight_difference:.2e} at most between weights"
        facts.append(Fact("difference", f"{difference}, from federated averaging in one process"))
    if any(count < report.rounds for count in report.took_part.values()):
        parts = ", ".join(f"{party} in {count:,} rounds" for party, count in report.took_part.items())
        facts.append(Fact("took part", parts))
    facts += [Fact("left out", f"{party}, last because: {reason}") for party, reason in report.left_out.items()]
    if clipped := sum(report.clipped.values()):
        facts.append(Fact("clipped", f"{clipped:,} entries of updates (params.clip_range)"))
    if constant := report.constant_columns:
        said = f"{', '.join(constant)}: one value in all rows of all parties, which is taken for 0"
        facts.append(Fact("constant", said))
    facts += [
        Fact("round", f"p50 {latency.p50 * 1e3:.1f} ms, p99 {latency.p99 * 1e3:.1f} ms"),
        Fact("overhead", f"p50 {overhead.p50 * 1e3:.1f} ms of it, p99 {overhead.p99 * 1e3:.1f} ms"),
        of_bytes(report),
        *of_pages(report),
    ]
    return Told(facts)


def of_plan(plan: Mapping[str, Any]) -> Told:
    """See base.Facts."""
    least = f", {plan['threshold']} of them to unmask" if plan["threshold"] else ""
    facts = [
        Fact("job", f"{plan['name']}: {plan['algorithm']}, {plan['strategy']}, {plan['rounds']} rounds at most"),
        Fact("parties", f"{plan['parties']}; {plan['min_clients']} have to answer in a round{least}"),
        Fact("network", f"{plan['parameters']:,} parameters on {plan['columns']} columns"),
        Fact(
            "numbers",
            f"{plan['entry_bits']} bits an entry, {plan['fraction_bits']} of them fraction bits; "
            f"updates within {plan['clip_range']:g} on either side",
        ),
        Fact("a round", f"{plan['bytes_to_party']:,} bytes to each party, {plan['bytes_from_party']:,} bytes back"),
        Fact("in all", f"{plan['bytes']:,} bytes of models and updates, at most"),
    ]
    sentences = [f"{role} learns {learns}." for role, learns in plan["learns"].items()]
    return Told(facts, sentences=sentences, notes=list(plan["advice"]))


def _scores(report: AverageReport) -> list[Fact]:
    """How good the models that were kept are on held-out rows, the best one first where it is another than the last."""
    facts, rounds, best = [], report.rounds, report.best_model
    losses, correct = report.test_loss or [], report.test_correct
    complete = len(losses) == rounds + 1
    another = best is not None and best != rounds and complete
    models = (("best", best if another else None, report.best_test), ("last", rounds, report.test))
    for name, number, scores in models:
        place = f"test, {name} model (after round {number})" if another else "test"
        if number is None:
            continue
        if scores is not None:
            facts.append(Fact(place, _measures(scores)))
        elif complete and (loss := losses[number]) is not None:
            accuracy = f", accuracy {correct[number]:.5g}" if correct else ""
            facts.append(Fact(place, f"loss {loss:.6g}{accuracy}"))
    if report.pooled_test is not None:
        facts.append(Fact("pooled, test", _measures(report.pooled_test)))
    if report.test_baseline is not None:
        what, measure = ("most frequent class", "accuracy") if correct else ("mean of the label", "mse")
        said = f"{measure} {report.test_baseline:.5g}, the {what} for every held-out row"
        facts.append(Fact("without a model", said))
    return facts


def _measures(scores: Scores) -> str:
    undefined = scores.get("undefined")
    reasons = undefined if isinstance(undefined, dict) else {}
    told = [
        f"{name} undefined ({reasons.get(name, 'no reason is given')})" if value is None else f"{name} {value:.5g}"
        for name, value in scores.items()
        if not isinstance(value, dict)
    ]
    return ", ".join(told)
