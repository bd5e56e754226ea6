"""Objectives: pretext tasks and supervised losses, a file for each, named as in recipes."""

from mmmae.objectives.objective import Encoded, Losses, Objective, Parts

__all__ = ["Encoded", "Losses", "Objective", "Parts"]
