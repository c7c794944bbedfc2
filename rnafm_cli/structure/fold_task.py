"""The fold head as a task of the trainer: loss, measurement on development records, and a run from files.

Shape suffixes: B batch, L bases, D embedding width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.encoder.embed import embed_batch, embed_padded
from rnafm_cli.encoder.model import nucleotide_encoder
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.encoder.workers import buckets
from rnafm_cli.errors import InputError, Reject, WeightsError
from rnafm_cli.rna import thermo
from rnafm_cli.rna.bootstrap import Resampling, summarise
from rnafm_cli.rna.decode import DecodeOptions, decode
from rnafm_cli.rna.metrics import Score, score_fold
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.structure.batches import collate, draw_batches
from rnafm_cli.structure.fold_data import FoldData, assemble, shipped_dev_families
from rnafm_cli.structure.pair import INPUTS, Guide, PairConfig, PairHead, PairLogits, head_probabilities
from rnafm_cli.structure.prior_cache import PriorCache
from rnafm_cli.structure.training_templates import RecordTemplates, record_templates
from rnafm_cli.training.recipes import FoldRecipe, FoldRunSection, PairSection
from rnafm_cli.training.trainer import HeadRun, Outcome, Report, Scored, Task, Trainer, seed_torch
from rnafm_cli.weights.cards import Card
from rnafm_cli.weights.store import load_component

_INPUTS = (*INPUTS, "template")
_GAMMAS = (1.0, 1.5, 2.0, 3.0)
"""Weights of pairs against unpaired bases in the decoder among which a measurement chooses."""
_VALUES = ("precision", "recall", "f1", "relaxed_f1", "micro_f1")
_REPLACEABLE = {"embedding_norm", "embedding_in", "mixer"}
"""Parts of a head whose weights say nothing to another encoder."""
_FEWEST_STEPS, _MOST_STEPS = 100, 10_000
_CELLS_AT_ONCE = 400_000


def head_config(section: PairSection, embedding: int, *, inputs: Sequence[str]) -> PairConfig:
    """The pair head that a recipe describes, for an encoder of width ``embedding`` (0: none)."""
    shape = dataclasses.asdict(section)
    dilations = tuple((1, 2, 4)[k % 3] for k in range(shape.pop("blocks")))
    return PairConfig(inputs=tuple(inputs), embedding=embedding, dilations=dilations, **shape)


def row_loss(logits: PairLogits, target_BL: Tensor) -> Tensor:
    """Mean cross-entropy (nats) of each base's choice of partner: L for none, -100 where no loss is taken."""
    return F.nll_loss(logits.log_choices().flatten(0, 1), target_BL.flatten(), ignore_index=-100)


def begin_fold_from(head: PairHead, start: dict[str, Tensor]) -> str:
    """Fill a head with another's weights, and say what was taken: parts that belong to another encoder, or that the
    other lacks, stay fresh; the rest must fit."""
    own = head.state_dict()
    fitting = {name: tensor for name, tensor in start.items() if name in own and own[name].shape == tensor.shape}
    others = sorted({name.split(".")[0] for name in (own.keys() | start.keys()) - fitting.keys()})
    if wrong := set(others) - _REPLACEABLE:
        problem = f"the head to start from has another size: {', '.join(wrong)}"
        raise WeightsError(problem, hint="give the same [head] in the recipe")
    head.load_state_dict(own | fitting)
    return f"starting from {len(fitting)} tensors of another head" + (f"; fresh: {', '.join(others)}" * bool(others))


