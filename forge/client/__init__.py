"""What runs beside cargo: connects to the daemon, starts cargo, waits for it."""
