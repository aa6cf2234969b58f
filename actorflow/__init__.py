"""Ordinary Python functions as supervised actors on trio."""
