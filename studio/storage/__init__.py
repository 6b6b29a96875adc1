"""The bucket: conditional writes, the layout of its keys, downloads."""
