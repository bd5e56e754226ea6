"""Masking strategies: a file for each, named as in recipes."""

from fusion.masking.masking import JointMasking, Masking, Noise, Plan

__all__ = ["JointMasking", "Masking", "Noise", "Plan"]
