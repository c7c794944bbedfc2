"""Published files in all their wrappings become our tensors, or an error that says what does not fit."""

from __future__ import annotations

import argparse
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from rnafm_cli.encoder.config import EncoderConfig
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.official import convert, import_file
from rnafm_cli.encoder.resnet import PairResNet, PairResNetConfig
from rnafm_cli.errors import UsageError, WeightsError
from rnafm_cli.weights.foreign import read_foreign

PARITY = Path(__file__).parents[1] / "data" / "parity"
SMALL = PARITY / "rnafm_random_small.pth"
TRAINLIKE = PARITY / "rnafm_random_small_trainlike.pth"
RESNET = PARITY / "rnafm_resnet_random_small.pth"
TABLE = "encoder.sentence_encoder.embed_tokens.weight"
SECOND = "encoder.lm_head.weight"
MASK = 24
OPTIONS = argparse.Namespace(
    arch="roberta_large", encoder_layers=3, encoder_embed_dim=64, encoder_ffn_embed_dim=128,
    encoder_attention_heads=4, max_positions=1024, token_dropout=False,
)  # fmt: skip


def small() -> dict[str, Tensor]:
    """Tensors of the small encoder under upstream's names; its two tables are one tensor."""
    return read_foreign(SMALL).tensors


def saved(path: Path, tensors: dict[str, Tensor], **beside: Any) -> Path:
    torch.save({"args": OPTIONS, "model": tensors, **beside}, path)
    return path


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("prefix", ["encoder.encoder.", "module.encoder.sentence_encoder.", "encoder.", "model.", ""])
def test_every_prefix_gives_the_same_tensors(tmp_path: Path, prefix: str) -> None:
    wanted, _ = convert(SMALL, name="x")
    bare = {name.replace("sentence_encoder.", "").replace("encoder.", ""): tensor for name, tensor in small().items()}
    path = saved(tmp_path / "renamed.pth", {prefix + name: tensor for name, tensor in bare.items()})
    found, card = convert(path, name="x")
    assert same(found, wanted)
    assert card.config == convert(SMALL, name="x")[1].config


def test_a_trainers_checkpoint_gives_the_weights_alone() -> None:
    found, card = convert(TRAINLIKE, name="x")
    assert same(found, convert(SMALL, name="x")[0])
    assert card.source["dropped"] == [
        "encoder.encoder.contact_head.regression.weight",
        "encoder.encoder.contact_head.regression.bias",
        "optimizer_history",
        "extra_state",
        "last_optimizer_state",
    ]
    assert len(card.source["sha256"]) == 64


