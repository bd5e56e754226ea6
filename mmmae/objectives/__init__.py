"""What is asked of the model: a file for every objective, named as recipes name it."""

from mmmae.objectives.objective import Losses, Objective, Parts, Step

__all__ = ["Losses", "Objective", "Parts", "Step"]
