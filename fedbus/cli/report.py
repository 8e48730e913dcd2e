"""How a job's report looks on a terminal, and as JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from fedbus import terminal
from fedbus.errors import OutputError, ProtocolError
from fedbus.files import reason, write_whole

_CURVE_WIDTH = 60


def print_report(report: dict[str, Any]) -> None:
    """A job's report on standard output; its `warnings`, sentences that say why it may be no success, come first.

    Raises:
        OutputError: it cannot be written.
        ProtocolError: it lacks what a report of its algorithm has; another version of the coordinator may have made it.
    """
    try:
        facts = [*_FACTS[report["algorithm"]](report), *_missing(report), *_predictions(report)]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ProtocolError(
            f"the coordinator's report cannot be shown ({type(error).__name__}: {str(error)[:80]}); --json FILE has it"
            " as it came"
        ) from error
    for sentence in report.get("warnings", []):
        terminal.say(f"warning: {sentence}")
    print_facts(facts)
    if "coefficients" in report:
        terminal.say("coefficients of standardised columns")
        for line in _coefficients(report):
            terminal.say(f"  {line}")


def print_facts(facts: list[tuple[str, str]]) -> None:
    """Names and values, a line each, on standard output; raises OutputError."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        terminal.say(f"{name:{width}}  {value}")


def _linear_facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    rows = ", ".join(f"{party} {count['train']:,}" for party, count in report["rows"].items())
    latency = report["round_latency_seconds"]
    facts = [
        ("job", f"{report['job']} {report['state']} after {report['seconds']:.1f} s"),
        ("rows", f"{rows}; in common {report['aligned_rows']:,}"),
        ("training", f"{report['rounds']} rounds, {report['epochs']} epochs, {_ending(report)}"),
        ("loss", _course(report)),
        ("train", _score(report["train"])),
    ]
    for key, name in (("test", "test"), ("pooled_train", "pooled, train"), ("pooled_test", "pooled, test")):
        if key in report:
            facts.append((name, _score(report[key])))
    if "max_coefficient_difference" in report:
        facts.append(("difference", f"{report['max_coefficient_difference']:.2e} at most between coefficients"))
    if report.get("alike"):
        facts.append(("alike", _alike(report)))
    facts += [("dependent", _dependent(party, count, report)) for party, count in report.get("dependent", {}).items()]
    facts += [
        ("round latency", f"p50 {latency['p50']:.3f} s, p99 {latency['p99']:.3f} s"),
        ("bytes sent", ", ".join(f"{party} {count:,}" for party, count in report["bytes_sent"].items())),
    ]
    return facts + _pages(report)


