"""Frozen values and records that every floor above shares. No clock, no I/O, no trio."""
