"""The `umamba` command: one module per subcommand."""
