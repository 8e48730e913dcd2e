"""These sentences, for a job's report,
keep readers from taking a job of federated averaging for a success that it is not.
"""

from __future__ import annotations

import math

from coordinator.fedavg.progress import Course
from fedbus.algorithms.fedavg.spec import AverageJob
from fedbus.errors import JobFailed

# Of the entries of all updates, and how many: a stray one is no reason to worry. Their number is known roughly only, as
# parts are weighted by the parties' rows.
_STRAY, _MOST_STRAY = 1e-4, 1.5
# Of the entries of one round's updates: told at once.
_MANY = 0.01
# What is added up from parts need not come to 1.
_ONE_CLASS = 1 - 1e-9
# After so many rounds in which most entries were cut, no later one mends it.
_JUDGED_AFTER = 3


def check_clipped(course: Course, spec: AverageJob) -> None:
    """Raise JobFailed where most entries of the updates so far were cut:
    what is added up is then not what parties learnt.
    """
    if len(course.clipped) < min(_JUDGED_AFTER, spec.params.rounds):
        return
    part = sum(course.clipped) / len(course.clipped)
    if part > 0.5:  # most
        raise JobFailed(
            f"{part:.0%} of the entries of the parties' updates were beyond params.clip_range "
            f"({spec.params.clip_range:g}) and were cut, so that the model is not the parties' average; "
            f"{_less_clipping(spec)}"
        )


def clipped_now(course: Course, spec: AverageJob) -> str:
    """Return what whoever watches should know of the last round's updates:
    once, when many of their entries are first cut.
    """
    *before, part = course.clipped
    if part < _MANY or any(each >= _MANY for each in before):
        return ""
    return (
        f"{part:.0%} of the entries of the updates of round {course.trained} were beyond params.clip_range "
        f"({spec.params.clip_range:g}) and were cut; {_less_clipping(spec)}"
    )


def warnings(course: Course, spec: AverageJob, parameters: int, *, best: bool) -> list[str]:
    """Return the warnings, the worst first; [] where there is nothing to say.

    Args:
        parameters: of the network.
        best: the best model is kept beside the last one, where it is another.
    """
    if not course.trained:
        return []
    instead = ""
    if best and course.best_model != course.trained and course.best < math.inf:
        instead = f" The best model, after round {course.best_model}, has {course.best:.6g} and is kept too (`best`)."
    found = [*_against_a_constant(course, spec, instead), *_grown(course, instead)]
    if course.label_constant:
        found.insert(0, f"The label {spec.label!r} has the same value in all rows of all parties: nothing was learnt.")
    part = sum(course.clipped) / len(course.clipped)
    if part > _STRAY and part * parameters * sum(course.members) > _MOST_STRAY:
        found.append(
            f"{_percent(part)} of the entries of the parties' updates were beyond params.clip_range "
            f"({spec.params.clip_range:g}) and were cut, which changes the model; {_less_clipping(spec)}."
        )
    return found


def _against_a_constant(course: Course, spec: AverageJob, instead: str) -> list[str]:
    """Whether the last model is worse than a prediction that is always the same."""
    mse = spec.params.loss == "mse"
    label = " or standardise the label (data.standardize_label)" if mse and not spec.scales_label else ""
    remedy = f"Change params.learning_rate, params.rounds or the network{label}."
    if course.evaluated and course.baseline is not None:
        reached = course.test_loss[-1] if mse else course.test_correct[-1]
        if mse and reached > course.baseline:
            return [
                f"The last model is worse than always predicting the mean of the label: on held-out rows its mean "
                f"squared error is {reached:.6g}, and that of the mean {course.baseline:.6g} (R2 "
                f"{1 - reached / course.baseline:.4g}).{instead} {remedy}"
            ]
        # Equally good is what a model is that always answers with this class; of rows of one class it is all there is.
        if not mse and reached < course.baseline < _ONE_CLASS:
            return [
                f"The last model is worse than always predicting the most frequent class: on held-out rows it is right "
                f"in {reached:.2%}, and the most frequent class in {course.baseline:.2%}.{instead} {remedy}"
            ]
        return []
    if course.has_tests or math.isnan(course.loss[-1]):
        return []
    reached, of_mean = course.loss[-1], course.label_scale**2
    if mse and spec.scales_label and reached > of_mean:
        return [
            f"The last model is worse than always predicting the mean of the label: in its last round of training the "
            f"mean squared error was {reached:.6g}, and that of the mean is {of_mean:.6g}.{instead} {remedy}"
        ]
    blind = math.log(max(2, course.outputs))
    if not mse and reached > blind:
        return [
            f"The last model is worse than giving each class the same probability: in its last round of training the "
            f"loss was {reached:.6g}, and without knowing anything it is {blind:.6g}.{instead} {remedy}"
        ]
    return []


def _grown(course: Course, instead: str) -> list[str]:
    """Whether the loss on held-out rows grew; of the loss of training fedbus/cautions.py says so of any job."""
    losses = course.test_loss
    if len(losses) < 2 or losses[-1] <= losses[0]:
        return []
    return [
        f"The loss on held-out rows grew, from {losses[0]:.6g} at first to {losses[-1]:.6g} at the end.{instead} Lower "
        "params.learning_rate."
    ]


def _less_clipping(spec: AverageJob) -> str:
    """What to do about entries that are cut."""
    label = spec.params.loss == "mse" and not spec.scales_label
    return (
        f"{'standardise the label (data.standardize_label), ' if label else ''}"
        f"{'' if spec.data.standardize else 'standardise the columns (data.standardize), '}"
        "lower params.learning_rate or params.local_epochs, or raise params.clip_range"
    )


def _percent(part: float) -> str:
    return f"{part:.2%}" if part >= _STRAY * 10 else f"{part:.3%}"
