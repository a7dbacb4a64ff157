"""Measures the whole path on one machine and compares it with what a user could have instead."""
