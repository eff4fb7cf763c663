"""The scenarios: each writes one conversation into a scene and returns its split group.

In: a scene. Out: its turns; `writers` lists all of them by name.
"""
