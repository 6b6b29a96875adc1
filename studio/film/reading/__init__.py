"""Reading storyboards and tables that people wrote, and telling them what is wrong."""
