"""A party's optimiser takes steps on its network: torch's own SGD and Adam, without the frame around them.

The classes of torch.optim bring the compiler along (a second and 80 MB to import) and half a millisecond of bookkeeping
a step; the functions beneath them, called here, do the arithmetic alone, fused: in place and without temporaries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

if TYPE_CHECKING:
    from fedbus.algorithms.fedavg.spec import AverageParams

# torch's own defaults.
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class Stepper:
    """An optimiser of the parameters of a network; its state is as old as the object.

    Args:
        module: its parameters that require a gradient are trained, in place.
        mu: weight of FedProx's proximal term mu/2 |w - w_start|^2, whose gradient is added; 0 keeps no start.

    Attributes:
        parameters: that are trained, each once; gradients come in this order.

    Sources: heavy-ball momentum and Adam as torch.optim.SGD and torch.optim.Adam compute them, with weight decay as a
    part of the gradient.
    """

    def __init__(self, module: nn.Module, params: AverageParams, mu: float = 0) -> None:
        self.parameters: list[Tensor] = [value for value in module.parameters() if value.requires_grad]
        self._params = params
        self._mu = mu
        self._start = [value.detach().clone() for value in self.parameters] if mu else []
        # The fused functions go through memory as it lies and take strides for granted.
        self._fused = all(value.is_contiguous() for value in self.parameters)
        adam, momentum = params.optimizer == "adam", params.momentum > 0
        self._first = [torch.zeros_like(value) for value in self.parameters] if adam or momentum else []
        self._second = [torch.zeros_like(value) for value in self.parameters] if adam else []
        self._steps = [torch.zeros(()) for _ in self.parameters] if adam else []

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None]) -> None:
        """Take one step; the gradients may be changed.
        None is that of a parameter on which the loss does not depend.
        """
        used = [number for number, gradient in enumerate(gradients) if gradient is not None]
        values = [self.parameters[number] for number in used]
        slopes = [gradient.contiguous() for gradient in gradients if gradient is not None]
        if self._mu:
            starts = [self._start[number] for number in used]
            slopes = list(torch._foreach_add(slopes, values, alpha=self._mu))
            torch._foreach_sub_(slopes, starts, alpha=self._mu)
        first = [self._first[number] for number in used] if self._first else []
        if self._params.optimizer == "adam":
            self._adam(values, slopes, first, used)
        else:
            self._sgd(values, slopes, first)

    def _sgd(self, values: list[Tensor], slopes: list[Tensor], first: list[Tensor]) -> None:
        momenta: list[Tensor | None] = [*first] if first else [None] * len(values)
        sgd(
            values,
            slopes,
            momenta,
            foreach=False,
            fused=self._fused,
            lr=self._params.learning_rate,
            momentum=self._params.momentum,
            weight_decay=self._params.weight_decay,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )

    def _adam(self, values: list[Tensor], slopes: list[Tensor], first: list[Tensor], used: Sequence[int]) -> None:
        adam(
            values,
            slopes,
            first,
            [self._second[number] for number in used],
            [],
            [self._steps[number] for number in used],
            foreach=not self._fused,
            fused=self._fused,
            amsgrad=False,
            beta1=BETA_1,
            beta2=BETA_2,
            lr=self._params.learning_rate,
            weight_decay=self._params.weight_decay,
            eps=EPSILON,
            maximize=False,
        )
