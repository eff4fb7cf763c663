"""The commands, a module for each concern; each imports what it needs only when it runs."""
