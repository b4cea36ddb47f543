"""Plain values that every room shares: types, batches, positions, policies. No I/O, no clock."""
