"""What other systems see of us: events, assets, artifacts, logs, progress."""
