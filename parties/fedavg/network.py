"""The network of a job of federated averaging is built from its description,
and its weights are taken out and put in.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import Lock

import numpy as np
import torch
from torch import Tensor, nn

from fedbus.algorithms.fedavg.network import Layer, Model, count_parameters, outputs_fault, parameters_fault
from fedbus.errors import JobRefused
from fedbus.weights import Shapes, Weights, WeightsLayout, check_shapes

_RANDOM = Lock()

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
}


def build(model: Model, inputs: int, seed: int) -> nn.Module:
    """Build the network with initial weights that depend on `seed` alone; torch's own stream of random numbers stays.

    Args:
        inputs: features of a row.

    Raises:
        JobRefused: the network would be too large; or the factory cannot be imported or called, or makes nothing that
            can be averaged, and is named.
    """
    if fault := parameters_fault(count_parameters(model.layers, inputs)):
        raise JobRefused(f"model.layers: on {inputs} features {fault}")
    with seeded(seed):
        if model.factory is None:
            return nn.Sequential(*_layers(model.layers, inputs))
        return _from_factory(model.factory, model, inputs)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Have torch's random numbers depend on the seed alone within the `with` block; its own stream stays.

    One thread of a process at a time: torch has one stream for all of them.
    """
    with _RANDOM, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def check_outputs(module: nn.Module, inputs: int, loss: str) -> int:
    """Find the outputs of the network for a row by trying it on rows of zeros.

    Raises:
        JobRefused: it does not take rows of `inputs` features, or its outputs do not fit the loss; says what would.
    """
    training = module.training
    module.eval()
    try:
        with _RANDOM, torch.no_grad(), torch.random.fork_rng(devices=[]):
            found = module(torch.zeros(2, inputs))
    except Exception as error:  # noqa: BLE001  # a factory's network may raise anything
        raise JobRefused(
            f"model: the network does not take rows of {inputs} features ({type(error).__name__}); its first layer has "
            "to have as many inputs, and a factory has to use its argument `inputs`"
        ) from None
    finally:
        module.train(training)
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 2 or not found.is_floating_point():
        what = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise JobRefused(f"model: two rows give {what}; the network has to return a tensor of (rows, outputs)")
    outputs = found.shape[1]
    if fault := outputs_fault(outputs, loss):
        raise JobRefused(f"model: {fault}")
    return outputs


def weights(module: nn.Module) -> Weights:
    """Return all floating point entries of the state (parameters and buffers) as float32, each shared one once."""
    return Weights.of({name: tensor.float().numpy() for name, tensor in _entries(module)})


def layout(module: nn.Module) -> WeightsLayout:
    """Return the layout of what `weights` gives, without the numbers."""
    return WeightsLayout.of({name: tuple(tensor.shape) for name, tensor in _entries(module)})


class Flat:
    """A network's weights as one vector in the order of `weights`, read a piece at a time without a copy of all."""

    def __init__(self, module: nn.Module) -> None:
        entries = dict(_entries(module))
        self._tensors = [entries[name].detach().reshape(-1) for name in sorted(entries)]
        self._starts = [0, *itertools.accumulate(len(tensor) for tensor in self._tensors)]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the entries `start` to `stop`, float32."""
        found = np.empty(stop - start, np.float32)
        for number in range(bisect.bisect_right(self._starts, start) - 1, len(self._tensors)):
            first = self._starts[number]
            if first >= stop:
                break
            part = self._tensors[number][max(start - first, 0) : stop - first]
            at = max(first - start, 0)
            found[at : at + len(part)] = part.float().numpy()
        return found


def load(module: nn.Module, weights: Weights, sender: str) -> None:
    """Put weights that `sender` sent into the network, in place.

    Raises:
        ProtocolError: names the first tensor whose name or shape differs from the network's.
    """
    entries = dict(_entries(module))
    expected: Shapes = {name: tuple(entries[name].shape) for name in sorted(entries)}
    check_shapes(weights.shapes, expected, sender)
    with torch.no_grad():
        for name, values in weights.tensors().items():
            entries[name].copy_(torch.from_numpy(values))


def _entries(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor, of the network's own memory, of what is averaged; of tied tensors the first name only.

    Counters (integers, such as the batches that a batch normalisation has seen) are each party's own.
    """
    seen = set()
    for name, tensor in module.state_dict().items():
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if tensor.is_floating_point() and (place not in seen or not tensor.numel()):
            seen.add(place)
            yield name, tensor


def _layers(layers: tuple[Layer, ...], width: int) -> Iterator[nn.Module]:
    for layer in layers:
        if layer.linear is not None:
            yield nn.Linear(width, layer.linear)
            width = layer.linear
        elif layer.activation is not None:
            yield _ACTIVATIONS[layer.activation]()
        elif layer.dropout is not None:
            yield nn.Dropout(layer.dropout)
        elif layer.layer_norm:
            yield nn.LayerNorm(width)


def _from_factory(factory: str, model: Model, inputs: int) -> nn.Module:
    place, _, name = factory.partition(":")
    remedy = "call it in this party's own environment to see more, or ask for another factory"
    try:
        make = getattr(import_module(place), name)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # an import runs any code
        raise JobRefused(f"model.factory: {factory} cannot be imported ({type(error).__name__}); {remedy}") from None
    try:
        module = make(inputs=inputs, **model.arguments)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # its text may hold what the job must not learn
        raise JobRefused(
            f"model.factory: {factory} raised {type(error).__name__} when called with inputs={inputs}"
            f"{''.join(f', {key}={value!r}' for key, value in model.arguments.items())}; {remedy}"
        ) from None
    if not isinstance(module, nn.Module):
        raise JobRefused(f"model.factory: {factory} returned {type(module).__name__}, no torch.nn.Module")
    _check_averaged(factory, module)
    return module


def _check_averaged(factory: str, module: nn.Module) -> None:
    """JobRefused where the network has nothing to train, or parameters that cannot be averaged on the CPU."""
    trained = {name: value for name, value in module.named_parameters() if value.requires_grad}
    if not trained:
        raise JobRefused(f"model.factory: {factory} returned a network without parameters to train")
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if nn.parameter.is_lazy(value):
            raise JobRefused(f"model.factory: {factory}: {name} has no size yet; use layers of a given size")
        if value.device.type != "cpu" or value.is_sparse or (name in trained and not value.is_floating_point()):
            raise JobRefused(
                f"model.factory: {factory}: {name} is {value.dtype} on {value.device}; parameters have to be dense "
                "floating point numbers on the CPU"
            )
    if fault := parameters_fault(sum(value.numel() for value in module.state_dict().values())):
        raise JobRefused(f"model.factory: {factory}: {fault}")
