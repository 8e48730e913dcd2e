"""Networks as described, their weights in and out, and factories that are no good."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from fedbus.algorithms.fedavg.network import Layer, Model
from fedbus.errors import JobRefused, ProtocolError
from fedbus.weights import Weights
from parties.fedavg.network import Flat, build, check_outputs, layout, load, weights

LAYERS = Model(
    layers=(
        Layer(linear=5),
        Layer(layer_norm=True),
        Layer(activation="gelu"),
        Layer(dropout=0.25),
        Layer(linear=2),
    )
)


class Tied(nn.Module):
    """One matrix under two names, and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(3, 3, bias=False)
        self.out = nn.Linear(3, 3)
        self.out.weight = self.into.weight
        self.norm = nn.BatchNorm1d(3)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.out(self.norm(self.into(rows)))


@pytest.fixture
def factory() -> Iterator[Callable[[Any], Model]]:
    """Makes a model of a callable, as a module that is installed here."""
    module = ModuleType("models_of_this_test")
    sys.modules[module.__name__] = module

    def model(make: Any, **arguments: bool | int | float | str) -> Model:
        module.make = make  # type: ignore[attr-defined]
        return Model(factory="models_of_this_test:make", arguments=arguments)

    yield model
    del sys.modules[module.__name__]


def test_layers() -> None:
    first, norm, gelu, dropout, last = build(LAYERS, 3, 1)
    assert (first.in_features, first.out_features, last.in_features, last.out_features) == (3, 5, 5, 2)
    assert norm.normalized_shape == (5,)
    assert dropout.p == 0.25
    assert isinstance(gelu, nn.GELU)
    assert check_outputs(build(LAYERS, 3, 1), 3, "cross_entropy") == 2


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "gelu", "leaky_relu"])
def test_activations(name: str) -> None:
    (_, activation) = build(Model(layers=(Layer(linear=1), Layer(activation=name))), 1, 1)
    values = torch.linspace(-3, 3, 13)
    assert activation(values).tolist() == getattr(nn.functional, name)(values).tolist()


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    untouched = torch.rand(3).tolist()
    torch.manual_seed(5)
    one, same, other = (bytes(weights(build(LAYERS, 3, seed)).blob) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert torch.rand(3).tolist() == untouched


def test_weights_in_and_out() -> None:
    one, other = build(LAYERS, 3, 1), build(LAYERS, 3, 2)
    load(other, weights(one), "shop")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    taken = weights(one)
    taken.flat[:] = 0
    assert not any(torch.equal(value, torch.zeros_like(value)) for value in (one[0].weight, other[0].weight))


@pytest.mark.parametrize(
    "module", [build(LAYERS, 3, 1), Tied(), nn.Linear(3, 2, dtype=torch.float64), nn.Conv1d(2, 3, 2)]
)
def test_pieces_of_a_network_are_those_of_its_weights(module: nn.Module) -> None:
    whole, flat = weights(module), Flat(module)
    assert (layout(module).header, layout(module).size) == (whole.header, len(whole.blob))
    for start in range(len(whole)):
        for stop in range(start, len(whole) + 1):
            assert flat.read(start, stop).tolist() == whole.flat[start:stop].tolist()


def test_tied_tensors_and_counters() -> None:
    module = Tied()
    taken = weights(module)
    names = ["into.weight", "norm.bias", "norm.running_mean", "norm.running_var", "norm.weight", "out.bias"]
    assert list(taken.shapes) == names
    taken.tensors()["into.weight"][...] = 2
    load(module, taken, "shop")
    assert module.out.weight is module.into.weight
    assert module.out.weight.tolist() == [[2.0] * 3] * 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_floating_point_types_travel_as_float32(dtype: torch.dtype) -> None:
    module = nn.Linear(2, 1, dtype=dtype)
    taken = weights(module)
    assert taken.tensors()["weight"].tolist() == module.weight.detach().float().tolist()
    taken.flat[:] = 0.1875
    load(module, taken, "shop")
    assert module.weight.dtype == dtype
    assert module.weight.tolist() == [[0.1875] * 2]


def test_weights_of_another_network() -> None:
    module = build(LAYERS, 3, 1)
    before = bytes(weights(module).blob)
    with pytest.raises(ProtocolError, match=r"shop sent tensor '0.weight' of shape \(5, 4\), this model's is \(5, 3\)"):
        load(module, weights(build(LAYERS, 4, 1)), "shop")
    with pytest.raises(ProtocolError, match=r"only this model has '4.weight'"):
        load(module, Weights.of({k: v for k, v in weights(module).tensors().items() if k != "4.weight"}), "shop")
    assert bytes(weights(module).blob) == before


@pytest.mark.parametrize(
    ("outputs", "loss", "message"),
    [
        (1, "cross_entropy", r'takes one output per class, 2 or more; .* params\.loss = "bce"'),
        (2, "mse", r"2 outputs and the loss is mse, which takes 1; end the network with \{ linear = 1 \}"),
        (3, "bce", "3 outputs and the loss is bce"),
    ],
)
def test_outputs_that_do_not_fit_the_loss(outputs: int, loss: str, message: str) -> None:
    with pytest.raises(JobRefused, match=message):
        check_outputs(nn.Linear(4, outputs), 4, loss)


def test_networks_that_take_or_give_something_else() -> None:
    with pytest.raises(JobRefused, match=r"does not take rows of 3 features \(RuntimeError\); .* argument `inputs`"):
        check_outputs(nn.Linear(4, 1), 3, "mse")
    with pytest.raises(JobRefused, match=r"two rows give a tensor of shape \(8,\)"):
        check_outputs(nn.Flatten(0), 4, "mse")
    with pytest.raises(JobRefused, match=r"two rows give tuple; .* \(rows, outputs\)"):
        check_outputs(nn.LSTM(4, 1), 4, "mse")


def test_checking_changes_nothing() -> None:
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)).train()
    before = bytes(weights(module).blob)
    assert check_outputs(module, 3, "mse") == 1
    assert module.training
    assert bytes(weights(module).blob) == before


