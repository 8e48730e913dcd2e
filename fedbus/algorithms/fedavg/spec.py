"""Jobs of federated averaging: the same columns at several parties, other rows at each; one network for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from fedbus.algorithms.fedavg.network import Fraction, Model, check_model
from fedbus.algorithms.sums.rules import SumRules, check_aggregation, check_key_settings
from fedbus.errors import ConfigError
from fedbus.job import MIN_KEY_BITS, HowMany, JobSpec, KeyBits, NonEmpty, NotNegative, Part, Positive, Wait, check_known
from fedbus.messages.fields import MAX_PARTIES

OPTIMIZERS = ("sgd", "adam")
LOSSES = ("mse", "cross_entropy", "bce")
STRATEGIES = ("fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "median", "trimmed_mean", "krum")
# These compare the parties' updates one by one, which only a coordinator that sees them can do.
ROBUST = ("median", "trimmed_mean", "krum")
ACCOUNTANTS = ("rdp", "prv")
# What each setting of [strategy] belongs to.
_OF_STRATEGY = {
    "mu": ("fedprox",),
    "learning_rate": ("fedavgm", "fedadam", "fedyogi"),
    "momentum": ("fedavgm",),
    "beta1": ("fedadam", "fedyogi"),
    "beta2": ("fedadam", "fedyogi"),
    "tau": ("fedadam", "fedyogi"),
    "trim": ("trimmed_mean",),
    "byzantine": ("krum",),
}
MAX_TRAINING_ROUNDS = 10_000


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is done to columns before training.

    Attributes:
        standardize: Subtract each column's mean and divide by its standard deviation, both of all parties' training
            rows; they are summed as updates are, so that no party tells its own. A column with one value in all rows
            becomes 0, and the report names it.
        as_is: Columns that are left as they are.
        standardize_label: With loss "mse" only, where the label is a number: train on the label less its mean over its
            deviation, of the same rows. Losses, scores and predictions are in the label's own unit all the same.
    """

    standardize: bool = True
    standardize_label: bool = True
    as_is: tuple[NonEmpty, ...] = ()


class Strategy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the average of the parties' updates becomes the next model.

    Attributes:
        name: "fedavg" takes the average itself. "fedprox" keeps the parties' models near the common one while they
            train. "fedavgm", "fedadam" and "fedyogi" take the average as the gradient of an optimiser at the server.
            "median", "trimmed_mean" and "krum" compare the updates of single parties, and so need `params.aggregation =
            "plain"`.
        mu: With "fedprox" only: the weight of the proximal term at the parties.
        learning_rate: With "fedavgm", "fedadam" and "fedyogi" only: the server's step. Where it is left out, "fedavgm"
            takes 1 and the other two take 0.1.
        momentum: With "fedavgm" only: the server's momentum.
        beta1: With "fedadam" and "fedyogi" only: the decay of the mean of updates.
        beta2: With "fedadam" and "fedyogi" only: the decay of the mean of their squares.
        tau: With "fedadam" and "fedyogi" only: what is added to the root of that mean before it divides.
        trim: With "trimmed_mean" only: the part of the values that is dropped at either end.
        byzantine: With "krum" only: how many parties are expected to lie. The job needs twice as many parties and three
            more.
    """

    name: str = "fedavg"
    mu: Positive = 0.01
    learning_rate: Positive | None = None
    momentum: Fraction = 0.9
    beta1: Fraction = 0.9
    beta2: Fraction = 0.99
    tau: Positive = 1e-3
    trim: Annotated[float, Meta(gt=0, lt=0.5)] = 0.2
    byzantine: Annotated[int, Meta(ge=0, le=MAX_PARTIES)] = 1


class Privacy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Differential privacy of each row: DP-SGD at the parties (Abadi et al., CCS 2016).

    The privacy budget that is spent is reported in each round, and the round that would pass `epsilon` is not run.

    Attributes:
        noise_multiplier: The standard deviation of the noise, over `max_grad_norm`.
        epsilon: The privacy budget. A smaller one protects rows better and allows fewer rounds.
        delta: The probability that the guarantee allows itself; it has to be below one over the rows of a party.
        max_grad_norm: The norm to which the gradient of each row is clipped.
        accountant: How the budget that is spent is computed: "rdp" (Rényi) or "prv" (numerical composition).
    """

    noise_multiplier: Positive
    epsilon: Positive
    delta: Annotated[float, Meta(ge=1e-12, lt=1)]
    max_grad_norm: Positive = 1.0
    accountant: str = "rdp"


class AverageParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the network is trained, and how updates are summed.

    Attributes:
        rounds: How many rounds there are; fewer where early stopping or the privacy budget ends training.
        local_epochs: How many times a party goes through its own rows in each round.
        batch_size: How many rows a step of the parties' optimiser takes.
        optimizer: The optimiser at the parties, "sgd" or "adam". It begins anew in each round.
        learning_rate: The step of the optimiser at the parties.
        momentum: The momentum of optimiser "sgd" at the parties.
        weight_decay: The weight decay (L2) of the optimiser at the parties.
        loss: "mse" for a label that is a number, "cross_entropy" for classes 0, 1, 2 and so on, or "bce" for a label
            that is 0 or 1; with "bce" the network has one output, without a sigmoid.
        seed: From which the first weights and the order of rows follow; it is public.
        aggregation: How updates are summed. With "masked" the coordinator sees sums only. With "paillier" the parties
            hold a key and the coordinator adds ciphertexts: it does not see even the sums unless a party opens them.
            With "plain" it sees each update, which every party's policy has to allow.
        clip_range: The largest magnitude of an entry of an update. Larger ones are cut; the report counts them
            (`clipped`) and warns, and a job in which most are cut fails.
        fraction_bits: Fraction bits of the fixed point of updates. Where it is left out, as many as residues of 32 bits
            allow, or of 64 bits for a small network.
        key_bits: With aggregation "paillier" only: the length of the key in bits. A key below 2048 bits protects nobody
            and is taken only with `insecure_for_tests`.
        client_fraction: The part of the parties that is drawn at random for each round, `min_clients` at least. The
            losses of a round are then over those drawn.
        min_clients: Without so many parties a round waits. Where it is left out, it is `threshold`; with "paillier" it
            is 2, with "plain" 1.
        threshold: So many parties have to reveal secrets before a mask can be taken off; a majority, and more than half
            of all where it is left out.
        deadline: So many seconds a round waits for all its parties; then it goes on as soon as `min_clients` have
            answered. Set it above the time that the slowest party trains, or that party is left out of every round.
        patience: Training ends after so many rounds without a better loss, on held-out rows if there are any. Where it
            is left out, the job goes through all rounds.
        insecure_for_tests: With aggregation "paillier": allow a key below 2048 bits. This is never for real data, and
            every party's policy has to allow it too. It may stand at the top of the file as well.
    """

    rounds: Annotated[int, Meta(ge=1, le=MAX_TRAINING_ROUNDS)] = 100
    local_epochs: Annotated[int, Meta(ge=1, le=1000)] = 1
    batch_size: HowMany = 32
    optimizer: str = "sgd"
    learning_rate: Positive = 0.01
    momentum: Fraction = 0.0
    weight_decay: NotNegative = 0.0
    loss: str = "mse"
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 1
    aggregation: str = "masked"
    clip_range: Annotated[float, Meta(ge=1e-6, le=1e6)] = 8.0
    fraction_bits: Annotated[int, Meta(ge=8, le=52)] | None = None
    key_bits: KeyBits = MIN_KEY_BITS
    client_fraction: Annotated[float, Meta(ge=1e-6, le=1)] = 1.0
    min_clients: Annotated[int, Meta(ge=1, le=MAX_PARTIES)] | None = None
    threshold: Annotated[int, Meta(ge=2, le=MAX_PARTIES)] | None = None
    deadline: Wait = 60.0
    patience: HowMany | None = None
    insecure_for_tests: bool = False


class AverageJob(JobSpec, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A job of federated averaging: parties hold different rows of the same columns.

    Each party trains a network on its own rows, and the coordinator makes the next one of the sum of their updates. All
    parties keep the model. A job has 100 parties at most; all of them have to be there when it begins.

    Attributes:
        label: The column to predict; it has the same name at every party.
        members: In the file `[[parties]]`. Three or more are advised, for of two each can work out the other's update.
    """

    ALGORITHM: ClassVar[str] = "fedavg"

    label: NonEmpty
    members: Annotated[tuple[Part, ...], Meta(min_length=2, max_length=MAX_PARTIES)] = msgspec.field(name="parties")
    model: Model
    data: Data = Data()
    params: AverageParams = AverageParams()
    strategy: Strategy = Strategy()
    privacy: Privacy | None = None

    @classmethod
    def draft(cls, tables: Sequence[tuple[str, str]], label: str) -> dict[str, Any]:
        """Draft a small network for a label that is a number; see `JobSpec`."""
        return {
            "label": label,
            "parties": [{"party": party, "dataset": dataset} for party, dataset in tables],
            "model": {"layers": [{"linear": 16}, {"activation": "relu"}, {"linear": 1}]},
            "params": {"rounds": 30, "batch_size": 8, "learning_rate": 0.03},
        }

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.members

    @property
    def places(self) -> tuple[str, ...]:
        return tuple(f"parties[{number}]" for number in range(len(self.members)))

    @property
    def length(self) -> tuple[int, str]:
        return self.params.rounds, "round"

    @property
    def key_bits(self) -> int | None:
        return self.params.key_bits if self.params.aggregation == "paillier" else None

    @property
    def epsilon(self) -> float | None:
        return None if self.privacy is None else self.privacy.epsilon

    @property
    def insecure(self) -> bool:
        return self.params.insecure_for_tests

    @property
    def led(self) -> bool:
        return True

    @property
    def finish_within(self) -> float | None:
        return self.params.deadline

    @property
    def same_columns(self) -> bool:
        return True

    @property
    def needs_identities(self) -> bool:
        return self.sums.hides

    @property
    def model_facts(self) -> dict[str, Any]:
        return {"loss": self.params.loss, "label": self.label, "network": self.to_map()["model"]}

    def reported(self, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """How many entries of its updates each party cut."""
        return {"clipped": {party: figures.get("clipped", 0) for party, figures in results.items()}}

    @property
    def sums(self) -> SumRules:
        """How the parties' vectors are summed."""
        params = self.params
        return SumRules.of(
            params.aggregation,
            self.parties,
            threshold=params.threshold,
            min_clients=params.min_clients,
            client_fraction=params.client_fraction,
            deadline=params.deadline,
            key_bits=params.key_bits,
        )

    @property
    def scales_label(self) -> bool:
        """Whether the label is standardised: where it is a number."""
        return self.data.standardize_label and self.params.loss == "mse"

    def label_of(self, party: str) -> str | None:  # noqa: ARG002  # the same at all
        return self.label

    def check(self, fields: dict[str, Any], where: str) -> None:
        """See JobSpec; settings that contradict each other are refused too."""
        self._check_names(where)
        check_model(self.model, self.params.loss, where)
        self._check_label(fields.get("data", {}), where)
        check_key_settings(self.params.aggregation, fields.get("params", {}), where)
        self._check_strategy(fields.get("strategy", {}), where)
        self.sums.check(where)
        self._check_privacy(where)
        super().check(fields, where)

    def _check_names(self, where: str) -> None:
        """Refuse an aggregation, an optimiser, a loss or a strategy that there is not."""
        check_aggregation(self.params.aggregation, where)
        check_known("params.optimizer", self.params.optimizer, OPTIMIZERS, where)
        check_known("params.loss", self.params.loss, LOSSES, where)
        check_known("strategy.name", self.strategy.name, STRATEGIES, where)

    def _check_label(self, given: Mapping[str, Any], where: str) -> None:
        """Refuse to standardise labels that are classes, where [data] asks for it."""
        if self.params.loss != "mse" and given.get("standardize_label"):
            raise ConfigError(
                f"{where}: data.standardize_label: belongs to loss 'mse', with {self.params.loss!r} labels are "
                "classes; leave it out"
            )

    def _check_strategy(self, given: Mapping[str, Any], where: str) -> None:
        """Refuse settings of another strategy, and a strategy that the aggregation or the parties do not allow."""
        strategy, parties = self.strategy, len(self.members)
        for key in given:
            of = _OF_STRATEGY.get(key)
            if of is not None and strategy.name not in of:
                raise ConfigError(f"{where}: strategy.{key}: belongs to {' and '.join(of)}, this is {strategy.name!r}")
        if strategy.name in ROBUST and self.sums.hides:
            raise ConfigError(
                f"{where}: strategy.name: {strategy.name!r} compares single updates, which a coordinator sees only "
                'with params.aggregation = "plain"; set it, if it may see them, or choose another strategy'
            )
        if strategy.name == "krum" and parties < 2 * strategy.byzantine + 3:
            raise ConfigError(
                f"{where}: strategy.byzantine: krum with {strategy.byzantine} takes at least "
                f"{2 * strategy.byzantine + 3} parties, this job has {parties}"
            )

    def _check_privacy(self, where: str) -> None:
        """Refuse a privacy that nothing can account for, or patience without anything to watch."""
        if self.privacy is None:
            return
        if self.params.patience is not None and not all(part.test for part in self.parts):
            raise ConfigError(
                f"{where}: params.patience: [privacy] keeps the loss of training back, so that patience needs held-out "
                "rows (`test`) at every party"
            )
        check_known("privacy.accountant", self.privacy.accountant, ACCOUNTANTS, where)
