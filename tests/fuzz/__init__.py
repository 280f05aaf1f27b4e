"""Fuzzing, by hand: it takes minutes to hours. See each program."""
