"""Probes that run inside a container: standard library only, since these files are carried in and run there as they stand."""
