"""How it runs: the command line and the local stand-ins."""
