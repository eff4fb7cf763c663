"""One HTML page about a run: its figures, charts and samples, without network.

In: a run's folder. Out: `report.html`.
"""
