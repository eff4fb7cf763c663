"""The builder of the synthetic conversations: gazetteer, weather, voices, grammar, scenarios, and its promises.

In: a seed, a size, personas. Out: training and validation files with a description of themselves, the same bytes each
time.
"""
