"""What an agent may hold: one module a tool, `(Environment, arguments) -> result`."""
