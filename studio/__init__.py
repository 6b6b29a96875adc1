"""What makes clips durable and films possible: archive, ledger, media, storyboard and plan.

No Prefect.
"""
