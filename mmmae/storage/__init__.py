"""What is written to disk so that nothing is lost: checkpoints, tensors, embeddings."""
