"""What must survive: stores, the thread each lives behind, and the checkpointer."""
