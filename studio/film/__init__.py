"""Films on paper: storyboards, how they are read and told about, and the plan that becomes of them."""
