"""Starting servers and workers: on this host, over a hostfile, and inside a running script."""
