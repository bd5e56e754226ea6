"""One table of model sizes; a recipe names a size and may override any number of it."""

# name: (encoder width, depth, heads), (decoder width, depth, heads)
# Small to huge are ViT's (Dosovitskiy et al., 2010.11929) with VideoMAE's decoders (2203.12602, table 8); tiny is ours:
# it trains on two CPU cores.
SIZES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "tiny": ((128, 4, 4), (96, 2, 3)),
    "small": ((384, 12, 6), (192, 4, 3)),
    "base": ((768, 12, 12), (384, 4, 6)),
    "large": ((1024, 24, 16), (512, 4, 8)),
    "huge": ((1280, 32, 16), (640, 4, 8)),
}
