"""What is asked of the model: a file for every objective, named as recipes name it."""

from mmmae.objectives.objective import Objective, Step

__all__ = ["Objective", "Step"]
