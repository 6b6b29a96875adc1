"""Videos and pictures: read, checked, cut, joined and laid out. Knows nothing of money or storage."""
