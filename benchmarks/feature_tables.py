"""Feature tables of the RBP and MRL heads, frozen against fine-tuned, and of the atlas: what pre-training bought.

Usage: python benchmarks/feature_tables.py rbp data/rbp -o runs/features-rbp [--only letters,both] [--set KEY=VALUE]
       python benchmarks/feature_tables.py mrl data/mrl -o runs/features-mrl [--minutes 120]
       python benchmarks/feature_tables.py atlas atlas_labelled.fa.gz -o runs/features-atlas [--per-label 100]

Trains a head for each row of the table with the shipped recipe (`rnafm finetune`), measures all of them and the simple
baseline on the same development rows (`rnafm evaluate`) and prints Markdown; figures.tsv in the folder has every
figure. The atlas table comes from `rnafm atlas --compare`. What was stopped goes on, what is finished is not repeated.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rnafm_cli.training.labelled_rows import set_name

ROOT = Path(__file__).resolve().parents[1]
PLAIN = ("--set", "data.structured=0")
ROWS: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "rbp": {
        "letters": ("letters", ("--encoder", "none", *PLAIN)),
        "structure": ("letters + structure", ("--encoder", "none")),
        "both": ("letters + embeddings", ("--encoder", "frozen", *PLAIN)),
        "all": ("letters + embeddings + structure", ("--encoder", "frozen")),
        "tuned": ("letters + embeddings, encoder tuned", ("--encoder", "full", *PLAIN)),
        "apart": ("letters, a model for each protein", ("--encoder", "none", *PLAIN)),
    },
    "mrl": {
        "letters": ("letters", ("--encoder", "none")),
        "embeddings": ("embeddings", ("--encoder", "frozen", "--set", "head.letters=false")),
        "both": ("letters + embeddings", ("--encoder", "frozen")),
        "tuned": ("letters + embeddings, encoder tuned", ("--encoder", "full")),
    },
}
"""The rows of each table: what it is called, and what it is trained with beside the recipe."""
APART = "apart"


def main() -> None:
    options = parse_options()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.task == "atlas":
        print(atlas_table(options))
        return
    chosen = options.only.split(",") if options.only else list(ROWS[options.task])
    heads = {key: train(options, key) for key in chosen}
    figures = measure(options, heads)
    print(binding_table(figures) if options.task == "rbp" else load_table(figures))


def train(options: argparse.Namespace, key: str) -> dict[str, Path]:
    """The heads of a row by the set they are for; ``""`` for all sets."""
    limit = ["--max-minutes", options.minutes] if options.minutes else []
    settings = [part for text in options.set for part in ("--set", text)]
    recipe = ROOT / "configs" / f"{options.task}-mini.toml"
    heads = {}
    for source in tables_of(options.data) if key == APART else [options.data]:
        name = set_name(source) if key == APART else ""
        run = options.output / key / name
        arguments = [*model(options), *ROWS[options.task][key][1], *settings, *limit]
        rnafm("finetune", options.task, source, "-o", run, "--recipe", recipe, *arguments)
        heads[name] = run / "best.safetensors"
    return heads


def measure(options: argparse.Namespace, heads: dict[str, dict[str, Path]]) -> pd.DataFrame:
    """Figures of all heads on the development rows, the name of the row in ``predictor``; written as figures.tsv."""
    found = []
    titles = {key: title for key, (title, _) in ROWS[options.task].items()}
    shared = {key: by_set[""] for key, by_set in heads.items() if key != APART}
    structure = ["--structure", "thermo"] if options.task == "rbp" else []
    common = ["--resamples", options.resamples, *model(options)[2:], *structure]
    if shared:
        first, *others = shared.values()
        against = [part for path in others for part in ("--against", path)]
        made = evaluate(options, "shared.tsv", options.data, "-m", first, *against, "--baseline", *common)
        found.append(made.replace({"predictor": {str(path): titles[key] for key, path in shared.items()}}))
    for source in tables_of(options.data) if APART in heads else ():
        name = set_name(source)
        made = evaluate(options, f"{name}.tsv", source, "-m", heads[APART][name], *common)
        found.append(made.assign(predictor=titles[APART]))
    figures = pd.concat(found)
    figures.to_csv(options.output / "figures.tsv", sep="\t", index=False)
    return figures


def evaluate(options: argparse.Namespace, name: str, data: Path, *arguments: object) -> pd.DataFrame:
    """The rows that ``rnafm evaluate`` writes."""
    path = options.output / name
    rnafm("evaluate", options.task, data, *arguments, "-o", path, "--force")
    return pd.read_csv(path, sep="\t")


def binding_table(figures: pd.DataFrame) -> str:
    """Mean AUPRC and AUROC of the RBP31 sets, then each of the others."""
    figures = figures[~figures["set"].str.startswith("mean of")]
    together = figures["set"].str.startswith("RBP31")
    title = f"mean of {figures['set'][together].nunique()} RBP31 sets"
    figures = figures.assign(group=figures["set"].mask(together, title))
    means = figures.groupby(["predictor", "group"], sort=False)[["auprc", "auroc"]].mean()
    groups = sorted(figures["group"].unique(), key=lambda name: name != title)
    lines = [
        [name, *(number(means.loc[name, group][key]) for group in groups for key in ("auprc", "auroc"))]
        for name in figures["predictor"].unique()
    ]
    return markdown(["inputs", *(f"{group}, {key}" for group in groups for key in ("AUPRC", "AUROC"))], lines)


def load_table(figures: pd.DataFrame) -> str:
    """R2 (squared Pearson) and determination of each assay, then by upstream starts."""
    assays, contexts, predictors = (figures[key].unique() for key in ("assay", "context", "predictor"))
    found = figures.set_index(["predictor", "assay", "context"])
    both = ("r2", "determination")
    whole = [
        [name, *(" / ".join(number(found.loc[name, assay, "all"][key]) for key in both) for assay in assays)]
        for name in predictors
    ]
    errors = found["mae"].unstack()
    parts = [
        [assay, name, *(number(errors.loc[name, assay][context]) for context in contexts)]
        for assay in assays
        for name in predictors
    ]
    first = markdown(["inputs", *(f"{assay}, R2 / determination" for assay in assays)], whole)
    return f"{first}\n\n{markdown(['assay', 'inputs', *(f'MAE, {context}' for context in contexts)], parts)}"


def atlas_table(options: argparse.Namespace) -> str:
    """Figures of each kind of vectors by type, role and length."""
    views = ("--view", "role", "--view", "length")
    if not (options.output / "comparison.tsv").exists():
        compared = ("--compare", "random,onehot,kmer", "--rename-duplicates")
        some = ("--per-label", options.per_label) if options.per_label else ()
        rnafm("atlas", options.data, "-o", options.output, "--force", *views, *compared, *some, *model(options))
    figures = pd.read_csv(options.output / "comparison.tsv", sep="\t").set_index("view", drop=False)
    keys = ["accuracy", "purity", "silhouette", "adjusted_rand"]
    figures = figures.loc[[view for view in ("type", "role", "length") if view in figures.index]]
    lines = [[row["view"], row["vectors"], *map(number, row[keys])] for _, row in figures.iterrows()]
    return markdown(["view", "vectors", "kNN", "purity", "silhouette", "ARI"], lines)


def number(value: float) -> str:
    """Three digits, or a dash."""
    return "-" if pd.isna(value) else f"{value:.3f}"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *lines))


def tables_of(data: Path) -> list[Path]:
    """The tables in a folder, as the commands find them."""
    return sorted(path for path in data.iterdir() if ".tsv" in path.suffixes) if data.is_dir() else [data]


def model(options: argparse.Namespace) -> list[object]:
    """Options that name the encoder and its folder."""
    return ["-m", options.model, *(["--weights-dir", options.weights_dir] if options.weights_dir else [])]


def rnafm(*arguments: object) -> None:
    """Run the command and show it."""
    words = [str(argument) for argument in arguments]
    print(shlex.join(["rnafm", *words]), file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "rnafm_cli", *words], check=True)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("rbp", "mrl", "atlas"))
    parser.add_argument("data", type=Path, help="folder of tables, or for the atlas a FASTA file")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument(
        "--only", metavar="KEYS", help=f"some rows, separated by commas: {', '.join(ROWS['rbp'])}, embeddings"
    )
    parser.add_argument("--model", default="rnafm-mini", help="the encoder")
    parser.add_argument("--weights-dir", type=Path)
    parser.add_argument("--per-label", type=int, help="most sequences of each label of the atlas")
    parser.add_argument("--minutes", type=float, help="most minutes of each training run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all training runs")
    parser.add_argument("--resamples", type=int, default=1000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
