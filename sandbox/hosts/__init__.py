"""The machines of a trial: containers of the Docker daemon, their writable trees, shells, processes and images."""
