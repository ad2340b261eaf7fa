"""Tables: named families of vectors addressed by integer keys."""
