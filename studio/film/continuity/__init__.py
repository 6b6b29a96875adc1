"""How the shots of a scene hang together: one kind of continuity a file."""
