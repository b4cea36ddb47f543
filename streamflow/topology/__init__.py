"""The topology: the frozen plan that the compiler makes and workers load, and its pictures."""
