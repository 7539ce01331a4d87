"""Native runners: two small C++ programs with one command line, built from the runtimes' own wheels, and their client."""
