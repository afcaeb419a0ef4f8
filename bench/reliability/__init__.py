"""What the daemon keeps to while everything around it misbehaves: ``python -m bench.reliability NAME``."""
