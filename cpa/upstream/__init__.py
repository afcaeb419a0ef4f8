"""Talking to upstreams: client sessions per proxy, timeouts of every phase, network faults told apart."""
