"""The privacy budget against formulas of the papers, worked out here, and against a published figure."""

from __future__ import annotations

import math

import pytest

from fedbus.algorithms.fedavg import budget as module
from fedbus.algorithms.fedavg.budget import Budget
from fedbus.algorithms.fedavg.spec import Privacy
from fedbus.errors import JobRefused

# The usual example, MNIST: 60,000 rows in batches of 256, noise 1.1, 60 epochs.
ROWS, BATCH, NOISE, DELTA, EPOCHS = 60_000, 256, 1.1, 1e-5, 60


def privacy(noise: float = NOISE, delta: float = DELTA, accountant: str = "rdp", epsilon: float = 1.0) -> Privacy:
    return Privacy(noise_multiplier=noise, delta=delta, accountant=accountant, epsilon=epsilon)


def divergence(rate: float, noise: float, order: int) -> float:
    """Rényi divergence of one step at a whole order: Mironov, Talwar, Zhang, 2019, section 3.3."""
    total = math.fsum(
        math.comb(order, k) * rate**k * (1 - rate) ** (order - k) * math.exp((k * k - k) / (2 * noise**2))
        for k in range(order + 1)
    )
    return math.log(total) / (order - 1)


def test_a_published_figure() -> None:
    steps = EPOCHS * math.ceil(ROWS / BATCH)
    orders = range(2, 40)
    spent = {order: steps * divergence(BATCH / ROWS, NOISE, order) for order in orders}
    # TensorFlow Privacy's tutorial gives 3.01 for this: the conversion of Mironov, CSF 2017, proposition 3.
    classic = min(spent[order] + math.log(1 / DELTA) / (order - 1) for order in orders)
    assert classic == pytest.approx(3.01, abs=0.03)
    # Balle et al., theorem 21, converts the same divergences more tightly.
    tight = min(
        spent[order] - (math.log(DELTA) + math.log(order)) / (order - 1) + math.log((order - 1) / order)
        for order in orders
    )
    renyi = Budget(privacy(), BATCH, [ROWS], 1).epsilon_after(EPOCHS)
    # Broken orders lie between the whole ones: a little tighter still.
    assert tight - 0.02 < renyi <= tight + 1e-9
    numerical = Budget(privacy(accountant="prv"), BATCH, [ROWS], 1).epsilon_after(EPOCHS)
    assert 2.3 < numerical < renyi - 0.1


def gaussian_delta(epsilon: float, noise: float, steps: int) -> float:
    """Of steps that see all rows, exactly: Balle, Wang, "Improving the Gaussian mechanism", ICML 2018, theorem 8."""
    mu = math.sqrt(steps) / noise

    def cdf(value: float) -> float:
        return math.erfc(-value / math.sqrt(2)) / 2

    return cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * cdf(-mu / 2 - epsilon / mu)


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_when_every_row_takes_part_in_every_step(accountant: str) -> None:
    # The batch is larger than the table: the rate is 1, and there is a formula. 10 rounds of 3 steps.
    epsilon = Budget(privacy(noise=8.0, accountant=accountant), 100, [50], 3).epsilon_after(10)
    exact = next(value / 1000 for value in range(10_000) if gaussian_delta(value / 1000, 8.0, 30) <= DELTA)
    assert exact - 0.001 < epsilon < exact * 1.15
    assert accountant == "rdp" or epsilon < exact + 2 * module.EPSILON_ERROR


def test_the_party_that_loses_most_counts() -> None:
    each = [Budget(privacy(), 32, [rows], 2).epsilon_after(5) for rows in (300, 1000, 5000)]
    assert each == sorted(each, reverse=True)
    assert Budget(privacy(), 32, [5000, 300, 1000], 2).epsilon_after(5) == each[0]
    # It need not be the one with the fewest rows: one row beyond the batch makes it two steps.
    one, two = (Budget(privacy(), 32, [rows], 1).epsilon_after(5) for rows in (32, 33))
    assert two > one
    assert Budget(privacy(), 32, [32, 33], 1).epsilon_after(5) == two
    # Of parties with as many steps, the one with fewer rows.
    assert Budget(privacy(), 32, [40, 60], 1).epsilon_after(5) == Budget(privacy(), 32, [40], 1).epsilon_after(5)


def test_rounds_and_local_epochs_are_steps() -> None:
    assert Budget(privacy(), 32, [1000], 1).epsilon_after(0) == 0
    assert Budget(privacy(), 32, [1000], 6).epsilon_after(2) == Budget(privacy(), 32, [1000], 1).epsilon_after(12)


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_the_last_round_that_is_allowed(accountant: str) -> None:
    epsilon = Budget(privacy(accountant=accountant), 32, [1000], 1).epsilon_after(13) + 1e-6
    budget = Budget(privacy(accountant=accountant, epsilon=epsilon), 32, [1000], 1)
    assert [budget.allows(number) for number in (1, 2, 12, 13, 14, 15, 10_000)] == [True] * 4 + [False] * 3
    assert budget.epsilon_after(13) <= epsilon < budget.epsilon_after(14)


def test_no_round_or_all() -> None:
    assert not Budget(privacy(epsilon=0.01), 32, [1000], 1).allows(1)
    assert Budget(privacy(noise=1000.0, epsilon=2.0), 32, [1000], 1).allows(10_000)


def test_how_many_rounds_are_affordable() -> None:
    epsilon = Budget(privacy(), 32, [1000], 1).epsilon_after(13) + 1e-6
    budget = Budget(privacy(epsilon=epsilon), 32, [1000], 1)
    assert [budget.affordable(most) for most in (1, 12, 13, 14, 10_000)] == [1, 12, 13, 13, 13]
    assert Budget(privacy(epsilon=0.01), 32, [1000], 1).affordable(10) == 0


def test_hardly_any_noise() -> None:
    # The numerical accountant's grid would not fit: the other's bound is taken, at once.
    settings = {"noise": 0.05, "delta": 1e-5}
    epsilon = Budget(privacy(**settings, accountant="prv"), 32, [1000], 1).epsilon_after(100)
    assert epsilon == Budget(privacy(**settings), 32, [1000], 1).epsilon_after(100) > 1000
    assert Budget(privacy(noise=1e-9), 32, [1000], 1).epsilon_after(1) > 1e9


def test_a_delta_that_promises_nothing() -> None:
    with pytest.raises(JobRefused, match=r"privacy\.delta: 0\.001 allows to publish a whole row .* well below 0\.001"):
        Budget(privacy(delta=1e-3), 32, [500, 1000], 1)
    Budget(privacy(delta=1e-3), 32, [500, 900], 1)


def test_rows() -> None:
    for rows in ([], [10, 0]):
        with pytest.raises(ValueError, match="at least one row"):
            Budget(privacy(), 32, rows, 1)
