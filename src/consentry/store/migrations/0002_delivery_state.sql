-- Rows of one state: dead ones are counted, and waiting ones found without reading the dead.

CREATE INDEX delivery_state ON delivery (destination, state, position);
