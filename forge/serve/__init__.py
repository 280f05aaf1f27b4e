"""The host of remote builds: what a client of `forge serve` talks to."""
