"""A stage at run time: a supervisor whose workers share one mailbox."""
