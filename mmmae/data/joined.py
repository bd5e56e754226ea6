"""Several corpora as one manifest, whose rows know which of them they are of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmmae.data.classes import Classes
from mmmae.data.manifest import Corpus, Manifest


def joined(manifests: Sequence[Manifest]) -> Manifest:
    """The rows of all manifests, one after the other; one manifest is given back as it is.

    The id of a row is preceded by the name of its corpus, with which messages and reports so begin. A label that
    several corpora have is one label; a column that a corpus lacks is empty in its rows.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from datasets import Dataset

    if len(manifests) == 1:
        return manifests[0]
    names, tables = called(manifests), []
    for number, (name, manifest) in enumerate(zip(names, manifests, strict=True)):
        table: Any = manifest.table.with_format("arrow")[:]
        for column, mark in (("id", ":"), ("place", ", ")):
            marked = pc.binary_join_element_wise(name, table[column], mark)  # pyright: ignore[reportAttributeAccessIssue]
            table = table.set_column(table.column_names.index(column), column, marked)
        tables.append(table.append_column("corpus", pa.array([number] * len(table), pa.int64())))
    labels = tuple(sorted({label for manifest in manifests for label in manifest.labels}))
    return replace(
        manifests[0],
        path=" + ".join(names),
        table=Dataset(pa.concat_tables(tables, promote_options="default")),
        labels=labels,
        modalities=tuple(dict.fromkeys(m for manifest in manifests for m in manifest.modalities)),
        target=Classes.plain(labels),
        notes=tuple(f"{name}: {note}" for name, m in zip(names, manifests, strict=True) for note in m.notes),
        known={name: columns for manifest in manifests for name, columns in manifest.known.items()},
        corpora=tuple(Corpus(name, m.folder) for name, m in zip(names, manifests, strict=True)),
    )


def called(manifests: Sequence[Manifest]) -> list[str]:
    """What to call each corpus: its folder or its file; of several alike the later ones are numbered."""
    found: list[str] = []
    for manifest in manifests:
        path = manifest.path
        if isinstance(path, Path):
            path = path.parent if path.stem == "manifest" else path
            name = path.resolve().name.removesuffix(path.suffix if path.is_file() else "")
        else:
            name = os.path.basename(path.removeprefix("the "))
        same = sum(known == name or known.startswith(f"{name}-") for known in found)
        found.append(f"{name}-{same + 1}" if same else name)
    return found
