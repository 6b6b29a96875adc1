"""Web addresses that the Prefect UI shows with our blocks.

There is no public home of this package yet, and no address here may lead nowhere.
"""

DOCUMENTATION_URL = None
"""Where the documents are on the web. Those of this version are installed with it."""
