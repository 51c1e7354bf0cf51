"""Coverage, exposure times and gaps of a pattern, without data."""
