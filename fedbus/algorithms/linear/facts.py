"""What is shown of a report and of a plan of vertical linear regression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedbus.algorithms.facts import Fact, Grid, Told, known, number, of_bytes, of_job, of_pages, of_rows
from fedbus.algorithms.linear.report import LinearReport
from fedbus.report import Scores


def of_report(report: LinearReport) -> Told:
    """See base.Facts; with the coefficients where the report compares them."""
    latency = report.round_latency_seconds
    facts = [
        of_job(report),
        Fact("rows", f"{of_rows(report)}; in common {report.aligned_rows:,}"),
        Fact("training", f"{report.rounds} rounds, {report.epochs} epochs, {_ending(report)}"),
        _course(report),
    ]
    scores = (
        ("train", report.train),
        ("test", report.test),
        ("pooled, train", report.pooled_train),
        ("pooled, test", report.pooled_test),
    )
    facts += [Fact(name, _score(measured)) for name, measured in scores if measured is not None]
    if report.max_coefficient_difference is not None:
        facts.append(Fact("difference", f"{report.max_coefficient_difference:.2e} at most between coefficients"))
    if report.alike:
        facts.append(Fact("alike", _alike(report)))
    facts += [Fact("dependent", _dependent(party, count, report)) for party, count in report.dependent.items()]
    facts += [
        Fact("round latency", f"p50 {latency.p50:.3f} s, p99 {latency.p99:.3f} s"),
        of_bytes(report),
        *of_pages(report),
    ]
    return Told(facts, _coefficients(report))


def of_plan(plan: Mapping[str, Any]) -> Told:
    """See base.Facts."""
    slots = f", {plan['slots']} slots of {plan['slot_bits']} bits" if "slots" in plan else ""
    columns = ", ".join(f"{party} {count:,}" for party, count in plan["columns"].items())
    most = "at most " if plan.get("rows_at_most") else ""
    held_out = f", {most}{plan['test_rows']:,} held out" if plan["test_rows"] else ""
    assumed = " (assumed; --rounds says otherwise)" if plan.get("rounds_assumed") else ""
    facts = [
        Fact("job", f"{plan['name']}: {plan['algorithm']}, solver {plan['solver']}, {plan['rounds']} rounds{assumed}"),
        Fact("data", f"{most}{plan['rows']:,} common rows{held_out}; columns: {columns}"),
        Fact("numbers", f"{plan['fraction_bits']} fraction bits{slots}, {plan['headroom_bits']} bits of headroom"),
        Fact("in all", f"{plan['seconds_on_this_machine']:.1f} s with all roles on this machine"),
        Fact("messages", f"{plan['messages']:,}, {plan['bytes']:,} bytes"),
    ]
    headings = ("role", "multiplications", "processor s", "messages", "bytes")
    rows = [
        (
            *(role, f"{cost['multiplications']:,}", f"{cost['processor_seconds']:.1f}"),
            *(f"{cost['messages']:,}", f"{cost['bytes']:,}"),
        )
        for role, cost in plan["roles"].items()
    ]
    sentences = [f"{role} learns {cost['learns']}." for role, cost in plan["roles"].items()]
    return Told(facts, Grid([headings, *rows], numbers=4), sentences)


def _ending(report: LinearReport) -> str:
    if report.ended:
        return report.ended
    return "converged" if report.converged else "not converged: params.max_epochs reached"


def _course(report: LinearReport) -> Fact:
    # A label without variation needs no round.
    losses = known(report.loss)
    first = f"{losses[0]:.6g} at first, " if losses else ""
    if losses and report.l2:
        # What training lowers has the ridge term; what is measured at the end has not.
        ridge = f"{losses[-1]:.6g} in the last round, with the ridge term"
        return Fact("loss", f"{first}{ridge}; {report.final_loss:.6g} at the end without it", losses)
    return Fact("loss", f"{first}{report.final_loss:.6g} at the end", losses)


def _score(scores: Scores) -> str:
    mse, rmse = (number(scores[name]) for name in ("mse", "rmse"))
    return f"MSE {mse}, RMSE {rmse}, R2 {number(scores['r2'], '.5f')}"


def _dependent(party: str, count: int, report: LinearReport) -> str:
    """What a report says of columns that follow from others of the same party; only a simulation knows their names."""
    named = (report.dependent_columns or {}).get(party, {})
    which = "; ".join(f"{column} from {', '.join(others)}" for column, others in named.items())
    where = which or "its log and its stored model name them"
    few = "column follows" if count == 1 else "columns follow"
    return f"{count} {few} from others of {party} ({where}): other weights predict the same, these are the least"


def _alike(report: LinearReport) -> str:
    """What a report says of columns that agree with those of other parties; only a simulation knows their names."""
    named = report.alike_columns or {}
    parts = [f"{count} of {party}{_in_brackets(named.get(party, []))}" for party, count in report.alike.items()]
    where = "" if named else "; each party's log and stored model name its own"
    return f"columns of different parties agree, or add up to each other: {', '.join(parts)}{where}"


def _in_brackets(names: list[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _coefficients(report: LinearReport) -> Grid | None:
    if report.coefficients is None or report.intercept is None:
        return None
    pairs = [(party, column, pair) for party, own in report.coefficients.items() for column, pair in own.items()]
    rows = [
        (
            *(party, column, f"{pair.federated:.6f}", f"{pair.pooled:.6f}"),
            f"{abs(pair.federated - pair.pooled):.1e}",
        )
        for party, column, pair in [*pairs, ("", "intercept", report.intercept)]
    ]
    headings = ("party", "column", "federated", "pooled", "difference")
    return Grid([headings, *rows], numbers=3, title="coefficients of standardised columns")
