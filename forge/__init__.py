"""Opta Forge: the arbiter of one machine between Rust builds and a resident language model."""

__version__ = "0.1.0"
