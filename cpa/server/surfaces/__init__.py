"""The client-facing routes, one module per format."""
