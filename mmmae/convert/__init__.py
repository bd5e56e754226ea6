"""Pretrained weights: reading and writing VideoMAE checkpoints in the layouts in use."""
