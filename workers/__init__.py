"""What runs after the answer 202: execution, reaper and providers."""
