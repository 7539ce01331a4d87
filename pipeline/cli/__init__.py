"""The command line: one module a verb (HELP, add_arguments, handle), heavy imports only inside `handle`."""
