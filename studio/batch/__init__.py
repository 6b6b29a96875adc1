"""Tables of clips: a table goes in, is frozen under its hash, and a table of results comes out."""
