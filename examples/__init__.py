"""Example storyboards, as they are shipped."""
