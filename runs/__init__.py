"""What flows and tasks share: spending and approval, a limit of jobs, retries, names, errors."""
