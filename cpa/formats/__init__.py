"""Wire formats: one package each, pure and sans-I/O."""
