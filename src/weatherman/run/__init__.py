"""A run and its folder: events, status, lock, provenance, its data, trackers and the webhook.

In: a configuration and an engine's state. Out: files that tell everything about the run, while it lives and after, and
what reads them: status, trackers' links, the newest finished adapter.
"""
