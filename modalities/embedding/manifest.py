"""Embeddings in a manifest: paths of files of features."""

from __future__ import annotations

from modalities.manifest.columns import Columns


class EmbeddingColumns(Columns):
    """The path of a file of features."""

    suffixes = (".npy", ".safetensors", ".parquet")
