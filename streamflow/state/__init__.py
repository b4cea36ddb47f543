"""State stores in step with a task's transaction: in memory now, with changelog, restore and timers beside them."""
