"""One task: the weather tools, their sources, the personas' voices, the data set and its faithful numbers.

In: calls of the three tools; a seed. Out: weather, made up or live; conversations with tool calls. The toolkit knows
nothing of it: only the commands import this room.
"""
