"""What runs on this machine: S3 server, Prefect server, demo."""