def test_a_factory_is_called(factory: Callable[..., Model]) -> None:
    def make(inputs: int, width: int, bias: bool) -> nn.Module:
        return nn.Linear(inputs, width, bias=bias)

    module = build(factory(make, width=2, bias=False), 7, 1)
    assert module.weight.shape == (2, 7)
    assert module.bias is None
    assert torch.equal(module.weight, build(factory(make, width=2, bias=False), 7, 1).weight)


def test_factories_that_cannot_be_imported(factory: Callable[..., Model]) -> None:
    for name in ("no_such_module_here:make", "models_of_this_test:missing"):
        with pytest.raises(JobRefused, match=f"model.factory: {name} cannot be imported") as refused:
            build(Model(factory=name), 3, 1)
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__


def test_a_factory_that_raises(factory: Callable[..., Model]) -> None:
    def make(inputs: int, depth: int) -> nn.Module:
        raise ValueError("a line of the table")

    with pytest.raises(JobRefused, match=r"raised ValueError when called with inputs=3, depth=2; call it") as refused:
        build(factory(make, depth=2), 3, 1)
    assert "table" not in str(refused.value)
    assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda **_: None, "returned NoneType, no torch.nn.Module"),
        (lambda **_: nn.ReLU(), "without parameters to train"),
        (lambda inputs: nn.Linear(inputs, 1).requires_grad_(requires_grad=False), "without parameters to train"),
        (lambda inputs: nn.Linear(inputs, 1, device="meta"), "weight is torch.float32 on meta"),
        (lambda inputs: nn.Linear(inputs, 1, dtype=torch.complex64), "weight is torch.complex64 on cpu"),
        (lambda **_: nn.LazyLinear(1), "weight has no size yet; use layers of a given size"),
    ],
)
def test_factories_that_make_nothing_to_average(factory: Callable[..., Model], make: Any, message: str) -> None:
    with pytest.raises(JobRefused, match=f"models_of_this_test:make.*{message}"):
        build(factory(make), 3, 1)
