"""Native runners: two small C++ programs with one command line, built from the runtimes' wheels, and their client."""
