"""``actorflow demo``: the main job, on the source files of the standard library."""
