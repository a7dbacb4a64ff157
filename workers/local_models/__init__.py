"""The `local` provider: real models whose weights ship inside packages, each run in a process beside the worker."""
