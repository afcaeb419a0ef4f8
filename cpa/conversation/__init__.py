"""The canonical conversation: what a client asks and what a model answers, independent of any wire format.

Pure data and pure functions: no I/O, no clock, no randomness. Two values with equal content are equal.
"""
