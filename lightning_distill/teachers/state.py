"""What a pass through a network depends on beside its input, read in one walk over its modules."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class NetworkState(NamedTuple):
    """A network as it is now.

    Attributes:
        training: Some module is in train mode.
        hooked: Some module has a forward hook: somebody reads or changes what happens inside.
        stamp: Differs whenever a parameter or buffer was replaced, moved, cast or written to.
    """

    training: bool
    hooked: bool
    stamp: tuple[int, ...]


def state_of(model: nn.Module) -> NetworkState:
    """Walk over ``model``; nothing on the device is read.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> before = state_of(model)
        >>> model.load_state_dict(model.state_dict()) and state_of(model).stamp == before.stamp
        False
    """
    training = hooked = False
    stamp: list[int] = []
    for module in model.modules():
        training |= module.training
        hooked |= bool(module._forward_hooks or module._forward_pre_hooks)
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                stamp += tensor.data_ptr(), _version(tensor)
    return NetworkState(training, hooked, tuple(stamp))


def _version(tensor: Tensor) -> int:
    try:
        return tensor._version
    except RuntimeError:  # a tensor made in inference mode has none
        return 0
