"""Web addresses that the Prefect UI shows with our blocks.

There is no public home of this package yet, and no address here may lead nowhere. The UI shows a
picture of its own for a block without one.
"""

LOGO_URL = None
"""A picture on the web, by https; the UI takes it from nowhere else."""
DOCUMENTATION_URL = None
"""Where the documents are on the web. Those of this version are installed with it."""
