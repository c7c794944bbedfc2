from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from rnafm_cli.errors import ConfigError
from rnafm_cli.pretrain.config import RECIPES, PretrainConfig, commented_toml, recipe
from rnafm_cli.training.recipes import load_recipe, recipe_from_dict, with_overrides

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", RECIPES)
def test_a_printed_recipe_reads_back_the_same(name: str, tmp_path: Path) -> None:
    text = commented_toml(recipe(name))
    path = tmp_path / "c.toml"
    path.write_text(text)
    assert load_recipe(PretrainConfig, path) == recipe(name)
    lines = text.splitlines()
    keys = [k for k, line in enumerate(lines) if re.match(r"(# )?\w+ =", line)]
    # Every key, set or not, stands under a sentence about it.
    assert len(keys) >= 30
    assert all(lines[k - 1].startswith("# ") and lines[k - 1].rstrip(")").count(" ") > 2 for k in keys)


@pytest.mark.parametrize("name", ["rna-fm", "rnafm-mini"])
def test_shipped_configurations_are_the_recipes(name: str) -> None:
    assert (CONFIGS / f"{name}.toml").read_text() == commented_toml(recipe(name))


def test_the_papers_recipe() -> None:
    config = recipe("rna-fm")
    shape = config.model.encoder()
    assert (shape.layers, shape.width, config.data.crop) == (12, 640, 1024)
    assert config.mask.share == 0.15
    optim = config.optim
    assert (optim.rate, optim.schedule, optim.warmup, optim.weight_decay) == (1e-4, "inverse-sqrt", 10000, 0.01)


def test_overrides_take_toml_values_and_bare_words() -> None:
    values = with_overrides({"optim": {"rate": 1.0}}, ["optim.rate=2e-4", "run.compile=true", "data.corpus=some/dir"])
    config = recipe_from_dict(PretrainConfig, values)
    assert (config.optim.rate, config.run.compile, config.data.corpus) == (2e-4, True, "some/dir")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.rat=1", "unknown key 'optim.rat'; did you mean 'optim.rate'"),
        ("optm.rate=1", "unknown section 'optm'; did you mean 'optim'"),
        ("optim.rate=fast", "optim.rate: 'fast' is not of type float"),
        ("optim.rate=nan", "optim.rate: nan is no finite number"),
        ("optim.rate=-1", "optim.rate -1.0 must not be negative"),
        ("optim.beta2=1.0", "optim.beta1 and optim.beta2 must be at least 0"),
        ("optim.steps=1.5", "optim.steps: 1.5 is not of type int"),
        ("run.compile=1", "run.compile: 1 is not of type bool"),
        ("optim.schedule=linear", "'linear' is not one of inverse-sqrt, cosine, trapezoid"),
        ("optim.warmup=20000", "optim.warmup 20000 must be less than optim.steps"),
        ("data.crop=2000", "data.crop 2000 is more than the model's 1024"),
        ("batch.tokens=10", "batch.tokens 10 is less than data.crop"),
        ("model.heads=0", "heads and ffn must be at least 1"),
        ("model.heads=7", "not a multiple of heads 7"),
        ("model.preset=mrna-fm", "'mrna-fm' is not one of rnafm-mini, rna-fm, rnafm-tiny"),
        ("sketch.weight=-1", "sketch.weight"),
        ("mask.share=1.5", "mask.share 1.5 must lie between 0 and 1"),
        ("sketch.windows=1", "sketch.windows"),
        ("rate=3", "not of the form section.key=value"),
    ],
)
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe_from_dict(PretrainConfig, with_overrides({}, [override]))
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[optim\n")
    with pytest.raises(ConfigError, match="c.toml: not valid TOML"):
        load_recipe(PretrainConfig, path)
    with pytest.raises(ConfigError, match="No such file"):
        load_recipe(PretrainConfig, tmp_path / "none.toml")


def test_to_dict_is_what_was_read() -> None:
    config = recipe("rnafm-mini")
    assert recipe_from_dict(PretrainConfig, config.to_dict()) == config
    assert tomllib.loads(commented_toml(config)) == config.to_dict()
