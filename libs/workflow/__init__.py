"""Everything that decides, free of I/O, clock, dice and asyncio: types, compiler, launch, graph, machine, phases."""
