"""The ``cpa`` command: one module per command."""
