"""What runs after the answer 202: fleet, keeper and providers."""
