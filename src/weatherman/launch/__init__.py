"""A training around the trainer: the tmux session or background process, the log, the first steps watched.

In: what `weatherman launch` was asked for. Out: a supervised trainer whose lines and exit code reach the caller; a Mac
kept awake, a pod stopped when the adapter is safe; rehearsals of all that.
"""
