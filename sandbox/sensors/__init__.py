"""What happens on the hosts, seen from outside: live witnesses of the kernel, looks at trees, wires, logs and canaries."""
