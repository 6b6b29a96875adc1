"""The bucket and what goes in and out of it: conditional writes, the layout of keys, downloads."""