class FoldTask(Task):
    """Records, loss and measurement of a fold head.

    Args:
        cache: pair probabilities; None for a head without the prior.
        templates: what families say of all records; None for a head without.
        encoder: None for a head without embeddings.
        start: tensors and card of a head to begin with.
    """

    kind, row_name, measure_name = "fold", "records", "mean F1"
    parts = ("mean_length",)
    score_columns = ("set", "inputs", "gamma", "records", *_VALUES)

    def __init__(
        self,
        recipe: FoldRecipe,
        data: FoldData,
        cache: PriorCache | None,
        *,
        templates: RecordTemplates | None = None,
        encoder: Encoder | None = None,
        start: Start | None = None,
        report: Report = lambda line: None,
    ) -> None:
        self._recipe, self._data, self._cache, self._start, self._report = recipe, data, cache, start, report
        self._templates = templates
        self._encoder = None if encoder is None else encoder.requires_grad_(False).eval()
        self._dev = measured_records(data.dev, recipe.run)
        self._lengths, self.rows_sha256 = data.lengths, data.sha256()
        given = {"embedding": encoder, "sequence": True, "prior": cache, "template": templates}
        self._inputs = frozenset(name for name, source in given.items() if source is not None)

    def new_head(self) -> PairHead:
        """A head of the recipe's size, or the one to begin with."""
        width = 0 if self._encoder is None else self._encoder.config.width
        # A head that knew families before goes on to read them.
        before = self._start.config.inputs if self._start is not None else ()
        inputs = [name for name in _INPUTS if name in self._inputs or (name == "template" and name in before)]
        head = PairHead(head_config(self._recipe.head, width, inputs=inputs))
        if self._start is not None:
            self._report(begin_fold_from(head, self._start.tensors))
        return head

    def batches(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Records drawn by their weights, of similar length in each batch."""
        return draw_batches(self._lengths, self._data.weights, self._recipe.sampling, rng)

    def loss(
        self, head: nn.Module, encoder: Encoder | None, rows: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of each base's choice of partner."""
        device = next(head.parameters()).device
        records = [self._data.train[k] for k in rows]
        batch = collate(records, self._cache, templates=self._templates, variation=self._recipe.variation, rng=rng)
        seed_torch(rng)
        inputs, bf16 = batch.inputs.to(device), self._recipe.run.bf16
        if (source := encoder or self._encoder) is not None:
            with torch.set_grad_enabled(encoder is not None):
                inputs.embedding_BLD = embed_padded(source, batch.sequences, inputs.letters_BL.shape[1], bf16=bf16)
        with mixed_precision(device.type, bf16=bf16):
            logits = head(inputs)
        mean_length = float(np.mean([len(sequence) for sequence in batch.sequences]))
        return row_loss(logits, batch.target_BL.to(device)), {"mean_length": mean_length}

    def measure(self, head: nn.Module, encoder: Encoder | None) -> Scored:
        """Fold all sets with all inputs, without the prior and without families, each with the best of four gammas.

        The score is the mean over the sets of strict macro F1 with all inputs.
        """
        assert isinstance(head, PairHead)
        measured, rows = list[Scored](), []
        options = [DecodeOptions(gamma=gamma) for gamma in _GAMMAS]
        for withheld in ("", *(name for name in ("prior", "template") if name in self._inputs)):
            inputs = self._inputs - {withheld}
            label = "+".join(sorted(inputs))
            found: dict[str, list[dict[str, float]]] = {}
            for name, records in self._dev.items():
                scores = score_head(
                    head,
                    encoder or self._encoder,
                    records,
                    self._cache,
                    templates=self._templates,
                    inputs=inputs,
                    options=options,
                    bf16=self._recipe.run.bf16,
                )
                intervals = [summarise(one, _VALUES, Resampling(resamples=0)) for one in scores]
                found[name] = [{value: one[value].estimate for value in _VALUES} for one in intervals]
                for gamma, means in zip(_GAMMAS, found[name], strict=True):
                    rows.append({"set": name, "inputs": label, "gamma": gamma, "records": len(records), **means})
            f1 = np.mean([[means["f1"] for means in of_set] for of_set in found.values()], axis=0)
            best = int(np.argmax(f1))
            settings = {"gamma": _GAMMAS[best]}
            for name, of_set in found.items():
                strict, relaxed = of_set[best]["f1"], of_set[best]["relaxed_f1"]
                self._report(f"{name} {label} gamma {_GAMMAS[best]:g}: f1 {strict:.4f} relaxed {relaxed:.4f}")
            metrics = {f"{name} f1": of_set[best]["f1"] for name, of_set in found.items()}
            measured.append(Scored(float(f1[best]), metrics | settings, settings))
        return dataclasses.replace(measured[0], rows=rows)

    def save(self) -> None:
        """Write down the pair probabilities that were computed on the way."""
        if self._cache is not None:
            self._cache.save()


def measured_records(sets: dict[str, list[StructureRecord]], run: FoldRunSection) -> dict[str, list[StructureRecord]]:
    """The records of each set that are measured, the same ones every time; one at least."""
    chosen = {}
    for name, records in sets.items():
        short = [record for record in records if len(record.sequence) <= run.score_longest]
        drawn = np.random.default_rng(0).permutation(len(short))[: run.score_records]
        if not len(drawn):
            raise InputError(
                f"development set '{name}': none of its {len(records)} records is measured, all are longer than "
                f"{run.score_longest} nt",
                hint="raise run.score_longest, or leave the set out",
            )
        chosen[name] = [short[k] for k in sorted(drawn)]
    return chosen


@torch.inference_mode()
def score_head(
    head: PairHead,
    encoder: Encoder | None,
    records: Sequence[StructureRecord],
    cache: PriorCache | None,
    *,
    templates: RecordTemplates | None = None,
    inputs: frozenset[str],
    options: Sequence[DecodeOptions],
    bf16: bool,
) -> list[list[Score]]:
    """Fold every record with the given inputs and score it.

    Args:
        cache: not needed without ``prior`` among the inputs.
        options: ways to decode the same probabilities.

    Returns:
        for each way to decode, the scores in the order of the records.
    """
    scores: dict[int, list[Score]] = {}
    device = head.no_letter.device.type
    for group in buckets([len(record.sequence) ** 2 for record in records], _CELLS_AT_ONCE):
        sequences = [records[k].sequence for k in group]
        rows: Sequence[Tensor | None] = [None] * len(group)
        if encoder is not None and "embedding" in inputs:
            rows = embed_batch(encoder, sequences, bf16=bf16)
        guides = [
            Guide(
                sequence,
                rows_LD,
                cache[sequence] if cache is not None and "prior" in inputs else None,
                templates.of(sequence) if templates is not None else None,
            )
            for sequence, rows_LD in zip(sequences, rows, strict=True)
        ]
        found = head_probabilities(head, guides, inputs=inputs, precision=mixed_precision(device, bf16=bf16))
        for k, p_LL in zip(group, found, strict=True):
            sequence, true = records[k].sequence, records[k].pairs
            ways = [decode(p_LL, sequence, way) for way in options]
            scores[k] = [score_fold(true, pairs, length=len(sequence)) for pairs in ways]
    return [[scores[k][way] for k in range(len(records))] for way in range(len(options))]


@dataclass(frozen=True)
class Start:
    """A fold head to begin with, whatever its encoder."""

    config: PairConfig
    tensors: dict[str, Tensor]
    card: Card


@dataclass(frozen=True, kw_only=True)
class PairRun(HeadRun):
    """The run of a head that learns from structures.

    Args:
        init_from: gives a fold head.
        prior: let ViennaRNA's pair probabilities guide the head.
        prior_cache: file of pair probabilities, completed as needed; in the run's folder if None.
    """

    prior: bool = True
    prior_cache: Path | None = None

    def cache(self, parameters: thermo.Parameters) -> PriorCache | None:
        """The pair probabilities that guide the head; None for a head without them."""
        return PriorCache(self.prior_cache or self.output / "prior.h5", parameters) if self.prior else None

    def begin(self) -> tuple[Encoder | None, str | None, Start | None]:
        """The encoder, the hash of its weights, and the fold head to begin with.

        Raises:
            UsageError: when the prior is wanted and ViennaRNA is missing; for a codon model.
            WeightsError: when the encoder or the head cannot be used.
        """
        if self.prior:
            thermo.require("the prior", ", or train with --no-prior")
        encoder, sha256 = nucleotide_encoder(self.model, self.weights_dir)
        if self.init_from is None:
            return encoder, sha256, None
        tensors, card = load_component(self.init_from, "fold", weights_dir=self.weights_dir, any_encoder=True)
        if card.kind != "fold":
            raise WeightsError(f"{self.init_from}: is a model of kind '{card.kind}', not a fold head")
        return encoder, sha256, Start(PairConfig.from_dict(card.config), tensors, card)


def run_fold(
    run: PairRun,
    recipe: FoldRecipe,
    train: Sequence[Path],
    *,
    partners: Sequence[Path] = (),
    dev: Sequence[Path] = (),
    families: Path | None = None,
    seeds: Path | None = None,
    device: str = "cpu",
    reject: Reject | None = None,
) -> Outcome:
    """Train, or go on with, the head in ``run.output``.

    Args:
        train, partners, dev, families: files, see :func:`rnafm_cli.structure.fold_data.assemble`.
        seeds: Stockholm file of alignments that say what is known of families.
        reject: called with the error of a structure that cannot be used; when it returns, that one is left out.

    Raises:
        UsageError, WeightsError: as :meth:`PairRun.begin` does.
    """
    encoder, sha256, start = run.begin()
    if start is not None:
        # The recipe's section of the size of a head, as that head has it.
        names = {field.name for field in dataclasses.fields(PairSection)} - {"blocks"}
        size = {name: getattr(start.config, name) for name in names}
        recipe = dataclasses.replace(recipe, head=PairSection(**size, blocks=len(start.config.dilations)))
    files = {"train": train, "partners": partners, "dev": dev}
    data = assemble(recipe, **files, families=families, report=run.report, reject=reject)
    recipe = with_steps(recipe, data)
    run.output.mkdir(parents=True, exist_ok=True)
    if (cache := run.cache(recipe.head.parameters)) is not None:
        sequences = [r.sequence for records in measured_records(data.dev, recipe.run).values() for r in records]
        if added := cache.add_missing(sequences, report=partial(run.progress, "pair probabilities")):
            run.report(f"pair probabilities of {added} development sequences computed")
    known = None
    if seeds is not None:
        known = record_templates(
            seeds,
            [record.sequence for record in data.train],
            [record.sequence for records in data.dev.values() for record in records],
            families=shipped_dev_families() if recipe.data.hold_families else (),
            cache=run.output / "templates.pt",
            threads=torch.get_num_threads(),
            progress=run.progress,
        )
    if encoder is not None:
        encoder.to(device)
    source = {
        "records": data.counts,
        "train": [path.name for path in (*train, *partners)],
        "dev": [path.name for path in dev],
        "families": [families.name] if families else [],
        "seeds": [seeds.name] if seeds is not None else [],
    }
    trainer = Trainer(
        recipe,
        FoldTask(recipe, data, cache, templates=known, encoder=encoder, start=start, report=run.report),
        run.output,
        card=run.card("fold", sha256, source),
        encoder=encoder if recipe.run.encoder == "full" else None,
        device=device,
        report=run.report,
        progress=run.progress,
    )
    return trainer.train(max_minutes=run.minutes_left())


def with_steps(recipe: FoldRecipe, data: FoldData) -> FoldRecipe:
    """The recipe with as many steps as the records ask for, unless it says how many."""
    optim, sampling = recipe.optim, recipe.sampling
    if optim.steps:
        return recipe
    batches = len(draw_batches(data.lengths, data.weights, sampling, np.random.default_rng(0)))
    steps = round(optim.epochs * len(data.train) * batches / sampling.round_size)
    steps = min(max(steps, _FEWEST_STEPS), _MOST_STEPS)
    return dataclasses.replace(recipe, optim=optim.lasting(steps))
