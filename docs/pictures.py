"""Make the pictures of the README anew.

python docs/pictures.py LABELLED.fa.gz

LABELLED.fa.gz: RNAs with ``type=...`` in their headers, for the atlas. The picture of the report needs Chromium.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "img"
EXAMPLES = ROOT / "examples" / "rnas.fa"


def rnafm(*arguments: str | Path) -> None:
    """Run a command and drop what it prints."""
    command = [sys.executable, "-m", "rnafm_cli", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def small(picture: Path, name: str, *, width: int) -> None:
    """Save a picture with 128 colours and at most so wide."""
    with Image.open(picture) as image:
        image.thumbnail((width, width))
        image.convert("RGB").quantize(128).save(PICTURES / name, optimize=True)


def main(labelled: Path) -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        first = folder / "first.fa"
        first.write_text("".join(EXAMPLES.read_text().partition("\n>")[:1]) + "\n")
        rnafm("fold", first, "--plot", folder / "fold.svg", "--plot-style", "radial")
        (PICTURES / "fold.svg").write_text((folder / "fold.svg").read_text())
        rnafm("contact", first, "--plot", folder / "contact.png")
        small(folder / "contact.png", "contact.png", width=560)
        rnafm("fold", EXAMPLES, "--report", folder / "report.html")
        browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        browser += [f"--user-data-dir={folder / 'profile'}", "--window-size=1200,820", "--virtual-time-budget=5000"]
        browser += [f"--screenshot={folder / 'report.png'}", (folder / "report.html").as_uri()]
        subprocess.run(browser, check=True, stderr=subprocess.DEVNULL)
        small(folder / "report.png", "report.png", width=1000)
        rnafm("atlas", labelled, "--rename-duplicates", "--per-label", "20", "-o", folder / "atlas")
        small(folder / "atlas" / "atlas.png", "atlas.png", width=800)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
