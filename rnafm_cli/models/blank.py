"""Networks built without initial values, to be filled from a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.nn import init
from torch.overrides import TorchFunctionMode

__all__ = ["NoInitialValues"]

_DRAWS = {init.normal_, init.uniform_, init.kaiming_uniform_}


class NoInitialValues(TorchFunctionMode):
    """Within this context nothing is drawn at random in place: parameters hold whatever memory held.

    Drawing the values of 100 M parameters takes longer than loading them. (The meta device would spare the
    memory too, but its first use imports PyTorch's compiler, which takes seconds.)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in _DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