def test_optimiser_state_never_gets_into_memory(tmp_path: Path) -> None:
    """A checkpoint of 120 MB, nearly all of it optimiser state, is imported by a process that grows by far less."""
    path = saved(tmp_path / "big.pth", small(), last_optimizer_state={"exp_avg": torch.ones(30_000_000)})
    code = """if True:
        import resource, sys
        from pathlib import Path
        from rnafm_cli.encoder.official import import_file
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        import_file(Path(sys.argv[1]), name="big", weights_dir=Path(sys.argv[2]))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run([sys.executable, "-c", code, path, tmp_path / "store"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 40_000  # KiB
    assert (tmp_path / "store" / "big.safetensors").stat().st_size < 1_000_000


def test_old_pickles_and_numpy_numbers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    content = {"args": OPTIONS, "model": small(), "extra_state": {"best": np.float64(0.5), "loss": np.float32(1)}}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    assert same(convert(path, name="x")[0], convert(SMALL, name="x")[0])


def test_a_plain_state_dictionary_needs_to_tell_its_heads(tmp_path: Path) -> None:
    path = tmp_path / "plain.pth"
    torch.save(small(), path)
    with pytest.raises(UsageError, match="how many attention heads") as caught:
        convert(path, name="x")
    assert "--heads" in str(caught.value)
    _, card = convert(path, name="x", heads=8)
    assert card.config["heads"] == 8
    with pytest.raises(UsageError, match="has 4 attention heads, not 8"):
        convert(SMALL, name="x", heads=8)


def test_the_contact_head_tells_the_attention_heads(tmp_path: Path) -> None:
    path = tmp_path / "plain.pth"
    torch.save(small() | {"encoder.contact_head.regression.weight": torch.zeros(1, 3 * 4)}, path)
    assert convert(path, name="x")[1].config["heads"] == 4


def test_token_dropout_follows_the_files_options(tmp_path: Path) -> None:
    options = argparse.Namespace(**vars(OPTIONS) | {"token_dropout": True})
    torch.save({"args": options, "model": small()}, tmp_path / "t.pth")
    assert convert(tmp_path / "t.pth", name="x")[1].config["token_dropout"] is True


def test_missing_first_norm_and_missing_token_head(tmp_path: Path) -> None:
    tensors = {name: t for name, t in small().items() if "emb_layer_norm_before" not in name and "lm_head" not in name}
    found, card = convert(saved(tmp_path / "no.pth", tensors), name="x")
    assert card.config["norm_before"] is False
    encoder = Encoder(EncoderConfig(**card.config))
    encoder.load_state_dict(found)
    tokens = torch.tensor([[0, 4, 5, 2]])
    assert encoder(tokens).hidden[3].shape == (1, 4, 64)
    with pytest.raises(WeightsError, match="no masked-token head"):
        encoder(tokens, logits=True)


def row(path: Path, **options: Any) -> tuple[Tensor, str]:
    tensors, card = convert(path, name="x", **options)
    assert card.mask_row == options.get("mask_row", "upstream")
    return tensors["embed.weight"][MASK], card.source["mask_row"]


def test_mask_row_of_one_shared_table(tmp_path: Path) -> None:
    in_file = small()[TABLE][MASK]
    assert in_file.abs().max() > 1
    for path in (SMALL, TRAINLIKE):
        zero, effect = row(path)
        assert not zero.any()
        assert effect == "zeroed"
        kept, effect = row(path, mask_row="keep")
        assert torch.equal(kept, in_file)
        assert effect == "as in the file"


def test_of_two_tables_the_second_wins_row_and_all(tmp_path: Path) -> None:
    tensors = small()
    tensors[SECOND] = tensors[TABLE] * 2
    path = saved(tmp_path / "untied.pth", tensors)
    for choice in ("upstream", "keep"):
        found, card = convert(path, name="x", mask_row=choice)
        assert torch.equal(found["embed.weight"], tensors[SECOND])
        assert card.source["mask_row"] == "as in lm_head.weight"


@pytest.mark.filterwarnings("ignore:Regression weights")
def test_upstreams_own_loader_agrees_on_tables(tmp_path: Path) -> None:
    fm = pytest.importorskip("fm")
    untied = small()
    untied[SECOND] = untied[TABLE] * 2
    for tensors in (small(), untied):
        path = saved(tmp_path / "RNA-FM_x.pth", tensors)
        with torch.serialization.safe_globals([argparse.Namespace]):
            model, _ = fm.pretrained.rna_fm_t12(str(path))
        found, _ = convert(path, name="x")
        assert torch.equal(found["embed.weight"], model.embed_tokens.weight.detach())


def test_plain_dictionaries_are_copied_as_they_are(tmp_path: Path) -> None:
    torch.save(small(), tmp_path / "plain.pth")
    kept, effect = row(tmp_path / "plain.pth", heads=4)
    assert torch.equal(kept, small()[TABLE][MASK])
    assert effect == "as in the file"


def test_mask_row_of_multimolecule() -> None:
    path = PARITY / "mm_rnafm_random_small" / "model.safetensors"
    zero, effect = row(path)
    assert not zero.any()
    assert effect == "zeroed"
    kept, _ = row(path, mask_row="keep")
    assert torch.equal(kept, read_foreign(path).tensors["embeddings.word_embeddings.weight"][4])


def as_multimolecule(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The structure head's tensors under multimolecule's names."""
    renamed = {}
    for name, tensor in tensors.items():
        if not name.startswith("downstream_modules."):
            continue
        name = name.split(":r-ss.")[1].replace("pre_reduction", "reduction").replace("proj.first.0", "projection")
        name = name.replace("proj.resnet", "convnet.layers").replace("proj.final", "prediction")
        renamed[f"ss_head.{name}"] = tensor
    return renamed


