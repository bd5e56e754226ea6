"""What is hidden: a file for every masking, named as recipes name it."""

from fusion.masking.masking import JointMasking, Masking, Noise, Plan

__all__ = ["JointMasking", "Masking", "Noise", "Plan"]
