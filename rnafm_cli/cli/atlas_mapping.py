"""``rnafm atlas --map-onto``: where new sequences lie on an atlas, and what they are."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnafm_cli.cli import console
from rnafm_cli.cli.atlas_intake import AtlasIntake, ModelChoice
from rnafm_cli.cli.atlas_options import FormatChoice
from rnafm_cli.cli.atlas_run import check_folder, model_name
from rnafm_cli.cli.options import LongChoice

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from rnafm_cli.atlas.files import AtlasFile
    from rnafm_cli.atlas.placement import TypeCall

__all__ = ["run_mapping"]


_AT_ONCE = 256
Named = tuple[str, int, str]
"""Id, length and first bases."""


def run_mapping(
    intake: AtlasIntake,
    model: ModelChoice,
    atlas: AtlasFile,
    output: Path | None,
    *,
    output_format: FormatChoice,
    seed: int,
    force: bool,
    page: bool,
    title: str,
) -> None:
    """Write a row for each sequence to stdout, or into a folder with figures."""
    from rnafm_cli.atlas.files import CALL_COLUMNS, call_row
    from rnafm_cli.atlas.placement import map_onto
    from rnafm_cli.io.streams import open_output
    from rnafm_cli.io.tables import TableWriter

    table_name = f"calls.{output_format.value}"
    if output is not None:
        check_folder(output, table_name, force=force)
    named: list[Named] = []
    calls: list[TypeCall] = []
    far = 0
    with ExitStack() as stack:
        sink = stack.enter_context(open_output(output / table_name if output else "-"))
        table = TableWriter(sink, CALL_COLUMNS, format=output_format.value)
        bar = stack.enter_context(console.progress(description="mapping"))
        for names, vectors in _vectors(intake, model, atlas):
            found = map_onto(atlas, vectors, seed=seed)
            for (identifier, length, _), call in zip(names, found, strict=True):
                table.write(call_row(identifier, length, call, format=output_format.value))
            table.flush()
            bar.advance(len(found))
            far += sum(call.far for call in found)
            if output is not None:
                named += names
                calls += found
        table.flush()
    if not len(atlas.share_P):
        console.warn("the atlas was made without sequences or with one label: its calls have no confidence")
    if far:
        console.warn(f"{far} sequences lie far from everything on the atlas: their type may not be on it")
    if output is not None:
        _draw(atlas, named, calls, output, page=page, title=title, seed=seed)
        console.info(f"wrote the calls of {len(calls):,} sequences to {output}")


def _vectors(intake: AtlasIntake, model: ModelChoice, atlas: AtlasFile) -> Iterator[tuple[list[Named], np.ndarray]]:
    """Names and vectors, some at a time, once they are known to be of the atlas's model."""
    import numpy as np

    from rnafm_cli.atlas.placement import STARTS, check_vectors
    from rnafm_cli.atlas.points import embedded_points

    if intake.embedded:
        points = embedded_points(intake.paths, reject=intake.intake.reject)
        check_vectors(atlas, points.provenance, points.vectors_ND.shape[1])
        for start in range(0, len(points), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            names = [
                (name, int(length), "") for name, length in zip(points.ids[rows], points.lengths_N[rows], strict=True)
            ]
            yield names, points.vectors_ND[rows]
        return
    loaded = model.loaded
    check_vectors(atlas, model.provenance, loaded.encoder.config.width)
    results = loaded.embed(
        intake.stream(),
        layer=model.layer,
        pool="mean",
        batch_tokens=model.batch_tokens,
        long=model.long.value,
        reject=intake.intake.skip if model.long is LongChoice.skip else intake.intake.reject,
    )
    waiting: list[tuple[Named, np.ndarray]] = []
    for record, vector_D in results:
        waiting.append(((record.id, len(record), record.sequence[:STARTS]), vector_D))
        if len(waiting) == _AT_ONCE:
            yield [name for name, _ in waiting], np.stack([vector for _, vector in waiting])
            waiting = []
    if waiting:
        yield [name for name, _ in waiting], np.stack([vector for _, vector in waiting])


def _draw(
    atlas: AtlasFile, named: list[Named], calls: list[Any], folder: Path, *, page: bool, title: str, seed: int
) -> None:
    """The new sequences over the atlas, as picture and page."""
    import numpy as np

    from rnafm_cli.atlas.figures import draw_mapped
    from rnafm_cli.atlas.page import GroupView, PagePoints, ScaleView, write_page

    place_M2 = np.asarray([(call.x, call.y) for call in calls], dtype=np.float32).reshape(-1, 2)
    caption = f"{len(calls):,} sequences on the atlas of {len(atlas.ids):,} ({model_name(atlas.settings)})"
    names = [name for name, _, _ in named]
    draw_mapped(
        atlas.place_N2, atlas.labels, place_M2, names, folder / "mapped", title=title, caption=caption, seed=seed
    )
    if not page:
        return
    kinds = ["new"] * len(named) + ["atlas"] * len(atlas.ids)
    points = PagePoints(
        ids=names + atlas.ids,
        place_N2=np.concatenate([place_M2, atlas.place_N2]),
        lengths_N=np.concatenate([np.asarray([n for _, n, _ in named], dtype=np.int64), atlas.lengths_N]),
        starts=[start for _, _, start in named] + atlas.starts,
    )
    labels = [call.label for call in calls] + atlas.labels
    views: list[Any] = [GroupView("type", labels), GroupView("new or atlas", kinds)]
    if len(atlas.share_P):
        sure = np.concatenate([[call.confidence for call in calls], np.full(len(atlas.ids), np.nan)])
        views.append(ScaleView("confidence", sure))
    write_page(folder / "mapped.html", points, views, title=title, caption=caption)
