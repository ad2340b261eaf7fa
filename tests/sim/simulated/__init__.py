"""Whole clusters in one process, on a network that may do what a network may do, decided by a seed."""
