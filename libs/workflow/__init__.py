"""Everything that decides, free of I/O, clock, randomness and asyncio: types, compiler, launch, graph, machine, phases."""
