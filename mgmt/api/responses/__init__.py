"""How entities look on the wire: one module per entity, rows in, structs out."""
