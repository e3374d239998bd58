"""The sweeper behind `-m sweep=…`: sweeps that go on where they were killed. docs/sweeps.md has the reasons."""
