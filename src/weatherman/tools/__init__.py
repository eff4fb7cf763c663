"""Where the tools' answers come from: a small protocol, any MCP server, the user's own hand.

In: a call's name and arguments. Out: its result, or an error that the model is told. What a task's own tools do is not
known here.
"""
