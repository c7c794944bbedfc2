"""A named model with its parts loaded when first used: what the commands do, a method away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnafm_cli.encoder.embed import DEFAULT_BATCH_TOKENS, LongRnas, Pooling, embed
from rnafm_cli.encoder.model import NamedModel
from rnafm_cli.encoder.runtime import Runtime
from rnafm_cli.errors import Reject, raise_rejected
from rnafm_cli.io.fasta import Records, as_records
from rnafm_cli.rna.records import SequenceRecord

if TYPE_CHECKING:
    import pandas

    from rnafm_cli.families.annotate import Annotation
    from rnafm_cli.function.mrl import RibosomeLoad
    from rnafm_cli.function.rbp import Binding, StructureOf
    from rnafm_cli.structure.fold import Fold
    from rnafm_cli.structure.predict import Query
    from rnafm_cli.structure.tertiary import TertiaryMaps


class Model(NamedModel):
    """An encoder and its heads by name or file; nothing is read from disk before it is needed."""

    def embed(
        self,
        records: Records,
        *,
        layer: int = -1,
        pool: Pooling = "none",
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        long: LongRnas = "window",
        reject: Reject = raise_rejected,
    ) -> Iterator[tuple[SequenceRecord, np.ndarray]]:
        """Yield (record, float32 array): (L, D) per nucleotide or (D,) pooled; see :func:`encoder.embed.embed`."""
        return embed(
            as_records(records, reject=reject),
            self.encoder,
            self.runtime,
            layer=layer,
            pool=pool,
            batch_tokens=batch_tokens,
            long=long,
            reject=reject,
        )

    def fold(
        self,
        records: Records,
        *,
        families: Sequence[str | Path] = ("shipped",),
        query_of: Callable[[SequenceRecord], Query] | None = None,
        long: LongRnas = "window",
        reject: Reject = raise_rejected,
        **settings: Any,
    ) -> Iterator[Fold]:
        """Yield a :class:`~rnafm_cli.structure.fold.Fold` per record in input order; see :func:`predict`.

        Args:
            families: libraries of known families, files or ``shipped``, earlier ones first; empty to do without.
            query_of: adds constraints and SHAPE reactivities to a record.
            settings: ``prior``, ``options``, ``max_bytes``, ``batch_tokens`` and ``warn``, as for
                :func:`~rnafm_cli.structure.fold.load_fold_predictor`.
        """
        from rnafm_cli.structure.fold import load_fold_predictor
        from rnafm_cli.structure.predict import Query, predict

        predictor = load_fold_predictor(self, families=families, **settings)
        known = as_records(records, reject=reject)
        return predict(known, predictor, query_of=query_of or Query, long=long, reject=reject)

    def annotate(self, records: Records, **settings: Any) -> Iterator[Annotation]:
        """Yield an :class:`~rnafm_cli.families.annotate.Annotation` per record; settings as for ``rnafm.annotate``."""
        from rnafm_cli.families.annotate import annotate

        return annotate(records, weights_dir=self.weights_dir, **settings)

    def contact(self, records: Records, **settings: Any) -> Iterator[TertiaryMaps]:
        """Yield :class:`~rnafm_cli.structure.tertiary.TertiaryMaps` with ``contact_LL`` per record, in input order.

        Settings as for :meth:`fold`, without ``options`` and ``query_of``.
        """
        return self._maps("contact", records, **settings)

    def distance(self, records: Records, **settings: Any) -> Iterator[TertiaryMaps]:
        """Yield :class:`~rnafm_cli.structure.tertiary.TertiaryMaps` with ``distance_LL`` and ``sd_LL``, as contacts."""
        return self._maps("distance", records, **settings)

    def _maps(
        self,
        task: str,
        records: Records,
        *,
        families: Sequence[str | Path] = ("shipped",),
        long: LongRnas = "window",
        reject: Reject = raise_rejected,
        **settings: Any,
    ) -> Iterator[TertiaryMaps]:
        from rnafm_cli.structure.predict import predict
        from rnafm_cli.structure.tertiary import load_tertiary_predictor

        predictor = load_tertiary_predictor(self, (task,), families=families, **settings)
        return predict(as_records(records, reject=reject), predictor, long=long, reject=reject)

    def rbp(
        self,
        records: Records,
        *,
        step: int | None = None,
        structure_of: StructureOf | None = None,
        embeddings: bool = True,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        long: LongRnas = "window",
        reject: Reject = raise_rejected,
    ) -> Iterator[Binding]:
        """Yield a :class:`~rnafm_cli.function.rbp.Binding` per record in input order; see :func:`function.rbp.bind`.

        Args:
            step: largest distance between the starts of neighbouring windows, in nucleotides.
            structure_of: what is known of each record's structure, for a head that takes structure; it may be asked in
                a copy of this process.
            embeddings: let the head read embeddings; without, it is much faster.
        """
        from rnafm_cli.function.rbp import DEFAULT_STEP, BindingPredictor, bind

        return bind(
            as_records(records, reject=reject),
            BindingPredictor(self, embeddings=embeddings, batch_tokens=batch_tokens),
            step=step or DEFAULT_STEP,
            structure_of=structure_of,
            long=long,
            reject=reject,
        )

    def mrl(
        self,
        records: Records,
        *,
        assay: str | None = None,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        reject: Reject = raise_rejected,
    ) -> Iterator[RibosomeLoad]:
        """Yield a :class:`~rnafm_cli.function.mrl.RibosomeLoad` per UTR, in input order.

        Args:
            assay: name of the assay to predict; the default one if None.
        """
        from rnafm_cli.function.mrl import MrlPredictor, ribosome_load

        predictor = MrlPredictor(self, assay, batch_tokens=batch_tokens)
        return ribosome_load(as_records(records, reject=reject), predictor, reject=reject)


def to_frame(results: Iterable[Any]) -> pandas.DataFrame:
    """One pandas table of what a method of :class:`Model` yields, its columns named as those of the command.

    Embeddings give a row per RNA (pooled) or nucleotide, a column per dimension.

    >>> to_frame(model.fold("rnas.fa")).to_parquet("folds.parquet")  # doctest: +SKIP
    """
    import pandas

    def rows() -> Iterator[dict[str, Any]]:
        for result in results:
            if not isinstance(result, tuple):
                yield from result.rows()
                continue
            record, array = result
            for position, vector in enumerate(np.atleast_2d(array), start=1):
                place = {"position": position, "base": record.sequence[position - 1]} if array.ndim == 2 else {}
                yield {"id": record.id, **place, **{f"v{k}": x for k, x in enumerate(vector)}}

    return pandas.DataFrame(list(rows()))


def load_model(
    name: str = "rnafm-mini",
    *,
    weights_dir: str | Path | None = None,
    device: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
) -> Model:
    """A model ready to use.

    Args:
        name: a registered name (``rnafm weights list``) or a weight file.
        weights_dir: folder searched before the usual places.
        device: auto, cpu, cuda or mps.
        precision: fp32 or bf16 (fp32 all the same, with a warning, on a CPU that has no bfloat16 instructions).
        threads: CPU threads; torch's default if None.

    Raises:
        DeviceError: when the device is not there.
        WeightsError: at first use, when the weights are missing or damaged.
    """
    runtime = Runtime.create(device, precision, threads)
    return Model(name, runtime, weights_dir=Path(weights_dir) if weights_dir else None)
