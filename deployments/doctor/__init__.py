"""The doctor: free checks of everything that a production run needs."""
