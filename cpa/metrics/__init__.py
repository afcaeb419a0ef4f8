"""What the daemon tells Prometheus: counters fed by finished requests, and gauges read when somebody asks.

Nothing here runs, and the client library is not even imported, while ``metrics.enable`` is off. No label ever holds
a key, an e-mail address or a text a client chose.
"""
