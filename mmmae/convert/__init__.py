"""Weights of others: reading VideoMAE's checkpoints in the layouts in use, and writing them."""
