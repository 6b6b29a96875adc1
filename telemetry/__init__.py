"""What other systems see of a run: events, assets, artifacts, logs, progress."""
