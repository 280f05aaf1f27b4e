"""Doors: each does one thing to the operating system and decides nothing."""
