"""Videos and pictures: probe, frames, cuts, joins, contact sheets. Knows no money."""
