"""How training by solver `gram` ended, and what whoever submitted the job should know of it."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.linear.conjugate import MOST_LACK, Conjugate
from fedbus.algorithms.linear.layout import Layout
from fedbus.algorithms.linear.spec import MOST_FEATURE_BITS

_NAMED = " Each party's log and stored model name its own of them."
# Parts of the error that is measured, and of the label's variance, by which it may differ from what the solver worked
# with, besides what the rounding of columns explains.
_AGREED, _AGREED_OF_LABEL = 1e-5, 1e-7


@dataclass(frozen=True, slots=True)
class Ending:
    """What the coordinator knows at the end.

    Attributes:
        state: of conjugate gradients, after the last check.
        layout: of the last pass over the rows.
        unit: what the label was divided by.
        measured, expected: the mean squared error, in squares of that unit: on the rows, and of the numbers that the
            solver worked with.
        most: rounds that the job allows.
        unfinished: these were used up before the solution was found.
        kept, dependent, cut: what the search for columns of different parties that depend on each other found: some;
            some that cannot be told from columns that do; nothing yet, when its rounds were used up.
    """

    state: Conjugate
    layout: Layout
    unit: float
    measured: float
    expected: float
    most: int
    unfinished: bool
    kept: bool = False
    dependent: bool = False
    cut: bool = False

    @property
    def lack(self) -> float:
        """What the model may lack of the best one, as a part of the label's variance."""
        return self.state.lack()

    @property
    def agrees(self) -> bool:
        """Whether the error measured on the rows is that of the numbers that the solver worked with."""
        blur: float = self.state.blur
        allowed: float = blur + 2 * (blur * self.measured) ** 0.5
        allowed += _AGREED * self.measured + _AGREED_OF_LABEL * self.state.square
        return abs(self.measured - self.expected) <= allowed

    @property
    def exact(self) -> bool:
        return self.lack <= MOST_LACK and self.agrees

    @property
    def exhausted(self) -> bool:
        """Whether more rounds might have come to more."""
        return self.unfinished or self.cut

    @property
    def converged(self) -> bool:
        return self.exact and not self.exhausted

    @property
    def sentence(self) -> str:
        """Say how training ended."""
        if self.exhausted:
            return f"not converged in {self.most} rounds (params.max_epochs)"
        return "converged" if self.exact else "not converged: the numbers are too coarse for these columns"

    @property
    def warnings(self) -> list[str]:
        """What may be wrong with the model, and what to do about it."""
        return [text for text in (self._exactness(), self._dependence(), self._search()) if text]

    def _exactness(self) -> str:
        """Say that the bits do not carry the solution, or where that cannot be told that the error is not the expected
        one.
        """
        if not self.unfinished and self.lack > MOST_LACK:
            return self._too_few_bits()
        return "" if self.agrees else self._other_error()

    def _too_few_bits(self) -> str:
        wanted, bits = self.state.bits_wanted(), self.layout.bits
        raised = "" if wanted is None or wanted == bits else f"raise params.feature_bits to {wanted}, "
        return (
            f"Columns of different parties depend on each other so closely (condition {self.state.condition:.1e}) that"
            f" {bits} fraction bits do not carry the solution: R2 may be {min(self.lack, 1.0):.1e} below the best;"
            f" {raised}set params.l2, or leave one of these columns out.{_NAMED if self.kept else ''}"
        )

    def _other_error(self) -> str:
        measured, expected = self.measured * self.unit**2, self.expected * self.unit**2
        return (
            f"The error measured on the rows (MSE {measured:.6g}) is not the one of the numbers that the solver worked"
            f" with ({expected:.6g}): they are too coarse for these columns; raise params.feature_bits (now"
            f" {self.layout.bits}), set params.l2, or leave columns out that depend on each other."
        )

    def _dependence(self) -> str:
        """Say that columns count as dependent, where nothing else limits the solution."""
        if not self.dependent or self.lack > MOST_LACK:
            return ""
        bits = self.layout.bits
        raised = f"raise params.feature_bits to {MOST_FEATURE_BITS}, " if bits < MOST_FEATURE_BITS else ""
        return (
            f"Columns of different parties agree, or add up to each other, to about {0.3 * bits:.0f} digits, and"
            " count as dependent: a label that needs what is beyond these digits is not explained by it; if it may,"
            f" {raised}have one party offer the difference as a column, or leave one of the columns out.{_NAMED}"
        )

    def _search(self) -> str:
        """Say that a search was not done when its rounds were used up."""
        if not self.cut:
            return ""
        return (
            f"{self.most} rounds (params.max_epochs) were too few to find out whether columns of different"
            " parties depend on each other: if some do, R2 may be below the best; raise params.max_epochs."
        )
