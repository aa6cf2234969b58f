"""Every figure in docs/performance.md, one file per question."""
