-- Backends that hold the gate.
select pid, usename, state, query
from redress.gate_holders()
