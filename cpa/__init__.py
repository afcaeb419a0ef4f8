"""cpa: one local daemon between coding tools and the user's own model accounts."""

__version__ = "0.1.0"
