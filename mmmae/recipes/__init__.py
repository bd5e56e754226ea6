"""Recipes as data: reading, merging and checking them."""
