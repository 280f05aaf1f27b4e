"""The daemon: turns the outside into events, steps the core, performs its actions."""
