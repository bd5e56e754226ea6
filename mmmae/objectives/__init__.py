"""What is asked of the model: a file for every objective, named as recipes name it."""

from mmmae.objectives.objective import Encoded, Losses, Objective, Parts

__all__ = ["Encoded", "Losses", "Objective", "Parts"]
