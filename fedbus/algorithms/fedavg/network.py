"""The network of a job of federated averaging, as its file describes it: layers, or a callable at the parties."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from fedbus.errors import ConfigError
from fedbus.job import NonEmpty, check_known
from fedbus.messages.fields import Finite

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "leaky_relu")
FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
# A gigabyte in single precision, of which a party takes some in training.
MAX_PARAMETERS = 250_000_000

Fraction = Annotated[float, Meta(ge=0, lt=1)]
Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One layer of a network; exactly one of these is given.

    Attributes:
        linear: An affine layer with so many outputs; its inputs are those of the layer before, or the features.
        activation: An activation function: "relu", "tanh", "sigmoid", "gelu" or "leaky_relu".
        dropout: The part of the inputs that is dropped in training.
        layer_norm: Normalise over the outputs of the layer before; the value is true.
    """

    linear: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    activation: NonEmpty | None = None
    dropout: Fraction | None = None
    layer_norm: bool | None = None


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The network: layers, or a callable of the parties' own installation. No code travels.

    A network has 250 million parameters at most.

    Attributes:
        layers: They are given in order, and in short as `layers = [{ linear = 32 }, { activation = "relu" }, { linear =
            1 }]`.
        factory: In place of `layers`: "module:callable" that all parties have installed and list in `policy.models`. It
            returns a torch.nn.Module, and is called with `inputs`, the number of features, and `arguments`.
        arguments: What `factory` is called with besides.
    """

    layers: Annotated[tuple[Layer, ...], Meta(max_length=200)] = ()
    factory: NonEmpty | None = None
    arguments: dict[str, bool | Whole | Finite | NonEmpty] = {}


def check_model(model: Model, loss: str, where: str) -> None:
    """Refuse a network that cannot be built or does not fit the loss; raises ConfigError."""
    if bool(model.layers) == (model.factory is not None):
        raise ConfigError(f"{where}: model: takes either `layers` or `factory`")
    if model.factory is not None and not FACTORY.fullmatch(model.factory):
        raise ConfigError(f"{where}: model.factory: {model.factory!r} is not written as module:callable")
    if model.arguments and model.factory is None:
        raise ConfigError(f"{where}: model.arguments: belongs to `factory`")
    for number, layer in enumerate(model.layers):
        given = [name for name in layer.__struct_fields__ if getattr(layer, name) is not None]
        if len(given) != 1:
            kinds = ", ".join(Layer.__struct_fields__)
            raise ConfigError(f"{where}: model.layers[{number}]: takes exactly one of {kinds}")
        if layer.activation is not None:
            check_known(f"model.layers[{number}].activation", layer.activation, ACTIVATIONS, where)
    if model.layers and not any(layer.linear for layer in model.layers):
        raise ConfigError(f"{where}: model.layers: has no linear layer, so there is nothing to train")
    widths = [layer.linear for layer in model.layers if layer.linear]
    if widths and (fault := outputs_fault(widths[-1], loss)):
        raise ConfigError(f"{where}: model.layers: {fault}")
    # However few features there are.
    if fault := parameters_fault(count_parameters(model.layers, 1)):
        raise ConfigError(f"{where}: model.layers: {fault}")


def count_parameters(layers: tuple[Layer, ...], inputs: int) -> int:
    """Weights and biases of a network of these layers on so many features."""
    total, width = 0, inputs
    for layer in layers:
        if layer.linear is not None:
            total += (width + 1) * layer.linear
            width = layer.linear
        elif layer.layer_norm:
            total += 2 * width
    return total


def parameters_fault(parameters: int) -> str:
    """Why a network of so many parameters is refused, and the remedy; "" where it is not."""
    if parameters <= MAX_PARAMETERS:
        return ""
    return f"the network has {parameters:,} parameters, and {MAX_PARAMETERS:,} are allowed; give it narrower layers"


def outputs_fault(outputs: int, loss: str) -> str:
    """What is wrong with a network of so many outputs and this loss, and the remedy; "" where they fit."""
    if loss == "cross_entropy" and outputs < 2:
        return (
            f"{outputs} output and the loss is cross_entropy, which takes one output per class, 2 or more; "
            'end the network with as many, or take params.loss = "bce"'
        )
    if loss != "cross_entropy" and outputs != 1:
        return f"{outputs} outputs and the loss is {loss}, which takes 1; end the network with {{ linear = 1 }}"
    return ""
