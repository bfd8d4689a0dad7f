"""The network around the agent: plan, namespaces, certificate authority, and the line to the world's container."""
