"""The one family of exceptions meant for users, each kind with its exit code, and the one kind of warning."""

from __future__ import annotations

from collections.abc import Callable


class RnafmError(Exception):
    """Something went wrong that the user can understand and act on.

    Args:
        message: where (file, line, record) and what is wrong, one sentence.
        hint: what to do next; printed after the message.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(RnafmError):
    """Options that contradict each other or the output that exists (exit 2)."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file or ``--set`` value that cannot be used (exit 2)."""


class InputError(RnafmError):
    """Input data that cannot be read or makes no sense (exit 3)."""

    exit_code = 3


class WeightsError(RnafmError):
    """Weights that are missing, damaged or of another model (exit 4)."""

    exit_code = 4


class DeviceError(RnafmError):
    """A device that is asked for and not there (exit 4)."""

    exit_code = 4


Reject = Callable[[InputError], None]
"""What is called with the error of input that cannot be used: it raises, or returns and the input is left out."""


def raise_rejected(error: InputError) -> None:
    """The :data:`Reject` that stops at the first one."""
    raise error


class RnafmWarning(UserWarning):
    """Something that the user should know and that stops nothing; the commands show it as a line of their own."""
