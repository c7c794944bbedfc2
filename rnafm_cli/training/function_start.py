"""The head that an RBP or MRL run begins from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rnafm_cli.models.binding import BindingConfig, BindingHead
from rnafm_cli.models.files import load_tensors
from rnafm_cli.models.head_start import begin_from
from rnafm_cli.models.reduction import Reduction
from rnafm_cli.models.ribosome_load import LoadConfig, LoadHead
from rnafm_cli.models.store import encoder_read_by, load_component

__all__ = ["HeadStart", "load_head_start"]

FunctionHead = BindingHead | LoadHead


@dataclass(frozen=True)
class HeadStart:
    """A trained head.

    Args:
        same_embeddings: whether it reads the run's encoder, with as many channels: then its reduction is the run's.
        report: told what was taken.
    """

    head: FunctionHead
    same_embeddings: bool
    report: Callable[[str], None]

    @property
    def reduction(self) -> Reduction | None:
        """Of embeddings, if it fits the run."""
        return self.head.reduction if self.same_embeddings else None

    def begin(self, head: FunctionHead) -> None:
        """Fill a new head with its weights."""
        self.report(begin_from(head, self.head, same_embeddings=self.same_embeddings))


def load_head_start(
    name_or_file: str,
    kind: Literal["rbp", "mrl"],
    *,
    encoder_sha256: str | None,
    channels: int,
    weights_dir: Path | None,
    report: Callable[[str], None],
) -> HeadStart:
    """The head of a model, or in a file, as the start of a run.

    Args:
        encoder_sha256, channels: of the run's embeddings.

    Raises:
        WeightsError: when it cannot be had.
    """
    tensors, card = load_component(name_or_file, kind, weights_dir=weights_dir, any_encoder=True)
    head: FunctionHead
    if kind == "rbp":
        head = BindingHead(BindingConfig.from_dict(card.config))
    else:
        head = LoadHead(LoadConfig.from_dict(card.config))
    load_tensors(head, tensors, card)
    same = encoder_sha256 is not None and encoder_read_by(card) == encoder_sha256 and head.config.reduced == channels
    return HeadStart(head, same, report)