def structure_logits(path: Path, **options: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Found and recorded logits of the six RNAs, each alone."""
    tensors, card = convert(path, name="x", **options)
    assert card.kind == "fold-resnet"
    encoder = Encoder(EncoderConfig(**card.config["encoder"])).eval()
    encoder.load_state_dict({k.removeprefix("encoder."): t for k, t in tensors.items() if k.startswith("encoder.")})
    head = PairResNet(PairResNetConfig(**card.config["head"])).eval()
    head.load_state_dict({k.removeprefix("head."): t for k, t in tensors.items() if k.startswith("head.")})
    found, wanted = [], []
    with np.load(PARITY / "rnafm_resnet_random_small.npz") as file, torch.no_grad():
        for number, row_T in enumerate(torch.from_numpy(file["tokens"].astype(np.int64))):
            hidden = encoder(row_T[row_T != 1][None]).hidden[12]
            found.append(head(hidden[0, 1:-1]))
            wanted.append(torch.from_numpy(file[f"ss_logits_alone_{number}"][0]))
    return found, wanted


def test_structure_file_with_its_encoder() -> None:
    found, wanted = structure_logits(RESNET)
    assert len(found) == 6
    for ours, upstreams in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, upstreams, atol=5e-4, rtol=0)


def test_structure_head_under_multimolecules_names(tmp_path: Path) -> None:
    checkpoint = PARITY / "mm_rnafm_random_small" / "model.safetensors"
    encoder = {f"model.{name}": t for name, t in read_foreign(checkpoint).tensors.items() if "pooler" not in name}
    head = as_multimolecule(read_foreign(RESNET).tensors)
    head["ss_head.reduction.weight"] = torch.arange(128 * 64.0).reshape(128, 64)
    save_file({**encoder, **head}, tmp_path / "ss.safetensors")
    found, card = convert(tmp_path / "ss.safetensors", name="x", heads=4)
    wanted, _ = convert(RESNET, name="x")
    assert card.kind == "fold-resnet"
    assert card.config["head"] == {"width": 64, "reduced": 128, "channels": 64, "blocks": 32}
    ours = {name for name in found if name.startswith("head.")}
    assert ours == {name for name in wanted if name.startswith("head.")}
    assert all(torch.equal(found[name], wanted[name]) for name in ours - {"head.reduce.weight"})
    assert same(
        {k.removeprefix("encoder."): t for k, t in found.items() if k.startswith("encoder.")},
        convert(checkpoint, name="x")[0],
    )


def test_encoder_alone_out_of_a_structure_file() -> None:
    found, card = convert(RESNET, name="x", encoder_alone=True)
    whole, _ = convert(RESNET, name="x")
    assert card.kind == "encoder"
    assert card.config["layers"] == 12
    assert same({f"encoder.{name}": t for name, t in found.items()}, {k: t for k, t in whole.items() if k[0] == "e"})
    assert "structure head (198 tensors)" in card.source["dropped"]


def test_two_class_head_is_refused(tmp_path: Path) -> None:
    tensors = read_foreign(RESNET).tensors
    last = next(name for name in tensors if name.endswith("proj.final.weight"))
    torch.save(tensors | {last: torch.zeros(2, 64, 3, 3)}, tmp_path / "old.pth")
    with pytest.raises(WeightsError, match="two-class structure head of 2022"):
        convert(tmp_path / "old.pth", name="x")


def test_everything_that_does_not_fit_is_named(tmp_path: Path) -> None:
    tensors = small()
    del tensors["encoder.sentence_encoder.layers.1.self_attn.v_proj.weight"]
    tensors["encoder.sentence_encoder.layers.2.fc1.bias"] = torch.zeros(5)
    tensors["encoder.sentence_encoder.surprise.weight"] = torch.zeros(2)
    with pytest.raises(WeightsError) as caught:
        convert(saved(tmp_path / "odd.pth", tensors), name="x")
    message = str(caught.value)
    assert "odd.pth" in message
    assert "missing layers.1.self_attn.v_proj.weight" in message
    assert "unexpected surprise.weight" in message
    assert "layers.2.fc1.bias is [5] instead of [128]" in message
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder_layers": 12}, "says that it has 12 layers, but its tensors have 3"),
        ({"encoder_ffn_embed_dim": 5120}, "says that it has 5120 feed-forward channels"),
        ({"max_positions": 512}, "says that it has 512 positions"),
        ({"arch": "protein_bert_base"}, "architecture protein_bert_base"),
        ({"encoder_attention_heads": 7}, "width 64 is not a multiple of heads 7"),
    ],
)
def test_contradicting_options(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    torch.save({"args": argparse.Namespace(**vars(OPTIONS) | options), "model": small()}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=words):
        convert(tmp_path / "x.pth", name="x")


def test_another_vocabulary_and_another_model(tmp_path: Path) -> None:
    tensors = small()
    with pytest.raises(WeightsError, match="has 33 tokens"):
        convert(saved(tmp_path / "esm.pth", tensors | {TABLE: torch.zeros(33, 64)}), name="x")
    with pytest.raises(WeightsError, match="holds no RNA-FM encoder"):
        convert(saved(tmp_path / "cnn.pth", {"conv.weight": torch.zeros(3, 3)}), name="x")


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    tensors = small()
    tensors["encoder.sentence_encoder.layers.0.fc1.weight"] = torch.full((128, 64), float("nan"))
    with pytest.raises(WeightsError, match="layers.0.ffn_in.weight holds values that are no finite numbers"):
        import_file(saved(tmp_path / "nan.pth", tensors), name="x", weights_dir=tmp_path / "store")
    assert not list((tmp_path / "store").glob("x*"))


class Payload:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_run(tmp_path: Path, zipped: bool) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "was-here"
    content = {"args": OPTIONS, "model": small(), "extra_state": Payload(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="only tensors and plain values are read"):
        convert(path, name="x")
    assert not trace.exists()


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    content = SMALL.read_bytes()
    inside = content.find(small()[TABLE].numpy().tobytes()[:64])
    assert inside > 0
    flipped = bytearray(content)
    flipped[inside + 40] ^= 1
    files = {
        "is truncated or damaged": content[:-1000],
        "checksum of .* does not fit": bytes(flipped),
        "is empty": b"",
        "is a web page": b"<!DOCTYPE html><html>403</html>",
        "neither a PyTorch checkpoint nor a safetensors file": b"\x00\x01junk junk junk junk",
        "is not a PyTorch checkpoint, or damaged": pickle.dumps({"model": 1}),
        "is damaged": (PARITY / "mm_rnafm_random_small" / "model.safetensors").read_bytes()[:-10],
    }
    for words, data in files.items():
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(WeightsError, match=words) as caught:
            convert(tmp_path / "file", name="x")
        assert "\n" not in str(caught.value)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    for missing in (tmp_path / "other.zip", tmp_path / "nothing.pth", tmp_path):
        with pytest.raises(WeightsError):
            convert(missing, name="x")
