"""Whether every number that an answer gives is one that a tool gave.

In: a conversation. Out: the evidence its tool results hold, and the numbers that contradict it.
"""
