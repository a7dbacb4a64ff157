"""The `local` provider: real models whose weights ship inside packages, run in threads of the worker."""