def _missing(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What parties did about missing cells, where there were any."""
    filled = [f"{party} {count:,} cells filled" for party, count in report.get("missing_cells", {}).items()]
    left_out = [f"{party} {count:,} rows left out" for party, count in report.get("left_out_rows", {}).items()]
    facts = [("missing cells", ", ".join(filled + left_out))] if filled or left_out else []
    held_out = [f"{party} {count:,} cells filled" for party, count in report.get("test_missing_cells", {}).items()]
    held_out += [
        f"{party} {count:,} cells of levels that its training rows lack"
        for party, count in report.get("test_unknown_levels", {}).items()
    ]
    facts += [("in held-out rows", ", ".join(held_out))] if held_out else []
    by_column = report.get("missing_by_column", {})
    named = [f"{party} {name} {count:,}" for party, counts in by_column.items() for name, count in counts.items()]
    return facts + ([("by column", ", ".join(named))] if named else [])


def _predictions(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Where predictions of held-out rows are; those that could not be written are a warning."""
    told = {
        party: found.get("file", "its log names the file")
        for party, found in report.get("predictions", {}).items()
        if found["written"]
    }
    return [("predictions", ", ".join(f"{party}: {file}" for party, file in told.items()))] if told else []


def _pages(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The addresses of /metrics; a simulation has none any more when it has ended."""
    if "metrics" not in report:
        return []
    return [("metrics", ", ".join(f"{name} {url}" for name, url in report["metrics"].items()))]


def _ending(report: dict[str, Any]) -> str:
    if "ended" in report:
        ended: str = report["ended"]
        return ended
    return "converged" if report["converged"] else "not converged: params.max_epochs reached"


def _dependent(party: str, count: int, report: dict[str, Any]) -> str:
    """What a report says of columns that follow from others of the same party; only a simulation knows their names."""
    named = report.get("dependent_columns", {}).get(party, {})
    which = "; ".join(f"{column} from {', '.join(others)}" for column, others in named.items())
    where = which or "its log and its stored model name them"
    few = "column follows" if count == 1 else "columns follow"
    return f"{count} {few} from others of {party} ({where}): other weights predict the same, these are the least"


def _alike(report: dict[str, Any]) -> str:
    """What a report says of columns that agree with those of other parties; only a simulation knows their names."""
    named = report.get("alike_columns", {})
    parts = [f"{count} of {party}{_in_brackets(named.get(party, []))}" for party, count in report["alike"].items()]
    where = "" if named else "; each party's log and stored model name its own"
    return f"columns of different parties agree, or add up to each other: {', '.join(parts)}{where}"


def _in_brackets(names: list[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _course(report: dict[str, Any]) -> str:
    # A label without variation needs no round.
    losses = [loss for loss in report["loss"] if loss is not None]
    first = f"{losses[0]:.6g} at first, " if losses else ""
    if losses and report.get("l2"):
        # What training lowers has the ridge term; what is measured at the end has not.
        ridge = f"{losses[-1]:.6g} in the last round, with the ridge term"
        return f"{first}{ridge}; {report['final_loss']:.6g} at the end without it  {curve(losses)}"
    return f"{first}{report['final_loss']:.6g} at the end  {curve(losses)}".rstrip()


def _score(metrics: dict[str, Any]) -> str:
    score = _number(metrics["r2"], ".5f")
    return f"MSE {metrics['mse']:.5g}, RMSE {metrics['rmse']:.5g}, R2 {score}"


def _number(value: float | None, form: str = ".5g") -> str:
    return "undefined" if value is None else f"{value:{form}}"


def _coefficients(report: dict[str, Any]) -> list[str]:
    rows = [(party, column, pair) for party, pairs in report["coefficients"].items() for column, pair in pairs.items()]
    cells = [
        (
            *(party, column, f"{pair['federated']:.6f}", f"{pair['pooled']:.6f}"),
            f"{abs(pair['federated'] - pair['pooled']):.1e}",
        )
        for party, column, pair in [*rows, ("", "intercept", report["intercept"])]
    ]
    return terminal.table([("party", "column", "federated", "pooled", "difference"), *cells], numbers=3)


def _average_facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    rows = ", ".join(f"{party} {count['train']:,}" for party, count in report["rows"].items())
    overhead, latency = report["round_overhead_seconds"], report["round_latency_seconds"]
    took_part, rounds = report["took_part"], report["rounds"]
    facts = [
        ("job", f"{report['job']} {report['state']} after {report['seconds']:.1f} s"),
        ("rows", rows),
        ("training", f"{report['rounds']} rounds; {report['ended']}"),
    ]
    for key, name in (("loss", "loss"), ("test_loss", "loss, test")):
        losses = [loss for loss in report.get(key, []) if loss is not None]
        if losses:
            facts.append((name, f"{losses[0]:.6g} at first, {losses[-1]:.6g} at the end  {curve(losses)}"))
    if report.get("epsilon"):
        facts.append(("privacy", f"epsilon {report['epsilon'][-1]:.4g} spent"))
    facts += _average_scores(report)
    if "max_weight_difference" in report:
        difference = f"{report['max_weight_difference']:.2e} at most between weights"
        facts.append(("difference", f"{difference}, from federated averaging in one process"))
    if any(count < rounds for count in took_part.values()):
        facts.append(("took part", ", ".join(f"{party} in {count:,} rounds" for party, count in took_part.items())))
    facts += [("left out", f"{party}, last because: {reason}") for party, reason in report["left_out"].items()]
    if clipped := sum(report["clipped"].values()):
        facts.append(("clipped", f"{clipped:,} entries of updates (params.clip_range)"))
    if constant := report.get("constant_columns"):
        facts.append(("constant", f"{', '.join(constant)}: one value in all rows of all parties, which is taken for 0"))
    facts += [
        ("round", f"p50 {latency['p50'] * 1e3:.1f} ms, p99 {latency['p99'] * 1e3:.1f} ms"),
        ("overhead", f"p50 {overhead['p50'] * 1e3:.1f} ms of it, p99 {overhead['p99'] * 1e3:.1f} ms"),
        ("bytes sent", ", ".join(f"{party} {count:,}" for party, count in report["bytes_sent"].items())),
    ]
    return facts + _pages(report)


def _average_scores(report: dict[str, Any]) -> list[tuple[str, str]]:
    """How good the models that were kept are on held-out rows, the best one first where it is another than the last."""
    facts, rounds, best = [], report["rounds"], report.get("best_model")
    losses, correct = report.get("test_loss", []), report.get("test_correct")
    another = best is not None and best != rounds and len(losses) == rounds + 1
    for key, name, number in (("best_test", "best", best if another else None), ("test", "last", rounds)):
        place = f"test, {name} model (after round {number})" if another else "test"
        if number is None:
            continue
        if key in report:
            facts.append((place, _scores(report[key])))
        elif len(losses) == rounds + 1:
            accuracy = f", accuracy {correct[number]:.5g}" if correct else ""
            facts.append((place, f"loss {losses[number]:.6g}{accuracy}"))
    if "pooled_test" in report:
        facts.append(("pooled, test", _scores(report["pooled_test"])))
    if "test_baseline" in report:
        what, measure = ("most frequent class", "accuracy") if correct else ("mean of the label", "mse")
        facts.append(("without a model", f"{measure} {report['test_baseline']:.5g}, the {what} for every held-out row"))
    return facts


def _scores(scores: dict[str, Any]) -> str:
    undefined = scores.get("undefined", {})
    told = [
        f"{name} undefined ({undefined[name]})" if value is None else f"{name} {value:.5g}"
        for name, value in scores.items()
        if name != "undefined"
    ]
    return ", ".join(told)


_FACTS = {"vertical-linear": _linear_facts, "fedavg": _average_facts}


def curve(losses: list[float], bars: str | None = None) -> str:
    """The losses that are finite as a line of bars, on at most _CURVE_WIDTH columns; empty for none.

    Args:
        bars: of rising height; those that standard output shows where absent.
    """
    losses = [loss for loss in losses if math.isfinite(loss)]
    if not losses:
        return ""
    bars = bars or terminal.bars()
    step = max(1, -(-len(losses) // _CURVE_WIDTH))
    shown = losses[::step]
    low, high = min(shown), max(shown)
    # Halves, as the distance of two numbers may be more than any number.
    span = high / 2 - low / 2 or 1.0
    return "".join(bars[int((loss / 2 - low / 2) / span * (len(bars) - 1))] for loss in shown)


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write a report as JSON.

    Raises:
        OutputError: it cannot be written; a file that was there is as it was.
    """
    try:
        write_whole(path, to_json(report) + "\n")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {reason(error, path)}") from error


def to_json(value: Any) -> str:
    """JSON as its standard has it: what is no finite number is null."""
    return json.dumps(_finite(value), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
