"""How modalities stand in a table of recordings: columns, files of a folder, cells. No reader is loaded for it."""
