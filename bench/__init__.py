"""Measure cpa against a bare proxy on this machine: ``make bench``."""
