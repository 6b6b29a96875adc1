"""What every run shares: limits, approvals, spending, retries, names."""
