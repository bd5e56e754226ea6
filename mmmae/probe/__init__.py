"""What can be read off frozen features: classifiers on top of a checkpoint, their figures and pictures."""
