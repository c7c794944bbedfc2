"""Whether frozen embeddings add to letters: small heads without prior, trained alike on letters, embeddings or both.

Usage: python benchmarks/encoder_gate.py MODEL... --data DATA [--only rbp mrl fold contact] [--seeds 0 1]

DATA holds ss/, rbp/, mrl/ and 3d/ (docs/experiments/encoder-targets.md). Every head of a task has the same shape,
steps, batches and seeds; only what it reads differs. Prints Markdown: mean over seeds, and half the range between them.

fold     strict macro F1 (bprna_vl0, dev_newfam), RNAs up to 120 nt; trained on bpRNA TR0
rbp      AUPRC, mean of three sets of 3,000 rows, 1,000 of them scored
mrl      squared correlation on 1,500 rows of egfp_unmod_1 after 4,000
contact  precision of the best long-range pairs, chains up to 300 nt, five folds
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnafm_cli.encoder.embed import embed_batch
from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.encoder.workers import buckets
from rnafm_cli.function.metrics import rank, regress
from rnafm_cli.io.maps import read_chains
from rnafm_cli.rna.alphabet import letter_codes
from rnafm_cli.rna.chains import LONG_RANGE, Chain, without_repeats
from rnafm_cli.rna.decode import decode
from rnafm_cli.rna.metrics import CONTACT_METRICS, score_contacts, score_fold
from rnafm_cli.rna.pairs import are_canonical
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.structure.batches import collate
from rnafm_cli.structure.chain_folds import FOLDS, folds_of
from rnafm_cli.structure.fold_data import load_structures, new_families
from rnafm_cli.structure.fold_task import row_loss
from rnafm_cli.structure.pair import MIN_DISTANCE, Guide, PairConfig, PairHead, PairInputs, pair_inputs
from rnafm_cli.training.labelled_rows import LabelledRows, read_labelled

RBP_SETS = ("RBP31_QKI_HEK293_PARCLIP", "RBP31_TIA1_Hela_ICLIP", "PrismNet_IGF2BP1_K562")
TASKS = ("rbp", "mrl", "fold", "contact")
LONGEST = 120
Rows = dict[str, Tensor]
"""Sequence -> (L, D) float16 of one model."""
Way = tuple[str, Rows | None, bool]
"""What a head reads: its name, embeddings or None, whether letters too."""


def main() -> None:
    options = parse_options()
    torch.set_num_threads(1)
    tasks: dict[str, Callable[[argparse.Namespace], None]] = {
        "rbp": rbp,
        "mrl": mrl,
        "fold": fold,
        "contact": contact,
    }
    for name in options.only:
        tasks[name](options)


def ways(options: argparse.Namespace, sequences: Sequence[str]) -> list[Way]:
    """Letters, and of every model its embeddings, with letters and, if asked for, alone."""
    found: list[Way] = [("letters", None, True)]
    known = {Path(model).name.removesuffix(".safetensors"): embeddings(model, sequences) for model in options.models}
    found += [(f"letters + {name}", rows, True) for name, rows in known.items()]
    return found + [(name, rows, False) for name, rows in known.items() if options.alone]


@torch.inference_mode()
def embeddings(model: str, sequences: Sequence[str]) -> Rows:
    encoder, _ = load_encoder(model)
    unique, rows = list(dict.fromkeys(sequences)), {}
    for group in buckets([len(s) + 2 for s in unique], 8192):
        part = [unique[k] for k in group]
        # Normalised to (0, 1) by place, as the heads that ship do.
        for sequence, values_LD in zip(part, embed_batch(encoder, part, bf16=True), strict=True):
            rows[sequence] = F.layer_norm(values_LD, values_LD.shape[1:]).half()
    return rows


class Reader(nn.Module):
    """Two convolutions over a row, then its mean and maximum: one number."""

    def __init__(self, width: int, letters: bool, channels: int = 48) -> None:
        super().__init__()
        self.letters = nn.Embedding(5, channels, padding_idx=0) if letters else None
        self.rows = nn.Linear(width, channels) if width else None
        self.first, self.second = (
            nn.Conv1d(channels, channels, 9, padding=4),
            nn.Conv1d(channels, channels, 5, padding=2),
        )
        self.dropout, self.out = nn.Dropout(0.2), nn.Linear(2 * channels, 1)

    def forward(self, letters_BL: Tensor, rows_BLD: Tensor | None) -> Tensor:
        inside = (letters_BL > 0)[..., None]
        x = self.letters(letters_BL) if self.letters is not None else 0.0
        if self.rows is not None and rows_BLD is not None:
            x = x + self.rows(rows_BLD)
        x = F.gelu(self.first((x * inside).transpose(1, 2)))
        x = F.gelu(self.second(self.dropout(x))).transpose(1, 2) * inside
        return self.out(self.dropout(torch.cat([x.sum(1) / inside.sum(1), x.amax(1)], 1)))[:, 0]


def read(way: Way, train: LabelledRows, dev: LabelledRows, *, binary: bool, seed: int, epochs: int) -> np.ndarray:
    """Train a reader and score the development rows."""
    _, rows, letters = way
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = Reader(0 if rows is None else len(next(iter(rows.values()))[0]), letters)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.02)
    steps = epochs * (len(train) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    mean, deviation = (0.0, 1.0) if binary else (train.values.mean(), train.values.std())

    def batch(part: LabelledRows, chosen: np.ndarray) -> tuple[Tensor, Tensor | None]:
        sequences = [part.sequences[k] for k in chosen]
        codes = [torch.from_numpy(np.where(c == 0, 1, c).astype(np.int64)) for c in map(letter_codes, sequences)]
        padded = nn.utils.rnn.pad_sequence(codes, batch_first=True)
        if rows is None:
            return padded, None
        return padded, nn.utils.rnn.pad_sequence([rows[s].float() for s in sequences], batch_first=True)

    for _ in range(epochs):
        order = rng.permutation(len(train))
        for first in range(0, len(train) - 63, 64):
            chosen = order[first : first + 64]
            found = net(*batch(train, chosen))
            truth = torch.from_numpy((train.values[chosen] - mean) / deviation).float()
            loss = F.binary_cross_entropy_with_logits(found, truth) if binary else F.mse_loss(found, truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.inference_mode():
        parts = [net(*batch(dev, np.arange(k, min(k + 256, len(dev))))) for k in range(0, len(dev), 256)]
    return torch.cat(parts).numpy() * deviation + mean


def halves(rows: LabelledRows, train: int, dev: int, seed: int = 0) -> tuple[LabelledRows, LabelledRows]:
    """Drawn training and development rows of a set."""
    drawn = [
        np.random.default_rng(seed).permutation(np.flatnonzero(rows.splits == split))[:count]
        for split, count in (("train", train), ("dev", dev))
    ]
    return rows.take(np.sort(drawn[0])), rows.take(np.sort(drawn[1]))


def rbp(options: argparse.Namespace) -> None:
    sets = [
        halves(read_labelled(options.data / f"rbp/{name}.tsv.gz", "label", binary=True), 2000, 1000)
        for name in RBP_SETS
    ]
    everything = [s for pair in sets for part in pair for s in part.sequences]

    def score(way: Way, seed: int) -> list[float]:
        return [
            rank(dev.values, read(way, train, dev, binary=True, seed=seed, epochs=8))["auprc"] for train, dev in sets
        ]

    table("rbp, AUPRC", list(RBP_SETS), ways(options, everything), score, options.seeds)


def mrl(options: argparse.Namespace) -> None:
    train, dev = halves(read_labelled(options.data / "mrl/egfp_unmod_1.tsv.gz", "mrl"), 4000, 1500)

    def score(way: Way, seed: int) -> list[float]:
        return [regress(dev.values, read(way, train, dev, binary=False, seed=seed, epochs=8))["r2"]]

    table("mrl, r2", ["egfp_unmod_1"], ways(options, train.sequences + dev.sequences), score, options.seeds)


def fold(options: argparse.Namespace) -> None:
    ss = options.data / "ss"
    train = load_structures([ss / "bprna_tr0.tsv.gz"], max_length=LONGEST)
    train = [record for record in train if 24 <= len(record.sequence) and len(record.pairs) >= 3]
    train = [train[k] for k in np.random.default_rng(0).permutation(len(train))[:2400]]
    dev = {
        "bprna_vl0": load_structures([ss / "bprna_vl0.tsv.gz"]),
        "dev_newfam": new_families(ss / "rfam142_seed_train.tsv.gz"),
    }
    for name, records in dev.items():
        short = [record for record in records if len(record.sequence) <= LONGEST]
        dev[name] = [short[k] for k in np.random.default_rng(0).permutation(len(short))[:250]]
    everything = [record.sequence for part in (train, *dev.values()) for record in part]

    def score(way: Way, seed: int) -> list[float]:
        head = train_fold(way, train, seed, options.steps)
        return [float(np.mean([fold_f1(head, way, record) for record in records])) for records in dev.values()]

    columns = [f"{name}, {len(records)}" for name, records in dev.items()]
    table("fold, strict F1", columns, ways(options, everything), score, options.seeds)


def train_fold(way: Way, records: list[StructureRecord], seed: int, steps: int) -> PairHead:
    _, rows, letters = way
    rng = np.random.default_rng(seed)
    head, optimizer, schedule = new_head(rows, seed, steps)
    by_length = np.argsort([len(record.sequence) for record in records], kind="stable")
    for _ in range(steps):
        # Neighbours in length, so that little is padding.
        first = int(rng.integers(len(records) - 64))
        part = [records[k] for k in rng.choice(by_length[first : first + 64], 12, replace=False)]
        found = collate(part, None)
        for target_L, record in zip(found.target_BL, part, strict=True):
            # No statement about pairs other than AU, GC, GU.
            target_L[record.pairs[~are_canonical(record.pairs, record.sequence)].ravel()] = -100
        inputs = found.inputs
        inputs.has_sequence_B = torch.full((len(part),), letters)
        inputs.embedding_BLD = padded_rows(rows, [record.sequence for record in part], inputs.letters_BL.shape[1])
        learn(head, row_loss(head(inputs), found.target_BL), optimizer, schedule)
    return head.eval()


def new_head(
    rows: Rows | None, seed: int, steps: int
) -> tuple[PairHead, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    torch.manual_seed(seed)
    width = 0 if rows is None else len(next(iter(rows.values()))[0])
    head = PairHead(
        PairConfig(embedding=width, width=48, channels=32, fine=8, heads=8, dilations=(1, 2, 4, 1), mixer_layers=0)
    )
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.01, betas=(0.9, 0.98))
    return head, optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.15)


def learn(
    head: PairHead, loss: Tensor, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler
) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(head.parameters(), 1.0)
    optimizer.step()
    schedule.step()


def contact(options: argparse.Namespace) -> None:
    folder = options.data / "3d"
    chains = without_repeats([c for name in ("train.h5", "train_contacts.h5") for c in read_chains(folder / name)])
    chains = [chain for chain in chains if 20 <= len(chain) <= 300]
    fold_N, _ = folds_of(chains)

    def score(way: Way, seed: int) -> list[float]:
        found = []
        for held in range(FOLDS):
            head = train_contacts(
                way, [c for c, k in zip(chains, fold_N, strict=True) if k != held], seed, options.steps
            )
            for chain in (c for c, k in zip(chains, fold_N, strict=True) if k == held):
                with torch.inference_mode():
                    logits_LL = (
                        head(chain_inputs(way, [(chain, slice(0, len(chain)))]))
                        .pair_BLL[0, : len(chain), : len(chain)]
                        .numpy()
                    )
                # As everywhere: a chain without a long-range pair is left out.
                if result := score_contacts(chain, logits_LL):
                    found.append([result.values[name] for name in CONTACT_METRICS])
        return np.mean(found, axis=0).tolist()

    sequences = [chain.sequence for chain in chains]
    table(f"contact, {len(chains)} chains", ["L/10", "L/5", "L/2", "L"], ways(options, sequences), score, options.seeds)


def train_contacts(way: Way, chains: list[Chain], seed: int, steps: int, crop: int = 96, count: int = 6) -> PairHead:
    rng = np.random.default_rng(seed)
    head, optimizer, schedule = new_head(way[1], seed, steps)
    apart_LL = torch.arange(crop) - torch.arange(crop)[:, None]
    weight_LL = torch.where(apart_LL >= LONG_RANGE, 1.0, 0.2) * (apart_LL >= MIN_DISTANCE)
    for _ in range(steps):
        part = []
        for k in rng.choice(len(chains), count, replace=False):
            start = int(rng.integers(max(1, len(chains[k]) - crop + 1)))
            part.append((chains[k], slice(start, min(start + crop, len(chains[k])))))
        truth_BLL = torch.full((count, crop, crop), -1.0)
        for row, (chain, window) in enumerate(part):
            size = window.stop - window.start
            truth_BLL[row, :size, :size] = torch.from_numpy(chain.contacts()[window, window]).float()
        width = max(window.stop - window.start for _, window in part)
        truth_BLL = truth_BLL[:, :width, :width]
        weight_BLL = weight_LL[:width, :width] * (truth_BLL >= 0)
        logits_BLL = torch.nan_to_num(head(chain_inputs(way, part)).pair_BLL[:, :width, :width], neginf=-20.0)
        loss_BLL = F.binary_cross_entropy_with_logits(logits_BLL, truth_BLL.clamp(min=0), reduction="none")
        # Every chain counts alike, as in the scores.
        known_B = weight_BLL.sum((1, 2)).clamp(min=1)
        learn(head, ((loss_BLL * weight_BLL).sum((1, 2)) / known_B).mean(), optimizer, schedule)
    return head.eval()


def chain_inputs(way: Way, part: list[tuple[Chain, slice]]) -> PairInputs:
    """A padded batch of windows of chains."""
    _, rows, letters = way
    guides = [
        Guide(chain.sequence, None if rows is None else rows[chain.sequence].float()).part(window)
        for chain, window in part
    ]
    return pair_inputs(guides, ("embedding", "sequence") if letters else ("embedding",))


def padded_rows(rows: Rows | None, sequences: list[str], width: int) -> Tensor | None:
    if rows is None:
        return None
    return torch.stack([F.pad(rows[s].float(), (0, 0, 0, width - len(s))) for s in sequences])


@torch.inference_mode()
def fold_f1(head: PairHead, way: Way, record: StructureRecord) -> float:
    _, rows, letters = way
    found = collate([record], None)
    found.inputs.has_sequence_B = torch.tensor([letters])
    found.inputs.embedding_BLD = padded_rows(rows, [record.sequence], found.inputs.letters_BL.shape[1])
    length = len(record.sequence)
    p_LL = head(found.inputs).probabilities()[0, :length, :length].numpy()
    return score_fold(record.pairs, decode(p_LL, record.sequence), length=length)["f1"]


def table(
    title: str, columns: list[str], compared: list[Way], score: Callable[[Way, int], list[float]], seeds: Sequence[int]
) -> None:
    """One Markdown table."""
    print(f"\n| {title} | " + " | ".join(columns) + " |\n" + "|---" * (1 + len(columns)) + "|", flush=True)
    for way in compared:
        values = np.array([score(way, seed) for seed in seeds])
        spread = np.ptp(values, axis=0) / 2
        print(
            f"| {way[0]} | "
            + " | ".join(f"{m:.3f} ± {s:.3f}" for m, s in zip(values.mean(0), spread, strict=True))
            + " |",
            flush=True,
        )


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--alone", action="store_true", help="embeddings without letters too")
    parser.add_argument("--steps", type=int, default=400, help="of heads for folds and contacts")
    return parser.parse_args()


if __name__ == "__main__":
    main()
