"""Alignment: a model is taught to follow instructions, then to be liked (chain.py)."""
