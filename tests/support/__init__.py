"""What tests share: exact comparison, models, joined clusters without sockets, and the invariants themselves."""
