"""Films before and after their clips are made: storyboards, plans, quotes and assembly."""
