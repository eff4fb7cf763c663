"""Durable files, processes, clocks, fingerprints, and the quarantine for what is damaged.

In: paths, bytes, process ids. Out: the same, safe against kills, full disks and power cuts; no knowledge of training.
"""
